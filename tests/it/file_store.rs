//! Where the bytes of files are: large ones, in a directory and on S3, and a store that is away or broken.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use patchbay_tests::{Answer, S3, TestApp, User, eventually, files_below, json, program};
use reqwest::{
    Body, Method,
    multipart::{Form, Part},
};
use sha2::{Digest, Sha256};
use tokio::process::Command;

const MIB: usize = 1024 * 1024;
/// How long a server may take to find a store that has come back.
const RECOVERY: Duration = Duration::from_secs(60);

async fn on_s3(s3: &S3, more: &[&str]) -> TestApp {
    let settings = s3.settings();
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    TestApp::start_with(&settings).await
}

/// Bytes that no two places of which are alike.
fn varied(len: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(len).collect()
}

async fn range(user: &User, path: &str, range: &str) -> (u16, Vec<u8>) {
    let response = user.request(Method::GET, path).header("range", range).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

/// What the server process has had in memory at most since [`forget_peak`], in bytes.
#[cfg(target_os = "linux")]
fn memory(app: &TestApp, of: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}

/// proc_pid_clear_refs(5): the peak is the present size again.
#[cfg(target_os = "linux")]
fn forget_peak(app: &TestApp) {
    std::fs::write(format!("/proc/{}/clear_refs", app.pid()), "5").unwrap();
}

/// Uploads and downloads `mib` MiB; the server's memory may grow by 64 MiB at most meanwhile.
#[cfg(target_os = "linux")]
async fn goes_through_in_constant_memory(app: &TestApp, mib: usize) {
    let ann = app.user("ann").await;
    // What is allocated once is not what is measured.
    let small = ann.upload("small.bin", "application/octet-stream", varied(8 * MIB)).await.expect(201);
    ann.bytes(small["download_url"].as_str().unwrap()).await;
    forget_peak(app);
    let before = memory(app, "VmRSS:");
    let chunk = Bytes::from(varied(MIB));
    let sent = chunk.clone();
    let body = Body::wrap_stream(futures_util::stream::iter(
        (0..mib).map(move |_| Ok::<_, std::io::Error>(sent.clone())),
    ));
    let part = Part::stream_with_length(body, (mib * MIB) as u64).file_name("big.bin");
    let request = ann.request(Method::POST, "/api/files/upload").multipart(Form::new().part("file", part));
    let file = ann.send(request).await.expect(201);
    assert_eq!(file["file_size"], mib * MIB);
    let response = ann.request(Method::GET, file["download_url"].as_str().unwrap()).send().await.unwrap();
    let etag = response.headers()["etag"].to_str().unwrap().trim_matches('"').to_owned();
    let (mut received, mut content) = (Sha256::new(), response.bytes_stream());
    while let Some(bytes) = content.next().await {
        received.update(bytes.unwrap());
    }
    let mut expected = Sha256::new();
    (0..mib).for_each(|_| expected.update(&chunk));
    let hex = |hash: Sha256| hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = hex(expected);
    assert_eq!((hex(received), etag), (expected.clone(), expected));
    let grown = memory(app, "VmHWM:").saturating_sub(before);
    assert!(grown < 64 * MIB, "the server's memory grew by {} MiB", grown / MIB);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_gibibyte_passes_through_64_mebibytes() {
    let app = TestApp::start().await;
    goes_through_in_constant_memory(&app, 1024).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn so_does_a_large_file_on_its_way_to_s3() {
    let s3 = S3::start();
    let app = on_s3(&s3, &[]).await;
    goes_through_in_constant_memory(&app, 192).await;
}

#[tokio::test]
async fn files_live_on_s3() {
    let s3 = S3::start();
    let app = on_s3(&s3, &["files.max_size=20MiB"]).await;
    let ann = app.user("ann").await;
    // One request, exactly one part, several parts.
    for (n, len) in [0, 11, 5 * MIB, 5 * MIB + 1, 12 * MIB].into_iter().enumerate() {
        let bytes = varied(len);
        let file = ann.upload("a.bin", "application/octet-stream", bytes.clone()).await.expect(201);
        assert_eq!(file["file_size"], len);
        let url = file["download_url"].as_str().unwrap().to_owned();
        assert!(ann.bytes(&url).await == bytes, "{len}");
        if len > 10 {
            let (from, to) = (len - 9, len - 4);
            assert_eq!(
                range(&ann, &url, &format!("bytes={from}-{to}")).await,
                (206, bytes[from..=to].to_vec())
            );
        }
        assert_eq!((s3.objects().len(), s3.unfinished().len()), (n + 1, 0));
    }
    assert!(s3.objects().iter().all(|path| path.to_str().unwrap().contains("/prefix/")));
    let answer = ann.upload("b.bin", "application/octet-stream", varied(20 * MIB + 1)).await;
    assert_eq!(answer.problem(413), "too_large");
    assert_eq!((s3.objects().len(), s3.unfinished().len()), (5, 0), "nothing is left of what was refused");
    for id in 1..=5 {
        ann.delete(&format!("/api/files/{id}")).await.expect(204);
    }
    eventually("the bucket is empty", || s3.objects().is_empty()).await;
    assert!(!app.data().join("files").exists(), "nothing is kept here");
}

/// Begins to upload, sends 12 MiB, and says nothing more. The answer comes when `dropped` is dropped.
fn begin_upload(user: &User) -> (tokio::task::JoinHandle<()>, tokio::sync::oneshot::Sender<()>) {
    let (dropped, wait) = tokio::sync::oneshot::channel::<()>();
    let chunks = futures_util::stream::iter(
        (0..12).map(|_| Ok::<_, std::io::Error>(Bytes::from(varied(MIB)))),
    )
    .chain(futures_util::stream::once(async move {
        let _ = wait.await;
        Err(std::io::Error::other("the client breaks off"))
    }));
    let part = Part::stream(Body::wrap_stream(chunks)).file_name("cut.bin");
    let request = user.request(Method::POST, "/api/files/upload").multipart(Form::new().part("file", part));
    let sending = tokio::spawn(async move {
        assert!(request.send().await.is_err());
    });
    (sending, dropped)
}

#[tokio::test]
async fn uploads_that_break_off_leave_nothing_on_s3() {
    let s3 = S3::start();
    let mut app = on_s3(&s3, &[]).await;
    let ann = app.user("ann").await;
    // The client hangs up.
    let (sending, dropped) = begin_upload(&ann);
    eventually("parts are there", || s3.unfinished().len() > 1).await;
    drop(dropped);
    sending.await.unwrap();
    eventually("the parts are gone", || s3.unfinished().is_empty()).await;
    // The server is killed.
    let (sending, _dropped) = begin_upload(&ann);
    eventually("parts are there", || s3.unfinished().len() > 2).await;
    app.kill().await;
    sending.await.unwrap();
    assert!(!s3.unfinished().is_empty());
    app.restart().await;
    eventually("the parts are gone", || s3.unfinished().is_empty()).await;
    assert!(s3.objects().is_empty());
    assert_eq!(ann.at(&app.url).get("/api/files/2").await.problem(404), "file_not_found");
}

fn assert_unavailable(answer: Answer) {
    assert!(answer.headers.contains_key("retry-after"), "{:#}", answer.body);
    assert_eq!(answer.problem(503), "unavailable");
}

/// Asks until the answer has this status, or another than 503.
async fn until(status: u16, ask: impl AsyncFn() -> Answer) -> Answer {
    let deadline = Instant::now() + RECOVERY;
    loop {
        let answer = ask().await;
        if answer.status != 503 || Instant::now() > deadline {
            assert_eq!(answer.status, status, "{:#}", answer.body);
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn s3_goes_away_and_comes_back() {
    let s3 = S3::start();
    let app = on_s3(&s3, &[]).await;
    let ann = app.user("ann").await;
    let kept = ann.upload("kept.bin", "application/octet-stream", varied(MIB)).await.expect(201);
    let gone = ann.upload("gone.bin", "application/octet-stream", varied(MIB)).await.expect(201);
    let (sending, dropped) = begin_upload(&ann);
    eventually("parts are there", || s3.unfinished().len() > 1).await;
    s3.stop();
    assert_unavailable(ann.upload("no.bin", "application/octet-stream", "x").await);
    let download = kept["download_url"].as_str().unwrap();
    assert_unavailable(ann.get(download).await);
    ann.get("/api/files/1").await.expect(200);
    // The row goes now, the bytes when they can.
    ann.delete(&format!("/api/files/{}", gone["id"])).await.expect(204);
    ann.channel("general", &[]).await;
    drop(dropped);
    sending.await.unwrap();
    assert_eq!(s3.objects().len(), 2);
    s3.start_again();
    let again = until(201, async || ann.upload("yes.bin", "application/octet-stream", "x").await).await;
    assert_eq!(ann.bytes(download).await, varied(MIB));
    eventually("what is nobody's is gone", || s3.objects().len() == 2 && s3.unfinished().is_empty()).await;
    ann.get(&format!("/api/files/{}", again.body["id"])).await.expect(200);
    assert_eq!(ann.get(&format!("/api/files/{}", gone["id"])).await.problem(404), "file_not_found");
}

/// Tries to start a server, which must fail or do no more than what it is asked; its exit code, and what it said.
async fn try_to_start(command: &str, settings: &[String]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Command::new(program());
    server.arg(command).current_dir(directory.path()).env_clear().kill_on_drop(true);
    server.args(settings.iter().flat_map(|setting| ["--set", setting]));
    server.args(["--set", "server.listen=127.0.0.1:0"]);
    let output = tokio::time::timeout(RECOVERY, server.output()).await.expect("it serves").unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test]
async fn a_wrong_setting_of_s3_is_told_at_start() {
    let s3 = S3::start();
    let with = |name: &str, value: &str| {
        let mut settings = s3.settings();
        settings.retain(|setting| !setting.starts_with(&format!("{name}=")));
        settings.push(format!("{name}={value}"));
        settings
    };
    for (settings, why) in [
        (with("files.url", "s3://elsewhere"), "can't be used"),
        (with("files.secret_key", "guessed"), "can't be used"),
    ] {
        let (code, said) = try_to_start("serve", &settings).await;
        assert!(code == Some(1) && said.contains("files: ") && said.contains(why), "{settings:?}: {said}");
        assert!(!said.contains("guessed") && !said.contains("not a secret"), "{said}");
        assert_eq!(try_to_start("check-config", &settings).await.0, Some(0), "only asking would tell");
    }
    for (settings, why) in [
        (with("files.secret_key", ""), "SecretAccessKey"),
        (with("files.url", "ftp://chat"), "s3://BUCKET"),
        (with("files.endpoint", "nowhere"), "http://HOST"),
    ] {
        let (code, said) = try_to_start("check-config", &settings).await;
        assert!(code != Some(0) && said.to_lowercase().contains(&why.to_lowercase()), "{settings:?}: {said}");
    }
    let (_, shown) = try_to_start("config", &s3.settings()).await;
    assert!(shown.contains("files.secret_key = \"***\"") && !shown.contains("not a secret"), "{shown}");
}

#[tokio::test]
async fn a_server_starts_without_its_store_and_finds_it() {
    let s3 = S3::start();
    s3.stop();
    let app = on_s3(&s3, &[]).await;
    let ann = app.user("ann").await;
    assert_unavailable(ann.upload("a.bin", "application/octet-stream", "x").await);
    s3.start_again();
    until(201, async || ann.upload("a.bin", "application/octet-stream", "x").await).await;
}

#[tokio::test]
async fn a_directory_that_breaks_is_told_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("files");
    let app = TestApp::start_with(&[&format!("files.url=file:{}", files.display())]).await;
    let ann = app.user("ann").await;
    let file = ann.upload("a.bin", "application/octet-stream", varied(3 * MIB)).await.expect(201);
    let url = file["download_url"].as_str().unwrap();
    // Root may write where nobody may; nobody can write into a file.
    let away = directory.path().join("away");
    std::fs::rename(&files, &away).unwrap();
    std::fs::write(&files, "in the way").unwrap();
    for bytes in [varied(10), varied(3 * MIB)] {
        assert_unavailable(ann.upload("b.bin", "application/octet-stream", bytes).await);
    }
    assert_unavailable(ann.get(url).await);
    ann.delete("/api/files/1").await.expect(204);
    std::fs::remove_file(&files).unwrap();
    std::fs::rename(&away, &files).unwrap();
    until(201, async || ann.upload("c.bin", "application/octet-stream", "x").await).await;
    eventually("what is nobody's is gone", || files_below(&files).len() == 1).await;
    let in_the_way = directory.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let (code, said) = try_to_start("serve", &[format!("files.url=file:{}", in_the_way.display())]).await;
    assert!(code == Some(1) && said.contains("files: "), "{said}");
    let again = ann.post("/api/channels", &json!({ "name": "general" })).await;
    again.expect(201);
}

/// A file system of that many bytes on which only files are kept, if this machine lets us have one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "patchbay-test"]).arg(directory.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        #[allow(clippy::disallowed_methods)] // Tests have no settings but this one.
        let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
        assert!(!ci, "a small file system can't be mounted, and nothing may be skipped here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_broken() {
    let Some(disk) = SmallDisk::new(8 * MIB) else {
        eprintln!("SKIPPED: this user may not mount a small file system");
        return;
    };
    let app = TestApp::start_with(&[&format!("files.url=file:{}", disk.0.path().display())]).await;
    let ann = app.user("ann").await;
    let first = ann.upload("a.bin", "application/octet-stream", varied(5 * MIB)).await.expect(201);
    assert_unavailable(ann.upload("b.bin", "application/octet-stream", varied(5 * MIB)).await);
    assert_eq!(ann.bytes(first["download_url"].as_str().unwrap()).await, varied(5 * MIB));
    assert_eq!(files_below(disk.0.path()).len(), 1);
    ann.delete(&format!("/api/files/{}", first["id"])).await.expect(204);
    until(201, async || ann.upload("c.bin", "application/octet-stream", varied(5 * MIB)).await).await;
}
