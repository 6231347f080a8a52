//! `patchbay plugin …`, with a server that runs and with one that doesn't.

use std::path::{Path, PathBuf};

use patchbay_tests::{Ran, TestApp, guest, json, manifest, packed, without_manifest};

async fn plugin(app: &TestApp, arguments: &[&str]) -> Ran {
    app.run(&[&["plugin"], arguments].concat(), "").await
}

fn file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// kv-probe in a later version that wants less, or more.
fn later(version: &str, capabilities: &str) -> Vec<u8> {
    let old = guest("kv-probe");
    let all = r#"["channels", "kv", "log", "messages", "users"]"#;
    let manifest = manifest(&old).replace("0.1.0", version).replace(all, capabilities);
    packed(&without_manifest(&old), &manifest)
}

#[tokio::test]
async fn a_plugin_is_installed_granted_limited_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let app = TestApp::start().await;
    let root = app.user("root").await;
    let component = file(dir.path(), "kv-probe.wasm", &guest("kv-probe"));
    let component = component.to_str().unwrap();
    let inspected = plugin(&app, &["inspect", component]).await.expect();
    for expected in [
        "kv-probe 0.1.0",
        "capabilities: channels, kv, log, messages, users",
        "exports: http",
        "signature: none",
    ] {
        assert!(inspected.contains(expected), "{expected}: {inspected}");
    }
    assert_eq!(root.get("/api/admin/plugins/kv-probe").await.problem(404), "plugin_not_found");

    let installed = plugin(&app, &["install", component]).await.expect();
    for expected in
        ["kv-probe 0.1.0 wants:", "  the capability messages\n", "patchbay plugin grant kv-probe channels kv"]
    {
        assert!(installed.contains(expected), "{expected}: {installed}");
    }
    assert_eq!(root.get("/api/admin/plugins/kv-probe").await.expect(200)["state"], "pending_grants");
    let again = plugin(&app, &["install", component]).await.expect_failure();
    assert!(again.contains("patchbay plugin upgrade kv-probe"), "{again}");
    let some = plugin(&app, &["grant", "kv-probe", "kv", "log"]).await.expect();
    assert!(
        some.starts_with("kv-probe\t0.1.0\tpending_grants\tnot granted: channels, messages, users"),
        "{some}"
    );
    let all = plugin(&app, &["grant", "kv-probe", "channels", "messages", "users"]).await.expect();
    assert_eq!(all, "kv-probe\t0.1.0\tactive\n");
    let refused = plugin(&app, &["grant", "kv-probe", "nonsense"]).await.expect_failure();
    assert!(refused.contains("is not one of bots, channels"), "{refused}");
    assert!(plugin(&app, &["revoke", "kv-probe", "kv"]).await.expect_failure().contains("not granted: kv"));

    let set = plugin(&app, &["limits", "kv-probe", "http_cpu_ms=50", "handles=100"]).await.expect();
    assert!(set.contains("http_cpu_ms=50 (default 1000; 1 to 60000)\n"), "{set}");
    plugin(&app, &["limits", "kv-probe", "handles="]).await.expect();
    let shown = plugin(&app, &["limits", "kv-probe"]).await.expect();
    assert!(shown.contains("http_cpu_ms=50 (default") && shown.contains("handles=256\n"), "{shown}");
    let refused = plugin(&app, &["limits", "kv-probe", "handles=0"]).await.expect_failure();
    assert!(refused.contains("limits.handles must be 8 to 65536"), "{refused}");

    plugin(&app, &["disable", "kv-probe"]).await.expect();
    assert_eq!(root.get("/api/admin/plugins/kv-probe").await.expect(200)["state"], "disabled");
    plugin(&app, &["enable", "kv-probe"]).await.expect();
    let listed = plugin(&app, &["list"]).await.expect();
    for line in ["kv-probe\t0.1.0\tactive\n", "reactions\t0.1.0\tactive\n", "digest\t0.1.0\tdisabled\n"] {
        assert!(listed.contains(line), "{listed}");
    }
    let inspected = plugin(&app, &["inspect", "kv-probe"]).await.expect();
    assert!(inspected.contains("state: active") && inspected.contains("  http_cpu_ms=50"), "{inspected}");
    let refused = plugin(&app, &["inspect", "nothing"]).await.expect_failure();
    assert!(refused.contains("no such plugin"), "{refused}");
}

#[tokio::test]
async fn an_upgrade_says_what_the_new_version_wants() {
    let dir = tempfile::tempdir().unwrap();
    let app = TestApp::start().await;
    let root = app.user("root").await;
    let first = file(dir.path(), "1.wasm", &guest("kv-probe"));
    plugin(&app, &["install", first.to_str().unwrap(), "--grant-all"]).await.expect();
    let more = r#"["channels", "kv", "log", "messages", "reactions", "users"]"#;
    let more = file(dir.path(), "2.wasm", &later("0.2.0", more));
    let upgrade = ["upgrade", "kv-probe", more.to_str().unwrap()];
    let refused = plugin(&app, &upgrade).await;
    assert!(
        refused.output.contains("kv-probe 0.1.0 -> 0.2.0\n  + the capability reactions\n"),
        "{refused:?}"
    );
    assert!(refused.expect_failure().contains("patchbay plugin grant kv-probe reactions"));
    assert_eq!(root.get("/api/admin/plugins/kv-probe").await.expect(200)["version"], "0.1.0");
    let done = plugin(&app, &[&upgrade[..], &["--grant-all"]].concat()).await.expect();
    assert!(done.ends_with("kv-probe\t0.2.0\tactive\n"), "{done}");

    // A version that does not come takes the grants along that were made for it.
    let third =
        file(dir.path(), "3.wasm", &later("0.3.0", r#"["channels", "kv", "log", "messages", "users"]"#));
    let done = plugin(&app, &["upgrade", "kv-probe", third.to_str().unwrap()]).await.expect();
    assert!(done.contains("  - the capability reactions\n"), "{done}");
    plugin(&app, &["revoke", "kv-probe", "reactions"]).await.expect();
    let broken = wat::parse_str(
        "(component (core module $m (func $f unreachable) (start $f)) (core instance (instantiate $m)))",
    )
    .unwrap();
    let broken =
        packed(&broken, "name = \"kv-probe\"\nversion = \"4.0.0\"\ncapabilities = [\"reactions\"]\n");
    let broken = file(dir.path(), "4.wasm", &broken);
    let refused = plugin(&app, &["upgrade", "kv-probe", broken.to_str().unwrap(), "--grant-all"]).await;
    assert!(refused.expect_failure().contains("does not start"));
    let plugin = root.get("/api/admin/plugins/kv-probe").await.expect(200);
    assert_eq!(plugin["version"], "0.3.0");
    assert_eq!(plugin["capabilities_granted"], json!(["channels", "kv", "log", "messages", "users"]));
}

#[tokio::test]
async fn plugins_are_installed_while_no_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = TestApp::start().await;
    let root = app.user("root").await;
    app.kill().await;
    let component = file(dir.path(), "whoami.wasm", &guest("whoami"));
    let done = plugin(&app, &["install", component.to_str().unwrap()]).await.expect();
    assert_eq!(done, "whoami\t0.1.0\tactive\n");
    let manifest = "name = \"thief\"\nversion = \"1.0.0\"\n[[routes]]\nmethod = \"GET\"\npath = \"/api/messages/{m}/reactions\"\nauth = \"none\"\n";
    let thief = file(dir.path(), "thief.wasm", &packed(&without_manifest(&guest("whoami")), manifest));
    let refused = plugin(&app, &["install", thief.to_str().unwrap(), "--grant-all"]).await.expect_failure();
    assert!(refused.contains("is already answered by the plugin \"reactions\""), "{refused}");
    app.restart().await;
    let root = root.at(&app.url);
    assert_eq!(root.get("/api/plugins/whoami/me").await.expect(200)["user_id"], root.id);
}

#[tokio::test]
async fn a_plugin_is_looked_after() {
    let dir = tempfile::tempdir().unwrap();
    let app = TestApp::start().await;
    let root = app.user("root").await;
    let channel = root.channel("general", &[]).await;
    root.say(channel, "old").await;
    let recorder = guest("recorder");
    let component = file(dir.path(), "recorder.wasm", &recorder);
    plugin(&app, &["install", component.to_str().unwrap(), "--grant-all"]).await.expect();
    let member = json!({ "user_id": root.id_of("recorder").await });
    root.post(&format!("/api/channels/{channel}/members"), &member).await.expect(201);
    plugin(&app, &["limits", "recorder", "event_attempts=1"]).await.expect();

    root.say(channel, "poison").await;
    let admin = "/api/admin/plugins/recorder";
    root.until(admin, |plugin| plugin["dead_letters"] == 1).await;
    let letters = plugin(&app, &["dead-letters", "recorder"]).await.expect();
    assert!(letters.contains("\tmessage.created\t") && letters.contains("plugin_trapped"), "{letters}");
    let id = letters.split('\t').next().unwrap();
    let again = plugin(&app, &["redeliver", "recorder", id]).await.expect();
    assert_eq!(again, "0 handled, 1 failed again, 0 not tried\n");
    let log = plugin(&app, &["logs", "recorder"]).await.expect();
    assert!(log.contains("events failed: plugin_trapped"), "{log}");
    let told = plugin(&app, &["backfill", "recorder"]).await.expect();
    assert!(told.contains("of 2 messages"), "{told}");

    let second = manifest(&recorder).replace("0.1.0", "0.2.0");
    let newer = file(dir.path(), "newer.wasm", &packed(&without_manifest(&recorder), &second));
    plugin(&app, &["upgrade", "recorder", newer.to_str().unwrap()]).await.expect();
    let back = plugin(&app, &["rollback", "recorder"]).await.expect();
    assert!(back.starts_with("recorder\t0.1.0\tactive"), "{back}");
    let refused = plugin(&app, &["remove", "reactions", "--yes"]).await.expect_failure();
    assert!(refused.contains("came with the host"), "{refused}");
    assert_eq!(plugin(&app, &["remove", "recorder", "--yes"]).await.expect(), "recorder is removed\n");
    root.get(admin).await.problem(404);
}

#[tokio::test]
async fn texts_of_a_config_need_no_quotes() {
    let dir = tempfile::tempdir().unwrap();
    let app = TestApp::start().await;
    let root = app.user("root").await;
    let keys =
        "[[config]]\nkey = \"word\"\ntype = \"string\"\n[[config]]\nkey = \"size\"\ntype = \"integer\"\n";
    let old = guest("whoami");
    let component = file(
        dir.path(),
        "whoami.wasm",
        &packed(&without_manifest(&old), &format!("{}\n{keys}", manifest(&old))),
    );
    plugin(&app, &["install", component.to_str().unwrap(), "--grant-all"]).await.expect();
    plugin(&app, &["config", "whoami", "word=123", "size=4"]).await.expect();
    let shown = root.get("/api/admin/plugins/whoami").await.expect(200);
    assert_eq!(shown["config"], json!({ "word": "123", "size": 4 }));
    let refused = plugin(&app, &["config", "whoami", "size=big"]).await.expect_failure();
    assert!(refused.contains("config.size"), "{refused}");
    // What nobody else on the machine is to see.
    app.run(&["plugin", "config", "whoami", "word=-"], "hush\nnot this\n").await.expect();
    let shown = root.get("/api/admin/plugins/whoami").await.expect(200);
    assert_eq!(shown["config"]["word"], "hush");
}
