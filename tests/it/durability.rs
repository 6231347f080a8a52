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
    for round in 0..8 {
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

/// What one user knows of a message of theirs.
struct Known {
    id: i64,
    /// What it says for all that was acknowledged.
    content: String,
    /// What an edit that nobody answered would make of it.
    maybe: Option<String>,
    reacted: bool,
    deleted: bool,
    /// A deletion that nobody answered.
    maybe_deleted: bool,
}

/// What one user has done so far, round after round.
#[derive(Default)]
struct Life {
    known: Vec<Known>,
    /// Acknowledged uploads: id and content.
    files: Vec<(i64, String)>,
    /// Each post's own text, and the one that was cut off.
    cut_off: Option<String>,
}

/// The body of an answer of success; none if the server died before it had answered.
async fn answer(request: reqwest::RequestBuilder) -> Option<patchbay_tests::Value> {
    let response = request.send().await.ok()?;
    let status = response.status();
    let text = response.text().await.ok()?;
    assert!(status.is_success(), "{status}: {text}");
    Some(serde_json_of(&text))
}

fn serde_json_of(text: &str) -> patchbay_tests::Value {
    if text.is_empty() { patchbay_tests::Value::Null } else { text.parse().unwrap() }
}

impl Life {
    /// Does one thing after the other until the server dies.
    async fn go_on(mut self, user: User, channel: i64, round: usize, count: Arc<AtomicUsize>) -> Self {
        for n in 0.. {
            if self.step(&user, channel, round, n).await.is_none() {
                break;
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        self
    }

    /// One message's life: posted, edited, reacted to; every third deleted; a file beside it.
    async fn step(&mut self, user: &User, channel: i64, round: usize, n: usize) -> Option<()> {
        use reqwest::Method;
        let text = format!("{} does {round}.{n}", user.id);
        self.cut_off = Some(text.clone());
        let posted = answer(post(user, channel, &text)).await?;
        self.cut_off = None;
        let id = posted["id"].as_i64().unwrap();
        self.known.push(Known {
            id,
            content: text.clone(),
            maybe: None,
            reacted: false,
            deleted: false,
            maybe_deleted: false,
        });
        let known = self.known.last_mut().unwrap();
        let edited = format!("{text}, edited");
        known.maybe = Some(edited.clone());
        let path = format!("/api/messages/{id}");
        answer(user.request(Method::PATCH, &path).json(&json!({ "content": edited }))).await?;
        (known.content, known.maybe) = (edited, None);
        let reaction = user.request(Method::POST, &format!("{path}/reactions"));
        answer(reaction.json(&json!({ "emoji": "👍" }))).await?;
        known.reacted = true;
        if n.is_multiple_of(3) {
            known.maybe_deleted = true;
            answer(user.request(Method::DELETE, &path)).await?;
            known.deleted = true;
        }
        let part = reqwest::multipart::Part::text(text.clone()).file_name("a.txt");
        let form = reqwest::multipart::Form::new().part("file", part);
        let kept = answer(user.request(Method::POST, "/api/files/upload").multipart(form)).await?;
        self.files.push((kept["id"].as_i64().unwrap(), text));
        Some(())
    }

    /// Compares what is known with what is there, and learns what came of what was cut off.
    async fn compare(&mut self, user: &User, channel: i64) {
        if let Some(text) = self.cut_off.take() {
            let posted = answer(post(user, channel, &text)).await.unwrap();
            self.known.push(Known {
                id: posted["id"].as_i64().unwrap(),
                content: text,
                maybe: None,
                reacted: false,
                deleted: false,
                maybe_deleted: false,
            });
        }
        for known in self.known.iter_mut().filter(|known| !known.deleted) {
            let found = user.get(&format!("/api/messages/{}", known.id)).await;
            if found.status == 404 && known.maybe_deleted {
                known.deleted = true;
                continue;
            }
            let found = found.expect(200);
            let content = found["content"].as_str().unwrap();
            assert!(
                content == known.content || known.maybe.as_deref() == Some(content),
                "{content:?} for {:?}",
                known.content
            );
            (known.content, known.maybe) = (content.to_owned(), None);
            if known.reacted {
                let expected = json!([{ "emoji": "👍", "count": 1, "me": true }]);
                assert_eq!(found["extensions"]["reactions"], expected, "{found:#}");
            }
            known.maybe_deleted = false;
        }
        for known in self.known.iter().filter(|known| known.deleted) {
            user.get(&format!("/api/messages/{}", known.id)).await.problem(404);
        }
        for (id, content) in &self.files {
            let found = user.get(&format!("/api/files/{id}/download")).await.expect(200);
            assert_eq!(found, json!(content));
        }
    }
}

fn post(user: &User, channel: i64, text: &str) -> reqwest::RequestBuilder {
    user.request(reqwest::Method::POST, &format!("/api/channels/{channel}/messages"))
        .header("idempotency-key", text)
        .json(&json!({ "content": text }))
}

#[tokio::test]
async fn edits_deletions_reactions_and_files_survive() {
    live_and_die(TestApp::start().await).await;
}

#[tokio::test]
async fn edits_deletions_reactions_and_files_on_postgres_survive() {
    let Some(app) = TestApp::start_on_postgres().await else { return };
    live_and_die(app).await;
}

async fn live_and_die(mut app: TestApp) {
    let root = app.user("root").await;
    let mut lives = Vec::new();
    for n in 0..4 {
        lives.push((app.user(&format!("user{n}")).await, Life::default()));
    }
    let members: Vec<_> = lives.iter().map(|(user, _)| user).collect();
    let channel = root.channel("general", &members).await;
    let mut seen = root.socket().await.seq;
    let mut heard = BTreeSet::new();
    // Odd moments, the same in each run.
    let mut odd = 12_345_usize;
    for round in 0..8 {
        odd = odd.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let count = Arc::new(AtomicUsize::new(0));
        let running: Vec<_> = lives
            .drain(..)
            .map(|(user, life)| {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let life = life.go_on(user.clone(), channel, round, count).await;
                    (user, life)
                })
            })
            .collect();
        while count.load(Ordering::Relaxed) < 1 + (odd >> 33) % 12 {
            tokio::task::yield_now().await;
        }
        app.kill().await;
        for task in running {
            lives.push(task.await.unwrap());
        }
        app.restart().await;
        for (user, life) in &mut lives {
            *user = user.at(&app.url);
            life.compare(user, channel).await;
        }
        let (answer, events) = root.at(&app.url).socket().await.resume(seen).await;
        assert_eq!(answer["type"], "resumed");
        seen = answer["data"]["seq"].as_i64().unwrap();
        for event in events {
            let about = event["data"]["message_id"].as_i64().or(event["data"]["id"].as_i64());
            assert!(heard.insert((event["seq"].as_i64().unwrap(), event["type"].to_string(), about)));
        }
    }
    for known in lives.iter().flat_map(|(_, life)| &life.known) {
        let told =
            |kind: &str| heard.iter().filter(|(_, k, id)| k.contains(kind) && *id == Some(known.id)).count();
        assert_eq!(told("message.created"), 1, "{}", known.id);
        assert_eq!(told("message.updated"), usize::from(known.content.ends_with("edited")), "{}", known.id);
        assert_eq!(told("message.deleted"), usize::from(known.deleted), "{}", known.id);
    }
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("all.tar");
    assert!(app.command("backup", &[archive.to_str().unwrap()]).await.status.success());
    let backup = patchbay_tests::Backup::read(&archive);
    let seqs: Vec<_> = backup.rows("events").iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    let head = backup.rows("journal_head")[0]["seq"].as_i64().unwrap();
    assert_eq!(seqs, (1..=head).collect::<Vec<_>>(), "the journal has no hole and no repeat");
}

#[tokio::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_nothing_else() {
    let mut app = TestApp::start_on_sqlite().await;
    app.expect_error("a write transaction failed and was undone");
    let ann = app.user("ann").await;
    let channel = ann.channel("general", &[]).await;
    let path = format!("/api/channels/{channel}/messages");
    let mut kept = vec![ann.say(channel, "before").await];
    let size = |name: &str| app.data().join(name).metadata().map_or(0, |about| about.len());
    let limit = size("patchbay.db").max(size("patchbay.db-wal")) + 200_000;
    for _ in 0..2 {
        app.limit_file_size(Some(limit)).await;
        let full = loop {
            let answer = ann.post(&path, &json!({ "content": "x".repeat(8000) })).await;
            match answer.status {
                201 => kept.push(answer.body["id"].as_i64().unwrap()),
                _ => break answer,
            }
        };
        assert!(full.headers.contains_key("retry-after"));
        assert_eq!(full.problem(503), "unavailable");
        let part = reqwest::multipart::Part::bytes(vec![7; 8 << 20]).file_name("a.bin");
        let form = reqwest::multipart::Form::new().part("file", part);
        let upload = ann.request(reqwest::Method::POST, "/api/files/upload").multipart(form);
        assert_eq!(ann.send(upload).await.problem(503), "unavailable");
        ann.get(&format!("{path}?limit=200")).await.expect(200);
        assert_eq!(app.anonymous().get("/readyz").await.status, 200, "it still serves whoever reads");
        // There is room again, and nobody has to restart anything.
        app.limit_file_size(None).await;
        kept.push(ann.say(channel, "there is room").await);
    }
    let page = ann.get(&format!("{path}?limit=200")).await.expect(200);
    let mut found: Vec<_> =
        page["items"].as_array().unwrap().iter().map(|message| message["id"].as_i64().unwrap()).collect();
    found.reverse();
    let newest = kept.len().saturating_sub(200);
    assert_eq!(found, kept[newest..], "what was refused is not there, and what was not is");
    assert!(app.stop().await);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(app.data().join("patchbay.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let whole: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(whole, "ok");
}

#[tokio::test]
async fn a_database_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("patchbay.db"),
        "this is no database, however one looks at it".repeat(200),
    )
    .unwrap();
    for name in ["serve", "migrate"] {
        let output =
            patchbay_tests::command(dir.path(), &["server.listen=127.0.0.1:0".into()], name, &[]).await;
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("patchbay.db") && text.contains("not a database"), "{text}");
    }
}
