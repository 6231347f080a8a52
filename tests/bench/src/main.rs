//! Benchmarks: each measures Patchbay against a floor, alternating in one process, and prints ratios.
//! `cargo xtask bench [NAME]` builds what they need and runs them.
//!
//! Owns: the list of benchmarks. Must not: assert times; machines are shared and noisy.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for people at a terminal")]

mod bare;
mod fanout;
mod floor;
mod idle;
mod languages;
mod load;
mod memory_host;
mod options;
mod plugin_call;
mod plugin_load;
mod post;
mod report;
mod retrieval;
mod search;
mod table;
mod voice;

use std::process::ExitCode;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Benchmark = (&'static str, fn() -> Outcome);

const BENCHMARKS: [Benchmark; 11] = [
    ("plugin-call", plugin_call::run),
    ("plugin-route", || plugin_load::route().map_err(|error| error as _)),
    ("swap", || plugin_load::swap().map_err(|error| error as _)),
    ("post", || post::throughput().map_err(|error| error as _)),
    ("post-latency", || post::latency().map_err(|error| error as _)),
    ("retrieval", || retrieval::run().map_err(|error| error as _)),
    ("search", || search::run().map_err(|error| error as _)),
    ("fanout", || fanout::run().map_err(|error| error as _)),
    ("languages", languages::run),
    ("idle", || idle::run().map_err(|error| error as _)),
    ("voice", || voice::run().map_err(|error| error as _)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let side = arguments.split_first().filter(|(name, _)| *name == "fanout-side");
    if let Some(served) = side.map(|(_, rest)| fanout::serve(rest)).or_else(|| floor::run(&arguments)) {
        return match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let wanted = options::names();
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
