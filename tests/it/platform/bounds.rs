//! What has an end: chains of jobs, histories, calls of a plugin that goes, failures that are nobody's.

use patchbay_tests::{TestApp, User, guest, json, repacked};

use super::{
    ADMIN, MANIFEST, contents, each_database, recorded, recorded_by, with_recorder, with_two_recorders,
};

/// A call of the recorder that goes on until the key `go` is there. Returns once it has begun.
async fn hold(ann: &User, key: &'static str) -> tokio::task::JoinHandle<patchbay_tests::Answer> {
    let held = ann.clone();
    let call =
        tokio::spawn(async move { held.post("/api/plugins/recorder/hold", &json!({ "key": key })).await });
    ann.until("/api/plugins/recorder/state?prefix=holding", |state| *state != json!([])).await;
    call
}

#[tokio::test]
async fn two_bots_do_not_answer_each_other_by_jobs_for_ever() {
    for app in each_database().await {
        let (ann, channel) = with_two_recorders(&app).await;
        ann.say(channel, "plan").await;
        for name in ["recorder", "second"] {
            let refused = recorded_by(&ann, name, "refused", |refused| !refused.is_empty()).await;
            assert!(refused[0].as_str().unwrap().contains("depth_exceeded"), "{refused:?}");
        }
        let list = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
        let mut texts: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["plan", "plan!", "plan!", "plan!!", "plan!!"]);
    }
}

#[tokio::test]
async fn a_history_without_messages_is_soon_told() {
    let app = TestApp::start().await;
    let (ann, channel) = with_recorder(&app).await;
    ann.post(&format!("{ADMIN}/backfill"), &json!({})).await.expect(202);
    let shown = ann.until(ADMIN, |plugin| plugin["backfill"]["running"] == false).await;
    assert_eq!((&shown["backfill"]["total"], &shown["backfill"]["done"]), (&json!(0), &json!(0)));
    // It does not begin anew with what comes later.
    ann.say(channel, "new").await;
    let events = recorded(&ann, "event", |events| contents(events).contains(&"new".to_owned())).await;
    assert_eq!(contents(&events), ["new"]);
    assert_eq!(ann.get(ADMIN).await.expect(200)["backfill"]["running"], false);
}

#[tokio::test]
async fn a_call_that_outlives_its_plugin_leaves_nothing_behind() {
    for app in each_database().await {
        let (ann, _) = with_recorder(&app).await;
        ann.patch(ADMIN, &json!({ "limits": { "host_calls": 1_000_000 } })).await.expect(200);
        let held = hold(&ann, "left").await;
        ann.delete(ADMIN).await.expect(204);
        assert_eq!(held.await.unwrap().problem(404), "plugin_not_found", "there is no state any more");
        ann.install_with_grants("recorder", guest("recorder")).await;
        for prefix in ["left", "holding"] {
            let state = ann.get(&format!("/api/plugins/recorder/state?prefix={prefix}")).await.expect(200);
            assert_eq!(state, json!([]));
        }
    }
}

#[tokio::test]
async fn waiting_in_vain_is_no_failure_of_the_plugin() {
    let app = TestApp::start().await;
    let (ann, _) = with_recorder(&app).await;
    let limits = json!({
        "host_calls": 1_000_000, "http_cpu_ms": 5_000, "concurrent_calls": 1, "waiting_calls": 1
    });
    ann.patch(ADMIN, &json!({ "limits": limits })).await.expect(200);
    // One is carried out, whichever it is, and the other waits.
    let hold = |key: &'static str| {
        let ann = ann.clone();
        tokio::spawn(async move { ann.post("/api/plugins/recorder/hold", &json!({ "key": key })).await })
    };
    let holds = [hold("a"), hold("b")];
    let shown = ann.until(ADMIN, |plugin| plugin["waiting_calls"] == 1).await;
    assert_eq!(shown["state"], "active");
    // Far more than make a quarantine.
    for _ in 0..60 {
        let answer = ann.get("/api/plugins/recorder/state").await;
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(answer.problem(503), "plugin_busy");
    }
    assert_eq!(ann.get(ADMIN).await.expect(200)["state"], "active");
    holds.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn two_versions_that_fail_do_not_take_turns() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let manifest = include_str!("../../guests/examples/whoami.toml");
    let trapping = |version: &str| repacked(&guest("trap"), &manifest.replace("0.1.0", version));
    ann.install_with_grants("whoami", trapping("0.1.0")).await;
    ann.install("whoami", trapping("0.2.0")).await.expect(200);
    let path = "/api/plugins/whoami/me";
    for _ in 0..3 {
        ann.get(path).await;
    }
    let admin = "/api/admin/plugins/whoami";
    ann.until(admin, |plugin| plugin["version"] == "0.1.0").await;
    for n in 0.. {
        let answer = ann.get(path).await;
        let status = if answer.status == 503 { 503 } else { 502 };
        if answer.problem(status) == "plugin_quarantined" {
            break;
        }
        assert!(n < 60, "it goes on and on");
    }
    let shown = ann.until(admin, |plugin| plugin["state"] == "quarantined").await;
    assert_eq!(shown["version"], "0.1.0");
    assert_eq!(ann.post(&format!("{admin}/rollback"), &json!({})).await.problem(409), "nothing_to_roll_back");
    app.expect_error("failed too often");
    app.expect_error("in quarantine");
}

#[tokio::test]
async fn a_declared_version_that_does_not_start_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("recorder.wasm");
    let declare = |bytes: &[u8]| std::fs::write(&source, bytes).unwrap();
    declare(&guest("recorder"));
    let settings = [
        format!("plugins.recorder.source={}", source.display()),
        "plugins.recorder.grants=kv,messages,identity,scheduler,hooks".to_owned(),
    ];
    let mut app = TestApp::start_with(&settings.each_ref().map(String::as_str)).await;
    let ann = app.user("ann").await;
    ann.post("/api/plugins/recorder/set", &json!({ "key": "veto", "value": "1" })).await.expect(204);
    // A version that declines to start gives way to the one before.
    declare(&repacked(&guest("recorder"), &MANIFEST.replace("0.1.0", "0.2.0")));
    assert!(app.stop().await);
    app.restart().await;
    let ann = ann.at(&app.url);
    let shown = ann.get(ADMIN).await.expect(200);
    assert_eq!((&shown["version"], &shown["state"]), (&json!("0.1.0"), &json!("active")), "{shown:#}");
    ann.get("/api/plugins/recorder/state").await.expect(200);
    app.expect_error("does not start");
}

#[tokio::test]
async fn what_a_file_declares_stays_in_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("whoami.wasm");
    let manifest = include_str!("../../guests/examples/whoami.toml");
    std::fs::write(&source, repacked(&guest("trap"), manifest)).unwrap();
    let declared = format!("plugins.whoami.source={}", source.display());
    let mut app = TestApp::start_with(&[&declared]).await;
    let ann = app.user("ann").await;
    let path = "/api/plugins/whoami/me";
    for n in 0.. {
        let answer = ann.get(path).await;
        if answer.status == 503 {
            assert_eq!(answer.problem(503), "plugin_quarantined");
            break;
        }
        assert!(n < 100, "it goes on and on: {}", answer.status);
    }
    ann.until("/api/admin/plugins/whoami", |plugin| plugin["state"] == "quarantined").await;
    app.expect_error("in quarantine");
    assert!(app.stop().await);
    app.restart().await;
    assert_eq!(ann.at(&app.url).get(path).await.problem(503), "plugin_quarantined");
}

#[tokio::test]
async fn texts_that_a_database_can_not_hold_are_refused() {
    for app in each_database().await {
        let (ann, _) = with_recorder(&app).await;
        let refused = async |path: &str, body| {
            let answer = ann.post(&format!("/api/plugins/recorder/{path}"), &body).await;
            assert_eq!(answer.problem(422), "validation_failed", "{body}");
        };
        refused("set", json!({ "key": "a\0b", "value": "1" })).await;
        refused("schedule", json!({ "id": "a\0b", "payload": "", "due": 0 })).await;
        refused("schedule", json!({ "id": "a", "payload": "a\0b", "due": 0 })).await;
        // A value is bytes.
        ann.post("/api/plugins/recorder/set", &json!({ "key": "a", "value": "a\0b" })).await.expect(204);
    }
}
