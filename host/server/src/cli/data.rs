//! `patchbay backup` and `patchbay restore`.

use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::{app, complain};
use crate::{
    backup::{self, BackupError, Summary},
    config::Config,
    files::Files,
};

/// Copies the deployment into a file.
///
/// # Errors
/// What [`backup::write`] says.
pub async fn back_up(config: Config, file: PathBuf) -> Result<(), app::StartError> {
    let shown = file.display().to_string();
    let done = run(config, move |runtime, config, files| {
        backup::write(runtime, &app::database(config), files, &config.server.data_dir, &file)
    });
    tell("copied", &done.await?);
    if shown != "-" {
        complain(&format!("the backup is {shown}; it holds secrets"));
    }
    Ok(())
}

/// Restores a deployment that is empty from a file.
///
/// # Errors
/// What [`backup::restore`] says; if a server uses the data directory.
pub async fn restore(config: Config, file: PathBuf) -> Result<(), app::StartError> {
    app::make_data_dir(&config)?;
    let _lock = app::lock_data_dir(&config)?;
    let done = run(config, move |runtime, config, files| {
        backup::restore(runtime, &app::database(config), files, &config.server.data_dir, &file)
    });
    tell("restored", &done.await?);
    Ok(())
}

/// Both read and write files as they come, so they have a thread to block.
async fn run(
    config: Config,
    work: impl FnOnce(&Handle, &Config, Files) -> Result<Summary, BackupError> + Send + 'static,
) -> Result<Summary, app::StartError> {
    let files = app::files(&config)?;
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || work(&runtime, &config, files)).await;
    done.map_err(app::StartError::task)?.map_err(|error| app::StartError::backup(&error))
}

/// On standard error: standard output may be the backup.
fn tell(what: &str, summary: &Summary) {
    complain(&format!("{what} {} rows and {} files", summary.rows, summary.objects));
    for path in &summary.missing {
        complain(&format!(
            "note: {} was removed while the backup was made and is not in it",
            Path::new(path).display()
        ));
    }
}
