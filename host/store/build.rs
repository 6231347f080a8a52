//! The migrations are part of the binary: when one changes, it is built anew.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
