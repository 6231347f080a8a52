//! What can go wrong below the operations.

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't serve now: no connection is free, the disk is full, the file can't be reached, or the writer
    /// has stopped. Nothing of the operation remains.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A uniqueness rule was broken; the text names the table's column (`users.username_key`).
    #[error("a unique value exists: {0}")]
    Unique(String),
    /// A migration that this program doesn't know has been applied.
    #[error(
        "the database was migrated to version {0} by a newer Patchbay; start that version, or restore a backup"
    )]
    Newer(i64),
    /// A migration failed.
    #[error("migration failed: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A row holds what it can't hold.
    #[error("the database holds an impossible value: {0}")]
    Corrupt(String),
    /// Anything else: a bug here or damage there.
    #[error("database error: {0}")]
    Database(#[source] sqlx::Error),
}

/// SQLite's primary result codes that speak of the machine and not of the statement: `BUSY`, `LOCKED`,
/// `NOMEM`, `READONLY`, `IOERR`, `FULL`, `CANTOPEN` (<https://sqlite.org/rescode.html>).
const SQLITE_MACHINE_CODES: [i64; 7] = [5, 6, 7, 8, 10, 13, 14];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_) => Self::Unavailable(error.to_string()),
            sqlx::Error::Database(db) if db.is_unique_violation() => {
                let message = db.message();
                Self::Unique(message.rsplit(": ").next().unwrap_or(message).to_owned())
            }
            sqlx::Error::Database(db) => {
                let code = db.code().and_then(|c| c.parse::<i64>().ok()).unwrap_or(0) & 0xff;
                if SQLITE_MACHINE_CODES.contains(&code) {
                    Self::Unavailable(db.message().to_owned())
                } else {
                    Self::Database(error)
                }
            }
            _ => Self::Database(error),
        }
    }
}
