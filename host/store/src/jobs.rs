//! The jobs that plugins have scheduled for later. Those of manifests are in the same table and are told apart by being
//! repeated; what is here leaves them alone.

use patchbay_core::Timestamp;
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on, query::Query};

/// A job of a plugin's own that waits.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct JobRow {
    /// The plugin's choice.
    pub id: String,
    /// What comes back to it.
    pub payload: String,
    /// When it comes due, in ms.
    pub due_at: i64,
}

impl Conn {
    /// Plans a job, in place of one of the same id, whose failures are forgotten. False if a repeated job has that id:
    /// nothing has changed then.
    pub async fn schedule_job(
        &mut self,
        plugin: &str,
        id: &str,
        payload: &str,
        due: Timestamp,
        depth: u8,
    ) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query(
                "INSERT INTO plugin_jobs (plugin, id, payload, due_at, run_at, depth)
                 VALUES ($1, $2, $3, $4, $4, $5)
                 ON CONFLICT (plugin, id) DO UPDATE SET payload = excluded.payload, due_at = excluded.due_at,
                     run_at = excluded.run_at, attempts = 0, depth = excluded.depth,
                     generation = plugin_jobs.generation + 1
                 WHERE plugin_jobs.every_ms IS NULL",
            )
            .bind(plugin)
            .bind(id)
            .bind(payload)
            .bind(due.0)
            .bind(i64::from(depth))
            .execute(c)
            .await?
            .rows_affected()
                > 0
        }))
    }

    /// How many jobs of its own a plugin has waiting.
    pub async fn count_jobs(&mut self, plugin: &str) -> Result<i64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM plugin_jobs WHERE plugin = $1 AND every_ms IS NULL",
            )
            .bind(plugin)
            .fetch_one(c)
            .await?
        }))
    }

    /// Takes a job out; whether it was there.
    pub async fn cancel_job(&mut self, plugin: &str, id: &str) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("DELETE FROM plugin_jobs WHERE plugin = $1 AND id = $2 AND every_ms IS NULL")
                .bind(plugin)
                .bind(id)
                .execute(c)
                .await?
                .rows_affected()
                > 0
        }))
    }

    /// Up to `limit` jobs that wait, with ids after `after`, by the bytes of their ids.
    pub async fn jobs(
        &mut self,
        plugin: &str,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<JobRow>, StoreError> {
        let mut query =
            Query::new("SELECT id, payload, due_at FROM plugin_jobs WHERE every_ms IS NULL AND plugin = ");
        query.bind(plugin);
        if let Some(after) = after {
            query.push(" AND id > ").bind(after);
        }
        query.push(" ORDER BY id LIMIT ").bind(limit);
        self.all(query).await
    }
}
