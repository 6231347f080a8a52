//! What can go wrong below the operations.

use sqlx::{error::DatabaseError, migrate::MigrateError, postgres::PgDatabaseError};

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't serve now: no connection is free, the disk is full, the file or the server can't be reached, or
    /// the writer has stopped. Nothing of the operation remains, with one exception: if the connection to
    /// PostgreSQL was lost while it committed, nobody knows until they look.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// It stopped answering while a restore was made to last: that may have happened or not.
    #[error("the database stopped answering while it committed, look whether it did: {0}")]
    Unknown(String),
    /// A uniqueness rule was broken; the text names the table's column (`users.username_key`).
    #[error("a unique value exists: {0}")]
    Unique(String),
    /// Another server writes to this database. (PostgreSQL; an SQLite file is guarded by its directory.)
    #[error("another server uses this database")]
    InUse,
    /// There are tables where a copy is to be restored.
    #[error("the database is not empty")]
    NotEmpty,
    /// Nothing here has been made by Patchbay.
    #[error("there is no Patchbay database")]
    NotPatchbay,
    /// A text holds U+0000, which PostgreSQL can't keep.
    #[error("a text holds the character U+0000")]
    Nul,
    /// A migration that this program doesn't know has been applied.
    #[error(
        "the database was migrated to version {0} by a newer Patchbay; start that version, or restore a backup"
    )]
    Newer(i64),
    /// A migration failed.
    #[error("migration failed: {0}")]
    Migration(#[source] MigrateError),
    /// A row holds what it can't hold.
    #[error("the database holds an impossible value: {0}")]
    Corrupt(String),
    /// A search took longer than it may.
    #[error("the search takes too long")]
    TooSlow,
    /// Anything else: a bug here or damage there.
    #[error("database error: {0}")]
    Database(#[source] sqlx::Error),
}

/// SQLite's primary result codes that speak of the machine and not of the statement: `BUSY`, `LOCKED`,
/// `NOMEM`, `READONLY`, `IOERR`, `FULL`, `CANTOPEN` (<https://sqlite.org/rescode.html>).
const SQLITE_MACHINE_CODES: [i64; 7] = [5, 6, 7, 8, 10, 13, 14];

/// PostgreSQL's conditions that speak of the machine, the connection or other transactions and not of the
/// statement, by class or in full (<https://www.postgresql.org/docs/current/errcodes-appendix.html>): connection
/// exception, read-only transaction (a standby), transaction rollback, insufficient resources, lock not
/// available, operator intervention, system error.
const POSTGRES_MACHINE_CODES: [&str; 7] = ["08", "25006", "40", "53", "55P03", "57", "58"];
/// `character_not_in_repertoire`: what reaches PostgreSQL is UTF-8, so it can only be U+0000.
const POSTGRES_NUL: &str = "22021";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_) => Self::Unavailable(error.to_string()),
            sqlx::Error::Database(db) => match db.try_downcast_ref::<PgDatabaseError>() {
                Some(db) => postgres(db),
                None => sqlite(db.as_ref()),
            }
            .unwrap_or(Self::Database(error)),
            _ => Self::Database(error),
        }
    }
}

fn sqlite(error: &dyn DatabaseError) -> Option<StoreError> {
    let message = error.message();
    if error.is_unique_violation() {
        return Some(StoreError::Unique(message.rsplit(": ").next().unwrap_or(message).to_owned()));
    }
    let code = error.code().and_then(|c| c.parse::<i64>().ok()).unwrap_or(0) & 0xff;
    SQLITE_MACHINE_CODES.contains(&code).then(|| StoreError::Unavailable(message.to_owned()))
}

fn postgres(error: &PgDatabaseError) -> Option<StoreError> {
    if error.is_unique_violation() {
        let (table, constraint) = (error.table().unwrap_or_default(), error.constraint().unwrap_or_default());
        // Left to itself PostgreSQL names them `TABLE_COLUMN_key`.
        let column = constraint.strip_prefix(table).and_then(|rest| rest.strip_prefix('_'));
        let column = column.map(|rest| rest.strip_suffix("_key").unwrap_or(rest)).unwrap_or(constraint);
        return Some(StoreError::Unique(format!("{table}.{column}")));
    }
    let code = error.code();
    if code == POSTGRES_NUL {
        return Some(StoreError::Nul);
    }
    POSTGRES_MACHINE_CODES
        .iter()
        .any(|known| code.starts_with(known))
        .then(|| StoreError::Unavailable(error.message().to_owned()))
}

pub(crate) fn migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(version) => StoreError::Newer(version),
        other => StoreError::Migration(other),
    }
}
