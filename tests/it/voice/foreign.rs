//! Voice with clients that nobody here wrote: Chromium, and aiortc.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use patchbay_tests::{TestApp, User, Value, aiortc, chromium, coturn, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

use super::{listed, room};

/// A browser takes a while to start on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: &str = include_str!("../../voice/page.html");

/// What the pages have said of themselves last, and what each is to do next.
#[derive(Default)]
struct Pages {
    reports: HashMap<String, Value>,
    orders: HashMap<String, Vec<Value>>,
}

/// The server of the page, by which pages report.
struct Desk {
    url: String,
    pages: Arc<Mutex<Pages>>,
}

impl Desk {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pages: Arc<Mutex<Pages>> = Arc::default();
        let shared = Arc::clone(&pages);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, pages }
    }

    /// Waits until a page's report is as wanted; the report.
    async fn report(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let report = self.pages.lock().unwrap().reports.get(name).cloned().unwrap_or_default();
                assert!(report["error"].is_null(), "{name}: {report:#}");
                if is_so(&report) {
                    return report;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let report = tokio::time::timeout(PATIENCE, wait).await;
        report.unwrap_or_else(|_| panic!("{name}, {what}: never; {:#?}", self.pages.lock().unwrap().reports))
    }

    fn order(&self, name: &str, kind: &str, data: Value) {
        let order = json!({ "type": kind, "data": data });
        self.pages.lock().unwrap().orders.entry(name.into()).or_default().push(order);
    }
}

/// One request on a connection: the page, or a report, which is answered by orders.
async fn serve(mut stream: TcpStream, pages: Arc<Mutex<Pages>>) -> Option<()> {
    let mut request = Vec::new();
    let (head, length) = loop {
        stream.read_buf(&mut request).await.ok().filter(|read| *read > 0)?;
        let text = String::from_utf8_lossy(&request);
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .and_then(|n| n.parse::<usize>().ok())
            });
            break (end + 4, length.unwrap_or(0));
        }
    };
    while request.len() < head + length {
        stream.read_buf(&mut request).await.ok().filter(|read| *read > 0)?;
    }
    let (kind, body) = if length == 0 {
        ("text/html", Bytes::from_static(PAGE.as_bytes()))
    } else {
        let report: Value = serde_json::from_slice(&request[head..]).ok()?;
        let name = report["name"].as_str()?.to_owned();
        let mut pages = pages.lock().unwrap();
        let orders = pages.orders.remove(&name).unwrap_or_default();
        pages.reports.insert(name, report);
        ("application/json", Bytes::from(Value::from(orders).to_string()))
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&body).await.ok()
}

struct Browser {
    _process: Child,
    _profile: TempDir,
}

/// A browser with a microphone that beeps, on the page, as this user.
fn browse(program: &Path, desk: &Desk, app: &TestApp, user: &User, name: &str, channel: i64) -> Browser {
    let profile = tempfile::tempdir().unwrap();
    let socket = app.url.replacen("http", "ws", 1);
    let page = format!("{}/#ws={socket}/ws/voice/{channel}&token={}&name={name}", desk.url, user.token);
    let process = Command::new(program)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])
        .args(["--autoplay-policy=no-user-gesture-required", "--allow-loopback-in-peer-connection"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(page)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    Browser { _process: process, _profile: profile }
}

/// The one stream in which something has been heard.
fn heard(report: &Value) -> Value {
    let streams = report["inbound"].as_array().cloned().unwrap_or_default();
    streams.into_iter().max_by_key(|stream| stream["packets"].as_u64()).unwrap_or_default()
}

fn packets(report: &Value) -> u64 {
    heard(report)["packets"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_hear_each_other() {
    let Some(program) = chromium() else { return };
    let app = TestApp::start().await;
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = room(&ann, "lounge", true).await;
    let desk = Desk::open().await;
    let _browsers =
        [("ann", &ann), ("bob", &bob)].map(|(name, user)| browse(&program, &desk, &app, user, name, channel));
    for name in ["ann", "bob"] {
        let report = desk.report(name, "hears", |report| packets(report) > 150).await;
        assert_eq!(report["connection"], "connected");
        let stream = heard(&report);
        assert_eq!(stream["codec"], "audio/opus");
        assert!(stream["energy"].as_f64().unwrap() > 0.01, "silence: {stream}");
        assert_eq!(stream["mid"], report["answer"]["mids"][0], "in the slot that was told");
        let spoke = |report: &Value| {
            let events = report["events"].as_array().unwrap();
            events.iter().any(|event| event["type"] == "speaking" && event["data"]["on"] == true)
        };
        desk.report(name, "is told who speaks", spoke).await;
    }
    // Muted: the other hears nothing more.
    desk.order("ann", "mute", json!({ "audio": true }));
    let is_muted = |report: &Value| {
        let events = report["events"].as_array().unwrap();
        events.iter().any(|event| event["type"] == "participant.updated" && event["data"]["muted"] == true)
    };
    let before = packets(&desk.report("bob", "sees the mute", is_muted).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = packets(&desk.report("bob", "still reports", |_| true).await);
    assert!(after - before < 40, "{} packets of somebody muted", after - before);
    // The other way it goes on, over an ICE restart too.
    desk.order("bob", "mute", json!({ "audio": false }));
    desk.order("ann", "restart", json!({}));
    let before = packets(&desk.report("ann", "reports", |_| true).await);
    desk.report("ann", "hears after an ICE restart", |report| packets(report) > before + 150).await;
    assert_eq!(listed(&ann, channel).await.len(), 2);
    // A tab that is closed is seen.
    desk.order("ann", "leave", json!({}));
    let has_left = |report: &Value| {
        report["events"].as_array().unwrap().iter().any(|event| event["type"] == "participant.left")
    };
    desk.report("bob", "sees that the other left", has_left).await;
    assert_eq!(listed(&ann, channel).await, [bob.id]);
}

/// Two clients of aiortc, each of which has to hear the other's tone.
async fn tones(python: &Path, app: &TestApp, more: &[&str]) {
    tones_at(python, app, &app.url, &[], more).await;
}

/// The same, with clients that reach the server at this URL, from where what stands before their command takes them.
pub async fn tones_at(python: &Path, app: &TestApp, url: &str, before: &[String], more: &[&str]) {
    let (ann, bob) = (app.user("ann").await, app.user("bob").await);
    let channel = room(&ann, "lounge", true).await;
    let socket = format!("{}/ws/voice/{channel}", url.replacen("http", "ws", 1));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("voice/client.py");
    let run = |user: &User, frequency: &str| {
        let mut words = before.iter().map(OsString::from).chain([python.into(), script.clone().into()]);
        Command::new(words.next().unwrap())
            .args(words)
            .args([&socket, &user.token, "40", frequency])
            .args(more)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut clients = [run(&ann, "440"), run(&bob, "880")];
    for client in &mut clients {
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let mut last = Value::Null;
        let hears = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                last = serde_json::from_str(&line).unwrap();
                let speaks = last["speaking"].as_array().unwrap().iter().any(|event| event["on"] == true);
                // The tone is a third of the full scale.
                if last["frames"].as_u64() > Some(50) && last["loudest"].as_u64() > Some(5_000) && speaks {
                    return true;
                }
            }
            false
        };
        let hears = tokio::time::timeout(PATIENCE, hears).await;
        assert_eq!(hears, Ok(true), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_aiortc_hear_each_other() {
    let Some(python) = aiortc() else { return };
    tones(&python, &TestApp::start().await, &[]).await;
}

/// As where no UDP gets out: clients reach a TURN server by TCP, with what this server gave them, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn clients_without_udp_go_through_a_turn_server() {
    let (Some(python), Some(coturn)) = (aiortc(), coturn()) else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = tempfile::tempdir().unwrap();
    let _turn = turn_server(&coturn, place.path(), "127.0.0.1", port);
    let turn = format!("voice.turn=turn:127.0.0.1:{port}?transport=tcp");
    let app = TestApp::start_with(&[&turn, "voice.turn_secret=north"]).await;
    tones(&python, &app, &["relay"]).await;
}

/// A TURN server that is reached by TCP, and shares the secret `north` with the server.
pub fn turn_server(coturn: &Path, place: &Path, ip: &str, port: u16) -> Child {
    Command::new(coturn)
        .args(["-n", "--allow-loopback-peers", "--no-cli", "--no-udp", "--no-tls", "--no-dtls"])
        .args(["--realm=example.org", "--log-file=stdout"])
        .args(["--use-auth-secret", "--static-auth-secret=north"])
        .args([format!("--listening-ip={ip}"), format!("--relay-ip={ip}")])
        .arg(format!("--listening-port={port}"))
        .arg(format!("--userdb={}", place.join("users").display()))
        .arg(format!("--pidfile={}", place.join("pid").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
