//! Contracts that were released keep their word.

use patchbay_tests::{TestApp, guest, json};
use sha2::{Digest as _, Sha256};

/// What was released can't be changed by accident.
#[test]
fn what_was_released_is_frozen() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit/released/0.1.0");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut hash = Sha256::new();
    for path in &paths {
        hash.update(path.file_name().unwrap().to_str().unwrap());
        hash.update(std::fs::read(path).unwrap());
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, FROZEN, "wit/released/0.1.0 is frozen; a change of the contract goes into wit/");
}

const FROZEN: &str = "67dedae201c03d787939b00d36e55a12296daca226d1fa5fee76edf2c8a65a3f";

/// A component built against 0.1.0 loads into the host of today and does what it did.
#[tokio::test]
pub async fn released() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.install_with_grants("released", guest("released")).await;
    let channel = ann.channel("general", &[]).await;
    let path = format!("/api/channels/{channel}/messages");
    let posted = ann.post(&path, &json!({ "content": "old" })).await.expect(201);
    assert_eq!(posted["content"], "as of 0.1.0");
    let list = ann.get(&path).await.expect(200);
    assert_eq!(list["items"][0]["extensions"]["released"], true);
    ann.until("/api/admin/plugins/released", |plugin| {
        plugin["calls"].as_array().unwrap().iter().any(|calls| calls["export"] == "events")
    })
    .await;
    let go = ann.post("/api/plugins/released/go", &json!({})).await.expect(200);
    assert_eq!(go, json!({ "calls": 1, "keys": 3 }), "activated, told of one event, called");
}
