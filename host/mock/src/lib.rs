//! A mock host: runs one plugin, the component as it is shipped, under its real limits and with what its manifest
//! wants granted, against a world in memory. No server, no database, no network: a call takes microseconds.
//!
//! A test builds a small world, lets people act in it, calls the plugin's exports, and looks at what the plugin called,
//! wrote and sent. It does so by commands ([`Command`]), which are JSON, so that it can be written in any language:
//! `patchbay plugin mock` answers them line by line, and the SDK's `mock` module is the client for Rust.
//!
//! Owns: the world's rules in short and the order of a call. Must not: run in a server; what a plugin may do there, the
//! operations decide.

mod calls;
mod capabilities;
mod commands;
#[cfg(test)]
mod event_types;
mod session;
mod try_all;
mod world;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use patchbay_core::Timestamp;
use patchbay_runtime::{
    CallError, Grants, HostError, Limits, LoadError, Plugin, Runtime, RuntimeConfig, RuntimeError,
    capabilities::scheduler::ScheduledJob,
};

pub use commands::{Command, Name};
use world::{Waiting, World};

/// How a plugin is loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its compiled form is kept: compiling is what takes long. A directory for this plugin alone, since what it
    /// holds of other versions is removed; made if missing, and for its owner only, since what is there is run.
    pub cache_dir: PathBuf,
    /// Its limits.
    pub limits: Limits,
    /// What is not granted, though the manifest wants it.
    pub withheld: BTreeSet<String>,
}

impl Options {
    /// The default limits, and everything granted.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self { cache_dir: cache_dir.into(), limits: Limits::default(), withheld: BTreeSet::new() }
    }
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum MockError {
    /// The directory for compiled plugins can't be used.
    #[error("{0}: {1}")]
    Cache(PathBuf, std::io::Error),
    /// The engine does not start.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The component is not accepted.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A call of the plugin failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The world's rules forbid it.
    #[error("{}", .0.detail)]
    World(#[from] HostError),
    /// The plugin's hook refused the message.
    #[error("{detail}")]
    Refused {
        /// The plugin's code.
        code: String,
        /// A sentence for the author.
        detail: String,
    },
    /// The test asks for what is not there.
    #[error("{0}")]
    Usage(String),
}

impl MockError {
    /// Stable snake_case.
    pub fn code(&self) -> &str {
        match self {
            Self::Cache(..) | Self::Runtime(_) => "mock_failed",
            Self::Load(error) => error.code(),
            Self::Call(error) => error.code(),
            Self::World(error) => &error.code,
            Self::Refused { code, .. } => code,
            Self::Usage(_) => "wrong_usage",
        }
    }
}

type Result<T> = std::result::Result<T, MockError>;

/// A plugin and its world.
pub struct Mock {
    runtime: Runtime,
    plugin: Arc<Plugin>,
    world: World,
}

impl Mock {
    /// Loads a packed component as a server would: checked, compiled (or taken from the cache), linked with what its
    /// manifest wants, tried once, routed. `activate` is not called; that is a command.
    ///
    /// # Errors
    /// See [`LoadError`]; or the cache can't be used.
    pub async fn load(component: Bytes, options: Options) -> Result<Self> {
        let inspection = Runtime::inspect(&component)?;
        let manifest = &inspection.manifest;
        let world = World::new(&manifest.name);
        let grants = Grants {
            capabilities: &manifest.wanted() - &options.withheld,
            routes: manifest.routes.iter().map(|route| route.path.clone()).collect(),
            limits: options.limits,
        };
        let directory = &options.cache_dir;
        let failed = |error| MockError::Cache(directory.clone(), error);
        // Tests run side by side: the first one compiles, the others wait for it.
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = fs::File::create(directory.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let config =
            RuntimeConfig { max_concurrent_calls: 4, ..RuntimeConfig::new(directory.join("compiled")) };
        let (runtime, _) = Runtime::new(config, Arc::new(world.clone()))?;
        let plugin = runtime.prepare(component, &grants).await?;
        remove_others(&directory.join("compiled"), plugin.digest()).map_err(failed)?;
        drop(lock);
        runtime.activate(Arc::clone(&plugin))?;
        prepare(&world, &plugin, &grants);
        Ok(Self { runtime, plugin, world })
    }

    /// What the component says of itself, and its grants and limits.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }
}

/// Old versions: a plugin that is worked on has many.
fn remove_others(directory: &Path, digest: &str) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(digest) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the world has to know of the plugin.
fn prepare(world: &World, plugin: &Plugin, grants: &Grants) {
    let mut state = world.state();
    state.hears_all = grants.capabilities.contains("events:all");
    state.kv_bytes = grants.limits.kv_bytes;
    let hosts = &plugin.manifest().egress;
    state.egress = hosts
        .iter()
        .filter(|host| grants.capabilities.contains(&format!("egress:{host}")))
        .cloned()
        .collect();
    let now = state.now();
    for job in &plugin.manifest().jobs {
        let due = now.plus(job.every);
        let every = Some(due.0 - now.0);
        let (id, payload) = (job.name.clone(), String::new());
        let job = ScheduledJob { id: id.clone(), payload, due: Timestamp(due.0), depth: 0 };
        state.jobs.insert(id, Waiting { job, every, failures: 0 });
    }
}
