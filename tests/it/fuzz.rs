//! A fuzzer that reads the document and tries what it says: valid requests, and all kinds of invalid ones.

use std::process::Stdio;

use patchbay_tests::{TestApp, fuzzer};
use tokio::process::Command;

/// What the fuzzer leaves alone: what would take its own login away, and what it has no values for.
const LEFT_OUT: [&str; 4] = ["auth_logout", "auth_end_session", "admin_put_plugin", "gateway_chat"];

/// That a valid request may be refused for what it means (a name that is taken, a message elsewhere) is no fault.
const NOT_CHECKED: &str = "positive_data_acceptance";

#[tokio::test]
async fn a_fuzzer_finds_no_failure_and_no_answer_that_is_not_described() {
    let Some(fuzzer) = fuzzer() else { return };
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    ann.say(channel, "something to find").await;
    let mut run = Command::new(fuzzer);
    run.args(["run", &format!("{}/api/openapi.json", app.url)])
        .args(["--header", &format!("Authorization: Bearer {}", ann.token)])
        .args(["--checks", "all", "--exclude-checks", NOT_CHECKED])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20"])
        .args(["--seed", "1", "--generation-database", "none", "--no-shrink", "--continue-on-failure"])
        .args(["--generation-deterministic", "--warnings", "off", "--no-color"])
        .args(LEFT_OUT.iter().flat_map(|id| ["--exclude-operation-id", *id]));
    let output = run.current_dir(app.data()).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let tried =
        text.lines().find_map(|line| line.trim().strip_suffix(" passed")?.split(' ').next()?.parse().ok());
    assert!(tried.is_some_and(|tried: u32| tried > 1_000), "{text}");
}
