//! The jobs that plugins schedule for themselves. Sizes are the contract's (`wit/scheduler.wit`) and are checked where
//! the call comes in; who runs them is elsewhere.

use patchbay_core::Timestamp;
use patchbay_runtime::capabilities::scheduler::ScheduledJob;

use super::{Error, Ops, Result};

/// Most jobs of its own that a plugin can have waiting: more than any use of one per user or poll, and 160 MiB at worst.
const MAX_JOBS: i64 = 10_000;

impl Ops {
    /// Plans a plugin's job, in place of one of the same id.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `job_of_manifest` or `too_many_jobs`.
    pub async fn schedule_job(&self, plugin: &str, job: ScheduledJob) -> Result<()> {
        let plugin = plugin.to_owned();
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    if !tx.schedule_job(&plugin, &job.id, &job.payload, job.due, job.depth).await? {
                        return Err(Error::Conflict(
                            "job_of_manifest",
                            "a job of the manifest has this name".into(),
                        ));
                    }
                    // What was one too many is undone with the operation.
                    if tx.count_jobs(&plugin).await? > MAX_JOBS {
                        let why = format!("{MAX_JOBS} jobs wait already");
                        return Err(Error::Conflict("too_many_jobs", why));
                    }
                    Ok(())
                })
            })
            .await?;
        self.jobs_changed().notify_one();
        Ok(())
    }

    /// Takes a plugin's job out; whether it was there.
    ///
    /// # Errors
    /// If the database can't be written.
    pub async fn cancel_job(&self, plugin: &str, id: &str) -> Result<bool> {
        let (plugin, id) = (plugin.to_owned(), id.to_owned());
        self.0.store.write(move |tx| Box::pin(async move { Ok(tx.cancel_job(&plugin, &id).await?) })).await
    }

    /// Up to `limit` jobs of a plugin, with ids after `after`.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn scheduled_jobs(
        &self,
        plugin: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>> {
        let rows = self.0.store.read().await?.jobs(plugin, after, i64::from(limit)).await?;
        let job = |row: patchbay_store::JobRow| ScheduledJob {
            id: row.id,
            payload: row.payload,
            due: Timestamp(row.due_at),
            depth: 1,
        };
        Ok(rows.into_iter().map(job).collect())
    }
}
