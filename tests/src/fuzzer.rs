//! Schemathesis, which `cargo xtask test` installs.

use std::path::PathBuf;

use crate::server::build_dir;

/// The program. None where it is not installed, which is said aloud, and which fails where `CI` is set.
pub fn fuzzer() -> Option<PathBuf> {
    // Where `cargo xtask` (`fuzzer.rs`) puts it.
    let program = build_dir().parent().unwrap().join("schemathesis/bin/schemathesis");
    if program.is_file() {
        return Some(program);
    }
    #[allow(clippy::disallowed_methods)] // Tests have no settings but this one.
    let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    assert!(!ci, "schemathesis is not installed, and nothing may be skipped here");
    eprintln!("SKIPPED: schemathesis is not installed; `cargo xtask test` does that where there is Python");
    None
}
