//! Components with another manifest than their own.

use std::process::Command;

use crate::program;

/// The same component with this manifest in place of its own.
pub fn repacked(component: &[u8], manifest: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("in.wasm"), without_manifest(component)).unwrap();
    std::fs::write(path("plugin.toml"), manifest).unwrap();
    let mut pack = Command::new(program());
    pack.args(["plugin", "pack"]).arg(path("in.wasm"));
    pack.arg("--manifest").arg(path("plugin.toml")).arg("--out").arg(path("out.wasm"));
    assert!(pack.status().unwrap().success());
    std::fs::read(path("out.wasm")).unwrap()
}

/// Cuts the manifest's section off, which packing put last.
pub fn without_manifest(component: &[u8]) -> Vec<u8> {
    let name = b"patchbay:manifest";
    let at = component.windows(name.len()).rposition(|window| window == name).unwrap();
    // Before the name: its length, the section's length (LEB128) and the section's id, 0.
    let mut start = at - 2;
    while component[start] != 0 {
        start -= 1;
    }
    component[..start].to_vec()
}
