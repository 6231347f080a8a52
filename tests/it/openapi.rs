//! The OpenAPI document and the page that shows it.

use std::path::Path;

use patchbay_tests::{TestApp, Value, component, json};
use reqwest::Method;

/// The document of the host's own endpoints, to be reviewed with each change of it.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/snapshots/openapi.json");

#[tokio::test]
async fn the_document_is_the_one_that_was_reviewed() {
    let nothing = tempfile::tempdir().unwrap();
    let bundled = format!("plugins.bundled_dir={}", nothing.path().display());
    let app = TestApp::start_with(&[&bundled]).await;
    let document = app.anonymous().document().await;
    #[allow(clippy::disallowed_methods)] // Tests have no settings of their own.
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let text = serde_json::to_string_pretty(&document).unwrap();
        std::fs::write(SNAPSHOT, text + "\n").unwrap();
    }
    let text = std::fs::read_to_string(Path::new(SNAPSHOT)).unwrap_or_default();
    let reviewed: Value = serde_json::from_str(&text).unwrap_or_default();
    let changed = differences(&reviewed, &document, "");
    assert!(
        changed.is_empty(),
        "the document has changed; look at the diff after UPDATE_SNAPSHOTS=1 cargo xtask test openapi: {changed:#?}"
    );
}

fn differences(old: &Value, new: &Value, at: &str) -> Vec<String> {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            names
                .into_iter()
                .flat_map(|name| differences(&old[name], &new[name], &format!("{at}/{name}")))
                .collect()
        }
        _ if old == new => Vec::new(),
        _ => vec![format!("{at}: {old} → {new}")],
    }
}

/// The harness compares `Allow` with the methods that are described; a path that is not described would fail.
#[tokio::test]
async fn every_path_has_the_methods_that_are_described() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let document = ann.document().await;
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    assert!(paths.len() > 30);
    for path in paths {
        let path: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { "1" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let answer = ann.send(ann.request(Method::TRACE, &path)).await;
        assert_eq!(answer.problem(405), "method_not_allowed", "{path}");
    }
    let nowhere = ann.get("/api/nowhere").await;
    assert_eq!(nowhere.problem(404), "not_found");
}

#[tokio::test]
async fn the_page_needs_nothing_from_outside() {
    let app = TestApp::start().await;
    let nobody = app.anonymous();
    let page = nobody.get("/api/docs").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for directive in policy.split(';') {
        for source in directive.split_whitespace().skip(1) {
            assert!(["'none'", "'self'", "'unsafe-inline'", "data:"].contains(&source), "{directive}");
        }
        assert!(!directive.contains("script-src") || directive.trim() == "script-src 'self'", "{directive}");
    }
    let html = page.expect(200);
    let html = html.as_str().unwrap();
    let links: Vec<_> = html
        .split(['"', '\''])
        .zip(html.split(['"', '\'']).skip(1))
        .filter(|(before, _)| before.ends_with("src=") || before.ends_with("href="))
        .map(|(_, link)| link)
        .filter(|link| !link.starts_with("data:"))
        .collect();
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(link.starts_with("/api/"), "{link}");
        nobody.get(link).await.expect(200);
    }
    assert_eq!(nobody.get("/api/docs/nothing.js").await.problem(404), "not_found");
}

#[tokio::test]
async fn plugins_describe_their_own_endpoints() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let path = "/api/messages/{message_id}/reactions";
    let document = ann.document().await;
    let post = &document["paths"][path]["post"];
    assert_eq!((&post["tags"], &post["security"]), (&json!(["reactions"]), &json!([{ "bearer": [] }])));
    let schema = &post["responses"]["201"]["content"]["application/json"]["schema"];
    assert_eq!(schema["$ref"], "#/components/schemas/reactions.Reaction");
    assert!(document["components"]["schemas"]["reactions.Reaction"]["properties"]["emoji"].is_object());
    let extensions = &document["components"]["schemas"]["Message"]["properties"]["extensions"];
    assert!(extensions["properties"]["reactions"].is_object(), "{extensions}");

    let mut twice = component("reactions");
    twice.extend_from_slice(b"\0\x13\x10patchbay:openapi{}");
    let refused = ann.install("reactions", twice).await;
    assert!(refused.body["detail"].as_str().unwrap().contains("openapi"), "{:#}", refused.body);
    assert_eq!(refused.problem(422), "manifest_invalid");

    ann.patch("/api/admin/plugins/reactions", &json!({ "enabled": false })).await.expect(200);
    let document = ann.document().await;
    assert_eq!(document["paths"].get(path), None);
    assert_eq!(document["components"]["schemas"].get("reactions.Reaction"), None);
}

/// Whoever adds a list that forgets its bounds is found here.
#[tokio::test]
async fn every_list_has_a_limit_and_keeps_to_it() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    ann.say(ann.channel("general", &[]).await, "hello").await;
    let document = ann.document().await;
    let mut lists = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let name = schema.as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
        if !document["components"]["schemas"][name]["properties"]["has_more"].is_object() {
            continue;
        }
        lists += 1;
        let filled = |part| match part {
            "{name}" => "reactions",
            part if str::starts_with(part, '{') => "1",
            part => part,
        };
        let path: Vec<_> = path.split('/').map(filled).collect();
        for limit in ["0", "201", "-1", "x"] {
            let answer = ann.get(&format!("{}?limit={limit}", path.join("/"))).await;
            assert_eq!(answer.problem(422), "validation_failed", "{path:?} {limit}");
        }
        let page = ann.get(&format!("{}?limit=1", path.join("/"))).await.expect(200);
        assert!(page["items"].as_array().unwrap().len() <= 1, "{page}");
    }
    assert!(lists >= 12, "{lists}");
}
