//! Bytes in the object store that are to be removed. Triggers put down the bytes of rows that go; who writes bytes
//! before their row puts them down here first.

use patchbay_core::Timestamp;
use sqlx::FromRow;

use crate::{Conn, StoreError, query::Query};

/// Bytes to be removed.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Removal {
    /// Where they are.
    pub path: String,
    /// The object store's id of an upload that never ended.
    pub upload_id: Option<String>,
}

impl Conn {
    /// The bytes at `path` are to be removed from `due` on, unless [`Conn::spare`] is called before.
    pub async fn remove_later(&mut self, path: &str, due: Timestamp) -> Result<(), StoreError> {
        let mut query = Query::new("INSERT INTO file_removals (path, due_at) VALUES (");
        query.bind(path).push(", ").bind(due.0);
        query.push(") ON CONFLICT (path) DO UPDATE SET due_at = excluded.due_at");
        self.run(query).await.map(|_| ())
    }

    /// The bytes at these paths are not to be removed: they belong to somebody now, or they are gone. How many were
    /// put down.
    pub async fn spare(&mut self, paths: &[String]) -> Result<u64, StoreError> {
        let mut query = Query::new("DELETE FROM file_removals WHERE path IN (");
        query.bind_list(paths.iter().map(String::as_str)).push(")").uncached();
        self.run(query).await
    }

    /// Up to `limit` removals that are due, the one that has waited longest first.
    pub async fn removals_due(&mut self, now: Timestamp, limit: i64) -> Result<Vec<Removal>, StoreError> {
        let mut query = Query::new("SELECT path, upload_id FROM file_removals WHERE due_at <= ");
        query.bind(now.0).push(" ORDER BY due_at LIMIT ").bind(limit);
        self.all(query).await
    }

    /// Puts off removals that failed.
    pub async fn put_off(&mut self, paths: &[String], due: Timestamp) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE file_removals SET due_at = ");
        query.bind(due.0).push(" WHERE path IN (");
        query.bind_list(paths.iter().map(String::as_str)).push(")").uncached();
        self.run(query).await.map(|_| ())
    }
}
