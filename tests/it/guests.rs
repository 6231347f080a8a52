//! Every component in `tests/guests`, loaded into a real server: what is hostile ends in a named error, and its
//! neighbours don't notice.

use patchbay_tests::{TestApp, User, guest, json};

/// A server with one guest, its superuser, and a message to look at.
async fn with_guest(name: &str) -> (TestApp, User, String) {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.install_with_grants(name, guest(name)).await;
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "hello").await;
    (app, ann, format!("/api/channels/{channel}/messages"))
}

/// Calls the guest several times at once while others work; all calls end with this status and code.
async fn ends_in(name: &str, path: &str, status: u16, code: &str) {
    let (_app, ann, messages) = with_guest(name).await;
    let path = format!("/api/plugins/{name}/{path}");
    let attackers: Vec<_> = (0..3)
        .map(|_| {
            let (ann, path) = (ann.clone(), path.clone());
            tokio::spawn(async move { ann.get(&path).await })
        })
        .collect();
    for _ in 0..10 {
        let list = ann.get(&messages).await.expect(200);
        assert_eq!(list["items"][0]["extensions"]["reactions"], json!([]), "{list:#}");
    }
    for attacker in attackers {
        assert_eq!(attacker.await.unwrap().problem(status), code);
    }
    ann.get(&messages).await.expect(200);
}

#[tokio::test]
async fn endless_loop() {
    ends_in("endless-loop", "go", 504, "plugin_deadline_exceeded").await;
}

#[tokio::test]
async fn memory_bomb() {
    ends_in("memory-bomb", "go", 502, "plugin_memory_exceeded").await;
}

#[tokio::test]
async fn trap() {
    ends_in("trap", "go", 502, "plugin_trapped").await;
}

#[tokio::test]
async fn stack_overflow() {
    ends_in("stack-overflow", "go", 502, "plugin_trapped").await;
}

#[tokio::test]
async fn host_call_flood() {
    ends_in("host-call-flood", "huge", 502, "plugin_limit_exceeded").await;
    ends_in("host-call-flood", "big", 502, "plugin_limit_exceeded").await;
}

#[tokio::test]
async fn huge_output() {
    let (_app, ann, messages) = with_guest("huge-output").await;
    // It streams, so the status is out when the limit is hit: the answer breaks off.
    let request = ann.request(reqwest::Method::GET, "/api/plugins/huge-output/go");
    let broken = request.send().await.unwrap().bytes().await;
    assert!(broken.is_err(), "an answer without end must not look complete");
    ann.get(&messages).await.expect(200);
}

#[tokio::test]
async fn slow_decorator() {
    let (_app, ann, messages) = with_guest("slow-decorator").await;
    let list = ann.get(&messages).await.expect(200);
    assert_eq!(list["extensions_omitted"], json!(["slow-decorator"]));
    let message = &list["items"][0];
    assert_eq!(message["extensions_omitted"], json!(["slow-decorator"]));
    assert!(message["extensions"].get("slow-decorator").is_none(), "absent, not empty");
}

#[tokio::test]
async fn streamer() {
    let (_app, ann, _) = with_guest("streamer").await;
    let request = ann.request(reqwest::Method::GET, "/api/plugins/streamer/stream");
    let body = request.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), 100 * 16 * 1024);
}

#[tokio::test]
async fn whoami() {
    let (app, ann, _) = with_guest("whoami").await;
    let nobody = app.anonymous();
    let me = ann.get("/api/plugins/whoami/me").await.expect(200);
    assert_eq!(me, json!({ "user_id": ann.id, "is_bot": false, "is_superuser": true }));
    assert_eq!(nobody.get("/api/plugins/whoami/me").await.expect(200), json!(null));
    assert_eq!(nobody.get("/api/plugins/whoami/required").await.problem(401), "unauthenticated");
    assert_eq!(ann.get("/api/plugins/whoami/nobody").await.expect(200), json!(null));
    let mut forger = nobody.clone();
    forger.token = "nonsense".into();
    assert_eq!(forger.get("/api/plugins/whoami/me").await.problem(401), "unauthenticated");
    assert_eq!(forger.get("/api/plugins/whoami/nobody").await.expect(200), json!(null));
}

#[tokio::test]
async fn kv_probe() {
    let (_app, ann, _) = with_guest("kv-probe").await;
    let call = async |function: &str, body: patchbay_tests::Value| {
        ann.post(&format!("/api/plugins/kv-probe/{function}"), &body).await
    };
    for (body, what) in [
        (json!({ "key": "", "value": "x" }), "an empty key"),
        (json!({ "key": "k".repeat(513), "value": "x" }), "a long key"),
        (json!({ "key": "k", "size": 64 * 1024 + 1 }), "a large value"),
    ] {
        let answer = call("kv/set", body).await;
        assert!((400..500).contains(&answer.status) || answer.status == 503, "{what}: {:#}", answer.body);
    }
    call("kv/set", json!({ "key": "k", "size": 64 * 1024 })).await.expect(200);
    call("log/write", json!({ "level": "info", "message": "a line of its own\nand no second", "lines": 3 }))
        .await
        .expect(200);
}

use crate::capabilities::{probe, wasi_probe};

// A guest without a test of its name does not compile.
include!(concat!(env!("OUT_DIR"), "/guests.rs"));
