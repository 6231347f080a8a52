//! The plugin host: WebAssembly components, their limits and their capabilities.
//!
//! Owns: loading, running and replacing plugins. Must not: see the HTTP server or the database; everything a
//! plugin reaches goes through the narrow traits in [`capabilities`], which the embedder implements.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use patchbay_core::{Actor, ChannelId, MessageId};
use tokio::sync::{Semaphore, mpsc};

mod bindings;
mod cache;
mod call;
pub mod capabilities;
mod compiler;
mod cpu;
mod decorate;
mod engine;
mod error;
mod exports;
mod fragment;
mod health;
mod inspect;
mod invoke;
pub mod limits;
mod load;
mod manifest;
mod memory;
mod pack;
mod permits;
mod registry;
mod response;
mod reuse;
mod state;
mod stats;
mod wall;
mod wasi;
mod weight;

pub use call::Unwell;
pub use compiler::{COMPILE_COMMAND, compile_file};
pub use decorate::Decorations;
pub use engine::wasmtime_config;
pub use error::{CallError, HostError, HostErrorKind, LoadError, RuntimeError};
pub use fragment::{Fragment, HOST_SCHEMAS};
pub use inspect::{Inspection, MANIFEST_SECTION, OPENAPI_SECTION};
pub use invoke::{Draft, DueJob, EVENT_BATCH, EventEntry, EventOutcome, Verdict};
pub use limits::{Budget, Limit, Limits};
pub use load::{Grants, Plugin};
pub use manifest::{
    Auth, Build, Command, ConfigKey, ConfigType, Egress, EventKinds, Manifest, ManifestError, Moment,
    RepeatedJob, Route,
};
pub use pack::{PackError, pack};
pub use registry::{Routed, RoutedCall};
pub use stats::{CallKind, Counted, KindStats, Stats};

use call::{Call, Context};
use permits::Permits;
use registry::Registry;

/// What the embedder does for plugins. Anything that implements the traits of all capabilities is one.
pub trait Host:
    capabilities::log::Log
    + capabilities::kv::Kv
    + capabilities::reactions::Reactions
    + capabilities::messages::Messages
    + capabilities::channels::Channels
    + capabilities::users::Users
    + capabilities::config::Config
    + capabilities::files::Files
    + capabilities::http_client::HttpClient
    + capabilities::identity::Identity
    + capabilities::presence::Presence
    + capabilities::realtime::Realtime
    + capabilities::scheduler::Scheduler
    + capabilities::search::Search
    + capabilities::bots::Bots
    + capabilities::deployment::Deployment
    + capabilities::keys::Keys
    + capabilities::llm::Llm
    + capabilities::vectors::Vectors
    + Send
    + Sync
    + 'static
{
}

impl<T> Host for T where
    T: capabilities::log::Log
        + capabilities::kv::Kv
        + capabilities::reactions::Reactions
        + capabilities::messages::Messages
        + capabilities::channels::Channels
        + capabilities::users::Users
        + capabilities::config::Config
        + capabilities::files::Files
        + capabilities::http_client::HttpClient
        + capabilities::identity::Identity
        + capabilities::presence::Presence
        + capabilities::realtime::Realtime
        + capabilities::scheduler::Scheduler
        + capabilities::search::Search
        + capabilities::bots::Bots
        + capabilities::deployment::Deployment
        + capabilities::keys::Keys
        + capabilities::llm::Llm
        + capabilities::vectors::Vectors
        + capabilities::llm::Llm
        + capabilities::vectors::Vectors
        + Send
        + Sync
        + 'static
{
}

/// How a runtime is set up.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Where compiled plugins are kept. Made if missing; must be writable by the host alone.
    pub cache_dir: PathBuf,
    /// The program that compiles: it is called with [`COMPILE_COMMAND`] and two paths, and does what [`compile_file`]
    /// does. None: a thread of this process compiles, which can't be stopped.
    pub compiler: Option<PathBuf>,
    /// How long a component may wait for the compiler and be compiled.
    pub compile_time: Duration,
    /// Most calls of all plugins at once; a call waits for its turn as long as [`Limits::queue_wait`].
    pub max_concurrent_calls: u32,
}

impl RuntimeConfig {
    /// The defaults, with that cache.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            compiler: None,
            compile_time: limits::COMPILE_TIME,
            max_concurrent_calls: limits::CONCURRENT_CALLS,
        }
    }
}

/// A request on its way to a plugin.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: http::Method,
    /// The path as requested, percent-encoding kept, without the query.
    pub path: String,
    /// The query's pairs in order, percent-decoded.
    pub query: Vec<(String, String)>,
    /// Headers with lower-case names; the embedder leaves out `authorization` and `cookie`.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

/// The body of a plugin's answer.
#[derive(Debug)]
pub enum PluginBody {
    /// All of it.
    Whole(Bytes),
    /// Chunk by chunk; an error is the last one and means that the answer broke off.
    Stream(mpsc::Receiver<Result<Bytes, CallError>>),
}

/// Loads, runs and replaces plugins.
pub struct Runtime {
    context: Arc<Context>,
    cache: cache::Cache,
    registry: Registry,
    permits: Arc<Semaphore>,
    hook_permits: Arc<Semaphore>,
    /// For instances that wait to be used again.
    room: Arc<Semaphore>,
    /// By plugin; they outlive its versions.
    stats: Mutex<HashMap<String, Arc<Stats>>>,
}

/// Versions that fail too much and that nobody has looked at yet; one more is dropped, its next failures count anew.
const UNWELL: usize = 64;

impl Runtime {
    /// Sets up the engine, its pool and the cache. Reserves address space (about 1 TiB), not memory. The other end tells
    /// of versions that fail too much to go on; the embedder puts them out of service.
    ///
    /// # Errors
    /// If the cache directory can't be made or this machine can't run the engine.
    pub fn new(
        config: RuntimeConfig,
        host: Arc<dyn Host>,
    ) -> Result<(Self, mpsc::Receiver<Unwell>), RuntimeError> {
        let engine = engine::Engine::new(config.max_concurrent_calls)
            .map_err(|error| RuntimeError::Engine(format!("{error:#}")))?;
        let (unwell, told) = mpsc::channel(UNWELL);
        let runtime = Self {
            context: Arc::new(Context { engine, host, unwell }),
            cache: cache::Cache::open(config.cache_dir, config.compiler, config.compile_time)?,
            registry: Registry::default(),
            permits: Arc::new(Semaphore::new(config.max_concurrent_calls as usize)),
            hook_permits: Arc::new(Semaphore::new(limits::HOOK_CALLS as usize)),
            room: Arc::new(Semaphore::new(limits::REUSED_INSTANCES as usize)),
            stats: Mutex::default(),
        };
        Ok((runtime, told))
    }

    /// Reads a component's manifest and imports without compiling or running anything.
    ///
    /// # Errors
    /// See [`LoadError`]: `too_large`, `not_a_component`, `malformed_component`, `manifest_missing`,
    /// `manifest_invalid`, `import_unknown`, `capability_undeclared`.
    pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
        inspect::inspect(bytes)
    }

    /// Frees the disk of what was compiled for components that aren't kept any more, or by another version of the engine.
    /// For when nothing is being loaded.
    ///
    /// # Errors
    /// If the cache's directory can't be read or a file not be removed.
    pub fn keep_only(&self, digests: &HashSet<String>) -> std::io::Result<()> {
        self.cache.keep_only(self.context.engine.wasmtime(), digests)
    }

    /// Makes a component ready to be called: checked against `grants`, compiled (or taken from the cache),
    /// linked with what was granted, and instantiated once under its limits. Not active yet.
    ///
    /// # Errors
    /// See [`LoadError`]. Nothing that is active is touched.
    pub async fn prepare(&self, bytes: Bytes, grants: &Grants) -> Result<Arc<Plugin>, LoadError> {
        let inspection = load::admit(&bytes, grants)?;
        let engine = self.context.engine.wasmtime();
        let component = load::compile(engine, &self.cache, &inspection.digest, bytes, &grants.limits).await?;
        let pre = load::link(&component, &inspection.wanted, grants)?;
        let exports = exports::Exports::of(&pre, &inspection)?;
        let permits = self.permits_of(&grants.limits);
        let stats = self.stats_of(&inspection.manifest.name);
        let reuse = reuse::Reuse::new(&grants.limits, Arc::clone(&self.room));
        let plugin = Plugin::new(inspection, grants.clone(), permits, pre, exports, reuse, stats);
        let plugin = Arc::new(plugin);
        self.try_once(&plugin).await?;
        Ok(plugin)
    }

    /// Those of calls, and those of hooks, for which such calls wait.
    fn permits_of(&self, limits: &Limits) -> (Permits, Permits) {
        let permits = |own: u32, global: &Arc<Semaphore>| {
            Permits::new(own, Arc::clone(global), limits.waiting_calls, limits.queue_wait)
        };
        let hooks = limits.concurrent_calls.min(limits::HOOK_CALLS / 2);
        (permits(limits.concurrent_calls, &self.permits), permits(hooks, &self.hook_permits))
    }

    fn stats_of(&self, name: &str) -> Arc<Stats> {
        let mut all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Instantiates a plugin without calling it: whatever fails for every call, fails here.
    async fn try_once(&self, plugin: &Plugin) -> Result<(), LoadError> {
        let budget = plugin.limits.http;
        let start = Call::fresh(&self.context, plugin, budget.cpu, 1, None);
        let mut call = tokio::time::timeout(budget.wall, cpu::metered(start))
            .await
            .map_err(|_| LoadError::StartFailed("it takes too long".to_owned()))?
            .map_err(|error| load::start_failed(&error))?;
        plugin.exports.try_all(&mut call.store, &call.instance)
    }

    /// Tells a version that it is about to serve in place of `previous`.
    ///
    /// # Errors
    /// `activate_failed`: it must not serve.
    pub async fn announce(&self, plugin: &Plugin, previous: Option<String>) -> Result<(), LoadError> {
        invoke::lifecycle(&self.context, plugin, invoke::Change::Activate(previous))
            .await
            .map_err(|error| LoadError::ActivateFailed(format!("{}: {error}", error.code())))
    }

    /// Tells a plugin that it missed the events before `next`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn resync(&self, plugin: &Plugin, next: i64) -> Result<(), CallError> {
        invoke::lifecycle(&self.context, plugin, invoke::Change::Resync(next)).await
    }

    /// Tells a plugin of 1 to [`EVENT_BATCH`] entries of one depth; what became of each, or of the first ones.
    ///
    /// # Errors
    /// See [`CallError`]; then none is handled.
    pub async fn tell(
        &self,
        plugin: &Plugin,
        entries: Vec<EventEntry>,
    ) -> Result<Vec<EventOutcome>, CallError> {
        invoke::events(&self.context, plugin, entries).await
    }

    /// Shows a plugin a message before it is stored.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn before_message(&self, plugin: &Plugin, draft: Draft) -> Result<Verdict, CallError> {
        invoke::hook(&self.context, plugin, draft).await
    }

    /// The plugin that answers a slash command, without the slash.
    pub fn command(&self, name: &str) -> Option<Arc<Plugin>> {
        self.registry.command(name)
    }

    /// Lets a plugin answer a command; the text for the caller, if there is one.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn run_command(
        &self,
        plugin: &Plugin,
        caller: Actor,
        (command, text): (&str, &str),
        channel: ChannelId,
    ) -> Result<Option<String>, CallError> {
        invoke::command(&self.context, plugin, caller, command, text, channel).await
    }

    /// Runs a job that has come due.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn run_job(&self, plugin: &Plugin, job: DueJob) -> Result<(), CallError> {
        invoke::job(&self.context, plugin, job).await
    }

    /// The active plugin of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.registry.get(name)
    }

    /// Makes a plugin the active version of its name, in one step: every request after this goes to it, those
    /// before it end in the version they began in.
    ///
    /// # Errors
    /// `route_conflict` or `command_conflict` if another active plugin answers one of its routes or commands. Nothing has changed then.
    pub fn activate(&self, plugin: Arc<Plugin>) -> Result<(), LoadError> {
        self.registry.activate(plugin)
    }

    /// Takes a plugin out; calls under way end in peace. Whether there was one of that name.
    pub fn deactivate(&self, name: &str) -> bool {
        self.registry.deactivate(name)
    }

    /// The active plugins, by name.
    pub fn active(&self) -> Vec<Arc<Plugin>> {
        self.registry.active()
    }

    /// Finds the plugin for a request. `path` is as requested, without the query; a trailing slash is ignored.
    pub fn route(&self, method: &http::Method, path: &str) -> Routed {
        self.registry.route(method, path)
    }

    /// Lets a plugin answer a request. `caller` must be there if the route's `auth` is `Required`; whether it
    /// is, the embedder checks.
    ///
    /// Dropping the future ends the call.
    ///
    /// # Errors
    /// See [`CallError`]. Once the answer streams, failures are its last chunk.
    pub async fn call_http(
        &self,
        call: RoutedCall,
        request: HttpRequest,
        caller: Option<Actor>,
    ) -> Result<http::Response<PluginBody>, CallError> {
        call::http(Arc::clone(&self.context), call, request, caller).await
    }

    /// Asks every active plugin that decorates messages what it adds to these, all at the same time and each
    /// within its budget. `ids` are messages that `viewer` can read.
    pub async fn decorate(&self, viewer: &Actor, ids: &[MessageId]) -> Decorations {
        decorate::decorate(&self.context, self.registry.active(), viewer, ids).await
    }
}
