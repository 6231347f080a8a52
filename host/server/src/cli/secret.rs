//! Secrets that are typed or piped in, never taken from the arguments, which everyone on the machine can see.

/// From standard input up to the end of its first line, or asked for twice at the terminal without echo.
pub(super) fn read(what: &str, from_stdin: bool) -> Result<String, String> {
    if from_stdin {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(|error| format!("standard input: {error}"))?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map_err(|error| format!("the terminal can't be asked ({error}); pipe it in, see --help"))
    };
    let first = ask(&format!("{what}: "))?;
    if ask("The same again: ")? == first { Ok(first) } else { Err("the two are not the same".into()) }
}
