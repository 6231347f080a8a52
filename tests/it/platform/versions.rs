//! Plugins that come, change and go: versions, failures, what operators see of them.

use patchbay_tests::{TestApp, guest, json, repacked};

use super::{ADMIN, MANIFEST, contents, each_database, recorded, with_recorder};

#[tokio::test]
async fn a_version_is_told_before_it_serves_and_may_decline() {
    let app = TestApp::start().await;
    let (ann, _) = with_recorder(&app).await;
    let recorder = guest("recorder");
    assert_eq!(recorded(&ann, "activate", |a| a.len() == 1).await, [json!(null)]);
    let newer = repacked(&recorder, &MANIFEST.replace("0.1.0", "0.2.0"));
    let upgraded = ann.install("recorder", newer.clone()).await.expect(200);
    assert_eq!(upgraded["version"], "0.2.0");
    assert_eq!(recorded(&ann, "activate", |a| a.len() == 2).await[1], json!("0.1.0"));
    ann.install("recorder", newer).await.expect(200);
    assert_eq!(recorded(&ann, "activate", |a| !a.is_empty()).await.len(), 2, "once per version");
    ann.post("/api/plugins/recorder/set", &json!({ "key": "veto", "value": "1" })).await.expect(204);
    let third = repacked(&recorder, &MANIFEST.replace("0.1.0", "0.3.0"));
    assert_eq!(ann.install("recorder", third).await.problem(422), "activate_failed");
    let shown = ann.get(ADMIN).await.expect(200);
    assert_eq!((&shown["version"], &shown["state"]), (&json!("0.2.0"), &json!("active")));
    // And back, and forward.
    let back = ann.post(&format!("{ADMIN}/rollback"), &json!({})).await.expect(200);
    assert_eq!(back["version"], "0.1.0");
    let forward = ann.post(&format!("{ADMIN}/rollback"), &json!({})).await.expect(200);
    assert_eq!(forward["version"], "0.2.0");
    let other = ann.post("/api/admin/plugins/reactions/rollback", &json!({})).await;
    assert_eq!(other.problem(409), "nothing_to_roll_back");
}

/// The component that traps, under the name and with the route of the one that doesn't.
fn trapping_whoami() -> Vec<u8> {
    let manifest = include_str!("../../guests/examples/whoami.toml").replace("0.1.0", "0.2.0");
    repacked(&guest("trap"), &manifest)
}

#[tokio::test]
async fn a_new_version_that_traps_gives_its_place_back() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.install_with_grants("whoami", guest("whoami")).await;
    ann.get("/api/plugins/whoami/me").await.expect(200);
    ann.install("whoami", trapping_whoami()).await.expect(200);
    for _ in 0..3 {
        assert_eq!(ann.get("/api/plugins/whoami/me").await.problem(502), "plugin_trapped");
    }
    let shown = ann.until("/api/admin/plugins/whoami", |plugin| plugin["version"] == "0.1.0").await;
    assert_eq!((&shown["state"], &shown["traps"]), (&json!("active"), &json!(3)));
    ann.get("/api/plugins/whoami/me").await.expect(200);
    let audit = ann.get("/api/admin/audit?limit=1").await.expect(200);
    assert!(audit["items"][0]["detail"]["why"].as_str().unwrap().contains("plugin_trapped"), "{audit:#}");
    app.expect_error("failed too often");
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_is_put_into_quarantine() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.install_with_grants("whoami", trapping_whoami()).await;
    let path = "/api/plugins/whoami/me";
    let mut answers = Vec::new();
    while answers.last().is_none_or(|code| code != "plugin_quarantined") {
        let answer = ann.get(path).await;
        let status = if answer.status == 503 { 503 } else { 502 };
        answers.push(answer.problem(status));
        assert!(answers.len() < 100, "{answers:?}");
    }
    let admin = "/api/admin/plugins/whoami";
    let shown = ann.until(admin, |plugin| plugin["state"] == "quarantined").await;
    assert!(shown["reason"].as_str().unwrap().contains("plugin_trapped"), "{shown:#}");
    app.kill().await;
    app.restart().await;
    let ann = ann.at(&app.url);
    assert_eq!(ann.get(path).await.problem(503), "plugin_quarantined", "a restart is no cure");
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "the others go on").await;
    let freed = ann.patch(admin, &json!({ "enabled": true })).await.expect(200);
    assert_eq!(freed["state"], "active");
    assert_eq!(ann.get(path).await.problem(502), "plugin_trapped");
    ann.install("whoami", guest("whoami")).await.expect(200);
    ann.get(path).await.expect(200);
    app.expect_error("in quarantine");
}

#[tokio::test]
async fn a_plugin_is_removed_with_all_that_was_its_own() {
    for app in each_database().await {
        let (ann, channel) = with_recorder(&app).await;
        ann.say(channel, "one").await;
        recorded(&ann, "event", |events| contents(events).len() == 1).await;
        let bot = ann.id_of("recorder").await;
        ann.delete(ADMIN).await.expect(204);
        ann.get(ADMIN).await.problem(404);
        ann.delete(ADMIN).await.problem(404);
        assert_eq!(ann.get("/api/plugins/recorder/state").await.problem(404), "not_found");
        assert_eq!(ann.get(&format!("/api/users/{bot}")).await.expect(200)["is_active"], false);
        assert_eq!(ann.delete("/api/admin/plugins/reactions").await.problem(409), "bundled");
        // Anew, it knows nothing of before.
        ann.install_with_grants("recorder", guest("recorder")).await;
        let state = ann.get("/api/plugins/recorder/state?prefix=event/").await.expect(200);
        assert_eq!(state, json!([]));
    }
}

#[tokio::test]
async fn operators_see_what_plugins_do() {
    let app = TestApp::start().await;
    let (ann, channel) = with_recorder(&app).await;
    ann.say(channel, "one").await;
    recorded(&ann, "event", |events| contents(events).len() == 1).await;
    let metrics = String::from_utf8(app.anonymous().bytes("/metrics").await).unwrap();
    for line in [
        "patchbay_plugin_calls_total{plugin=\"recorder\",export=\"events\",outcome=\"ok\"}",
        "patchbay_plugin_call_seconds{plugin=\"recorder\",export=\"hooks\",quantile=\"0.99\"}",
        "patchbay_plugin_cursor_lag{plugin=\"recorder\"}",
        "patchbay_plugin_dead_letters{plugin=\"recorder\"} 0",
        "patchbay_plugin_waiting{plugin=\"recorder\"} 0",
        "patchbay_plugin_cpu_seconds_total{plugin=\"recorder\"}",
        "patchbay_plugin_peak_memory_bytes{plugin=\"recorder\"}",
    ] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    let bob = app.user("bob").await;
    for path in ["log", "dead-letters"] {
        assert_eq!(bob.get(&format!("{ADMIN}/{path}")).await.problem(403), "forbidden");
        assert_eq!(
            ann.get(&format!("/api/admin/plugins/none/{path}")).await.problem(404),
            "plugin_not_found"
        );
    }
    for act in ["rollback", "backfill", "redeliver"] {
        assert_eq!(bob.post(&format!("{ADMIN}/{act}"), &json!({})).await.problem(403), "forbidden");
    }
    assert_eq!(bob.delete(ADMIN).await.problem(403), "forbidden");
}
