//! Running other programs.
//!
//! Owns: how they are started and how their failure is told. Must not: decide what is run.

use std::{
    ffi::OsString,
    fmt::Display,
    process::{Command, ExitCode, Stdio},
};

use crate::Tree;

/// Why a command of this tool ended early.
pub enum Failed {
    /// A program failed and has said why; its exit code.
    Program(u8),
    /// Something else, to be told.
    Told(String),
}

impl Failed {
    pub fn told(what: impl Into<String>) -> Self {
        Self::Told(what.into())
    }

    /// Something failed while `doing` it.
    pub fn while_doing(doing: &str, error: impl Display) -> Self {
        Self::Told(format!("{doing}: {error}"))
    }

    pub fn report(self) -> ExitCode {
        match self {
            Self::Program(code) => ExitCode::from(code),
            Self::Told(what) => {
                eprintln!("xtask: {what}");
                ExitCode::FAILURE
            }
        }
    }
}

/// A line of progress.
pub fn step(what: &str) {
    eprintln!("xtask: {what}");
}

/// The cargo that runs this, in the checkout.
pub fn cargo(tree: &Tree) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(&tree.root);
    command
}

/// Runs a program that talks to the terminal itself.
pub fn run(command: &mut Command) -> Result<(), Failed> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| Failed::while_doing(&name, error))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    Err(Failed::Program(code.unwrap_or(1)))
}

/// Whether a program can be run and succeeds; its output is nobody's business.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// What a program prints, without white space at the end; none if it fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
