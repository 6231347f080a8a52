//! `kill -9` at odd moments: what was acknowledged is there, once, and everybody hears of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use patchbay_tests::{TestApp, User, json};

/// What came of posting: id and text of each message that was acknowledged.
type Acknowledged = Arc<Mutex<Vec<(i64, String)>>>;

/// Posts until the server dies; the text of the post that was cut off.
async fn talk(
    user: User,
    channel: i64,
    round: usize,
    acknowledged: Acknowledged,
    count: Arc<AtomicUsize>,
) -> String {
    for n in 0.. {
        let text = format!("{} says {round}.{n}", user.id);
        let request = user
            .request(reqwest::Method::POST, &format!("/api/channels/{channel}/messages"))
            .header("idempotency-key", &text)
            .json(&json!({ "content": text }));
        let Ok(response) = request.send().await else { return text };
        let status = response.status();
        let Ok(body) = response.json::<patchbay_tests::Value>().await else { return text };
        assert_eq!(status, 201, "{body:#}");
        acknowledged.lock().unwrap().push((body["id"].as_i64().unwrap(), text));
        count.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("the server never died")
}

#[tokio::test]
async fn what_was_acknowledged_survives_and_is_heard_once() {
    kill_and_look(TestApp::start().await).await;
}

#[tokio::test]
async fn what_was_acknowledged_on_postgres_survives_and_is_heard_once() {
    let Some(app) = TestApp::start_on_postgres().await else { return };
    kill_and_look(app).await;
}

async fn kill_and_look(mut app: TestApp) {
    let root = app.user("root").await;
    let mut users = Vec::new();
    for n in 0..6 {
        users.push(app.user(&format!("user{n}")).await);
    }
    let channel = root.channel("general", &users.iter().collect::<Vec<_>>()).await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let socket = root.socket().await;
    let mut seen = socket.hello["seq"].as_i64().unwrap();
    drop(socket);
    let mut heard: Vec<(i64, String)> = Vec::new();
    for round in 0..5 {
        let count = Arc::new(AtomicUsize::new(0));
        let talkers: Vec<_> = users
            .iter()
            .map(|user| {
                let (acknowledged, count) = (Arc::clone(&acknowledged), Arc::clone(&count));
                tokio::spawn(talk(user.at(&app.url), channel, round, acknowledged, count))
            })
            .collect();
        while count.load(Ordering::Relaxed) < 20 + 17 * round {
            tokio::task::yield_now().await;
        }
        app.kill().await;
        let mut cut_off = Vec::new();
        for talker in talkers {
            cut_off.push(talker.await.unwrap());
        }
        app.restart().await;
        // Nobody knows whether these arrived; a repeat with the same key makes sure, and doubles nothing.
        for (user, text) in users.iter().zip(cut_off) {
            let user = user.at(&app.url);
            let request = user
                .request(reqwest::Method::POST, &format!("/api/channels/{channel}/messages"))
                .header("idempotency-key", &text)
                .json(&json!({ "content": text }));
            let answer = user.send(request).await;
            assert!([200, 201].contains(&answer.status), "{:#}", answer.body);
            acknowledged.lock().unwrap().push((answer.body["id"].as_i64().unwrap(), text));
        }
        let (answer, events) = root.at(&app.url).socket().await.resume(seen).await;
        assert_eq!(answer["type"], "resumed");
        for event in events {
            assert_eq!(event["type"], "message.created");
            seen = event["seq"].as_i64().unwrap();
            let data = &event["data"];
            heard.push((data["id"].as_i64().unwrap(), data["content"].as_str().unwrap().to_owned()));
        }
    }
    let root = root.at(&app.url);
    let mut stored = Vec::new();
    let mut query = "limit=200".to_owned();
    loop {
        let page = root.get(&format!("/api/channels/{channel}/messages?{query}")).await.expect(200);
        for message in page["items"].as_array().unwrap() {
            let content = message["content"].as_str().unwrap().to_owned();
            stored.push((message["id"].as_i64().unwrap(), content));
        }
        if page["has_more"] == false {
            break;
        }
        query = format!("limit=200&before={}", stored.last().unwrap().0);
    }
    stored.reverse();
    assert_eq!(heard, stored, "the events tell what the database holds");
    let texts: BTreeSet<_> = stored.iter().map(|(_, text)| text).collect();
    let acknowledged = acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|message| !stored.contains(message)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(texts.len(), stored.len(), "something is there twice");
    assert_eq!(acknowledged.len(), stored.len(), "every post was acknowledged in the end");
}
