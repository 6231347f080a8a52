//! Slash commands that bots answer, `/help`, completion; and clients that were made for Slack.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use patchbay_tests::{TestApp, User, Value, json, slack};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::bots::{each_database, header, receiver, with_token};

/// Somebody who acts as a new bot that is a member of a channel, and what the API said of it.
async fn bot_in(owner: &User, name: &str, channel: i64) -> (User, Value) {
    let made = owner.post("/api/bots", &json!({ "name": name })).await.expect(201);
    let members = format!("/api/channels/{channel}/members");
    owner.post(&members, &json!({ "user_id": made["id"] })).await.expect(201);
    (with_token(owner, &made["token"]), made)
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["text"].as_str().unwrap()).collect()
}

async fn run(user: &User, channel: i64, text: &str) -> patchbay_tests::Answer {
    user.post("/api/commands", &json!({ "channel_id": channel, "text": text })).await
}

async fn complete(user: &User, channel: i64, text: &str) -> Value {
    let text = form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    user.get(&format!("/api/commands/complete?channel_id={channel}&text={text}")).await.expect(200)
}

#[tokio::test]
async fn bots_answer_commands_where_they_are_members() {
    for app in each_database().await {
        let (ann, bob, eve) = (app.user("ann").await, app.user("bob").await, app.user("eve").await);
        let channel = ann.channel("general", &[&bob, &eve]).await;
        let other = ann.channel("other", &[&bob]).await;
        let (bot, made) = bot_in(&bob, "deployer", channel).await;
        let path = format!("/api/bots/{}/commands", made["id"]);
        let (url, received) = receiver(&[200, 500]).await;
        let new = json!({
            "name": "deploy", "url": url, "description": "Deploys something", "usage": "WHAT",
            "suggestions": [{ "text": "staging" }, { "text": "production", "description": "with care" }],
        });

        // Who may say where a command leads: the bot, and who owns it.
        assert_eq!(eve.post(&path, &new).await.problem(404), "bot_not_found");
        assert_eq!(ann.post(&path, &new).await.problem(403), "forbidden", "and would read along");
        let command = bot.post(&path, &new).await.expect(201);
        assert!(command["secret"].as_str().unwrap().len() == 64, "{command:#}");
        assert_eq!(bob.post(&path, &new).await.problem(409), "command_taken");
        for taken in ["help", "remind"] {
            let new = json!({ "name": taken, "url": url });
            assert_eq!(bob.post(&path, &new).await.problem(409), "command_taken");
        }
        for (field, new) in [
            ("name", json!({ "name": "/x", "url": url })),
            ("url", json!({ "name": "x", "url": "ftp://x" })),
            ("usage", json!({ "name": "x", "url": url, "usage": "two\nlines" })),
            ("suggestions", json!({ "name": "x", "url": url, "suggestions": [{ "text": "two\nlines" }] })),
        ] {
            let refused = bob.post(&path, &new).await;
            assert_eq!(refused.body["errors"][0]["field"], field, "{:#}", refused.body);
            assert_eq!(refused.problem(422), "validation_failed");
        }
        let listed = bob.get(&path).await.expect(200);
        assert_eq!(names(&listed), ["deploy"]);
        assert!(listed["items"][0]["secret"].is_null(), "told once");

        // It is there in the bot's channels and nowhere else.
        let commands = async |user: &User, channel: i64| {
            user.get(&format!("/api/commands?channel_id={channel}")).await.expect(200)
        };
        assert!(names(&commands(&eve, channel).await).contains(&"deploy"));
        assert!(!names(&commands(&bob, other).await).contains(&"deploy"));
        assert!(!names(&eve.get("/api/commands").await.expect(200)).contains(&"deploy"));
        assert_eq!(run(&bob, other, "/deploy x").await.problem(404), "command_not_found");
        assert_eq!(texts(&complete(&eve, channel, "/de").await), ["/deploy"]);
        assert_eq!(
            texts(&complete(&eve, channel, "/deploy ").await),
            ["/deploy staging", "/deploy production"]
        );
        assert_eq!(texts(&complete(&eve, channel, "/deploy PROD").await), ["/deploy production"]);
        assert_eq!(complete(&bob, other, "/deploy ").await["items"], json!([]));
        let help = run(&eve, channel, "/help deploy").await.expect(200);
        assert_eq!(help["text"], "`/deploy WHAT` Deploys something");
        assert_eq!(help["plugin"], "patchbay");
        let outsider = app.user("outsider").await;
        let private = ann.private_channel("private", &[]).await;
        for path in ["/api/commands", "/api/commands/complete"] {
            let path = format!("{path}?channel_id={private}&text=/");
            let path = if path.contains("complete") { path } else { path.replace("&text=/", "") };
            assert_eq!(outsider.get(&path).await.problem(404), "channel_not_found");
        }

        // What comes to the bot, and what becomes of an answer that is none.
        let answered = run(&eve, channel, "/deploy the site & more").await.expect(200);
        assert_eq!((&answered["text"], &answered["plugin"]), (&Value::Null, &json!("bots")));
        let (head, body) = received.lock().await[0].clone();
        assert!(header(&head, "x-slack-signature").starts_with("v0="));
        let form: std::collections::HashMap<_, _> =
            form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let eve_id = eve.id.to_string();
        let expected = [
            ("command", "/deploy"),
            ("text", "the site & more"),
            ("user_name", "eve"),
            ("user_id", eve_id.as_str()),
            ("channel_name", "general"),
        ];
        for (field, value) in expected {
            assert_eq!(form[field], value);
        }
        let failed = run(&eve, channel, "/deploy x").await;
        assert_eq!(failed.body["errors"][0]["code"], "conflict", "{:#}", failed.body);
        assert_eq!(failed.problem(422), "command_refused");

        // It goes with the bot's membership, with the bot, and when it is taken out.
        let changed = bob.patch(&format!("{path}/deploy"), &json!({ "usage": "" })).await.expect(200);
        assert_eq!((&changed["usage"], &changed["url"]), (&json!(""), &json!(url)));
        ann.delete(&format!("/api/channels/{channel}/members/{}", made["id"])).await.expect(204);
        assert_eq!(run(&bob, channel, "/deploy x").await.problem(404), "command_not_found");
        bob.delete(&format!("{path}/deploy")).await.expect(204);
        assert_eq!(bob.get(&format!("{path}/deploy")).await.problem(404), "command_not_found");
        bob.post(&path, &new).await.expect(201);
        bob.delete(&format!("/api/bots/{}", made["id"])).await.expect(204);
        let (_, next) = bot_in(&bob, "next", channel).await;
        bob.post(&format!("/api/bots/{}/commands", next["id"]), &new).await.expect(201);
    }
}

#[tokio::test]
async fn help_and_completion_know_the_plugins_commands() {
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let help = run(&bob, channel, "/help").await.expect(200)["text"].as_str().unwrap().to_owned();
    assert!(help.contains("`/help [COMMAND]`") && help.contains("`/remind in 10m TEXT"), "{help}");
    let unknown = run(&bob, channel, "/help nothing").await.expect(200);
    assert!(unknown["text"].as_str().unwrap().starts_with("There is no command `/nothing`"), "{unknown:#}");
    assert_eq!(texts(&complete(&bob, channel, "/").await), ["/help", "/remind"]);
    assert_eq!(texts(&complete(&bob, channel, "/help re").await), ["/help remind"]);
    assert_eq!(texts(&complete(&bob, channel, "/remind a").await), ["/remind at 17:00 "]);
    run(&bob, channel, "/remind in 2h tea").await.expect(200);
    let waiting = complete(&bob, channel, "/remind cancel ").await;
    assert!(waiting["items"][0]["description"].as_str().unwrap().ends_with(": tea"), "{waiting:#}");
    assert_eq!(complete(&ann, channel, "/remind cancel ").await["items"], json!([]), "none of hers");
    assert_eq!(complete(&bob, channel, "/nothing at all").await["items"], json!([]));
    let typed = format!("/api/commands/complete?channel_id={channel}&text=remind");
    assert_eq!(bob.get(&typed).await.problem(422), "validation_failed");
}

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("slack/app.py")
}

#[tokio::test(flavor = "multi_thread")]
async fn slacks_sdk_posts_to_incoming_webhooks() {
    let Some(python) = slack() else { return };
    let app = TestApp::start().await;
    let ann = app.user("ann").await;
    let channel = ann.channel("ops", &[]).await;
    let hook = ann.post("/api/hooks", &json!({ "channel_id": channel, "name": "CI" })).await.expect(201);
    let mut sender = Command::new(python);
    sender.arg(script()).args(["webhook", hook["url"].as_str().unwrap()]);
    let Output { stdout, status, .. } = sender.output().await.unwrap();
    assert!(status.success());
    assert_eq!(String::from_utf8(stdout).unwrap(), "200 ok\n200 ok\n200 ok\n");
    let list = ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
    let said: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert!(said[0].contains("disk") && said[0].contains("95 % full"), "{said:#?}");
    assert!(said[1].contains("Build 7") && said[1].contains("**failed** on `main`"), "{said:#?}");
    assert!(!said[1].contains("fallback"), "{said:#?}");
    assert_eq!(said[2], "plain & [linked](https://example.org)");
}

/// A Bolt app, once it listens.
async fn bolt(python: &Path, secret: &str, port: u16) -> Child {
    let mut app = Command::new(python)
        .arg(script())
        .args(["commands", secret, &port.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    patchbay_tests::eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        .await;
    // What it says later must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slack_app_answers_commands_unchanged() {
    let Some(python) = slack() else { return };
    let app = TestApp::start_with(&["egress.allow_private=127.0.0.1/32"]).await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = ann.channel("general", &[&bob]).await;
    let (_, made) = bot_in(&ann, "deployer", channel).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let new = json!({ "name": "deploy", "url": format!("http://127.0.0.1:{port}/slack/events") });
    let path = format!("/api/bots/{}/commands", made["id"]);
    let command = ann.post(&path, &new).await.expect(201);
    let _bolt = bolt(&python, command["secret"].as_str().unwrap(), port).await;

    let answer = run(&bob, channel, "/deploy the site").await.expect(200);
    assert_eq!(answer["text"], "bob deploys the site in general");
    assert_eq!(run(&bob, channel, "/deploy silently").await.expect(200)["text"], Value::Null);
    let list = format!("/api/channels/{channel}/messages");
    assert_eq!(ann.get(&list).await.expect(200)["items"], json!([]), "nobody else has heard of it");
    assert_eq!(run(&bob, channel, "/deploy all").await.expect(200)["text"], Value::Null);
    let posted = ann.get(&list).await.expect(200)["items"][0].clone();
    assert_eq!(
        (&posted["content"], &posted["sender_id"]),
        (&json!("**bob** deploys everything"), &made["id"])
    );

    // Another secret, as whoever forges requests has: the app refuses it.
    ann.delete(&format!("{path}/deploy")).await.expect(204);
    ann.post(&path, &new).await.expect(201);
    assert_eq!(run(&bob, channel, "/deploy x").await.problem(422), "command_refused");
}
