//! Limits as operators set them: by the API, by the settings, by the command line.

use patchbay_runtime::limits::TABLE;
use patchbay_tests::{TestApp, guest, json};

const ADMIN: &str = "/api/admin/plugins/whoami";

#[tokio::test]
async fn every_limit_can_be_set_within_its_bounds() {
    let mut app = TestApp::start().await;
    let ann = app.user("ann").await;
    let installed = ann.install("whoami", guest("whoami")).await.expect(201);
    assert_eq!(installed["limits"].as_object().unwrap().len(), TABLE.len());
    for limit in TABLE {
        assert_eq!(installed["limits"][limit.name], limit.default, "{}", limit.name);
        for beyond in [limit.max + 1, limit.min.wrapping_sub(1)] {
            let answer = ann.patch(ADMIN, &json!({ "limits": { limit.name: beyond } })).await;
            let fault = answer.body["errors"][0].clone();
            assert_eq!(answer.problem(422), "validation_failed", "{}", limit.name);
            assert_eq!(fault["field"], format!("limits.{}", limit.name));
            assert_eq!(fault["code"], "out_of_range");
        }
    }
    for (wrong, field) in [
        (json!({ "nonsense": 1 }), "limits.nonsense"),
        (json!({ "handles": -1 }), "limits.handles"),
        (json!({ "handles": "many" }), "limits.handles"),
        (json!({ "handles": 1.5 }), "limits.handles"),
    ] {
        let answer = ann.patch(ADMIN, &json!({ "limits": wrong })).await;
        assert_eq!(answer.body["errors"][0]["field"], field, "{:#}", answer.body);
        assert_eq!(answer.problem(422), "validation_failed");
    }
    let all: serde_json::Map<_, _> =
        TABLE.iter().map(|limit| (limit.name.to_owned(), limit.max.into())).collect();
    let set = ann.patch(ADMIN, &json!({ "limits": all })).await.expect(200);
    for limit in TABLE {
        assert_eq!(set["limits"][limit.name], limit.max, "{}", limit.name);
    }
    let some = json!({ "limits": { "http_wall_ms": null, "handles": 9 } });
    let set = ann.patch(ADMIN, &some).await.expect(200);
    assert_eq!(set["limits"]["http_wall_ms"], 5_000, "the default again");
    assert_eq!(set["limits"]["handles"], 9);
    assert_eq!(set["limits"]["http_cpu_ms"], 60_000, "what is left out stays");
    app.kill().await;
    app.restart().await;
    let ann = ann.at(&app.url);
    assert_eq!(ann.get(ADMIN).await.expect(200)["limits"], set["limits"]);
    ann.get("/api/plugins/whoami/me").await.expect(200);
    let log = ann.get("/api/admin/audit?action=plugin.updated").await.expect(200);
    assert_eq!(log["items"][0]["detail"]["limits"]["handles"], 9, "{log:#}");
}

#[tokio::test]
async fn limits_in_the_settings_are_managed_there() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("whoami.wasm");
    std::fs::write(&source, guest("whoami")).unwrap();
    let source = format!("plugins.whoami.source={}", source.display());
    let app = TestApp::start_with(&[&source, "plugins.whoami.limits.http_cpu_ms=77"]).await;
    let ann = app.user("ann").await;
    assert_eq!(ann.get(ADMIN).await.expect(200)["limits"]["http_cpu_ms"], 77);
    let answer = ann.patch(ADMIN, &json!({ "limits": { "http_cpu_ms": 78 } })).await;
    assert_eq!(answer.problem(409), "managed_by_settings");
    let other = ann.patch(ADMIN, &json!({ "limits": { "handles": 20 } })).await.expect(200);
    assert_eq!((&other["limits"]["handles"], &other["limits"]["http_cpu_ms"]), (&json!(20), &json!(77)));
    let shown = app.run(&["config"], "").await.expect();
    assert!(shown.contains("plugins.NAME.limits.memory_bytes = \"67108864\""), "{shown}");
    assert!(shown.contains("plugins.whoami.limits.http_cpu_ms = \"77\""), "{shown}");
}
