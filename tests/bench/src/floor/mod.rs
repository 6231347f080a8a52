//! The floors: what the least of servers does that could serve the same load. Each runs as a process of its own, this
//! program with a first argument.
//!
//! Owns: these servers. Must not: know Patchbay.

pub mod fanout;
pub mod post;
pub mod search;

use std::process::Command;

use crate::load::{Result, child::Process};

/// Runs the floor of this name, if it is one.
pub fn run(arguments: &[String]) -> Option<Result<()>> {
    match arguments.split_first()? {
        (name, _) if name == "floor-fanout" => Some(fanout::serve()),
        (name, rest) if name == "floor-post" => Some(post::serve(rest)),
        _ => None,
    }
}

/// Starts one of them; the rest of the line that it says when it serves.
fn start(arguments: &[&str]) -> Result<(Process, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Process::start(&mut command, |line| line.strip_prefix("serves ").map(str::to_owned))
}
