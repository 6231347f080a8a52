//! `cargo xtask`: what cargo alone doesn't do for Patchbay.
//!
//! Owns: building the plugins and the order in which things are built, run, tested and measured. Must not:
//! need more than the standard library, so that it starts at once on a fresh checkout.
#![allow(clippy::print_stderr, reason = "a tool for people at a terminal")]

mod bench;
mod compiler;
mod examples;
mod guests;
mod postgres;
mod process;
mod python;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use process::{Failed, cargo, run, step};

const USAGE: &str = "\
cargo xtask COMMAND

  plugins              build plugins/* into target/plugins, tests/guests into target/test-guests
  examples             build plugins/examples and the projects of `patchbay plugin new` into target/examples
  run [--release] [--demo] [-- ARGS]
                       build the plugins and the server, then `patchbay serve ARGS`; with --demo a new
                       deployment is filled with made-up data, and how to log in is printed
  test [ARGS]          build the plugins and the server, then run all tests; ARGS go to the test runner;
                       as root on Debian this installs PostgreSQL, if it isn't there
  fuzz [SECONDS]       build the same, then mutate components and install them into a server for so long (600)
  bench [NAME…] [--sockets=N] [--messages=N]
                       build the plugins and the server for release, then run these benchmarks, or all of
                       them: plugin-call, languages, plugin-route, swap, post, post-latency, search, fanout, idle
";

/// The places that everything here refers to.
pub struct Tree {
    /// The checkout.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
}

impl Tree {
    fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        // This program lies in TARGET/debug.
        let target = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(2)?.to_owned()));
        Self { root: root.to_owned(), target: target.unwrap_or_else(|| root.join("target")) }
    }

    /// The server, built with the `dev` profile.
    pub fn patchbay(&self) -> PathBuf {
        self.target.join("debug").join(format!("patchbay{}", std::env::consts::EXE_SUFFIX))
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    let tree = Tree::find();
    let done = match command.to_str() {
        Some("plugins") if rest.is_empty() => guests::build(&tree),
        Some("examples") if rest.is_empty() => examples::build(&tree),
        Some("run") => serve(&tree, rest),
        Some("test") => test(&tree, &rest),
        Some("fuzz") => fuzz(&tree, &rest),
        Some("bench") => bench::bench(&tree, &rest),
        Some("help" | "--help" | "-h") => {
            eprint!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(),
    }
}

/// With the `dev` profile unless asked: who tries Patchbay for the first time wants to see it soon, and the
/// release build takes several times as long. What matters for speed is optimised in both (SQLite, password
/// hashing, the compiler for plugins).
fn serve(tree: &Tree, mut rest: Vec<OsString>) -> Result<(), Failed> {
    let mut release = false;
    let mut demo = false;
    while let Some(flag) = rest.first().and_then(|arg| arg.to_str()) {
        match flag {
            "--release" => release = true,
            "--demo" => demo = true,
            _ => break,
        }
        rest.remove(0);
    }
    if rest.first().is_some_and(|arg| arg == "--") {
        rest.remove(0);
    }
    guests::build(tree)?;
    step("building the server");
    let mut build = cargo(tree);
    build.args(["run", "--package", "patchbay"]);
    if release {
        build.arg("--release");
    }
    build.args(["--", "serve"]);
    if demo {
        build.arg("--demo");
    }
    run(build.args(rest))
}

fn test(tree: &Tree, rest: &[OsString]) -> Result<(), Failed> {
    guests::build(tree)?;
    step("building the server");
    run(cargo(tree).args(["build", "--package", "patchbay"]))?;
    let postgres = postgres::provide();
    let fuzzer = python::FUZZER.provide(tree);
    let models = python::MODELS.provide(tree);
    let pgvector = python::PGVECTOR.provide(tree);
    let voice = python::VOICE.provide(tree);
    let browser = python::provide_program("chromium", "chromium");
    let turn = python::provide_program("turnserver", "coturn");
    let missing = examples::provide(tree)?;
    step("running the tests");
    let mut runner = cargo(tree);
    if has_nextest(tree) {
        run(runner.args(["nextest", "run", "--workspace", "--no-fail-fast"]).args(rest))?;
    } else {
        // Everything but documentation, which comes next in either case.
        run(runner
            .args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests", "--examples"])
            .args(rest))?;
    }
    if rest.is_empty() {
        step("running the examples in the documentation");
        run(cargo(tree).args(["test", "--workspace", "--doc", "--quiet"]))?;
    }
    if !fuzzer {
        step("SKIPPED: schemathesis could not be installed, so no fuzzer has tried the API");
    }
    if !models {
        step("SKIPPED: litellm could not be installed, so models were only tried with a fake");
    }
    if !pgvector {
        step("SKIPPED: a PostgreSQL with pgvector could not be installed, so no vectors were kept in one");
    }
    if !voice || !browser || !turn {
        step(
            "SKIPPED: aiortc, Chromium or coturn could not be installed, so voice was not tried with all kinds of clients",
        );
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        step(&format!(
            "SKIPPED: {missing} could not be built (npm and Python are needed), so they were not tested"
        ));
    }
    if !postgres {
        step("SKIPPED: PostgreSQL is not installed, so nothing was tested on it");
    }
    Ok(())
}

/// The test of the loader that is in every run of the suite, for longer and from another seed.
fn fuzz(tree: &Tree, rest: &[OsString]) -> Result<(), Failed> {
    guests::build(tree)?;
    step("building the server");
    run(cargo(tree).args(["build", "--package", "patchbay"]))?;
    step("mutating components");
    let seconds = rest.first().cloned().unwrap_or_else(|| "600".into());
    let mut test = cargo(tree);
    test.args(["test", "--package", "patchbay-tests", "--test", "it", "loader::", "--", "--nocapture"]);
    run(test.env("PATCHBAY_FUZZ_SECONDS", seconds))
}

fn has_nextest(tree: &Tree) -> bool {
    process::succeeds(cargo(tree).args(["nextest", "--version"]))
}
