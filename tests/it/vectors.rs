//! Plugins' vectors: the same, wherever they are kept.

use patchbay_tests::{
    Backup, TestApp, User, Value,
    fake::{Fake, PINECONE_KEY, Reply, pinecone},
    guest, json, pgvector, postgres,
};

use crate::llm::call;

async fn probe(app: &TestApp) -> User {
    let root = app.user("root").await;
    root.install_with_grants("models-probe", guest("models-probe")).await;
    root
}

fn item(id: &str, vector: [f64; 3], channel: i64, at: i64) -> Value {
    json!({ "id": id, "vector": vector, "metadata": { "channel": channel, "at": at, "sender": "ann", "bot": false } })
}

async fn put(user: &User, collection: &str, items: Value) {
    call(user, "upsert", json!({ "collection": collection, "items": items })).await.expect(200);
}

async fn found(user: &User, collection: &str, conditions: Value) -> Vec<String> {
    let query = json!({ "collection": collection, "vector": [2.0, 0.0, 0.0], "where": conditions });
    let found = call(user, "query", query).await.expect(200);
    found.as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap().to_owned()).collect()
}

async fn count(user: &User, collection: &str) -> Value {
    call(user, "count", json!({ "collection": collection })).await.expect(200)
}

/// What holds wherever vectors are kept.
async fn contract(user: &User) {
    assert_eq!(found(user, "a", json!([])).await, [""; 0], "what is not there has nothing in it");
    assert_eq!(count(user, "a").await, 0);
    put(
        user,
        "a",
        json!([
            item("one", [1.0, 0.0, 0.0], 1, 10),
            item("two", [0.8, 0.6, 0.0], 2, 20),
            item("drei/ü %41", [0.0, 5.0, 0.0], 1, 30),
            item("four", [-1.0, 0.0, 0.0], 3, 40),
        ]),
    )
    .await;
    put(user, "b", json!([item("other", [1.0, 0.0, 0.0], 1, 10)])).await;
    assert_eq!(found(user, "a", json!([])).await, ["one", "two", "drei/ü %41", "four"], "the nearest first");
    let query = json!({ "collection": "a", "vector": [2.0, 0.0, 0.0], "limit": 2 });
    let nearest = call(user, "query", query).await.expect(200);
    assert_eq!(nearest.as_array().unwrap().len(), 2);
    assert!((nearest[1]["score"].as_f64().unwrap() - 0.8).abs() < 1e-4, "{nearest}");
    assert_eq!(nearest[1]["metadata"], json!({ "channel": 2, "at": 20, "sender": "ann", "bot": false }));
    for (conditions, expected) in [
        (json!([{ "in": { "channel": [1, 3] } }]), vec!["one", "drei/ü %41", "four"]),
        (json!([{ "in": { "channel": [1] } }, { "from": { "at": 30 } }]), vec!["drei/ü %41"]),
        (json!([{ "from": { "at": 20 } }, { "to": { "at": 40 } }]), vec!["two", "drei/ü %41"]),
        (
            json!([{ "in": { "sender": ["ann"] } }, { "in": { "bot": [false] } }, { "to": { "at": 20 } }]),
            vec!["one"],
        ),
        (json!([{ "in": { "channel": [] } }]), vec![]),
        (json!([{ "in": { "channel": ["1"] } }]), vec![]),
        (json!([{ "in": { "missing": [1] } }]), vec![]),
        (json!([{ "from": { "sender": 0 } }]), vec![]),
    ] {
        assert_eq!(found(user, "a", conditions.clone()).await, expected, "{conditions}");
    }
    let short = json!({ "collection": "a", "items": [{ "id": "x", "vector": [1.0], "metadata": {} }] });
    assert_eq!(call(user, "upsert", short).await.problem(409), "dimensions_differ");
    let short = json!({ "collection": "a", "vector": [1.0] });
    assert_eq!(call(user, "query", short).await.problem(409), "dimensions_differ");
    for (function, wrong) in [
        ("upsert", json!({ "collection": "A", "items": [item("x", [1.0, 0.0, 0.0], 1, 1)] })),
        ("upsert", json!({ "collection": "a", "items": [] })),
        ("upsert", json!({ "collection": "a", "items": [item("x", [0.0, 0.0, 0.0], 1, 1)] })),
        ("query", json!({ "collection": "a", "vector": [0.0, 0.0, 0.0] })),
        ("query", json!({ "collection": "a", "vector": [1.0, 0.0, 0.0], "limit": 201 })),
        ("delete_where", json!({ "collection": "a", "where": [] })),
    ] {
        assert_eq!(call(user, function, wrong).await.problem(422), "validation_failed", "{function}");
    }
    put(user, "a", json!([item("one", [0.0, 0.0, 1.0], 7, 70)])).await;
    assert_eq!(count(user, "a").await, 4, "in place of the one before");
    assert_eq!(found(user, "a", json!([{ "in": { "channel": [7] } }])).await, ["one"]);
    let gone = json!({ "collection": "a", "ids": ["two", "drei/ü %41", "nobody"] });
    call(user, "delete", gone).await.expect(200);
    call(user, "delete", json!({ "collection": "nowhere", "ids": ["two"] })).await.expect(200);
    assert_eq!(found(user, "a", json!([])).await, ["one", "four"]);
    let before = json!({ "collection": "a", "where": [{ "to": { "at": 50 } }] });
    call(user, "delete_where", before).await.expect(200);
    assert_eq!(
        (found(user, "a", json!([])).await, count(user, "a").await),
        (vec!["one".to_owned()], json!(1))
    );
    for _ in 0..2 {
        call(user, "clear", json!({ "collection": "a" })).await.expect(200);
    }
    assert_eq!(count(user, "a").await, 0);
    assert_eq!(found(user, "b", json!([])).await, ["other"], "a collection of its own");
}

#[tokio::test]
async fn in_the_database_of_everything_else() {
    let mut apps = vec![TestApp::start_on_sqlite().await];
    apps.extend(TestApp::start_on_postgres().await);
    for mut app in apps {
        let user = probe(&app).await;
        contract(&user).await;
        put(&user, "c", json!([item("kept", [1.0, 0.0, 0.0], 1, 1)])).await;
        app.kill().await;
        app.restart().await;
        let user = user.at(&app.url);
        assert_eq!(found(&user, "c", json!([])).await, ["kept"], "it outlives a restart");
        // They go with the plugin, from memory too.
        user.delete("/api/admin/plugins/models-probe").await.expect(204);
        user.install_with_grants("models-probe", guest("models-probe")).await;
        assert_eq!((found(&user, "c", json!([])).await, count(&user, "c").await), (vec![], json!(0)));
    }
}

#[tokio::test]
async fn where_they_do_not_fit_into_memory_they_are_found_all_the_same() {
    let app = TestApp::start_with(&["vectors.memory=1KiB"]).await;
    contract(&probe(&app).await).await;
}

#[tokio::test]
async fn a_plugin_keeps_no_more_than_it_may() {
    let app = TestApp::start().await;
    let user = probe(&app).await;
    let limit = |bytes: Value| json!({ "limits": { "vector_bytes": bytes } });
    user.patch("/api/admin/plugins/models-probe", &limit(json!(1_024))).await.expect(200);
    let items: Vec<_> = (0..30).map(|n| item(&format!("i{n}"), [1.0, 0.0, 0.0], n, n)).collect();
    let all = json!({ "collection": "a", "items": items });
    assert_eq!(call(&user, "upsert", all.clone()).await.problem(503), "vectors_full");
    assert_eq!(count(&user, "a").await, 0, "all or none");
    put(&user, "a", json!(items[..5])).await;
    call(&user, "clear", json!({ "collection": "a" })).await.expect(200);
    put(&user, "a", json!(items[5..10])).await;
    user.patch("/api/admin/plugins/models-probe", &limit(Value::Null)).await.expect(200);
    call(&user, "upsert", all).await.expect(200);
}

#[tokio::test]
async fn a_backup_has_them() {
    let app = TestApp::start().await;
    let user = probe(&app).await;
    put(&user, "a", json!([item("one", [0.6, 0.8, 0.0], 1, 1)])).await;
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("backup.tar");
    let written = app.command("backup", &[archive.to_str().unwrap()]).await;
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    drop(Backup::read(&archive));
    for database in [None, postgres::database().await] {
        let restored = TestApp::restored(&archive, database).await;
        let user = restored.login("root").await;
        assert_eq!(found(&user, "a", json!([])).await, ["one"]);
        put(&user, "a", json!([item("two", [1.0, 0.0, 0.0], 1, 1)])).await;
        assert_eq!(found(&user, "a", json!([])).await, ["two", "one"]);
    }
}

#[tokio::test]
async fn in_a_postgres_with_pgvector() {
    let Some(database) = pgvector().await else { return };
    let app = TestApp::start_with(&[&format!("vectors.url={}", database.url)]).await;
    let user = probe(&app).await;
    contract(&user).await;
    user.delete("/api/admin/plugins/models-probe").await.expect(204);
    user.install_with_grants("models-probe", guest("models-probe")).await;
    assert_eq!(count(&user, "b").await, 0, "they go with the plugin");
    let limits = json!({ "limits": { "http_wall_ms": 60_000 } });
    user.patch("/api/admin/plugins/models-probe", &limits).await.expect(200);
    database.stop();
    let answer = call(&user, "count", json!({ "collection": "a" })).await;
    assert_eq!(answer.problem(503), "vectors_unavailable");
    database.start_again();
    assert_eq!(count(&user, "a").await, 0);
    let config = String::from_utf8(app.command("config", &[]).await.stdout).unwrap();
    assert!(config.contains("vectors.url = \"***\""), "{config}");
}

async fn with_pinecone() -> (Fake, TestApp, User) {
    let fake = pinecone().await;
    let url = format!("vectors.url=pinecone://127.0.0.1:{}", fake.port);
    let app = TestApp::start_with(&[&url, &format!("vectors.api_key={PINECONE_KEY}")]).await;
    let user = probe(&app).await;
    (fake, app, user)
}

#[tokio::test]
async fn in_an_index_of_pinecone() {
    let (fake, app, user) = with_pinecone().await;
    contract(&user).await;
    let namespaces: Vec<_> =
        fake.seen().iter().filter_map(|s| s.body["namespace"].as_str().map(str::to_owned)).collect();
    assert!(namespaces.iter().all(|name| name.starts_with("patchbay.models-probe.")), "{namespaces:?}");
    user.delete("/api/admin/plugins/models-probe").await.expect(204);
    user.install_with_grants("models-probe", guest("models-probe")).await;
    assert_eq!(count(&user, "b").await, 0, "they go with the plugin");
    let config = String::from_utf8(app.command("config", &[]).await.stdout).unwrap();
    assert!(config.contains("vectors.api_key = \"***\"") && !config.contains(PINECONE_KEY), "{config}");
    assert!(!app.log().contains(PINECONE_KEY));
}

#[tokio::test]
async fn what_an_index_does_wrong_has_a_code() {
    let (fake, app, user) = with_pinecone().await;
    put(&user, "a", json!([item("one", [1.0, 0.0, 0.0], 1, 1)])).await;
    fake.seen();
    let status = |status: u16, wait: &str| {
        Reply::Whole(status, vec![("retry-after", wait.to_owned())], "no".to_owned())
    };
    fake.script([status(429, "0"), status(500, "0")]);
    assert_eq!(found(&user, "a", json!([])).await, ["one"], "it is asked again");
    assert_eq!(fake.seen().len(), 3);
    let body = |text: &str| Reply::Whole(200, vec![], text.to_owned());
    for replies in [
        vec![status(429, "0"); 3],
        vec![status(503, "3600")],
        vec![status(400, "0")],
        vec![body("{not json")],
        vec![body("")],
        vec![body("{\"matches\":[{\"score\":1}]}")],
    ] {
        let times = replies.len();
        fake.script(replies);
        let query = json!({ "collection": "a", "vector": [1.0, 0.0, 0.0] });
        assert_eq!(call(&user, "query", query).await.problem(503), "vectors_unavailable");
        assert_eq!(fake.seen().len(), times);
    }
    let limits = json!({ "limits": { "http_wall_ms": 60_000 } });
    user.patch("/api/admin/plugins/models-probe", &limits).await.expect(200);
    fake.script([Reply::Hang]);
    let query = json!({ "collection": "a", "vector": [1.0, 0.0, 0.0] });
    assert_eq!(call(&user, "query", query).await.problem(503), "vectors_unavailable");
    patchbay_tests::eventually("the index is left", || fake.hung_up() > 0).await;
    assert_eq!(found(&user, "a", json!([])).await, ["one"]);
    assert!(!app.log().contains(PINECONE_KEY));
}
