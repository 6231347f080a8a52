//! Components as tests need them: in other versions, with other manifests; and waiting for what plugins do.

use std::{process::Command, time::Duration};

use serde_json::Value;

use crate::{User, program};

/// The same component with another digest: a custom section that means nothing.
pub fn version(component: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend_from_slice(&[0, 6, 4, b'n', b'o', b't', b'e', mark]);
    bytes
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

/// The same component with another manifest.
pub fn repacked(component: &[u8], manifest: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("in.wasm"), without_manifest(component)).unwrap();
    std::fs::write(path("plugin.toml"), manifest).unwrap();
    let packed = Command::new(program())
        .args(["plugin", "pack"])
        .arg(path("in.wasm"))
        .arg("--manifest")
        .arg(path("plugin.toml"))
        .arg("--out")
        .arg(path("out.wasm"))
        .status()
        .unwrap();
    assert!(packed.success());
    std::fs::read(path("out.wasm")).unwrap()
}

impl User {
    /// Asks until the answer is as wanted, and fails with the last one if it isn't within a minute.
    pub async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.get(path).await.expect(200);
            if is_so(&answer) {
                return answer;
            }
            assert!(std::time::Instant::now() < deadline, "{path}: still {answer:#}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// The id of the user of that name.
    pub async fn id_of(&self, name: &str) -> i64 {
        let found = self.get(&format!("/api/users?query={name}")).await.expect(200);
        let is_it = |user: &&Value| user["username"] == name;
        found["items"].as_array().unwrap().iter().find(is_it).unwrap()["id"].as_i64().unwrap()
    }
}
