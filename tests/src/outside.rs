//! Programs that nobody here wrote, which `cargo xtask test` installs.

use std::path::PathBuf;

use crate::server::build_dir;

/// Schemathesis. None where it is not installed, which is said aloud, and which fails where `CI` is set.
pub fn fuzzer() -> Option<PathBuf> {
    // Where `cargo xtask` (`python.rs`) puts it.
    installed("schemathesis", build_dir().parent().unwrap().join("schemathesis/bin/schemathesis"))
}

/// A Python that has aiortc. None as for [`fuzzer`].
pub fn aiortc() -> Option<PathBuf> {
    installed("aiortc", build_dir().parent().unwrap().join("aiortc/bin/python"))
}

/// LiteLLM's proxy. None as for [`fuzzer`].
pub fn litellm() -> Option<PathBuf> {
    installed("litellm", build_dir().parent().unwrap().join("litellm/bin/litellm"))
}

/// A browser. None as for [`fuzzer`].
pub fn chromium() -> Option<PathBuf> {
    on_path("chromium")
}

/// A TURN server. None as for [`fuzzer`].
pub fn coturn() -> Option<PathBuf> {
    on_path("turnserver")
}

fn on_path(name: &str) -> Option<PathBuf> {
    #[allow(clippy::disallowed_methods)] // Where programs are is no setting.
    let path = std::env::var("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file());
    installed(name, found.unwrap_or_else(|| PathBuf::from("/usr/bin").join(name)))
}

pub(crate) fn installed(name: &str, program: PathBuf) -> Option<PathBuf> {
    if program.is_file() {
        return Some(program);
    }
    #[allow(clippy::disallowed_methods)] // Tests have no settings but this one.
    let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    assert!(!ci, "{name} is not installed, and nothing may be skipped here");
    eprintln!("SKIPPED: {name} is not installed; `cargo xtask test` does that where it can");
    None
}
