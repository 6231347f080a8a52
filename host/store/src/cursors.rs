//! How far each plugin has followed the journal and history.

use patchbay_core::{Seq, Timestamp};
use sqlx::FromRow;

use crate::{Conn, StoreError, query::Query};

/// A plugin's place.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CursorRow {
    /// Whose.
    pub plugin: String,
    /// Everything up to here is done with.
    pub seq: i64,
    /// Failures of what comes next.
    pub attempts: i64,
    /// Not before then, in ms.
    pub retry_at: Option<i64>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// History: messages with ids up to this one have been told of; none if none is being told.
    pub history_at: Option<i64>,
    /// The last one to be told of.
    pub history_until: Option<i64>,
    /// How many there were when it began.
    pub history_total: i64,
    /// How many have been told of.
    pub history_done: i64,
    /// Failures of what comes next of it.
    pub history_attempts: i64,
    /// Not before then, in ms.
    pub history_retry_at: Option<i64>,
    /// When it last moved, in ms.
    pub updated_at: i64,
}

const SELECT: &str =
    "SELECT plugin, seq, attempts, retry_at, last_error, history_at, history_until, history_total,
        history_done, history_attempts, history_retry_at, updated_at FROM plugin_cursors";

impl Conn {
    /// All cursors, by plugin.
    pub async fn cursors(&mut self) -> Result<Vec<CursorRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push(" ORDER BY plugin");
        self.all(query).await
    }

    /// A plugin's cursor, if it follows anything.
    pub async fn cursor(&mut self, plugin: &str) -> Result<Option<CursorRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push(" WHERE plugin = ").bind(plugin);
        self.optional(query).await
    }

    /// Makes a plugin follow the journal from `seq` on; one that follows it already goes on where it is.
    pub async fn start_cursor(&mut self, plugin: &str, seq: Seq, now: Timestamp) -> Result<(), StoreError> {
        let mut query = Query::new("INSERT INTO plugin_cursors (plugin, seq, updated_at) VALUES (");
        query.bind(plugin).push(", ").bind(seq.0).push(", ").bind(now.0);
        query.push(") ON CONFLICT (plugin) DO NOTHING");
        self.run(query).await.map(drop)
    }

    /// What failed is tried again at once: an operator has changed something about the plugin.
    pub async fn hurry_cursor(&mut self, plugin: &str) -> Result<(), StoreError> {
        let mut query = Query::new(
            "UPDATE plugin_cursors SET attempts = 0, retry_at = NULL, history_attempts = 0, history_retry_at = NULL
             WHERE plugin = ",
        );
        query.bind(plugin);
        self.run(query).await.map(drop)
    }

    /// Writes a cursor that is there.
    pub async fn put_cursor(&mut self, row: &CursorRow) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE plugin_cursors SET seq = ");
        query.bind(row.seq).push(", attempts = ").bind(row.attempts).push(", retry_at = ").bind(row.retry_at);
        query.push(", last_error = ").bind(row.last_error.as_deref());
        query.push(", history_at = ").bind(row.history_at).push(", history_until = ").bind(row.history_until);
        query.push(", history_total = ").bind(row.history_total);
        query.push(", history_done = ").bind(row.history_done);
        query.push(", history_attempts = ").bind(row.history_attempts);
        query
            .push(", history_retry_at = ")
            .bind(row.history_retry_at)
            .push(", updated_at = ")
            .bind(row.updated_at);
        query.push(" WHERE plugin = ").bind(row.plugin.as_str());
        self.run(query).await.map(drop)
    }
}
