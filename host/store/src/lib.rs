//! Durable state: rows, the journal, and the one task that writes both.
//!
//! Owns: SQL, transactions, migrations. Must not: decide who may do what (that is `ops` in the server),
//! publish anything (readers of the journal learn of a change after its commit), or know JSON shapes.

mod channels;
mod conn;
mod error;
mod files;
mod journal;
mod kv;
mod members;
mod messages;
mod pins;
mod plugins;
mod reactions;
mod sessions;
mod users;
mod writer;

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

pub use channels::NewChannel;
pub use conn::Conn;
pub use error::StoreError;
pub use journal::{Entry, NewEntry, Viewer};
pub use messages::{NewMessage, Page};
pub use plugins::{PluginRow, PluginVersionRow};
pub use sessions::{RefreshTokenRow, SessionRow, SigningKey};
pub use users::{NewUser, UserSecret};
pub use writer::{MAX_BATCH, Tx};

use crate::writer::Writer;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// Connections that read at the same time.
const READERS: u32 = 8;
/// How long a reader waits for a connection before it fails with [`StoreError::Unavailable`].
const READ_WAIT: Duration = Duration::from_secs(5);

/// The database: one writer, a few readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: Writer,
    readers: SqlitePool,
    head: watch::Receiver<i64>,
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An SQLite file, created if it isn't there.
    Sqlite(PathBuf),
}

impl Store {
    /// Opens the database, creating it if needed, applies the migrations, and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version of Patchbay has migrated it; otherwise what the database says.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        let Location::Sqlite(path) = location;
        let options = sqlite_options(path)?;
        create_private(path)?;
        let mut writer = options.clone().connect().await?;
        SQLITE_MIGRATIONS.run(&mut writer).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => StoreError::Newer(version),
            other => StoreError::Migration(other),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(READ_WAIT)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await?;
        let mut conn = Conn::new(writer);
        let (head, watched) = watch::channel(conn.journal_head().await?.0);
        let writer = Writer::start(conn, Arc::new(head));
        Ok(Self { writer, readers, head: watched })
    }

    /// A connection to read with. What it sees is committed; two reads of it may see two states.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if none is free within 5 s.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        Ok(Conn::new(self.readers.acquire().await?))
    }

    /// Runs `operation` in the writer, in a savepoint of its own, and returns once the transaction with it
    /// has committed. An operation that fails leaves nothing behind. If the caller goes away, the operation
    /// is still carried out whole or not at all.
    ///
    /// # Errors
    /// What the operation returns; [`StoreError::Unavailable`] (converted) if the writer is gone, its queue
    /// stays full, or the commit fails.
    pub async fn write<T, E, F>(&self, operation: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> writer::Operation<'a, Result<T, E>> + Send + 'static,
    {
        self.writer.write(operation).await
    }

    /// The journal's newest `seq`; changes after each commit that wrote events.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.clone()
    }

    /// Waits for what is under way and closes the database.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

/// Creates the file for its owner's eyes only: it holds password hashes and signing keys. SQLite gives its
/// companions the same mode.
fn create_private(path: &std::path::Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!("{}: {error}", path.display()))),
    }
}

fn sqlite_options(path: &std::path::Path) -> Result<SqliteConnectOptions, StoreError> {
    let options = SqliteConnectOptions::from_str("sqlite:")?
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged write survives the loss of power, not only of the process.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(512)
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    Ok(options)
}
