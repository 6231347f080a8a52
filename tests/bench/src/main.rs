//! Benchmarks: each measures Patchbay against a floor, alternating in one process, and prints ratios.
//! `cargo xtask bench [NAME]` builds what they need and runs them.
//!
//! Owns: the list of benchmarks. Must not: assert times; machines are shared and noisy.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for people at a terminal")]

mod bare;
mod memory_host;
mod plugin_call;
mod report;

use std::process::ExitCode;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Benchmark = (&'static str, fn() -> Outcome);

const BENCHMARKS: [Benchmark; 1] = [("plugin-call", plugin_call::run)];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let names = BENCHMARKS.map(|(name, _)| name);
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(&name.as_str())) {
        eprintln!("no benchmark {unknown:?}; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    for (name, run) in BENCHMARKS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        if let Err(error) = run() {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
