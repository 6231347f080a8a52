//! Plugins that `cargo xtask test` (or `cargo xtask examples`) builds by the tools of other languages.

use std::path::PathBuf;

use crate::server::build_dir;

/// The folder of a project. None where it could not be built, which is said aloud, and which fails where `CI` is set.
pub fn example(name: &str) -> Option<PathBuf> {
    // Where `cargo xtask` (`examples.rs`) makes it.
    let directory = build_dir().parent().unwrap().join("examples").join(name);
    if directory.join("dist").join(format!("{name}.wasm")).is_file() {
        return Some(directory);
    }
    #[allow(clippy::disallowed_methods)] // Tests have no settings but this one.
    let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    assert!(!ci, "{name} is not built, and nothing may be skipped here");
    eprintln!("SKIPPED: {name} is not built; `cargo xtask test` does that where there are npm and Python");
    None
}

/// Its component.
pub fn example_component(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(example(name)?.join("dist").join(format!("{name}.wasm"))).unwrap())
}
