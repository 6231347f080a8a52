//! What no client should send: by a fuzzer that reads the document and tries what it says, valid requests and all
//! kinds of invalid ones; and by hand, what isn't even HTTP or has no end.

use std::{path::Path, process::Stdio};

use patchbay_tests::{
    TestApp, User,
    fake::{OPENAI_KEY, openai},
    fuzzer, json,
};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

/// What the fuzzer leaves alone: what would take its own login away, and what it has no values for.
const LEFT_OUT: [&str; 5] =
    ["auth_logout", "auth_end_session", "admin_put_plugin", "gateway_chat", "gateway_presence"];

/// That a valid request may be refused for what it means (a name that is taken, a message elsewhere) is no fault.
const NOT_CHECKED: &str = "positive_data_acceptance";

#[tokio::test]
async fn a_fuzzer_finds_no_failure_and_no_answer_that_is_not_described() {
    let Some(fuzzer) = fuzzer() else { return };
    // With a model, so that what needs one has more to say than that there is none.
    let models = openai().await;
    let app = TestApp::start_with(&[
        &format!("ai.base_url=http://127.0.0.1:{}/v1", models.port),
        &format!("ai.api_key={OPENAI_KEY}"),
        "ai.model=fake-1",
    ])
    .await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = bob.channel("general", &[]).await;
    bob.say(channel, "something to find").await;
    let tried = run(&fuzzer, &app, &bob, &[]).await;
    assert!(tried > 1_000, "only {tried} requests");
    let tried = run(&fuzzer, &app, &ann, &["--include-tag", "Administration"]).await;
    assert!(tried > 100, "only {tried} requests");
}

/// Runs the fuzzer as this user; how many requests it made.
async fn run(fuzzer: &Path, app: &TestApp, user: &User, more: &[&str]) -> u32 {
    let mut run = Command::new(fuzzer);
    run.args(["run", &format!("{}/api/openapi.json", app.url)])
        .args(["--header", &format!("Authorization: Bearer {}", user.token)])
        .args(["--checks", "all", "--exclude-checks", NOT_CHECKED])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "30"])
        .args(["--no-shrink", "--continue-on-failure"])
        .args(["--generation-deterministic", "--warnings", "off", "--no-color"])
        .args(LEFT_OUT.iter().flat_map(|id| ["--exclude-operation-id", *id]))
        .args(more);
    let output = run.current_dir(app.data()).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // 2802 generated, 2802 passed, 86 skipped
    let tried = text.lines().find_map(|line| line.split_once(" generated, ")?.0.trim().parse().ok());
    tried.unwrap_or_else(|| panic!("{text}"))
}

/// Sends these bytes, and no more; the status of what comes back, if anything does.
async fn raw(app: &TestApp, bytes: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
    // The server may refuse before all of it has been sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok())
}

#[tokio::test]
async fn what_is_malformed_truncated_nested_or_giant_is_refused() {
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let path = format!("/api/channels/{channel}/messages");
    let head = |length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n",
            ann.token
        )
    };
    for (bytes, what) in [
        (b"\0\xff\x16\x03\x01\r\n\r\n".to_vec(), "no HTTP"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), "a version of the future"),
        (b"GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), "a zero in the path"),
        (b"GET /api/users/me HTTP/1.1\r\nhost".to_vec(), "half a head"),
        (format!("{}{{\"content\":\"x", head(100)).into_bytes(), "half a body"),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1 << 20)).into_bytes(), "a giant path"),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes(), "a giant header"),
    ] {
        let status = raw(&app, &bytes).await;
        let is_refusal = |status| (400..500).contains(&status) || status == 505;
        assert!(status.is_none_or(is_refusal), "{what}: {status:?}");
    }
    let deep = format!("{{\"content\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, status) in [
        (deep, 422),
        ("[".repeat(100_000), 400),
        (format!("{{\"content\":\"{}\"}}", "x".repeat(2 << 20)), 413),
        ("{\"content\":\"\u{feff}".to_owned(), 400),
    ] {
        let request = ann.request(Method::POST, &path).header("content-type", "application/json").body(body);
        ann.send(request).await.expect(status);
    }
    let wide = json!({ "name": "wide", "member_ids": vec![1; 100_000] });
    assert_eq!(ann.post("/api/channels", &wide).await.problem(422), "validation_failed");
    ann.say(channel, "still here").await;
}
