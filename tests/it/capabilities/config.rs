//! What operators set for plugins, through the API and in files, and what plugins see of it.

use patchbay_tests::{Answer, TestApp, User, Value, guest, json};

use super::{ADMIN, call, call_of, twin, with_probe};

fn field(answer: &Answer, at: usize) -> &str {
    answer.body["errors"][at]["field"].as_str().unwrap()
}

#[tokio::test]
async fn what_the_operator_sets_is_read_at_each_call_and_secrets_are_told_to_nobody_else() {
    let (mut app, root, ann, _) = with_probe().await;
    let get = async |key: &str| call(&ann, "config/get", json!({ "key": key })).await;
    let secret = async |key: &str| call(&ann, "config/secret", json!({ "key": key })).await;
    assert_eq!(get("size").await.expect(200), "3", "the manifest's");
    assert_eq!(get("tags").await.expect(200), Value::Null);
    assert_eq!(secret("token").await.expect(200), Value::Null);
    for answer in [get("token").await, get("other").await, secret("size").await, secret("other").await] {
        assert_eq!(answer.problem(422), "validation_failed");
    }

    let before = root.get(ADMIN).await.expect(200);
    let set = json!({ "config": { "size": 7, "tags": ["a", "b"], "token": "hush-hush" } });
    let after = root.patch(ADMIN, &set).await.expect(200);
    assert_eq!(after["config"], json!({ "size": 7, "tags": ["a", "b"] }));
    assert_eq!(after["digest"], before["digest"]);
    let keys = after["config_keys"].as_array().unwrap();
    let shown = json!({
        "key": "size", "type": "integer", "description": "How many", "required": false, "default": 3, "is_set": true,
    });
    assert_eq!(keys[0], shown);
    assert_eq!((&keys[2]["key"], &keys[2]["is_set"]), (&json!("token"), &json!(true)));
    assert!(keys[2].get("default").is_none());
    assert_eq!(get("size").await.expect(200), "7");
    assert_eq!(get("tags").await.expect(200), r#"["a","b"]"#);
    assert_eq!(secret("token").await.expect(200), "hush-hush");

    let wrong = json!({ "config": { "other": 1, "size": "7", "tags": "a", "token": 7 } });
    let refused = root.patch(ADMIN, &wrong).await;
    let fields: Vec<_> = (0..4).map(|at| field(&refused, at)).collect();
    assert_eq!(fields, ["config.other", "config.size", "config.tags", "config.token"]);
    assert_eq!(refused.problem(422), "validation_failed");
    root.patch(ADMIN, &json!({ "config": { "size": null } })).await.expect(200);
    assert_eq!(get("size").await.expect(200), "3");

    let log = root.get("/api/admin/audit").await.expect(200);
    let record = log["items"].as_array().unwrap().iter().find(|entry| !entry["detail"]["secrets"].is_null());
    assert_eq!(record.unwrap()["detail"]["secrets"], json!(["token"]), "which, and never what");
    assert!(!log.to_string().contains("hush-hush") && !app.log().contains("hush-hush"));
    let database = std::fs::read(app.data().join("patchbay.db")).unwrap_or_default();
    assert!(!database.windows(9).any(|bytes| bytes == b"hush-hush"), "it is sealed");

    app.run(&["keys", "rekey"], "").await.expect();
    assert_eq!(secret("token").await.expect(200), "hush-hush", "sealed anew");
    assert!(app.stop().await);
    app.restart().await;
    let ann = ann.at(&app.url);
    let token = json!({ "key": "token" });
    assert_eq!(call(&ann, "config/secret", token.clone()).await.expect(200), "hush-hush");
    // What the lost key has sealed is dropped, and the rest works.
    assert!(app.stop().await);
    std::fs::remove_file(app.data().join("secret.key")).unwrap();
    assert!(app.run(&["keys", "reset"], "").await.expect().contains("2 sealed secrets were dropped"));
    app.restart().await;
    let root = app.login("root").await;
    assert_eq!(call(&root, "config/secret", token).await.expect(200), Value::Null);
    assert_eq!(root.get(ADMIN).await.expect(200)["config"], json!({ "tags": ["a", "b"] }));
}

#[tokio::test]
async fn a_plugin_without_what_it_can_not_do_without_does_not_serve() {
    let app = TestApp::start().await;
    let root = app.user("root").await;
    let more = |key: &str| format!("[[config]]\nkey = \"{key}\"\ntype = \"secret\"\nrequired = true\n");
    let one = twin("needy", &more("must"));
    let made = root.install("needy", one).await.expect(201);
    let admin = "/api/admin/plugins/needy";
    let granted = root.patch(admin, &json!({ "grants": made["capabilities_wanted"] })).await.expect(200);
    assert_eq!(granted["state"], "failed");
    let reason = granted["reason"].as_str().unwrap();
    assert!(reason.starts_with("config_required") && reason.ends_with("must"), "{reason}");
    let who = async || call_of("needy", &root, "actor/who", json!({})).await;
    assert_eq!(who().await.problem(404), "not_found");
    let set = root.patch(admin, &json!({ "config": { "must": "x" } })).await.expect(200);
    assert_eq!(set["state"], "active", "{set:#}");
    who().await.expect(200);
    let unset = root.patch(admin, &json!({ "config": { "must": null } })).await;
    assert_eq!(unset.problem(422), "config_required");
    let greedier = twin("needy", &(more("must") + &more("as_well")));
    assert_eq!(root.install("needy", greedier.clone()).await.problem(422), "config_required");
    who().await.expect(200);
    root.patch(admin, &json!({ "enabled": false, "config": { "must": null } })).await.expect(200);
    assert_eq!(root.patch(admin, &json!({ "enabled": true })).await.problem(422), "config_required");
    let both = root.patch(admin, &json!({ "enabled": true, "config": { "must": "y" } })).await.expect(200);
    assert_eq!(both["state"], "active");
}

#[tokio::test]
async fn what_the_settings_declare_of_a_plugins_config_they_manage() {
    let data = tempfile::tempdir().unwrap();
    let component = data.path().join("probe.wasm");
    std::fs::write(&component, guest("probe")).unwrap();
    let file = |config: &str| {
        let grants = r#"["config", "files", "http-client", "identity", "kv", "messages", "presence", "realtime", "scheduler", "system"]"#;
        let text = format!(
            "[plugins.probe]\nsource = {:?}\ngrants = {grants}\n[plugins.probe.config]\n{config}\n",
            component.to_str().unwrap()
        );
        std::fs::write(data.path().join("patchbay.toml"), text).unwrap();
    };
    file("size = 0x10\ntags = [\"a,b\", \"c\"]\ntoken = \"hush-hush\"");
    let config = data.path().join("patchbay.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut app = TestApp::start_in(data).await;
    let root = app.user("root").await;
    let get =
        async |user: &User, key: &str| call(user, "config/get", json!({ "key": key })).await.expect(200);
    assert_eq!(get(&root, "size").await, "16");
    assert_eq!(get(&root, "tags").await, r#"["a,b","c"]"#);
    assert_eq!(call(&root, "config/secret", json!({ "key": "token" })).await.expect(200), "hush-hush");
    for key in ["size", "tags", "token"] {
        let answer = root.patch(ADMIN, &json!({ "config": { key: null } })).await;
        assert_eq!(answer.problem(409), "managed_by_settings", "{key}");
    }
    let printed = app.run(&["config", "--config", config.to_str().unwrap()], "").await.expect();
    assert!(printed.contains("plugins.probe.config.token") && !printed.contains("hush-hush"), "{printed}");
    // Variables and flags are texts, and become what the manifest wants.
    assert!(app.stop().await);
    std::fs::write(&config, text.replace("size = 0x10\n", "")).unwrap();
    app.set(&["plugins.probe.config.size=5"]);
    app.restart().await;
    let root = root.at(&app.url);
    assert_eq!(get(&root, "size").await, "5");
    // A value that is wrong leaves the plugin as it was.
    assert!(app.stop().await);
    app.unset("plugins.probe.config.size");
    app.set(&["plugins.probe.config.size=many"]);
    app.expect_error("plugins.probe.config.size");
    app.restart().await;
    assert_eq!(get(&root.at(&app.url), "size").await, "5");
}
