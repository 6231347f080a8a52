//! What the command line asks for: names of benchmarks, and `--NAME=NUMBER`.
//!
//! Owns: reading it. Must not: know which benchmarks there are.

use crate::load::Result;

/// The arguments that aren't options.
pub fn names() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect()
}

/// The number of an option, if it is given.
pub fn number(name: &str) -> Result<Option<usize>> {
    let start = format!("--{name}=");
    let found = std::env::args().find_map(|argument| argument.strip_prefix(&start).map(str::to_owned));
    Ok(found.map(|text| text.parse().map_err(|_| format!("--{name} wants a number"))).transpose()?)
}
