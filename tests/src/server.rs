//! The server under test, as a process.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::{NameServer, User, postgres};

const START: Duration = Duration::from_secs(120);

/// A running server and its data.
pub struct TestApp {
    child: Child,
    data: TempDir,
    settings: Vec<String>,
    around: Around,
    log: Arc<Mutex<Vec<String>>>,
    printed: watch::Receiver<Vec<String>>,
    expected: Mutex<Vec<String>>,
    database: Option<postgres::Database>,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

/// What a server finds around it, other than this machine has it.
#[derive(Default)]
struct Around {
    /// See [`NameServer`].
    etc: Option<PathBuf>,
    /// The certificates of those whom it trusts to sign others.
    trusted: Option<PathBuf>,
}

/// The directory of the build that this test belongs to.
pub(crate) fn build_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().find(|path| path.ends_with("deps")).unwrap().parent().unwrap().to_owned()
}

/// The server's program.
pub fn program() -> PathBuf {
    let program = build_dir().join("patchbay");
    assert!(program.is_file(), "{} is missing: run the tests by `cargo xtask test`", program.display());
    program
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| {
        panic!("{}: {error}: run the tests by `cargo xtask test`", path.display());
    })
}

/// The component of a guest in `tests/guests`.
pub fn guest(name: &str) -> Vec<u8> {
    read(&build_dir().parent().unwrap().join("test-guests").join(format!("{name}.wasm")))
}

/// The component of a bundled plugin.
pub fn component(name: &str) -> Vec<u8> {
    read(&build_dir().parent().unwrap().join("plugins").join(format!("{name}.wasm")))
}

/// Runs a command of the program on a deployment: its data directory and settings, `NAME=VALUE`.
pub async fn command(data: &Path, settings: &[String], name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg(name).args(arguments).arg("--data-dir").arg(data);
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
}

impl TestApp {
    /// A server with default settings, rates unlimited.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with these settings, `NAME=VALUE`. Its database is a file; if `TEST_DATABASE=postgres` is set
    /// for the tests, it is on PostgreSQL.
    pub async fn start_with(settings: &[&str]) -> Self {
        #[allow(clippy::disallowed_methods)] // Tests have no settings of their own.
        let on_postgres = std::env::var("TEST_DATABASE").is_ok_and(|name| name == "postgres");
        let database = if on_postgres { postgres::database().await } else { None };
        Self::launch(tempfile::tempdir().unwrap(), settings, database).await
    }

    /// A server with default settings whose database is a file.
    pub async fn start_on_sqlite() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// A server on a deployment that has just been restored from this file.
    pub async fn restored(archive: &Path, database: Option<postgres::Database>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let settings: Vec<_> =
            database.iter().map(|database| format!("database.url={}", database.url)).collect();
        let output = command(data.path(), &settings, "restore", &[archive.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self::launch(data, &[], database).await
    }

    /// A server on a deployment that is there already, its database a file.
    pub async fn start_in(data: TempDir) -> Self {
        Self::launch(data, &[], None).await
    }

    /// A server that has made its own data up.
    pub async fn start_as_demo() -> Self {
        Self::launch(tempfile::tempdir().unwrap(), &["--demo"], None).await
    }

    /// A server with default settings whose data directory is somewhere below this one.
    pub async fn start_below(parent: &Path) -> Self {
        Self::launch(tempfile::tempdir_in(parent).unwrap(), &[], None).await
    }

    /// A server with these settings that asks this server for the addresses of names.
    pub async fn start_with_names(names: &NameServer, settings: &[&str]) -> Self {
        let around = Around { etc: Some(names.etc().to_owned()), ..Around::default() };
        Self::launch_in(around, tempfile::tempdir().unwrap(), settings, None).await
    }

    /// A server with these settings that trusts whom this authority trusts, and nobody else.
    pub async fn start_trusting(authority: &postgres::Authority, settings: &[&str]) -> Self {
        let around = Around { trusted: Some(authority.certificate().to_owned()), ..Around::default() };
        Self::launch_in(around, tempfile::tempdir().unwrap(), settings, None).await
    }

    async fn launch(data: TempDir, settings: &[&str], database: Option<postgres::Database>) -> Self {
        Self::launch_in(Around::default(), data, settings, database).await
    }

    async fn launch_in(
        around: Around,
        data: TempDir,
        settings: &[&str],
        database: Option<postgres::Database>,
    ) -> Self {
        let mut settings: Vec<String> =
            ["limits.rate=off", "voice.udp_port=0"].iter().chain(settings).map(|s| (*s).to_owned()).collect();
        settings.extend(database.as_ref().map(|database| format!("database.url={}", database.url)));
        let log = Arc::default();
        let (child, url, printed) = launch(data.path(), &settings, &around, &log).await;
        Self { child, data, settings, around, log, printed, expected: Mutex::default(), database, url }
    }

    /// A server with default settings on a PostgreSQL database. None where PostgreSQL is not installed, see
    /// [`postgres::database`].
    pub async fn start_on_postgres() -> Option<Self> {
        Some(Self::start_on(postgres::database().await?).await)
    }

    /// A server with default settings on this database.
    pub async fn start_on(database: postgres::Database) -> Self {
        Self::launch(tempfile::tempdir().unwrap(), &[], Some(database)).await
    }

    /// A server with these settings on this database.
    pub async fn start_on_with(database: postgres::Database, settings: &[&str]) -> Self {
        Self::launch(tempfile::tempdir().unwrap(), settings, Some(database)).await
    }

    /// The PostgreSQL database.
    pub fn database(&self) -> &postgres::Database {
        self.database.as_ref().expect("this server keeps its data in a file")
    }

    /// The id of the server's process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Bytes of memory that the server uses.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// From now on no file of the server's grows beyond this many bytes, as on a disk that is full; none: they may
    /// again.
    pub async fn limit_file_size(&self, bytes: Option<u64>) {
        let pid = self.pid().to_string();
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let limit = format!("--fsize={limit}:unlimited");
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().await.unwrap().success());
    }

    /// Runs another command of the program on this server's deployment.
    pub async fn command(&self, name: &str, arguments: &[&str]) -> Output {
        command(self.data.path(), &self.settings, name, arguments).await
    }

    /// Runs the server's program on the same data and settings, with a command like `user list`; `input` is its
    /// standard input.
    pub async fn run(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = Command::new(program());
        command.args(arguments).arg("--data-dir").arg(self.data.path());
        for setting in &self.settings {
            command.arg("--set").arg(setting);
        }
        run(command, input).await
    }

    /// The URL of the PostgreSQL database, if it is one.
    pub fn database_url(&self) -> Option<&str> {
        self.database.as_ref().map(|database| database.url.as_str())
    }

    /// Runs statements on the server's database, behind its back.
    pub async fn sql(&self, sql: &'static str) {
        if let Some(database) = &self.database {
            database.run(sql).await;
            return;
        }
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.data.path().join("patchbay.db"));
        let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        sqlx::Connection::close(connection).await.unwrap();
    }

    /// Other settings from the next start on.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings.extend(settings.iter().map(|setting| (*setting).to_owned()));
    }

    /// Takes a setting back, from the next start on.
    pub fn unset(&mut self, name: &str) {
        self.settings.retain(|setting| setting.split_once('=').is_none_or(|(set, _)| set != name));
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts the server again on the same data, at another port.
    pub async fn restart(&mut self) {
        let (child, url, printed) = launch(self.data.path(), &self.settings, &self.around, &self.log).await;
        self.child = child;
        self.printed = printed;
        self.url = url;
    }

    /// Asks the server to stop, and waits until it has; whether it ended well.
    pub async fn stop(&mut self) -> bool {
        self.ask_to_stop().await;
        self.ended().await
    }

    /// Asks the server to stop.
    pub async fn ask_to_stop(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Waits until a server that was asked to has stopped; whether it ended well.
    pub async fn ended(&mut self) -> bool {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        ended.expect("the server did not stop").unwrap().success()
    }

    /// Waits until the server's directory of files holds this many, and fails if it never does.
    pub async fn files_kept(&self, number: usize) {
        let directory = self.data().join("files");
        eventually("the number of files is right", || crate::files_below(&directory).len() == number).await;
    }

    /// The directory of the server's data.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The token by which the first superuser can register from anywhere, as the server prints it.
    pub async fn bootstrap_token(&self) -> String {
        self.printed(|line| {
            Some(line.split_once("\"bootstrap_token\": \"")?.1.trim_end_matches('"').to_owned())
        })
        .await
    }

    /// What the server says of this on standard output when it starts.
    pub async fn said(&self, what: &str) -> String {
        self.printed(|line| Some(line.trim().strip_prefix(what)?.trim().to_owned())).await
    }

    async fn printed(&self, find: impl Fn(&str) -> Option<String>) -> String {
        let mut printed = self.printed.clone();
        let found = |lines: &Vec<String>| lines.iter().find_map(|line| find(line));
        let lines = tokio::time::timeout(START, printed.wait_for(|lines| found(lines).is_some()));
        found(&lines.await.expect("the server did not say it").expect("the server ended")).unwrap()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// This test makes the server log an error that contains this text.
    pub fn expect_error(&self, text: &str) {
        self.expected.lock().unwrap().push(text.to_owned());
    }

    /// A new user, logged in. The first one of a server is superuser.
    pub async fn user(&self, name: &str) -> User {
        let body = crate::json!({
            "username": name, "email": format!("{name}@example.org"), "password": "correct horse",
        });
        crate::anonymous(&self.url).post("/api/auth/register", &body).await.expect(201);
        self.login(name).await
    }

    /// A user who exists, logged in.
    pub async fn login(&self, name: &str) -> User {
        let body = crate::json!({ "username": name, "password": "correct horse" });
        let tokens = crate::anonymous(&self.url).post("/api/auth/login", &body).await.expect(200);
        User::logged_in(&self.url, &tokens)
    }

    /// Nobody.
    pub fn anonymous(&self) -> User {
        crate::anonymous(&self.url)
    }
}

/// Waits until something is so, and fails if it isn't within a minute.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}: never");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ran {
    /// 0 is success.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl Ran {
    /// What it printed, if it succeeded.
    #[track_caller]
    pub fn expect(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.output
    }

    /// What it complained of, if it failed.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        self.errors
    }
}

async fn run(mut command: Command, input: &str) -> Ran {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATCHBAY_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // One that doesn't read its input may have ended by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output =
        tokio::time::timeout(START, child.wait_with_output()).await.expect("the command hangs").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), output: text(output.stdout), errors: text(output.stderr) }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{}\n---", self.log());
            return;
        }
        let expected = self.expected.lock().unwrap();
        let log = self.log.lock().unwrap();
        let errors: Vec<_> = log
            .iter()
            .filter(|line| line.contains("ERROR") || line.contains("panicked"))
            .filter(|line| !expected.iter().any(|text| line.contains(text)))
            .collect();
        assert!(errors.is_empty(), "the server logged errors: {errors:#?}");
    }
}

/// Puts what was compiled for one server where another finds it: every server of a test has a data directory of its own, and
/// would spend most of its time on compiling the bundled plugins.
fn share(from: &Path, to: &Path) {
    let Ok(entries) = std::fs::read_dir(from) else { return };
    std::fs::create_dir_all(to).unwrap();
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().ends_with(".cwasm") && !name.as_encoded_bytes().starts_with(b".") {
            // Another test may have done it, or this one lies on another disk and compiles for itself.
            let _ = std::fs::hard_link(entry.path(), to.join(name));
        }
    }
}

async fn launch(
    data: &Path,
    settings: &[String],
    around: &Around,
    log: &Arc<Mutex<Vec<String>>>,
) -> (Child, String, watch::Receiver<Vec<String>>) {
    let compiled = data.join("cache").join("plugins");
    let shared = build_dir().join("test-cache");
    share(&shared, &compiled);
    // A file that reaches its limit is an error to be told, as a full disk is, and not the end of the process.
    let mut command = Command::new("sh");
    let with_names =
        around.etc.as_ref().map(|etc| NameServer::command(etc, "exec \\\"\\$0\\\" \\\"\\$@\\\""));
    let run = with_names.unwrap_or_else(|| "exec \"$0\" \"$@\"".to_owned());
    command.args(["-c", &format!("trap '' XFSZ; {run}")]).arg(program());
    command.arg("serve").arg("--data-dir").arg(data);
    if !settings.iter().any(|setting| setting.starts_with("server.listen=")) {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    for setting in settings {
        match setting.as_str() {
            flag if flag.starts_with("--") => command.arg(flag),
            setting => command.arg("--set").arg(setting),
        };
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATCHBAY_")) {
        command.env_remove(name);
    }
    command.envs(around.trusted.iter().map(|file| ("SSL_CERT_FILE", file)));
    // A backtrace per dropped instance would be most of what is measured.
    command.env("RUST_LIB_BACKTRACE", "0").current_dir(data);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let kept = Arc::clone(log);
    tokio::spawn(async move {
        while let Ok(Some(line)) = errors.next_line().await {
            kept.lock().unwrap().push(line);
        }
    });
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = tokio::time::timeout(START, async {
        while let Some(line) = output.next_line().await.unwrap() {
            if let Some((_, url)) = line.split_once(" listens on ") {
                return url.trim().to_owned();
            }
        }
        // Its last words come by another pipe.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let said = log.lock().unwrap().join("\n");
        panic!("the server ended: {said}");
    });
    let url = url.await.expect("the server does not start");
    share(&compiled, &shared);
    // What else it prints must not fill the pipe.
    let (lines, printed) = watch::channel(Vec::new());
    tokio::spawn(async move {
        while let Ok(Some(line)) = output.next_line().await {
            lines.send_modify(|lines: &mut Vec<String>| lines.push(line));
        }
    });
    (child, url, printed)
}
