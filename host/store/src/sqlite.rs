//! Opening an SQLite file.

use std::{path::Path, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{Conn, READ_WAIT, READERS, STATEMENTS, StoreError, error::migration};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// The connection that writes, its file migrated, and those that read.
pub(crate) async fn open(path: &Path) -> Result<(Conn, SqlitePool), StoreError> {
    let mut writer = open_to_write(path).await?;
    MIGRATIONS.run(&mut writer).await.map_err(migration)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(READ_WAIT)
        .test_before_acquire(false)
        .connect_with(options(path)?.read_only(true))
        .await?;
    Ok((writer.into(), readers))
}

/// A connection that writes, to a file that is made if it isn't there.
pub(crate) async fn open_to_write(path: &Path) -> Result<SqliteConnection, StoreError> {
    create_private(path)?;
    // The file remembers it; who only reads could not change it.
    let connected = options(path)?.journal_mode(SqliteJournalMode::Wal).connect().await;
    connected.map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

/// A connection that reads a file that is there, whoever else is using it.
pub(crate) async fn open_to_read(path: &Path) -> Result<Conn, StoreError> {
    if !path.is_file() {
        return Err(StoreError::NotPatchbay);
    }
    Ok(options(path)?.create_if_missing(false).read_only(true).connect().await?.into())
}

/// Creates the file for its owner's eyes only: it holds password hashes and signing keys. SQLite gives its
/// companions the same mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!("{}: {error}", path.display()))),
    }
}

fn options(path: &Path) -> Result<SqliteConnectOptions, StoreError> {
    let options = SqliteConnectOptions::from_str("sqlite:")?
        .filename(path)
        .create_if_missing(true)
        // An acknowledged write survives the loss of power, not only of the process.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(STATEMENTS)
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    Ok(options)
}
