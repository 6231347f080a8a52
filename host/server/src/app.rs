//! Puts the parts together and serves.
//!
//! Owns: start and end of the server. Must not: hold logic of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use patchbay_core::{Actor, Timestamp};
use patchbay_runtime::{Runtime, RuntimeConfig};
use patchbay_store::{Location, Store};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    bus::Bus,
    config::{Config, FilesUrl},
    control::Control,
    files::{Files, OpenError},
    gateway::{Hub, Online},
    http::{self, Connections},
    key_file::KeyPlace,
    metrics::Metrics,
    ops::{
        self, Error, Ops, PdfReader,
        plugins::{Deployment, State},
    },
    plugin_host::PluginHost,
    seed, voice,
};

/// How long requests may go on after the server has been told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Of everybody in the made-up data of `--demo`.
const DEMO_PASSWORD: &str = "correct horse";

/// What every request can reach. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The settings.
    pub config: Arc<Config>,
    /// The operations.
    pub ops: Ops,
    /// The plugins.
    pub plugins: Deployment,
    /// The gateway's hub.
    pub hub: Hub,
    /// Who has a socket open.
    pub online: Online,
    /// The OpenAPI document.
    pub api_document: http::ApiDocument,
    /// Signals between the parts.
    pub bus: Bus,
    /// The open sockets, for the end.
    pub sockets: TaskTracker,
    /// The open connections.
    pub connections: Connections,
    /// What is counted.
    pub metrics: Metrics,
    stopping: Arc<AtomicBool>,
}

impl App {
    /// Puts the parts together. Nothing listens yet and no plugin serves. The caller holds the data directory.
    ///
    /// # Errors
    /// If anything that the server can't do without is missing or broken.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        let store = Store::open(&database(&config)).await.map_err(|e| StartError::new("database", e))?;
        let (bus, signals) = Bus::new();
        let files = files(&config)?;
        let ops =
            Ops::start(store, files, bus.clone(), &config).await.map_err(|e| StartError::new("start", e))?;
        let runtime_config = RuntimeConfig::new(config.server.data_dir.join("cache").join("plugins"));
        let (online, connections) = (Online::default(), Connections::new(&config));
        let host = Arc::new(PluginHost(ops.clone(), online.clone()));
        let runtime_config =
            RuntimeConfig { compiler: myself(), compile_time: config.plugins.compile_time, ..runtime_config };
        let (runtime, unwell) =
            Runtime::new(runtime_config, host).map_err(|e| StartError::new("plugin runtime", e))?;
        let plugins = Deployment::new(ops.clone(), runtime, &config.plugins, http::native_paths());
        tokio::spawn(plugins.clone().keep_well(unwell));
        Ok(Self {
            hub: Hub::start(ops.clone(), online.clone(), &config, signals),
            config: Arc::new(config),
            ops,
            plugins,
            online,
            bus,
            api_document: http::ApiDocument::default(),
            sockets: TaskTracker::new(),
            connections,
            metrics: Metrics::new(),
            stopping: Arc::default(),
        })
    }

    /// Takes in what plugins came with the program and what the settings declare, and starts what is enabled.
    ///
    /// # Errors
    /// If the database can't be read or written.
    pub async fn start_plugins(&self) -> Result<(), StartError> {
        let bundled = self.config.plugins.bundled_dir.clone().or_else(bundled_dir);
        self.plugins.start(bundled.as_deref()).await.map_err(|e| StartError::new("plugins", e))
    }

    /// Whether requests should come here.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the server stops or the database does not answer.
    pub async fn ready(&self) -> Result<(), Error> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(Error::Unavailable("the server is going away".into()));
        }
        self.ops.store().read().await?.journal_head().await?;
        Ok(())
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl From<String> for StartError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl StartError {
    /// A thread of the program ended early.
    pub fn task(error: tokio::task::JoinError) -> Self {
        Self::new("a thread ended early", error)
    }

    /// No backup, or nothing restored.
    pub fn backup(error: &crate::backup::BackupError) -> Self {
        Self(error.to_string())
    }

    /// What failed, and why.
    pub fn new(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// Brings the database up to date.
///
/// # Errors
/// If it can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<(), StartError> {
    let store = Store::open(&database(config)).await.map_err(|e| StartError::new("database", e))?;
    store.close().await;
    Ok(())
}

/// Looks for what is wrong with settings that each are right. Goes nowhere.
///
/// # Errors
/// If the server could not start with them.
pub fn check(config: &Config) -> Result<(), StartError> {
    match &config.files.url {
        Some(FilesUrl::Bucket { .. }) => {
            Files::in_bucket(&config.files).map(drop).map_err(|error| StartError::new("files", error))
        }
        Some(FilesUrl::Directory(_)) | None => Ok(()),
    }
}

/// Whether the file store can be used.
async fn check_files(config: &Config) -> Result<(), OpenError> {
    Files::open(&config.files, &config.server.data_dir)?.check().await
}

/// Drops the secrets in the database that the master key doesn't open, for when the one that did is lost; how many.
///
/// # Errors
/// If a server runs, or the database can't be written.
pub async fn reset_keys(config: &Config) -> Result<u64, StartError> {
    make_data_dir(config)?;
    let _lock = lock_data_dir(config)?;
    let store = Store::open(&database(config)).await.map_err(|e| StartError::new("database", e))?;
    let gone = ops::reset_keys(&store, &KeyPlace::of(config)).await;
    store.close().await;
    gone.map_err(|error| StartError::new("keys", error))
}

/// Where the database is.
pub fn database(config: &Config) -> Location {
    match &config.database.url {
        Some(url) => url.0.clone(),
        None => Location::Sqlite(config.server.data_dir.join("patchbay.db")),
    }
}

/// Where the bytes of files are.
///
/// # Errors
/// If the directory can't be made, or the settings of a bucket are incomplete.
pub fn files(config: &Config) -> Result<Files, StartError> {
    Files::open(&config.files, &config.server.data_dir).map_err(|error| StartError::new("files", error))
}

/// Makes the data directory, for the eyes of its owner only.
///
/// # Errors
/// If it can't be made.
pub fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let path = &config.server.data_dir;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| StartError::new(&path.display().to_string(), error))
}

/// Holds the data directory for as long as the file is open: two servers on one would not see each other's
/// sessions end.
///
/// # Errors
/// If another server holds it, or it can't be written.
pub fn lock_data_dir(config: &Config) -> Result<std::fs::File, StartError> {
    let path = config.server.data_dir.join("lock");
    let failed = |error: &dyn std::fmt::Display| StartError::new(&path.display().to_string(), error);
    let file = std::fs::File::create(&path).map_err(|error| failed(&error))?;
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => failed(&"another server uses this data directory"),
        std::fs::TryLockError::Error(error) => failed(&error),
    })?;
    Ok(file)
}

/// Fills a deployment that nobody has used with a small set of made-up data.
async fn demonstrate(config: &Config) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::new("--demo", error);
    let files = files(config)?;
    let store = Store::open(&database(config)).await.map_err(|error| failed(&error))?;
    let filled = async {
        if seed::is_unused(&store).await? {
            let amounts = seed::Amounts { users: 12, channels: 10, messages: 600, files: 12, reactions: 300 };
            seed::fill(&store, &files, amounts, 1, DEMO_PASSWORD, Timestamp::now(), |_| {}).await?;
        }
        Ok::<_, seed::SeedError>(())
    };
    let filled = filled.await;
    store.close().await;
    filled.map_err(|error| failed(&error))
}

/// Starts the server, prints where it is, and serves until it is told to stop.
///
/// # Errors
/// If anything that it can't do without is missing or broken.
pub async fn serve(config: Config, demo: bool) -> Result<(), StartError> {
    if demo && !config.server.listen.ip().is_loopback() {
        return Err(StartError(
            "--demo has a password that everybody knows: it listens on this machine only".into(),
        ));
    }
    make_data_dir(&config)?;
    let (listener, address) = listen(config.server.listen).await?;
    let metrics = match config.metrics.listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let _lock = lock_data_dir(&config)?;
    check_files(&config).await.map_err(|error| StartError::new("files", error))?;
    if demo {
        demonstrate(&config).await?;
    }
    // The port that it really is.
    let server = crate::config::Server { listen: address, ..config.server.clone() };
    let app = App::open(Config { server, ..config }).await?;
    app.start_plugins().await?;
    let control = Control::start(&app);
    let sound =
        voice::start(&app.config, app.bus.clone()).map_err(|error| StartError::new("voice", error))?;
    if let Some(sound) = &sound {
        app.ops.open_voice(sound.clone());
    }
    // Before anybody is told that the server is there.
    let told = told_to_stop().map_err(|error| StartError::new("signals", error))?;
    announce(&app, address, metrics.as_ref().map(|(_, address)| *address), demo).await;
    let tidying = tokio::spawn(app.ops.clone().keep_tidy());
    let removing = tokio::spawn(app.ops.clone().keep_removing());
    let indexing = tokio::spawn(app.ops.clone().keep_indexed());
    let reader =
        PdfReader { program: myself(), scratch: app.config.server.data_dir.join("cache").join("texts") };
    let reading = tokio::spawn(app.ops.clone().keep_reading(reader));
    let working = tokio::spawn(app.plugins.clone().keep_working());
    run(app.clone(), listener, metrics.map(|(listener, _)| listener), told).await?;
    drop(control);
    if let Some(sound) = sound {
        // Waits for its threads, which say goodbye.
        let _ = tokio::task::spawn_blocking(move || sound.stop()).await;
    }
    tidying.abort();
    removing.abort();
    indexing.abort();
    reading.abort();
    working.abort();
    app.plugins.stop();
    app.ops.store().close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::new(&format!("can't listen on {address}"), error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn run(
    app: App,
    listener: TcpListener,
    metrics: Option<TcpListener>,
    told: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let serve = |listener, router, connections| {
        http::serve(listener, router, Arc::clone(&app.config), connections, stopped.clone())
    };
    let mut serving = tokio::spawn(serve(listener, http::router(app.clone()), app.connections.clone()));
    // Apart from the rest to its end: a stop is watched too.
    let watching = metrics.map(|listener| {
        let connections = Connections::new(&app.config);
        tokio::spawn(serve(listener, http::metrics_router(app.clone()), connections))
    });
    tokio::select! {
        ended = &mut serving => {
            return Err(StartError(format!("the listener ended: {ended:?}")));
        }
        () = told => {}
    }
    tracing::info!("stopping: connections are told to resume elsewhere");
    app.stopping.store(true, Ordering::Relaxed);
    stop.send_replace(true);
    app.hub.close_all().await;
    app.sockets.close();
    let drained = async {
        let _ = (&mut serving).await;
        app.sockets.wait().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("requests were still under way after {} s and are cut off", DRAIN.as_secs());
        serving.abort();
    }
    if let Some(watching) = watching {
        watching.abort();
    }
    app.hub.finish().await;
    Ok(())
}

/// Resolves when a signal tells the program to stop. From this call on, not only once it is awaited, such a signal no
/// longer ends the program by itself.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// This program, also after its file has been replaced.
fn myself() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Some(running) } else { std::env::current_exe().ok() }
}

/// `plugins` beside the program, or one level above it as in a build directory.
fn bundled_dir() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let beside = program.parent()?.join("plugins");
    let above = program.parent()?.parent().map(|parent| parent.join("plugins"));
    [Some(beside), above].into_iter().flatten().find(|path| path.is_dir())
}

/// Says on standard output what runs where.
#[allow(clippy::print_stdout)] // For the person who started it; the log goes to standard error.
async fn announce(app: &App, address: SocketAddr, metrics: Option<SocketAddr>, demo: bool) {
    println!("Patchbay {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    println!("  data       {}", absolute(&app.config.server.data_dir).display());
    if let Some(address) = metrics {
        println!("  metrics    http://{address}/metrics");
    }
    for plugin in app.plugins.list(&Actor::SYSTEM).await.unwrap_or_default() {
        let granted: Vec<_> = plugin.grants.capabilities.iter().map(String::as_str).collect();
        let state = match &plugin.state {
            State::Active => "active".to_owned(),
            State::Disabled => "disabled".to_owned(),
            State::PendingGrants(reason) | State::Failed(reason) | State::Quarantined(reason) => {
                format!("NOT ACTIVE: {reason}")
            }
        };
        println!(
            "  plugin     {} {} ({state}; granted: {})",
            plugin.row.name,
            plugin.manifest.version,
            granted.join(", ")
        );
    }
    if let Some(token) = app.ops.bootstrap_token() {
        println!("  first user registers from this machine, or with \"bootstrap_token\": \"{token}\"");
    }
    if demo {
        println!("  log in     {} with the password \"{DEMO_PASSWORD}\"", seed::SUPERUSER);
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
