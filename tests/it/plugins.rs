//! Installing, replacing, granting, disabling.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use patchbay_tests::{TestApp, component, guest, json, plugins::version, repacked, without_manifest};

#[tokio::test]
async fn no_request_fails_while_a_plugin_is_replaced() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let message = ann.say(channel, "react!").await;
    let path = format!("/api/messages/{message}/reactions");
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|n| {
            let (ann, path) = (ann.clone(), path.clone());
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if n % 2 == 0 {
                        ann.get(&path).await.expect(200);
                    } else {
                        let answer = ann.post(&path, &json!({ "emoji": "👍" })).await;
                        assert!([200, 201].contains(&answer.status), "{:#}", answer.body);
                        let list = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
                        assert_eq!(list["items"][0]["extensions"]["reactions"][0]["count"], 1, "{list:#}");
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let reactions = component("reactions");
    for mark in 0..6 {
        let before = answered.load(Ordering::Relaxed);
        let swapped = ann.install("reactions", version(&reactions, mark)).await.expect(200);
        assert_eq!(swapped["state"], "active");
        while answered.load(Ordering::Relaxed) < before + 8 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_bad_component_is_refused_and_the_old_one_serves_on() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let message = ann.say(channel, "react!").await;
    let before = ann.get("/api/admin/plugins/reactions").await.expect(200);
    let core_module = b"\0asm\x01\0\0\0".to_vec();
    let good = component("reactions");
    let bare = without_manifest(&good);
    let mut truncated = good.clone();
    truncated.truncate(good.len() / 2);
    let mut flipped = good.clone();
    flipped[10..74].fill(0xff);
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("nothing", Vec::new(), &["not_a_component"]),
        ("garbage", b"this is not wasm".to_vec(), &["not_a_component"]),
        ("a core module", core_module, &["not_a_component"]),
        ("no manifest", bare, &["manifest_missing"]),
        ("truncated", truncated, &["malformed_component"]),
        ("damaged", flipped, &["malformed_component"]),
        ("another plugin's", guest("whoami"), &["name_mismatch"]),
        ("an import that isn't granted", renamed_with_kv(), &["capability_not_granted"]),
    ];
    for (what, bytes, codes) in cases {
        let answer = ann.install("reactions", bytes).await;
        assert!(answer.body["detail"].as_str().is_some_and(|d| d.len() > 20), "{what}: {:#}", answer.body);
        let code = answer.problem(422);
        assert!(codes.contains(&code.as_str()), "{what}: {code}");
        let after = ann.get("/api/admin/plugins/reactions").await.expect(200);
        for field in ["state", "digest", "version", "capabilities_granted", "versions", "updated_at"] {
            assert_eq!(after[field], before[field], "{what}: {field}");
        }
        let path = format!("/api/messages/{message}/reactions");
        ann.get(&path).await.expect(200);
    }
    let request = ann.request(reqwest::Method::PUT, "/api/admin/plugins/reactions").body("x");
    assert_eq!(ann.send(request).await.problem(415), "unsupported_media_type");
}

/// A component that calls itself reactions and wants what reactions has not been granted.
fn renamed_with_kv() -> Vec<u8> {
    let capabilities = r#"["channels", "kv", "log", "messages", "users"]"#;
    let manifest = format!("name = \"reactions\"\nversion = \"9.0.0\"\ncapabilities = {capabilities}\n");
    repacked(&guest("kv-probe"), &manifest)
}

#[tokio::test]
async fn only_superusers_administer() {
    let app = TestApp::start().await;
    let _root = app.user("root").await;
    let bob = app.user("bob").await;
    assert_eq!(bob.get("/api/admin/plugins").await.problem(403), "forbidden");
    // Refused before the upload is looked at; the refusal reaches who is still sending.
    for _ in 0..10 {
        assert_eq!(bob.install("reactions", vec![0; 4 << 20]).await.problem(403), "forbidden");
    }
    let answer = bob.patch("/api/admin/plugins/reactions", &json!({ "enabled": false })).await;
    assert_eq!(answer.problem(403), "forbidden");
    let nobody = app.anonymous();
    assert_eq!(nobody.install("reactions", component("reactions")).await.problem(401), "unauthenticated");
}

#[tokio::test]
async fn a_new_plugin_waits_until_it_is_granted_what_it_wants() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    let made = ann.install("kv-probe", guest("kv-probe")).await.expect(201);
    assert_eq!(made["state"], "pending_grants");
    assert_eq!(made["capabilities_granted"], json!([]));
    let get = json!({ "key": "a" });
    let path = "/api/plugins/kv-probe/kv/get";
    assert_eq!(ann.post(path, &get).await.problem(404), "not_found");
    let admin = "/api/admin/plugins/kv-probe";
    let some = ann.patch(admin, &json!({ "grants": ["kv"] })).await.expect(200);
    assert_eq!(some["state"], "pending_grants");
    let all = ann.patch(admin, &json!({ "grants": some["capabilities_wanted"] })).await.expect(200);
    assert_eq!(all["state"], "active");
    assert_eq!(ann.post(path, &get).await.expect(200), json!(null));
    assert_eq!(ann.patch(admin, &json!({ "grants": ["kv"] })).await.problem(422), "capability_not_granted");
    for bad in [json!({ "grants": ["nonsense"] }), json!({ "routes": ["/api/users/me"] })] {
        assert_eq!(ann.patch(admin, &bad).await.problem(422), "validation_failed");
    }
    ann.post(path, &get).await.expect(200);
    assert_eq!(ann.patch(admin, &json!({ "enabled": false })).await.expect(200)["state"], "disabled");
    assert_eq!(ann.post(path, &get).await.problem(404), "not_found");
    app.kill().await;
    app.restart().await;
    let ann = ann.at(&app.url);
    assert_eq!(ann.get(admin).await.expect(200)["state"], "disabled", "it stays disabled");
    assert_eq!(ann.patch(admin, &json!({ "enabled": true })).await.expect(200)["state"], "active");
    ann.post(path, &get).await.expect(200);
}

#[tokio::test]
async fn a_plugin_acts_with_the_authority_that_it_was_lent() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    ann.install_with_grants("kv-probe", guest("kv-probe")).await;
    let secret = ann.private_channel("secret", &[]).await;
    let message = ann.say(secret, "psst").await;
    let call = async |user: &patchbay_tests::User, function: &str, body: patchbay_tests::Value| {
        user.post(&format!("/api/plugins/kv-probe/{function}"), &body).await
    };
    let seen = call(&ann, "messages/get", json!({ "id": message })).await.expect(200);
    assert_eq!(seen["content"], "psst");
    for (function, body) in [
        ("messages/get", json!({ "id": message })),
        ("messages/list", json!({ "channel": secret })),
        ("messages/post", json!({ "channel": secret, "content": "x" })),
        ("messages/edit", json!({ "id": message, "content": "x" })),
        ("messages/delete", json!({ "id": message })),
        ("channels/get", json!({ "id": secret })),
        ("channels/members", json!({ "id": secret })),
    ] {
        assert!(call(&bob, function, body).await.problem(404).ends_with("not_found"), "{function}");
    }
    assert_eq!(call(&bob, "channels/list", json!({})).await.expect(200), json!([]));
    let posted = call(&ann, "messages/post", json!({ "channel": secret, "content": "by plugin" })).await;
    let posted = posted.expect(200)["id"].as_i64().unwrap();
    assert_eq!(ann.get(&format!("/api/messages/{posted}")).await.expect(200)["sender_id"], ann.id);
    let found = call(&bob, "users/find", json!({ "username": "ANN" })).await.expect(200);
    assert_eq!(found["id"], ann.id);
}

#[tokio::test]
async fn a_plugins_state_and_events_are_one_transaction() {
    let mut app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    ann.install_with_grants("kv-probe", guest("kv-probe")).await;
    let channel = ann.channel("general", &[&bob]).await;
    let message = ann.say(channel, "vote!").await;
    let mut at_bobs = bob.socket().await;
    let call = async |user: &patchbay_tests::User, function: &str, body: patchbay_tests::Value| {
        user.post(&format!("/api/plugins/kv-probe/kv/{function}"), &body).await
    };
    for (key, value) in [("a/1", "one"), ("a/2", "two"), ("b", "other")] {
        call(&ann, "set", json!({ "key": key, "value": value })).await.expect(200);
    }
    let scan = call(&ann, "scan", json!({ "prefix": "a/", "limit": 10 })).await.expect(200);
    assert_eq!(scan, json!([["a/1", "one"], ["a/2", "two"]]));
    let scan = call(&ann, "scan", json!({ "prefix": "a/", "after": "a/1" })).await.expect(200);
    assert_eq!(scan, json!([["a/2", "two"]]));
    let many = call(&ann, "get_many", json!({ "keys": ["b", "none", "a/1"] })).await.expect(200);
    assert_eq!(many, json!(["other", null, "one"]));
    let swap = |expected: &str, value: &str| json!({ "key": "b", "expected": expected, "value": value });
    assert_eq!(call(&ann, "compare_and_swap", swap("wrong", "x")).await.expect(200), json!(false));
    assert_eq!(call(&ann, "compare_and_swap", swap("other", "x")).await.expect(200), json!(true));
    assert_eq!(call(&ann, "delete", json!({ "key": "a/2" })).await.expect(200), json!(true));

    let commit = json!({
        "changes": [
            { "expect": { "key": "b", "value": "x" } },
            { "put": { "key": "poll", "value": "1", "message": message } },
            { "delete": "a/1" },
        ],
        "events": [{ "kind": "voted", "channel": channel, "data": { "votes": 1 } }],
    });
    call(&ann, "commit", commit.clone()).await.expect(200);
    let event = at_bobs.event("plugin.kv-probe.voted").await;
    assert_eq!(event["data"], json!({ "votes": 1 }));
    assert!(event["seq"].is_i64());
    let mut failing = commit;
    failing["changes"][0]["expect"]["value"] = json!("y");
    failing["changes"][1]["put"]["key"] = json!("never");
    assert_eq!(call(&ann, "commit", failing).await.problem(409), "expectation_failed");
    assert_eq!(call(&ann, "get", json!({ "key": "never" })).await.expect(200), json!(null));
    assert!(at_bobs.quiet().await.is_empty(), "no event without its state");

    app.kill().await;
    app.restart().await;
    let ann = ann.at(&app.url);
    assert_eq!(call(&ann, "get", json!({ "key": "poll" })).await.expect(200), json!("1"));
    ann.delete(&format!("/api/messages/{message}")).await.expect(204);
    assert_eq!(
        call(&ann, "get", json!({ "key": "poll" })).await.expect(200),
        json!(null),
        "it went with its message"
    );
}
