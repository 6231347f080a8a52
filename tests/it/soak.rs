//! Some minutes of 2,000 sockets that come and go while people talk and the server is killed. By name only:
//! `cargo xtask test soak --run-ignored only`.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use patchbay_tests::{TestApp, User, Value, eventually, json};
use reqwest::Method;
use tokio::{process::Command, sync::watch, task::JoinSet};
use tokio_tungstenite::{connect_async, tungstenite::Message};

const SOCKETS: usize = 2_000;
const USERS: usize = 40;
const CHANNELS: usize = 20;
/// Members of each channel.
const MEMBERS: usize = 10;
const TALKERS: usize = 6;
const DURATION: Duration = Duration::from_secs(180);
/// How long the server lives before it is killed.
const LIFE: Duration = Duration::from_secs(25);

/// Messages by channel and id.
type View = BTreeMap<i64, BTreeMap<i64, String>>;

/// Numbers that look random and are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What everybody shares.
#[derive(Clone)]
struct World {
    url: watch::Receiver<String>,
    /// Nobody says anything any more.
    quiet: Arc<AtomicBool>,
    /// Clients come once more, to see the rest.
    over: Arc<AtomicBool>,
    /// Clients that have been here.
    here: Arc<AtomicUsize>,
    connects: Arc<AtomicUsize>,
    events: Arc<AtomicUsize>,
}

impl World {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    fn url(&self) -> String {
        self.url.borrow().clone()
    }
}

/// Somebody with a socket that is open now and then.
struct Client {
    user: User,
    channels: Vec<i64>,
    /// The last event that was seen; none before the first `hello`.
    seen: Option<i64>,
    view: View,
    dice: Dice,
}

impl Client {
    async fn live(mut self, world: World) -> Self {
        while !world.is_over() {
            let until = Instant::now() + Duration::from_millis(3_000 + self.dice.below(30_000));
            // Whatever ends the connection, it may come again.
            let _ = self.connect(&world, until, false).await;
            tokio::time::sleep(Duration::from_millis(200 + self.dice.below(12_000))).await;
        }
        // The last time nothing may end it before it has seen everything.
        for _ in 0..20 {
            let until = Instant::now() + Duration::from_secs(60);
            if self.connect(&world, until, true).await == Some(()) {
                return self;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("a client could not catch up");
    }

    /// Listens for a while, or until all that was missed has come; none if the connection ends before.
    async fn connect(&mut self, world: &World, until: Instant, only_catches_up: bool) -> Option<()> {
        let address = format!("{}/ws/chat", world.url().replacen("http", "ws", 1));
        let (mut socket, _) = connect_async(address).await.ok()?;
        let authenticate = json!({ "type": "authenticate", "data": { "token": self.user.token } });
        socket.send(Message::text(authenticate.to_string())).await.ok()?;
        world.connects.fetch_add(1, Ordering::Relaxed);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let Ok(received) = tokio::time::timeout(left, socket.next()).await else { break };
            let Message::Text(text) = received?.ok()? else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            match frame["type"].as_str().unwrap() {
                "hello" => {
                    let Some(seen) = self.seen else {
                        self.seen = frame["data"]["seq"].as_i64();
                        world.here.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let resume = json!({ "type": "resume", "id": 1, "data": { "seq": seen } });
                    socket.send(Message::text(resume.to_string())).await.ok()?;
                    if self.dice.below(60) == 0 && !world.is_quiet() {
                        socket.send(Message::text(self.something().to_string())).await.ok()?;
                    }
                }
                "resumed" if only_catches_up => return Some(()),
                "resync" => panic!("nothing was pruned: {frame}"),
                _ => {
                    if self.take(&frame).is_break() {
                        world.events.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        None
    }

    fn something(&mut self) -> Value {
        let channel = self.channels[usize::try_from(self.dice.below(self.channels.len() as u64)).unwrap()];
        let content = format!("by socket {}", self.dice.below(1 << 40));
        json!({ "type": "message.send", "id": 2, "data": { "channel_id": channel, "content": content } })
    }

    /// Applies an event; breaks if it was one.
    fn take(&mut self, frame: &Value) -> ControlFlow<()> {
        let Some(seq) = frame["seq"].as_i64() else { return ControlFlow::Continue(()) };
        let before = self.seen.replace(seq).expect("an event before hello");
        assert!(seq > before, "seq went from {before} to {seq}");
        let data = &frame["data"];
        let (channel, id) = (data["channel_id"].as_i64().unwrap_or(0), data["id"].as_i64().unwrap_or(0));
        let content = || data["content"].as_str().unwrap().to_owned();
        let messages = self.view.entry(channel).or_default();
        match frame["type"].as_str().unwrap() {
            "message.created" => assert_eq!(messages.insert(id, content()), None, "twice: {frame}"),
            "message.updated" => assert!(messages.insert(id, content()).is_some(), "not created: {frame}"),
            "read.updated" => {}
            "message.deleted" => assert!(messages.remove(&id).is_some(), "not created: {frame}"),
            other => panic!("nobody does {other}"),
        }
        ControlFlow::Break(())
    }
}

/// Sends a request until the server has answered it, however often it is killed meanwhile.
async fn insist(
    world: &World,
    user: &User,
    method: &Method,
    path: &str,
    key: &str,
    body: &Value,
) -> (u16, Value) {
    loop {
        let user = user.at(&world.url());
        let request = user.request(method.clone(), path).header("idempotency-key", key).json(body);
        let answer = async {
            let response = request.send().await.ok()?;
            let status = response.status().as_u16();
            let text = response.text().await.ok()?;
            Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
        };
        match answer.await {
            Some((status, body)) if status != 503 => return (status, body),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Says, corrects and withdraws things; what is to be found in the end.
async fn talk(world: World, user: User, channels: Vec<i64>, mut dice: Dice) -> View {
    let mut said = View::new();
    let mut mine: Vec<(i64, i64)> = Vec::new();
    for n in 0.. {
        if world.is_quiet() {
            break;
        }
        let key = format!("{} {n}", user.id);
        let content = format!("{} says {n}", user.id);
        let at = usize::try_from(dice.below(1 << 30)).unwrap();
        match dice.below(10) {
            0 if !mine.is_empty() => {
                let (channel, id) = mine.swap_remove(at % mine.len());
                let path = format!("/api/messages/{id}");
                let (status, answer) = insist(&world, &user, &Method::DELETE, &path, &key, &json!({})).await;
                // 404 if the first attempt was carried out and its answer lost.
                assert!([204, 404].contains(&status), "{status} {answer}");
                said.entry(channel).or_default().remove(&id);
            }
            1 | 2 if !mine.is_empty() => {
                let (channel, id) = mine[at % mine.len()];
                let (path, body) = (format!("/api/messages/{id}"), json!({ "content": content }));
                let (status, answer) = insist(&world, &user, &Method::PATCH, &path, &key, &body).await;
                assert_eq!(status, 200, "{answer}");
                said.entry(channel).or_default().insert(id, content);
            }
            _ => {
                let channel = channels[at % channels.len()];
                let (path, body) =
                    (format!("/api/channels/{channel}/messages"), json!({ "content": content }));
                let (status, answer) = insist(&world, &user, &Method::POST, &path, &key, &body).await;
                assert!([200, 201].contains(&status), "{status} {answer}");
                let id = answer["id"].as_i64().unwrap();
                mine.push((channel, id));
                said.entry(channel).or_default().insert(id, content);
            }
        }
        tokio::time::sleep(Duration::from_millis(300 + dice.below(600))).await;
    }
    said
}

async fn fetch(user: &User, channel: i64) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    let mut query = "limit=200".to_owned();
    loop {
        let page = user.get(&format!("/api/channels/{channel}/messages?{query}")).await.expect(200);
        for message in page["items"].as_array().unwrap() {
            let content = message["content"].as_str().unwrap().to_owned();
            found.insert(message["id"].as_i64().unwrap(), content);
        }
        if page["has_more"] == false {
            return found;
        }
        query = format!("limit=200&before={}", found.keys().next().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask test soak --run-ignored only"]
async fn whatever_happens_each_view_equals_the_database() {
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--nofile=8192"]).status().await.unwrap();
    assert!(raised.success(), "2,000 sockets need as many open files");
    let mut app = TestApp::start().await;
    let mut users = Vec::new();
    for n in 0..USERS {
        users.push(app.user(&format!("user{n}")).await);
    }
    let mut channels_of = vec![Vec::new(); USERS];
    let mut member_of = BTreeMap::new();
    for n in 0..CHANNELS {
        let members: Vec<usize> = (0..MEMBERS).map(|m| (n * 7 + m * 3) % USERS).collect();
        let others: Vec<&User> = members[1..].iter().map(|m| &users[*m]).collect();
        let channel = users[members[0]].private_channel(&format!("channel{n}"), &others).await;
        members.iter().for_each(|m| channels_of[*m].push(channel));
        member_of.insert(channel, users[members[0]].clone());
    }
    let (urls, url) = watch::channel(app.url.clone());
    let world = World {
        url,
        quiet: Arc::default(),
        over: Arc::default(),
        here: Arc::default(),
        connects: Arc::default(),
        events: Arc::default(),
    };
    let mut clients = JoinSet::new();
    for n in 0..SOCKETS {
        let (user, channels) = (users[n % USERS].clone(), channels_of[n % USERS].clone());
        let dice = Dice(n as u64 + 1);
        let view = View::new();
        clients.spawn(Client { user, channels, seen: None, view, dice }.live(world.clone()));
    }
    // Nobody has said anything yet: each client knows all there is once it has been here.
    eventually("every client has been here", || world.here.load(Ordering::Relaxed) == SOCKETS).await;
    let mut talkers = JoinSet::new();
    for n in 0..TALKERS {
        talkers.spawn(talk(world.clone(), users[n].clone(), channels_of[n].clone(), Dice(n as u64 + 77)));
    }
    let started = Instant::now();
    let mut kills = 0;
    while started.elapsed() < DURATION {
        tokio::time::sleep(LIFE).await;
        app.kill().await;
        app.restart().await;
        kills += 1;
        urls.send_replace(app.url.clone());
    }
    world.quiet.store(true, Ordering::Relaxed);
    let mut said = View::new();
    for one in talkers.join_all().await {
        for (channel, messages) in one {
            said.entry(channel).or_default().extend(messages);
        }
    }
    // What the last socket has said may still be on its way.
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.over.store(true, Ordering::Relaxed);
    let clients = clients.join_all().await;
    let mut stored = View::new();
    for (channel, member) in member_of {
        stored.insert(channel, fetch(&member.at(&app.url), channel).await);
    }
    for (channel, messages) in said {
        for (id, content) in messages {
            assert_eq!(stored[&channel].get(&id), Some(&content), "acknowledged");
        }
    }
    let mut compared = 0;
    for client in &clients {
        for channel in &client.channels {
            assert_eq!(client.view.get(channel).unwrap_or(&BTreeMap::new()), &stored[channel]);
            compared += stored[channel].len();
        }
    }
    assert!(compared > SOCKETS, "something has been said");
    eprintln!(
        "{kills} kills, {} connections, {} events, {} messages at the end, {compared} compared",
        world.connects.load(Ordering::Relaxed),
        world.events.load(Ordering::Relaxed),
        stored.values().map(BTreeMap::len).sum::<usize>(),
    );
}
