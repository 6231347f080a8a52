//! PostgreSQL for the tests, which start servers of their own and only need the programs.
//!
//! Owns: finding it, and installing it where that is a matter of one command. Must not: run it.

use std::{path::Path, process::Command};

use crate::process::{output, run, step};

/// Whether PostgreSQL is there, if need be after it has been installed (as root on Debian and its kin). Without
/// it the tests that need it are passed over, or fail where `CI` is set.
pub fn provide() -> bool {
    if is_installed() {
        return true;
    }
    let root = output(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if root && Path::new("/usr/bin/apt-get").exists() {
        step("installing PostgreSQL for the tests");
        let apt = || {
            let mut apt = Command::new("apt-get");
            // A tool's run level 1 keeps the package from starting a server that nobody has asked for.
            apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").arg("-q");
            apt
        };
        let install = || run(apt().args(["install", "--yes", "--no-install-recommends", "postgresql"]));
        // The package lists may be old, or not there at all.
        if install().or_else(|_| run(apt().arg("update")).and_then(|()| install())).is_ok() {
            return is_installed();
        }
    }
    false
}

/// Where the harness (`tests/src/postgres.rs`) looks for it.
fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join("postgres").is_file())
        || Path::new("/usr/lib/postgresql").read_dir().is_ok_and(|versions| {
            versions.flatten().any(|version| version.path().join("bin/postgres").is_file())
        })
}
