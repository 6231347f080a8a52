//! Durable state: rows, the journal, and the one task that writes both.
//!
//! Owns: SQL, transactions, migrations. Must not: decide who may do what (that is `ops` in the server),
//! publish anything (readers of the journal learn of a change after its commit), or know JSON shapes.

mod audit;
mod bots;
mod bulk;
mod catalogue;
mod channels;
mod conn;
mod cursors;
mod dead_letters;
mod error;
mod file_texts;
mod files;
mod index;
mod invites;
mod job_runs;
mod jobs;
mod journal;
mod keys;
mod kv;
mod members;
mod messages;
mod passwords;
mod pgvector;
mod pins;
mod plugin_settings;
mod plugins;
mod postgres;
mod query;
mod reactions;
mod removals;
mod search;
mod sessions;
mod snapshot;
mod sqlite;
mod users;
mod vectors;
mod writer;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use sqlx::{PgPool, SqlitePool};
use tokio::sync::watch;

pub use audit::{AuditActor, AuditRow, NewAuditEntry};
pub use bots::BotRow;
pub use bulk::{PastChannel, PastFile, PastMember, PastMessage, PastReaction, PastUser};
pub use catalogue::{Column, Kind, Table};
pub use channels::{ChannelText, NewChannel};
pub use conn::Conn;
pub use cursors::CursorRow;
pub use dead_letters::{DeadLetterRow, NewDeadLetter};
pub use error::StoreError;
pub use file_texts::WaitingText;
pub use files::Arrived;
pub use index::{Document, Index, IndexProgress, Mark};
pub use invites::{InviteRow, NewInvite};
pub use job_runs::JobRunRow;
pub use jobs::JobRow;
pub use journal::{Entry, NewEntry, Viewer, Wanted};
pub use keys::SigningKeyRow;
pub use messages::{NewMessage, Page};
pub use passwords::UserSecret;
pub use pgvector::{PgCondition, PgVectors};
pub use plugin_settings::PluginSecretRow;
pub use plugins::{PluginRow, PluginVersionRow};
pub use query::Value;
pub use removals::Removal;
pub use search::{Found, MAX_RANKED, Need, Order, Search};
pub use sessions::{RefreshTokenRow, SessionRow};
pub use snapshot::{Object, Restore, Snapshot};
pub use users::{Acquaintance, NewUser};
pub use vectors::VectorRow;
pub use writer::{MAX_BATCH, Tx, WriterLoad};

use crate::writer::Writer;

/// Connections that read at the same time.
const READERS: u32 = 8;
/// How long a reader waits for a connection before it fails with [`StoreError::Unavailable`].
const READ_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that each connection keeps: all that there are.
const STATEMENTS: usize = 512;

/// The database: one writer, a few readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: Writer,
    readers: Readers,
    head: watch::Receiver<i64>,
}

#[derive(Clone, Debug)]
enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// An SQLite file, created if it isn't there.
    Sqlite(PathBuf),
    /// A PostgreSQL database that exists, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. `sslmode` and `sslrootcert`
    /// of the URL say whether TLS is used and who is trusted; without them it is used if the server has it. The
    /// writer's connection holds a lock of its session: a pooler between must pool sessions, not transactions.
    Postgres(String),
}

impl Location {
    /// A PostgreSQL database.
    ///
    /// # Errors
    /// [`StoreError::Database`] if this isn't such a URL.
    pub fn postgres(url: &str) -> Result<Self, StoreError> {
        postgres::Server::at(url)?;
        Ok(Self::Postgres(url.to_owned()))
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres"),
        }
    }
}

impl Store {
    /// Opens the database, applies the migrations, and starts the writer.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version of Patchbay has migrated it; [`StoreError::InUse`] if another
    /// server writes to it; otherwise what the database says.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        let (mut conn, readers, server) = match location {
            Location::Sqlite(path) => {
                let (conn, readers) = sqlite::open(path).await?;
                (conn, Readers::Sqlite(readers), None)
            }
            Location::Postgres(url) => {
                let server = postgres::Server::at(url)?;
                let (conn, readers) = server.open().await?;
                (conn, Readers::Postgres(readers), Some(server))
            }
        };
        let (head, watched) = watch::channel(conn.journal_head().await?.0);
        let writer = Writer::start(conn, server, Arc::new(head));
        Ok(Self { writer, readers, head: watched })
    }

    /// A connection to read with. What it sees is committed; two reads of it may see two states.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if none is free within 5 s.
    pub async fn read(&self) -> Result<Conn, StoreError> {
        Ok(match &self.readers {
            Readers::Sqlite(pool) => pool.acquire().await?.into(),
            Readers::Postgres(pool) => pool.acquire().await?.into(),
        })
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
        let span = tracing::debug_span!("database write");
        tracing::Instrument::instrument(self.writer.write(operation), span).await
    }

    /// The journal's newest `seq`; changes after each commit that wrote events.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.clone()
    }

    /// How busy the writer is.
    pub fn writer_load(&self) -> WriterLoad {
        self.writer.load()
    }

    /// Waits for what is under way and closes the database.
    pub async fn close(&self) {
        self.writer.close().await;
        match &self.readers {
            Readers::Sqlite(pool) => pool.close().await,
            Readers::Postgres(pool) => pool.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_have_the_same_names_on_both_databases() {
        let names = |migrator: &sqlx::migrate::Migrator| {
            migrator.iter().map(|m| format!("{:04} {}", m.version, m.description)).collect::<Vec<_>>()
        };
        assert_eq!(names(&sqlite::MIGRATIONS), names(&postgres::MIGRATIONS));
    }
}
