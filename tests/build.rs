//! A guest without a test that loads it does not compile: for each file in `guests/examples` a test of its name
//! must exist in `it/guests.rs`, or be brought into it by `use`.

use std::{env, fs, path::Path};

#[allow(clippy::disallowed_methods)] // A build script's settings are variables.
fn main() {
    let examples = Path::new("guests/examples");
    println!("cargo:rerun-if-changed={}", examples.display());
    let mut checks = String::new();
    let mut names: Vec<_> = fs::read_dir(examples)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".rs")?.replace('-', "_")))
        .collect();
    names.sort();
    for name in names {
        checks.push_str(&format!("const _: fn() = {name};\n"));
    }
    fs::write(Path::new(&env::var("OUT_DIR").unwrap()).join("guests.rs"), checks).unwrap();
}
