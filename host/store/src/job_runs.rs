//! Jobs that have come due, and those that plugins' manifests repeat.

use patchbay_core::Timestamp;
use sqlx::FromRow;

use crate::{Conn, StoreError, query::Query};

/// A job that waits or runs.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct JobRunRow {
    /// Whose.
    pub plugin: String,
    /// The id it was scheduled under.
    pub id: String,
    /// What was scheduled with it.
    pub payload: String,
    /// When it comes due, in ms.
    pub due_at: i64,
    /// How often it is repeated; none: it is done once.
    pub every_ms: Option<i64>,
    /// How often it has failed.
    pub attempts: i64,
    /// How many plugins stand between a person and what it does.
    pub depth: i64,
    /// Rises when it is scheduled anew.
    pub generation: i64,
}

const SELECT: &str =
    "SELECT plugin, id, payload, due_at, every_ms, attempts, depth, generation FROM plugin_jobs WHERE ";

impl Conn {
    /// Jobs whose time has come, the longest waiting ones first, at most `limit`, of these plugins.
    pub async fn due_jobs(
        &mut self,
        plugins: &[String],
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<JobRunRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query
            .push("run_at <= ")
            .bind(now.0)
            .push(" AND plugin IN (")
            .bind_list(plugins.iter().map(String::as_str));
        query.push(") ORDER BY run_at LIMIT ").bind(limit).uncached();
        self.all(query).await
    }

    /// Whether a job is still as it was read.
    pub async fn is_job_due(&mut self, run: &JobRunRow) -> Result<bool, StoreError> {
        let mut query = Query::new(SELECT);
        query.push("plugin = ");
        push_same(&mut query, run);
        Ok(self.optional::<JobRunRow>(query).await?.is_some())
    }

    /// When the next of these plugins' jobs is to run, in ms.
    pub async fn next_job_at(&mut self, plugins: &[String]) -> Result<Option<i64>, StoreError> {
        let mut query = Query::new("SELECT min(run_at) FROM plugin_jobs WHERE plugin IN (");
        query.bind_list(plugins.iter().map(String::as_str)).push(")").uncached();
        let row: Option<(Option<i64>,)> = self.optional(query).await?;
        Ok(row.and_then(|(at,)| at))
    }

    /// Brings the repeated jobs of a plugin to those of its manifest: new ones come due after their first interval.
    pub async fn set_repeated_jobs(
        &mut self,
        plugin: &str,
        jobs: &[(String, i64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut query = Query::new("DELETE FROM plugin_jobs WHERE every_ms IS NOT NULL AND plugin = ");
        query
            .bind(plugin)
            .push(" AND id NOT IN (")
            .bind_list(jobs.iter().map(|(id, _)| id.as_str()))
            .push(")");
        if jobs.is_empty() {
            // `NOT IN (NULL)` is true of nothing.
            query = Query::new("DELETE FROM plugin_jobs WHERE every_ms IS NOT NULL AND plugin = ");
            query.bind(plugin);
        }
        self.run(query).await?;
        for (id, every) in jobs {
            let due = now.0.saturating_add(*every);
            let mut query = Query::new(
                "INSERT INTO plugin_jobs (plugin, id, payload, due_at, every_ms, run_at) VALUES (",
            );
            query.bind(plugin).push(", ").bind(id.as_str()).push(", '', ").bind(due).push(", ").bind(*every);
            query
                .push(", ")
                .bind(due)
                .push(") ON CONFLICT (plugin, id) DO UPDATE SET every_ms = excluded.every_ms, ");
            query.push("payload = '', depth = 1, ");
            query
                .push("due_at = CASE WHEN plugin_jobs.every_ms = excluded.every_ms THEN plugin_jobs.due_at ");
            query.push(
                "ELSE excluded.due_at END, run_at = CASE WHEN plugin_jobs.every_ms = excluded.every_ms ",
            );
            query.push("THEN plugin_jobs.run_at ELSE excluded.run_at END");
            self.run(query).await?;
        }
        Ok(())
    }

    /// A job is done with, unless it was scheduled anew meanwhile.
    pub async fn delete_job_run(&mut self, run: &JobRunRow) -> Result<(), StoreError> {
        let mut query = Query::new("DELETE FROM plugin_jobs WHERE plugin = ");
        push_same(&mut query, run);
        self.run(query).await.map(drop)
    }

    /// A job is to be tried or repeated then, unless it was scheduled anew meanwhile.
    pub async fn put_off_job_run(
        &mut self,
        run: &JobRunRow,
        due_at: i64,
        run_at: i64,
        attempts: i64,
    ) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE plugin_jobs SET due_at = ");
        query.bind(due_at).push(", run_at = ").bind(run_at).push(", attempts = ").bind(attempts);
        query.push(" WHERE plugin = ");
        push_same(&mut query, run);
        self.run(query).await.map(drop)
    }
}

fn push_same(query: &mut Query, run: &JobRunRow) {
    query.bind(run.plugin.as_str()).push(" AND id = ").bind(run.id.as_str());
    query.push(" AND generation = ").bind(run.generation);
}
