//! What the benchmarks need before they run.
//!
//! Owns: building it, and fetching what Patchbay is compared with. Must not: measure.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Tree, examples, guests,
    process::{Failed, cargo, run, step, succeeds},
};

/// Benchmarks that need no server of their own, whose release build takes long.
const WITHOUT_SERVER: [&str; 3] = ["languages", "plugin-call", "voice"];
/// Benchmarks of plugins in other languages.
const WITH_EXAMPLES: [&str; 1] = ["languages"];
/// Benchmarks that are compared with `bun`.
const WITH_BUN: [&str; 2] = ["fanout", "idle"];

/// Builds what the benchmarks of these names need, all if none is named, and runs them.
pub fn bench(tree: &Tree, rest: &[OsString]) -> Result<(), Failed> {
    let names: Vec<&str> =
        rest.iter().filter_map(|name| name.to_str()).filter(|n| !n.starts_with("--")).collect();
    guests::build(tree)?;
    if names.is_empty() || names.iter().any(|name| !WITHOUT_SERVER.contains(name)) {
        step("building the server for release");
        run(cargo(tree).args(["build", "--release", "--package", "patchbay"]))?;
    }
    if names.is_empty() || names.iter().any(|name| WITH_BUN.contains(name)) {
        provide_bun(&tree.root.join("target/bench-bun"));
    }
    if names.is_empty() || names.iter().any(|name| WITH_EXAMPLES.contains(name)) {
        // What can't be built here is passed over there, aloud.
        let _ = examples::build(tree);
    }
    step("building the benchmarks");
    let mut bench: Command = cargo(tree);
    bench.args(["run", "--release", "--package", "patchbay-bench", "--"]).args(rest);
    // A captured backtrace would be measured with every error.
    run(bench.env("RUST_LIB_BACKTRACE", "0"))
}

/// Installs `bun` below `target/`. Without it the benchmarks say that they compare nothing with it.
fn provide_bun(directory: &Path) {
    if directory.join("node_modules/.bin/bun").exists() {
        return;
    }
    step("installing bun, for comparison");
    let made = std::fs::create_dir_all(directory).is_ok();
    let mut npm = Command::new("npm");
    npm.current_dir(directory).args(["install", "--no-audit", "--no-fund", "--prefix", ".", "bun"]);
    if !made || !succeeds(npm.stdin(Stdio::null())) {
        step("SKIPPED: bun could not be installed by npm, so nothing is compared with it");
    }
}
