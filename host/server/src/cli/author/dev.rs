//! `patchbay dev DIR…`: a server with made-up data that follows the sources of plugins.
//!
//! Owns: when something is built and put in place. Must not: leave a plugin without a version that serves because the next
//! one can't be built.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;

use super::project::{Project, newest};
use crate::{
    app,
    cli::{Settings, block_on, complain, operator::Operator, plugin, say, with_config},
    config::Config,
};

/// How often sources are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// A server for those who write plugins.
#[derive(Args)]
pub(in crate::cli) struct Dev {
    /// The projects: folders with a plugin.toml that says how they are built.
    #[arg(required = true, value_name = "DIR")]
    projects: Vec<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Dev {
    /// Serves until it is stopped. Without `--data-dir` everything is in a directory that goes with it.
    pub(in crate::cli) fn run(self) -> ExitCode {
        let Self { projects, mut settings } = self;
        for project in &projects {
            if !project.join("plugin.toml").is_file() {
                complain(&format!("{}: there is no plugin.toml", project.display()));
                return ExitCode::from(2);
            }
        }
        let temporary = match settings.data_dir {
            Some(_) => None,
            None => match tempfile::Builder::new().prefix("patchbay-dev-").tempdir() {
                Ok(directory) => {
                    settings.data_dir = Some(directory.path().to_owned());
                    Some(directory)
                }
                Err(error) => {
                    complain(&format!("no directory for the data: {error}"));
                    return ExitCode::FAILURE;
                }
            },
        };
        let done = with_config(&settings, |mut config, _| {
            // The terminal is for the plugins: what they log, and what they do wrong.
            config.log.filter = "warn,plugin=trace".into();
            block_on(config, async move |config| Box::pin(serve(config, projects)).await)
        });
        drop(temporary);
        done
    }
}

async fn serve(config: Config, projects: Vec<PathBuf>) -> Result<(), app::StartError> {
    // The same settings lead to the server's control socket.
    let (followed, for_server) = (config.clone(), config);
    let follow = tokio::spawn(async move { follow(followed, projects).await });
    let served = app::serve(for_server, true).await;
    follow.abort();
    served
}

/// Waits for the server, then builds and installs, again and again.
async fn follow(config: Config, projects: Vec<PathBuf>) {
    let way = Operator::reach(&config).await;
    let mut seen: Vec<Option<SystemTime>> = vec![None; projects.len()];
    loop {
        for (directory, seen) in projects.iter().zip(&mut seen) {
            let now = newest(directory);
            if now == *seen {
                continue;
            }
            // An editor that saves several files is waited for.
            tokio::time::sleep(LOOK).await;
            if newest(directory) != now {
                continue;
            }
            put_in_place(&way, directory).await;
            // What was saved meanwhile is built next; so is, once, what the build itself wrote (a lock file).
            *seen = now;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Builds and installs one; whatever fails is told, and the version before serves on.
async fn put_in_place(way: &Operator, directory: &Path) {
    let shown = directory.display().to_string();
    let began = Instant::now();
    let owned = directory.to_owned();
    let built = tokio::task::spawn_blocking(move || {
        let project = Project::open(&owned)?;
        let packed = if project.is_built() { project.packed() } else { project.build()? };
        Ok::<_, String>((project.name, packed))
    });
    let (name, packed) = match built.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(built) => built,
        Err(error) => {
            complain(&error);
            return say(&format!("{shown}: not built; the version before, if there is one, serves on"));
        }
    };
    let built_in = began.elapsed();
    match plugin::take_in(way, &name, packed).await {
        Ok(()) => say(&format!(
            "{name} serves: built in {:.1} s, in place after {:.1} s",
            built_in.as_secs_f32(),
            began.elapsed().as_secs_f32()
        )),
        Err(error) => {
            complain(&format!("{name}: {error}"));
            say(&format!("{name}: not installed; the version before, if there is one, serves on"));
        }
    }
}
