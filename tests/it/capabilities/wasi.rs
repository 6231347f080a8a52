//! Guests whose toolchain brings WASI: it is there, and there is nothing in it.

use std::time::Instant;

use patchbay_tests::{Answer, TestApp, User, eventually, guest, json, repacked};

async fn with_guest() -> (TestApp, User) {
    let app = TestApp::start_with(&["log.filter=info"]).await;
    let root = app.user("root").await;
    let made = root.install("wasi-probe", guest("wasi-probe")).await.expect(201);
    assert_eq!(
        (&made["state"], &made["capabilities_wanted"]),
        (&json!("active"), &json!([])),
        "it needs no grant"
    );
    (app, root)
}

async fn call(user: &User, what: &str) -> Answer {
    user.post(&format!("/api/plugins/wasi-probe/{what}"), &json!({})).await
}

#[tokio::test]
pub async fn wasi_probe() {
    let (app, root) = with_guest().await;
    let nothing = json!({ "variables": [], "arguments": [], "directory": null, "preopens": 0, "input": 0 });
    assert_eq!(call(&root, "surroundings").await.expect(200), nothing);
    let refused = call(&root, "sockets").await.expect(200);
    assert_eq!(refused["tcp"], "access-denied");
    assert_eq!(refused["udp"], "access-denied");
    assert!(refused["lookup"].is_string(), "{refused}");
    let time = call(&root, "time").await.expect(200);
    assert!(time["passed"].as_u64().unwrap() >= 20_000_000 && time["now"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(time["random"].as_array().unwrap().len(), 16);

    call(&root, "speak").await.expect(200);
    for line in ["a line of standard output", "and one that has no end", "a complaint"] {
        eventually("the line is in the log", || app.log().contains(&format!("{line:?}"))).await;
    }
    let complaint = app.log().lines().find(|line| line.contains("a complaint")).unwrap().to_owned();
    assert!(complaint.contains("WARN") && complaint.contains("wasi-probe"), "{complaint}");
    call(&root, "flood").await.expect(200);
    eventually("the flood is cut off", || app.log().contains("1800 more lines of this call were left out"))
        .await;
    assert_eq!(app.log().matches("\"flood\"").count(), 200);
}

#[tokio::test]
async fn waiting_and_hoarding_by_wasi_have_the_limits_of_every_call() {
    let (_app, root) = with_guest().await;
    let before = Instant::now();
    assert_eq!(call(&root, "sleep").await.problem(504), "plugin_timeout");
    assert!(before.elapsed().as_secs() < 30, "{:?}", before.elapsed());
    let hoarded = call(&root, "handles").await;
    assert_eq!(hoarded.status, 502, "{:#}", hoarded.body);
    call(&root, "surroundings").await.expect(200);
}

#[tokio::test]
async fn other_parts_of_wasi_are_refused() {
    let app = TestApp::start().await;
    let root = app.user("root").await;
    let manifest = "name = \"wasi-probe\"\nversion = \"1.0.0\"\n";
    // The name of an import occurs where it is imported; one of the same length asks for something else.
    let mut component = repacked(&guest("wasi-probe"), manifest);
    let (from, to) = (b"wasi:sockets/tcp-create-socket@", b"wasi:outputs/tcp-create-socket@");
    let places: Vec<_> =
        (0..component.len() - from.len()).filter(|at| &component[*at..*at + from.len()] == from).collect();
    assert!(!places.is_empty());
    for at in places {
        component[at..at + from.len()].copy_from_slice(to);
    }
    let refused = root.install("wasi-probe", component).await;
    assert!(refused.body["detail"].as_str().unwrap().contains("wasi:outputs"), "{:#}", refused.body);
    assert_eq!(refused.problem(422), "import_unknown");
}
