//! What the mock host says, and that its world keeps the server's rules.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::path::Path;

use bytes::Bytes;
use patchbay_mock::{Mock, Options};
use serde_json::{Value, json};

/// A guest that writes down what it is told (`tests/guests/examples/recorder.rs`), which `cargo xtask plugins` makes.
async fn recorder(withheld: &[&str]) -> Result<(Mock, tempfile::TempDir), patchbay_mock::MockError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-guests/recorder.wasm");
    let component = Bytes::from(std::fs::read(&file).unwrap());
    let cache = tempfile::tempdir().unwrap();
    let mut options = Options::new(cache.path());
    options.withheld = withheld.iter().map(|name| (*name).to_owned()).collect();
    Ok((Mock::load(component, options).await?, cache))
}

async fn ok(mock: &Mock, command: Value) -> Value {
    let answer = mock.answer(&command.to_string()).await;
    answer.get("ok").unwrap_or_else(|| panic!("{command}: {answer}")).clone()
}

async fn code(mock: &Mock, command: Value) -> Value {
    mock.answer(&command.to_string()).await["error"]["code"].clone()
}

async fn with_people() -> (Mock, tempfile::TempDir) {
    let (mock, cache) = recorder(&[]).await.unwrap();
    for name in ["ann", "eve"] {
        ok(&mock, json!({ "do": "user", "name": name })).await;
    }
    ok(&mock, json!({ "do": "channel", "name": "general", "members": ["ann", "recorder"] })).await;
    ok(&mock, json!({ "do": "channel", "name": "secret", "members": ["ann"] })).await;
    (mock, cache)
}

#[tokio::test]
async fn hooks_and_events_are_called_as_a_server_would() {
    let (mock, _cache) = with_people().await;
    let say = |channel: &str, content: &str| json!({ "do": "post", "as": "ann", "channel": channel, "content": content });
    assert_eq!(ok(&mock, say("general", "fixme")).await["content"], "posted");
    assert_eq!(code(&mock, say("general", "forbidden")).await, "no_swearing");
    assert_eq!(code(&mock, say("general", "crash")).await, "plugin_trapped");
    ok(&mock, say("secret", "psst")).await;
    ok(&mock, say("general", "answer me")).await;
    let told = ok(&mock, json!({ "do": "deliver" })).await;
    let told: Vec<_> = told.as_array().unwrap().iter().map(|told| &told["seq"]).collect();
    assert_eq!(told, [1, 3], "its bot is not in the other channel");
    let messages = ok(&mock, json!({ "do": "messages", "channel": "general" })).await;
    assert_eq!(messages[2]["content"], "answer me!");
    assert_eq!(messages[2]["sender"]["username"], "recorder");
    assert_eq!(ok(&mock, json!({ "do": "deliver" })).await, json!([]), "its own writes don't come back");
}

#[tokio::test]
async fn what_is_not_handled_comes_again() {
    let (mock, _cache) = with_people().await;
    ok(&mock, json!({ "do": "post", "as": "ann", "channel": "general", "content": "later" })).await;
    assert_eq!(ok(&mock, json!({ "do": "deliver" })).await[0]["outcome"], "retry");
    ok(&mock, json!({ "do": "put", "key": "patience", "value": "1" })).await;
    assert_eq!(ok(&mock, json!({ "do": "deliver" })).await[0]["outcome"], "ok");
}

#[tokio::test]
async fn jobs_come_due_with_time() {
    let (mock, _cache) = with_people().await;
    let now = ok(&mock, json!({ "do": "advance", "ms": 0 })).await.as_i64().unwrap();
    let body = json!({ "id": "wake", "payload": "fail", "due": now + 5_000 });
    let schedule = json!({ "do": "http", "as": "ann", "method": "POST", "path": "/api/plugins/recorder/schedule", "body": body });
    assert_eq!(ok(&mock, schedule).await["status"], 204);
    assert_eq!(ok(&mock, json!({ "do": "run_jobs" })).await, json!([]));
    ok(&mock, json!({ "do": "advance", "ms": 10_000 })).await;
    let ran = ok(&mock, json!({ "do": "run_jobs" })).await;
    assert_eq!((&ran[0]["id"], &ran[0]["ok"]), (&json!("wake"), &json!(false)));
    assert_eq!((&ran[1]["id"], &ran[1]["ok"]), (&json!("tick"), &json!(true)), "that of the manifest");
    let waiting = ok(&mock, json!({ "do": "jobs" })).await;
    let waiting: Vec<_> = waiting.as_array().unwrap().iter().map(|job| &job["id"]).collect();
    assert_eq!(waiting, ["tick", "wake"], "what failed and what is repeated");
}

#[tokio::test]
async fn nobody_acts_beyond_their_channels() {
    let (mock, _cache) = with_people().await;
    let post = json!({ "channel": 5, "content": "hi" });
    let path = "/api/plugins/recorder/post";
    let of = |who: &str| json!({ "do": "http", "as": who, "method": "POST", "path": path, "body": post });
    let refused = ok(&mock, of("eve")).await;
    assert_eq!((&refused["status"], &refused["body"]["code"]), (&json!(404), &json!("channel_not_found")));
    assert_eq!(ok(&mock, of("ann")).await["status"], 200);
    let stranger = json!({ "do": "http", "method": "GET", "path": "/api/plugins/recorder/state" });
    assert_eq!(ok(&mock, stranger).await["status"], 401);
    let calls = ok(&mock, json!({ "do": "calls" })).await;
    assert_eq!(calls[0]["function"], "post");
    assert_eq!(
        (&calls[0]["arguments"]["actor"], &calls[0]["error"]),
        (&json!("eve"), &json!("channel_not_found"))
    );
}

#[tokio::test]
async fn nonsense_is_refused_with_a_reason() {
    let (mock, _cache) = with_people().await;
    for command in [
        json!({ "do": "fly" }),
        json!({ "do": "calls", "more": 1 }),
        json!({ "do": "post", "as": "nobody", "channel": "general", "content": "x" }),
        json!({ "do": "user", "name": "ann" }),
        json!({ "do": "config", "key": "colour", "value": 1 }),
        json!({ "do": "http", "as": "ann", "method": "DELETE", "path": "/api/plugins/recorder/x" }),
        json!({ "do": "command", "as": "ann", "channel": "general", "text": "/unheard of" }),
    ] {
        assert_eq!(code(&mock, command.clone()).await, "wrong_usage", "{command}");
    }
    assert_eq!(mock.answer("{").await["error"]["code"], "wrong_usage");
}

#[tokio::test]
async fn what_is_withheld_keeps_it_from_loading() {
    let Err(error) = recorder(&["kv"]).await else { panic!("it was loaded without kv") };
    assert_eq!(error.code(), "capability_not_granted");
}
