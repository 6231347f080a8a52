//! Bots, webhooks and reminders: what the plugin of that name serves.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use patchbay_tests::{Socket, TestApp, User, Value, eventually, json};
use sha2::Sha256;
use tokio::sync::Mutex;

pub async fn each_database() -> Vec<TestApp> {
    let settings = ["egress.allow_private=127.0.0.1/32"];
    let postgres = match patchbay_tests::postgres::database().await {
        Some(database) => Some(TestApp::start_on_with(database, &settings).await),
        None => None,
    };
    [Some(TestApp::start_with(&settings).await), postgres].into_iter().flatten().collect()
}

/// Somebody who acts by this token.
pub fn with_token(ann: &User, token: &Value) -> User {
    let mut user = ann.clone();
    token.as_str().unwrap().clone_into(&mut user.token);
    user
}

#[tokio::test]
async fn bots_act_by_their_tokens_wherever_users_do() {
    for mut app in each_database().await {
        let (ann, bob, eve) = (app.user("ann").await, app.user("bob").await, app.user("eve").await);
        let channel = bob.channel("general", &[]).await;
        let made =
            bob.post("/api/bots", &json!({ "name": "helper", "full_name": "Helper" })).await.expect(201);
        let bot = with_token(&bob, &made["token"]);
        let path = format!("/api/bots/{}", made["id"]);
        let me = bot.get("/api/users/me").await.expect(200);
        assert_eq!(
            (&me["id"], &me["is_bot"], &me["username"]),
            (&made["id"], &json!(true), &json!("helper"))
        );
        // It is nowhere until somebody lets it in.
        let messages = format!("/api/channels/{channel}/messages");
        let refused = bot.post(&messages, &json!({ "content": "x" })).await;
        assert!(refused.status == 404 || refused.status == 403, "{}", refused.status);
        let join = format!("/api/channels/{channel}/members");
        bob.post(&join, &json!({ "user_id": made["id"] })).await.expect(201);
        let posted = bot.post(&messages, &json!({ "content": "at your service" })).await.expect(201);
        assert_eq!((&posted["sender_id"], &posted["is_bot"]), (&made["id"], &json!(true)));
        let mut socket = Socket::open(&app.url, &bot.token).await;
        bob.say(channel, "hello").await;
        assert_eq!(socket.event("message.created").await["data"]["content"], "hello");
        socket.call("message.send", json!({ "channel_id": channel, "content": "by socket" })).await;

        // Whose it is, and what it can't.
        assert_eq!(eve.get(&path).await.problem(404), "bot_not_found");
        assert_eq!(eve.delete(&path).await.problem(404), "bot_not_found");
        assert_eq!(ann.get(&path).await.expect(200)["owner_id"], bob.id, "a superuser's are all");
        let token = json!({ "new_token": true });
        assert_eq!(ann.patch(&path, &token).await.problem(403), "forbidden", "and would read along");
        assert_eq!(eve.get("/api/bots").await.expect(200)["items"], json!([]));
        assert!(bob.get("/api/bots").await.expect(200)["items"][0]["token"].is_null(), "told once");
        assert_eq!(bot.post("/api/bots", &json!({ "name": "child" })).await.problem(403), "forbidden");
        assert_eq!(bob.post("/api/bots", &json!({ "name": "Helper" })).await.problem(409), "username_taken");
        assert_eq!(bob.post("/api/bots", &json!({ "name": "a b" })).await.problem(422), "validation_failed");
        let wrong = json!({ "name": "other", "scopes": ["admin"] });
        assert_eq!(bob.post("/api/bots", &wrong).await.problem(422), "validation_failed");
        assert_eq!(
            bob.get("/api/bots").await.expect(200)["items"].as_array().unwrap().len(),
            1,
            "none is left over"
        );

        // Tokens survive a restart; a new one ends the one before, sockets and all.
        app.kill().await;
        app.restart().await;
        let (bob, bot) = (bob.at(&app.url), bot.at(&app.url));
        let mut socket = Socket::open(&app.url, &bot.token).await;
        let changed = bob.patch(&path, &json!({ "scopes": ["read"] })).await.expect(200);
        assert_eq!(socket.close_code().await, 4401);
        assert_eq!(bot.get("/api/users/me").await.problem(401), "unauthenticated");
        let reader = with_token(&bob, &changed["token"]);
        reader.get(&messages).await.expect(200);
        assert_eq!(reader.post(&messages, &json!({ "content": "x" })).await.problem(403), "forbidden");
        assert_eq!(reader.post("/api/hooks", &json!({})).await.problem(403), "forbidden");
        let mut socket = Socket::open(&app.url, &reader.token).await;
        let refused = socket.call("message.send", json!({ "channel_id": channel, "content": "x" })).await;
        assert_eq!(refused["data"]["code"], "forbidden");

        // Gone is gone.
        bob.delete(&path).await.expect(204);
        assert_eq!(socket.close_code().await, 4401);
        assert_eq!(reader.get("/api/users/me").await.problem(401), "unauthenticated");
        assert_eq!(bob.get(&path).await.problem(404), "bot_not_found");
        let left = bob.get(&format!("/api/users/{}", made["id"])).await.expect(200);
        assert_eq!(left["is_active"], false);
        for token in ["pbt_", "pbt_1", "pbt_1_x", "pbt_x_y", "pbt_9999999_abc"] {
            let nobody = with_token(&bob, &json!(token));
            assert_eq!(nobody.get("/api/users/me").await.problem(401), "unauthenticated", "{token}");
        }
    }
}

#[tokio::test]
async fn incoming_webhooks_take_what_slacks_take() {
    for app in each_database().await {
        let (ann, bob, eve) = (app.user("ann").await, app.user("bob").await, app.user("eve").await);
        let channel = bob.private_channel("ops", &[&ann]).await;
        let new = json!({ "channel_id": channel, "name": "Grafana" });
        let public = json!({ "channel_id": bob.channel("all", &[]).await, "name": "Grafana" });
        assert_eq!(eve.post("/api/hooks", &public).await.problem(403), "forbidden");
        assert_eq!(eve.get("/api/bots").await.expect(200)["items"], json!([]), "none is left over");
        assert_eq!(eve.post("/api/hooks", &new).await.problem(404), "channel_not_found");
        let made = bob.post("/api/hooks", &new).await.expect(201);
        let url = made["url"].as_str().unwrap();
        assert!(url.starts_with(&format!("{}/api/hooks/{}/", app.url, made["id"])), "{url}");
        let client = reqwest::Client::new();
        let newest = async || {
            let list = bob.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
            list["items"][0].clone()
        };
        let payload =
            json!({ "text": "*CPU* is high, see <https://g.example|the graph>", "username": "root" });
        let answer = client.post(url).json(&payload).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "ok"));
        let message = newest().await;
        assert_eq!(message["content"], "**CPU** is high, see [the graph](https://g.example)");
        assert_eq!(
            (&message["sender_id"], &message["sender"]["full_name"]),
            (&made["bot_id"], &json!("Grafana"))
        );
        // As a form, as curl and older scripts send it.
        let form = [("payload", json!({ "attachments": [{ "fallback": "down" }] }).to_string())];
        assert_eq!(client.post(url).form(&form).send().await.unwrap().status(), 200);
        assert_eq!(newest().await["content"], "down");
        // What is longer than a message becomes a thread.
        let long = json!({ "text": "line\n".repeat(2_500) });
        assert_eq!(client.post(url).json(&long).send().await.unwrap().status(), 200);
        let reply = newest().await;
        let root = bob.get(&format!("/api/messages/{}", reply["parent_id"])).await.expect(200);
        assert_eq!((&root["reply_count"], &root["sender_id"]), (&json!(1), &made["bot_id"]));

        let refused = async |url: &str, body: &str, status: u16| {
            let answer = client.post(url).body(body.to_owned()).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status);
            answer.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned()
        };
        assert_eq!(refused(url, "nonsense", 400).await, "invalid_payload");
        assert_eq!(refused(url, "[]", 400).await, "invalid_payload");
        assert_eq!(refused(url, "{}", 400).await, "no_text");
        assert_eq!(refused(&format!("{url}0"), r#"{"text":"x"}"#, 404).await, "no_service");
        let other = url.replace(&format!("/hooks/{}/", made["id"]), "/hooks/999/");
        assert_eq!(refused(&other, r#"{"text":"x"}"#, 404).await, "no_service");

        let path = format!("/api/hooks/{}", made["id"]);
        assert_eq!(eve.get(&path).await.problem(404), "hook_not_found");
        assert!(bob.get(&path).await.expect(200)["url"].is_null());
        assert_eq!(bob.get("/api/hooks").await.expect(200)["items"][0]["id"], made["id"]);
        // Whoever manages the channel can send the bot away.
        let member = format!("/api/channels/{channel}/members/{}", made["bot_id"]);
        bob.delete(&member).await.expect(204);
        assert_eq!(refused(url, r#"{"text":"x"}"#, 404).await, "channel_not_found");
        bob.delete(&path).await.expect(204);
        assert_eq!(refused(url, r#"{"text":"x"}"#, 404).await, "no_service");
        assert_eq!(bob.delete(&path).await.problem(404), "hook_not_found");
    }
}

/// What came to a receiver: its headers and body.
pub type Received = Arc<Mutex<Vec<(String, String)>>>;

/// A receiver that answers with these statuses, the last of them for ever.
pub async fn receiver(statuses: &'static [u16]) -> (String, Received) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let received = Received::default();
    let kept = Arc::clone(&received);
    tokio::spawn(async move {
        for nth in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut bytes = Vec::new();
            let (head, body) = loop {
                if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return;
                }
                let text = String::from_utf8_lossy(&bytes);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let status = statuses.get(nth).or(statuses.last()).unwrap();
            kept.lock().await.push((head, body));
            let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, received)
}

async fn came(received: &Received, number: usize) -> Vec<(String, String)> {
    let received = Arc::clone(received);
    eventually("it came", || received.try_lock().is_ok_and(|came| came.len() >= number)).await;
    received.lock().await.clone()
}

pub fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

#[tokio::test]
async fn outgoing_webhooks_are_signed_and_tried_again() {
    for mut app in each_database().await {
        let (ann, bob) = (app.user("ann").await, app.user("bob").await);
        ann.patch(
            "/api/admin/plugins/bots",
            &json!({ "limits": { "event_backoff_ms": 50, "event_attempts": 3 } }),
        )
        .await
        .expect(200);
        let channel = ann.private_channel("general", &[&bob]).await;
        let private = ann.private_channel("private", &[]).await;
        let (url, received) = receiver(&[500, 200]).await;
        let new = json!({ "url": url, "events": ["message.created"] });
        let made = bob.post("/api/hooks/outgoing", &new).await.expect(201);
        let secret = made["secret"].as_str().unwrap().to_owned();
        ann.say(private, "not for bob").await;
        ann.say(channel, "for bob").await;
        let came = came(&received, 2).await;
        let bodies: Vec<Value> = came.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
        assert_eq!(bodies[0]["data"]["content"], "for bob", "{bodies:#?}");
        assert_eq!(bodies[0], bodies[1], "the same again");
        assert_eq!(
            (&bodies[0]["type"], &bodies[0]["channel_id"]),
            (&json!("message.created"), &json!(channel))
        );
        for (nth, (head, body)) in came.iter().enumerate() {
            let timestamp = header(head, "x-patchbay-request-timestamp");
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(format!("v0:{timestamp}:{body}").as_bytes());
            let expected: String =
                mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(header(head, "x-patchbay-signature"), format!("v0={expected}"));
            assert_eq!(header(head, "x-patchbay-retry-num"), nth.to_string());
        }

        // What waits survives a kill; who has left hears no more.
        let path = format!("/api/hooks/outgoing/{}", made["id"]);
        app.kill().await;
        app.restart().await;
        let (ann, bob) = (ann.at(&app.url), bob.at(&app.url));
        ann.say(channel, "after").await;
        // What was taken when the server was killed may come again.
        let has_come = |text: &'static str| {
            let received = Arc::clone(&received);
            move || received.try_lock().is_ok_and(|came| came.iter().any(|(_, body)| body.contains(text)))
        };
        eventually("it came", has_come("after")).await;
        ann.delete(&format!("/api/channels/{channel}/members/{}", bob.id)).await.expect(204);
        ann.say(channel, "without bob").await;

        // A receiver that never takes it: a dead letter, which can be sent again.
        let (dead, refusing) = receiver(&[503, 503, 503, 200]).await;
        let elsewhere = json!({ "url": dead });
        assert_eq!(ann.patch(&path, &elsewhere).await.problem(403), "forbidden", "and would read along");
        assert_eq!(bob.patch(&path, &elsewhere).await.expect(200)["url"], dead.as_str());
        let paused = ann.patch(&path, &json!({ "is_active": false })).await.expect(200);
        assert_eq!((&paused["is_active"], &paused["url"]), (&json!(false), &json!(dead)));
        assert!(!has_come("without bob")());
        let own = json!({ "url": dead, "events": ["message.*"], "channel_ids": [private] });
        ann.post("/api/hooks/outgoing", &own).await.expect(201);
        ann.say(private, "in vain").await;
        let letters = "/api/admin/plugins/bots/dead-letters";
        ann.until(letters, |list| list["items"].as_array().unwrap().len() == 1).await;
        assert_eq!(refusing.lock().await.len(), 3);
        let again = ann.post("/api/admin/plugins/bots/redeliver", &json!({})).await.expect(200);
        assert_eq!(again["redelivered"], 1);
        assert_eq!(refusing.lock().await.len(), 4);

        for (field, new) in [
            ("url", json!({ "url": "ftp://x", "events": ["*"] })),
            ("events", json!({ "url": "https://example.org", "events": [] })),
            ("events", json!({ "url": "https://example.org", "events": ["A"] })),
        ] {
            let refused = bob.post("/api/hooks/outgoing", &new).await;
            assert_eq!(refused.body["errors"][0]["field"], field);
            assert_eq!(refused.problem(422), "validation_failed");
        }
        let hidden = json!({ "url": "https://example.org", "events": ["*"], "channel_ids": [private] });
        assert_eq!(bob.post("/api/hooks/outgoing", &hidden).await.problem(404), "channel_not_found");
        bob.delete(&path).await.expect(204);
        assert_eq!(bob.get(&path).await.problem(404), "hook_not_found");
    }
}

#[tokio::test]
async fn reminders_come_and_newcomers_are_welcomed() {
    let mut app = TestApp::start().await;
    let (ann, bob, eve) = (app.user("ann").await, app.user("bob").await, app.user("eve").await);
    let channel = ann.channel("general", &[&bob]).await;
    let run = async |user: &User, text: &str| {
        user.post("/api/commands", &json!({ "channel_id": channel, "text": text })).await
    };
    assert_eq!(run(&ann, "/remind me").await.problem(422), "command_refused");
    let set = run(&ann, "/remind in 2h tea").await.expect(200);
    assert!(set["text"].as_str().unwrap().starts_with("You are reminded at "), "{set:#}");
    run(&ann, "/remind in 1s stand up").await.expect(200);
    let messages = format!("/api/channels/{channel}/messages");
    let told = ann.until(&messages, |list| list["items"][0]["content"].is_string()).await;
    let told = &told["items"][0];
    assert_eq!((&told["content"], &told["mentions"]), (&json!("@ann Reminder: stand up"), &json!([ann.id])));
    let list = run(&ann, "/remind list").await.expect(200)["text"].as_str().unwrap().to_owned();
    assert!(list.contains(": tea") && !list.contains("stand up"), "{list}");
    let number = list.split('.').next().unwrap();
    assert_eq!(run(&bob, &format!("/remind cancel {number}")).await.problem(422), "command_refused");
    run(&ann, &format!("/remind cancel {number}")).await.expect(200);
    assert!(run(&ann, "/remind list").await.expect(200)["text"].as_str().unwrap().starts_with("No reminder"));

    let config = json!({ "welcome": "Hello {user}!", "keywords": ["vpn=see the wiki"] });
    ann.patch("/api/admin/plugins/bots", &json!({ "config": config })).await.expect(200);
    app.kill().await;
    app.restart().await;
    let (ann, bob, eve) = (ann.at(&app.url), bob.at(&app.url), eve.at(&app.url));
    ann.post(&format!("/api/channels/{channel}/members"), &json!({ "user_id": eve.id })).await.expect(201);
    let said = |text: &'static str| move |list: &Value| list["items"].to_string().contains(text);
    ann.until(&messages, said("Hello @eve!")).await;
    let asked = bob.say(channel, "How does the VPN work?").await;
    let replies = format!("/api/messages/{asked}/thread");
    ann.until(&replies, said("see the wiki")).await;
}
