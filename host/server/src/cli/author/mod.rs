//! `patchbay plugin …` for those who write plugins. None of these needs a deployment.
//!
//! Owns: the commands. check.rs: what a component is and whether it runs; mock.rs: the mock host, spoken to line by line;
//! new.rs, project.rs: a project and how it is built; dev.rs: a server that follows its sources.
//! Must not: know servers.

mod check;
mod dev;
mod mock;
mod new;
mod project;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use patchbay_mock::{Mock, Options};
use patchbay_runtime::{Limit, Runtime};

use super::say;
pub(super) use dev::Dev;
use project::Project;

#[derive(Subcommand)]
pub(super) enum AuthorCommand {
    /// Make a project: a plugin that works, with a test and a README, and all that it needs to be built elsewhere.
    New {
        /// The plugin's name: a-z, 0-9 and -, beginning with a letter, up to 32.
        name: String,
        /// The language.
        #[arg(long, value_enum)]
        lang: new::Language,
        /// Where to make it, a folder that is empty or not there [default: NAME].
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Build a project as its plugin.toml says, unless nothing has changed, and print where the packed component is.
    Build {
        /// The project.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Build even if nothing has changed.
        #[arg(long)]
        force: bool,
    },
    /// Check a packed component and print what it is and wants; with --run call all that it exports, on the mock host.
    Check {
        /// The component.
        file: PathBuf,
        /// Compile it, and call each of its exports once against a made-up world in memory.
        #[arg(long)]
        run: bool,
        #[command(flatten)]
        host: Host,
    },
    /// Run the mock host for tests: a command per line on standard input, an answer per line on standard output.
    Mock {
        /// The component.
        file: PathBuf,
        #[command(flatten)]
        host: Host,
    },
}

/// How the mock host treats a plugin.
#[derive(Args)]
pub(super) struct Host {
    /// A limit to run it under, e.g. http_cpu_ms=50; the others have their defaults.
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<String>,
    /// A capability that it wants and does not get.
    #[arg(long, value_name = "CAPABILITY")]
    withhold: Vec<String>,
    /// Where its compiled form is kept [default: .patchbay beside the component].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl AuthorCommand {
    pub(super) fn run(&self) -> Result<(), String> {
        match self {
            Self::New { name, lang, dir } => {
                let directory = dir.clone().unwrap_or_else(|| PathBuf::from(name));
                new::make(name, *lang, &directory)
            }
            Self::Build { dir, force } => {
                let project = Project::open(dir)?;
                let packed = if !force && project.is_built() { project.packed() } else { project.build()? };
                say(&std::path::absolute(&packed).unwrap_or(packed).display().to_string());
                Ok(())
            }
            Self::Check { file, run, host } => check::check(file, run.then_some(host)),
            Self::Mock { file, host } => mock::serve(file, host),
        }
    }
}

fn read(file: &Path) -> Result<Bytes, String> {
    std::fs::read(file).map(Bytes::from).map_err(|error| format!("{}: {error}", file.display()))
}

/// Loads a component into the mock host.
async fn load(file: &Path, bytes: Bytes, host: &Host) -> Result<Mock, String> {
    let name =
        Runtime::inspect(&bytes).map_err(|error| format!("{}: {error}", file.display()))?.manifest.name;
    let beside = file.parent().unwrap_or(Path::new(".")).join(".patchbay");
    let cache = host.cache.clone().unwrap_or(beside).join(name);
    let mut options = Options::new(cache);
    options.withheld.extend(host.withhold.iter().cloned());
    for pair in &host.limits {
        let wrong = |what: &str| format!("--limit {pair}: {what}");
        let (name, value) = pair.split_once('=').ok_or_else(|| wrong("expected NAME=VALUE"))?;
        let limit = Limit::find(name).ok_or_else(|| wrong("there is no such limit"))?;
        let value = value.parse().ok().filter(|value| limit.allows(*value));
        let value = value.ok_or_else(|| wrong(&format!("must be {} to {}", limit.min, limit.max)))?;
        limit.put(&mut options.limits, value);
    }
    Mock::load(bytes, options).await.map_err(|error| format!("{}: {error}", file.display()))
}

/// One thread is enough for one plugin.
fn block_on<T>(act: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(act)
}
