//! Plugins in other languages and the projects that `patchbay plugin new` makes: their own tests, and a real server.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use patchbay_tests::{TestApp, User, Value, example, example_component, json, manifest, program, repacked};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{ChildStdout, Command},
};

/// Runs a project's own tests by its language's own test runner.
async fn its_own_tests(name: &str, runner: &[&str]) {
    let Some(directory) = example(name) else { return };
    let mut command = Command::new(runner[0]);
    command.args(&runner[1..]).current_dir(directory).env("PATCHBAY", program()).stdin(Stdio::null());
    let ran = command.kill_on_drop(true).output().await.unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn a_new_project_in_rust_passes_its_tests() {
    its_own_tests("my-rust", &["cargo", "test", "--quiet"]).await;
}

#[tokio::test]
async fn a_new_project_in_javascript_passes_its_tests() {
    its_own_tests("my-js", &["npm", "test"]).await;
}

#[tokio::test]
async fn a_new_project_in_python_passes_its_tests() {
    its_own_tests("my-python", &["python3", "-m", "unittest"]).await;
}

#[tokio::test]
async fn the_poll_passes_its_tests() {
    its_own_tests("poll", &["npm", "test"]).await;
}

#[tokio::test]
async fn unfurling_passes_its_tests() {
    its_own_tests("unfurl", &["python3", "-m", "unittest"]).await;
}

async fn type_command(user: &User, channel: i64, text: &str) -> Value {
    user.post("/api/commands", &json!({ "channel_id": channel, "text": text })).await.expect(200)
}

#[tokio::test]
async fn a_poll_moves_while_its_readers_look() {
    let Some(component) = example_component("poll") else { return };
    let mut app = TestApp::start().await;
    let (ann, bob, eve) = (app.user("ann").await, app.user("bob").await, app.user("eve").await);
    let installing = tokio::spawn({
        let ann = ann.clone();
        async move { ann.install_with_grants("poll", component).await }
    });
    // It is compiled meanwhile; nobody waits for that but who asked for it.
    let channel = ann.private_channel("general", &[&bob]).await;
    let mut others = 0;
    while !installing.is_finished() {
        ann.say(channel, "working").await;
        ann.get(&format!("/api/channels/{channel}/messages")).await.expect(200);
        others += 1;
    }
    installing.await.unwrap();
    assert!(others > 10, "{others} requests were served while it was compiled");

    let mut socket = bob.socket().await;
    type_command(&ann, channel, "/poll Lunch? | Pizza | Soup").await;
    let opened = socket.event("plugin.poll.opened").await;
    let message = opened["data"]["message_id"].as_i64().unwrap();
    let poll = format!("/api/plugins/poll/polls/{message}");
    bob.put(&format!("{poll}/vote"), &json!({ "answer": 2 })).await.expect(200);
    let results = socket.event("plugin.poll.results").await;
    assert_eq!(results["data"]["answers"][1], json!({ "text": "Soup", "votes": 1 }));
    assert_eq!(eve.get(&poll).await.problem(404), "message_not_found");

    ann.patch(
        "/api/admin/plugins/poll",
        &json!({ "limits": { "decorate_cpu_ms": 1000, "decorate_wall_ms": 5000 } }),
    )
    .await
    .expect(200);
    let list = bob.get(&format!("/api/channels/{channel}/messages?limit=1")).await.expect(200);
    let seen = &list["items"][0]["extensions"]["poll"];
    assert_eq!((&seen["question"], &seen["my_vote"]), (&json!("Lunch?"), &json!(2)), "{list:#}");

    // The next start finds it compiled.
    let compiled = compiled_in(app.data());
    assert!(app.stop().await);
    app.restart().await;
    let again = bob.at(&app.url).get(&poll).await.expect(200);
    assert_eq!(again["answers"][1]["votes"], 1);
    assert_eq!(compiled_in(app.data()), compiled, "nothing was written: nothing was compiled");
}

/// A data directory in which the plugins of this test's last run are compiled already.
fn with_compiled(name: &str) -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    copy(&kept(name), &data.path().join("cache/plugins"));
    data
}

fn keep_compiled(name: &str, data: &Path) {
    copy(&data.join("cache/plugins"), &kept(name));
}

fn kept(name: &str) -> PathBuf {
    example(name).unwrap().join("target/compiled")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The compiled plugins and when they were written.
fn compiled_in(data: &Path) -> Vec<(PathBuf, SystemTime)> {
    let entries = std::fs::read_dir(data.join("cache/plugins")).unwrap().map(Result::unwrap);
    let mut files: Vec<_> =
        entries.map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap())).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Where the page is: always the same, so that the component that names it is, too, and is found compiled.
const PAGE: &str = "127.77.7.7:7077";

/// A server with one page, who says how often it was asked.
async fn page() -> tokio::sync::watch::Receiver<u32> {
    let listener = TcpListener::bind(PAGE).await.unwrap();
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16 << 10]).await;
            let body = "<title>Ferris</title><meta name=description content='A crab.'>";
            let head = format!("content-type: text/html\r\ncontent-length: {}", body.len());
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
            count.send_modify(|count| *count += 1);
        }
    });
    counted
}

#[tokio::test]
async fn links_are_unfurled_from_hosts_that_are_allowed() {
    let Some(component) = example_component("unfurl") else { return };
    let counted = page().await;
    // The host of this test takes the place of one of those that the manifest would like to ask.
    let component = repacked(&component, &manifest(&component).replace("github.com", PAGE));
    let mut app = TestApp::start_in(with_compiled("unfurl")).await;
    assert!(app.stop().await);
    app.set(&["egress.allow_private=127.0.0.0/8"]);
    app.restart().await;
    let ann = app.user("ann").await;
    ann.install_with_grants("unfurl", component).await;
    keep_compiled("unfurl", app.data());
    let limits = json!({ "decorate_cpu_ms": 1000, "decorate_wall_ms": 5000 });
    ann.patch("/api/admin/plugins/unfurl", &json!({ "limits": limits })).await.expect(200);
    let channel = ann.channel("general", &[]).await;
    let bot = ann.id_of("unfurl").await;
    ann.post(&format!("/api/channels/{channel}/members"), &json!({ "user_id": bot })).await.expect(201);

    let mut socket = ann.socket().await;
    let message = ann.say(channel, &format!("http://{PAGE}/ferris and http://localhost:7077/")).await;
    let told = socket.event("plugin.unfurl.previewed").await;
    let preview =
        json!({ "url": format!("http://{PAGE}/ferris"), "title": "Ferris", "description": "A crab." });
    assert_eq!(told["data"], json!({ "message_id": message, "previews": [preview.clone()] }));
    assert_eq!(*counted.borrow(), 1, "the other host is not allowed");
    let read = ann.get(&format!("/api/messages/{message}")).await.expect(200);
    assert_eq!(read["extensions"]["unfurl"], json!([preview]), "{read:#}");
}

/// What `patchbay dev` prints, as it comes.
struct Printed(Lines<BufReader<ChildStdout>>);

impl Printed {
    async fn until(&mut self, what: &str) -> String {
        let look = async {
            loop {
                let line = self.0.next_line().await.unwrap().expect("it ended");
                if line.contains(what) {
                    return line;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(120), look)
            .await
            .unwrap_or_else(|_| panic!("it never says {what}"))
    }
}

/// A project whose build only copies one of two guests, so that it takes no compiler: `good`, or nothing at all.
fn project(directory: &Path, command: &str, version: &str) {
    let whoami = patchbay_tests::without_manifest(&patchbay_tests::guest("whoami"));
    std::fs::write(directory.join("made.wasm"), whoami).unwrap();
    let toml = manifest(&patchbay_tests::guest("whoami"));
    let toml = toml.replacen("version = \"0.1.0\"", &format!("version = \"{version}\""), 1);
    let build = format!("\n[build]\ncommand = \"{command}\"\ncomponent = \"target/made.wasm\"\n");
    std::fs::write(directory.join("plugin.toml"), toml + &build).unwrap();
}

#[tokio::test]
async fn dev_follows_sources_and_keeps_what_serves() {
    const COPY: &str = "mkdir -p target && cp made.wasm target";
    let directory = tempfile::tempdir().unwrap();
    let (plugin, data) = (directory.path().join("plugin"), directory.path().join("data"));
    std::fs::create_dir(&plugin).unwrap();
    project(&plugin, COPY, "0.1.0");
    let mut dev = Command::new(program());
    dev.arg("dev").arg(&plugin).arg("--data-dir").arg(&data).args(["--listen", "127.0.0.1:0"]);
    dev.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null()).kill_on_drop(true);
    let mut child = dev.spawn().unwrap();
    let mut printed = Printed(BufReader::new(child.stdout.take().unwrap()).lines());
    let url = printed.until("listens on").await;
    let url = url.split_whitespace().last().unwrap().to_owned();
    printed.until("whoami serves").await;

    let login = json!({ "username": "anna", "password": "correct horse" });
    let tokens = patchbay_tests::anonymous(&url).post("/api/auth/login", &login).await.expect(200);
    let anna = User::logged_in(&url, &tokens);
    let version = async || anna.get("/api/admin/plugins/whoami").await.expect(200)["version"].clone();
    assert_eq!(version().await, "0.1.0");

    project(&plugin, "exit 3", "0.2.0");
    printed.until("not built").await;
    assert_eq!(version().await, "0.1.0", "what can't be built changes nothing");
    project(&plugin, COPY, "0.3.0");
    printed.until("whoami serves").await;
    assert_eq!(version().await, "0.3.0");
}

#[tokio::test]
async fn dev_listens_on_this_machine_only() {
    let directory = tempfile::tempdir().unwrap();
    project(directory.path(), "true", "0.1.0");
    let mut dev = Command::new(program());
    dev.arg("dev").arg(directory.path()).args(["--listen", "0.0.0.0:0"]).kill_on_drop(true);
    let ran = tokio::time::timeout(Duration::from_secs(30), dev.output()).await.unwrap().unwrap();
    assert!(!ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stderr).contains("this machine only"));
}
