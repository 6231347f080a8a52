//! The compiler: in a process of its own, which can be stopped, or in this one.
//!
//! Owns: that process. Must not: keep what was compiled, or decide for how long to wait.
//!
//! Some functions of a few KiB take the compiler hours, and nothing that can be counted beforehand tells which. A thread
//! can't be stopped; a process can, and it takes along what memory it used.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{LoadError, engine::wasmtime_config, limits};

/// The command of the program that compiles, followed by the component's file and that of the result.
pub const COMPILE_COMMAND: &str = "compile-plugin";
/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Most characters of what it says of a failure.
const SHOWN_CHARS: usize = 500;

/// Compiles a component from a file into another, with the least claim to this machine. What the program does that
/// [`crate::RuntimeConfig::compiler`] names.
///
/// # Errors
/// What the compiler or the file system says.
pub fn compile_file(input: &Path, output: &Path) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, nice, set_parent_process_death_signal};
        // A server that was killed does not stop it, and of the two it is the one to go when memory is short.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        let _ = nice(10);
    }
    let bytes = fs::read(input).map_err(|error| format!("{}: {error}", input.display()))?;
    let compile = move || {
        let engine = wasmtime::Engine::new(&wasmtime_config(limits::CONCURRENT_CALLS))?;
        engine.precompile_component(&bytes)
    };
    let thread = thread::Builder::new().stack_size(limits::COMPILER_STACK_BYTES).spawn(compile);
    let compiled = thread.map_err(|error| error.to_string())?.join();
    let compiled = compiled.map_err(|_| "the compiler panicked")?.map_err(|error| format!("{error:#}"))?;
    fs::write(output, compiled).map_err(|error| format!("{}: {error}", output.display()))
}

/// Compiles in a process of `program`, until it is done or `given_up`. `draft` is a path of which files may be made by
/// adding to its name; none stays.
pub(crate) fn in_process(
    program: &Path,
    draft: &Path,
    bytes: &[u8],
    given_up: &AtomicBool,
) -> Result<Vec<u8>, LoadError> {
    let (input, output) = (with(draft, ".in"), with(draft, ".out"));
    let compiled = run(program, &input, &output, bytes, given_up);
    for path in [input, output] {
        // Each may not be there yet.
        let _ = fs::remove_file(path);
    }
    compiled
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn run(
    program: &Path,
    input: &Path,
    output: &Path,
    bytes: &[u8],
    given_up: &AtomicBool,
) -> Result<Vec<u8>, LoadError> {
    let failed =
        |error: std::io::Error| LoadError::Cache(format!("compiling in {}: {error}", input.display()));
    fs::write(input, bytes).map_err(failed)?;
    let mut child = Command::new(program)
        .arg(COMPILE_COMMAND)
        .args([input, output])
        // It needs nothing of the server's, least of all its secrets.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let Some(status) = wait(&mut child, given_up).map_err(failed)? else {
        return Err(LoadError::CompileFailed("it was given up".to_owned()));
    };
    if status.success() {
        return fs::read(output).map_err(failed);
    }
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        // What it said is for people only.
        let _ = errors.read_to_string(&mut said);
    }
    let said: String = said.trim().chars().take(SHOWN_CHARS).collect();
    Err(LoadError::CompileFailed(if said.is_empty() { status.to_string() } else { said }))
}

/// None if it was given up, and killed.
fn wait(child: &mut Child, given_up: &AtomicBool) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if given_up.load(Ordering::Relaxed) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::park_timeout(LOOK);
    }
}
