//! Schemathesis, the fuzzer that tries the API by its own document: a Python package, in an environment of its own
//! below the target directory.
//!
//! Owns: installing it. Must not: run it; the tests do.

use std::{fs, path::Path, process::Command};

use crate::{
    Tree,
    process::{output, run, step},
};

/// What is installed. Both are named, so that a seed means the same requests everywhere.
const PACKAGES: [&str; 2] = ["schemathesis==4.32.5", "hypothesis==6.170.17"];

/// Whether the fuzzer is there, if need be after it has been installed. Without it its test is passed over, or
/// fails where `CI` is set.
pub fn provide(tree: &Tree) -> bool {
    // Where the harness (`tests/src/fuzzer.rs`) looks for it.
    let environment = tree.target.join("schemathesis");
    let stamp = environment.join(".stamp");
    let wanted = PACKAGES.join(" ");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return true;
    }
    step("installing schemathesis for the tests");
    let made = make(&environment) || (install_venv() && make(&environment));
    let pip = || {
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
        pip
    };
    made && run(&mut pip()).is_ok() && fs::write(&stamp, wanted).is_ok()
}

fn make(environment: &Path) -> bool {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment)).is_ok()
}

/// Debian's Python comes without what makes environments.
fn install_venv() -> bool {
    let root = output(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if !root || !Path::new("/usr/bin/apt-get").exists() {
        return false;
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        apt
    };
    let install = || run(apt().args(["install", "--yes", "--no-install-recommends", "python3-venv"]));
    install().or_else(|_| run(apt().arg("update")).and_then(|()| install())).is_ok()
}
