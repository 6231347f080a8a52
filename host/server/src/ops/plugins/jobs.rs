//! Jobs that have come due, run by the plugins they belong to: at least once, those of one plugin one after the other.
//!
//! Owns: the clock of jobs. Must not: schedule them; manifests and plugins do.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use patchbay_core::Timestamp;
use patchbay_runtime::{CallError, DueJob, Plugin};
use patchbay_store::{JobRunRow, NewDeadLetter, StoreError};
use tokio::task::JoinSet;

use super::{Deployment, follow::pause_after, letters::MAX_DEAD_LETTERS};

/// Jobs that are read at once.
const PAGE: i64 = 64;
/// The longest sleep of the clock: another server's clock, or an operator's hand, may have moved a job.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// The shortest, so that jobs that can't run don't keep it busy.
const SHORTEST_SLEEP: Duration = Duration::from_millis(200);

impl Deployment {
    /// Runs jobs until the server ends.
    pub async fn keep_working(self) {
        let mut running: JoinSet<String> = JoinSet::new();
        let mut busy: BTreeSet<String> = BTreeSet::new();
        loop {
            let sleep = match self.start_due(&mut running, &mut busy).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::warn!(%error, "jobs wait for the database");
                    LONGEST_SLEEP
                }
            };
            tokio::select! {
                () = self.0.ops.jobs_changed().notified() => {}
                Some(done) = running.join_next() => match done {
                    Ok(plugin) => {
                        busy.remove(&plugin);
                    }
                    // It panicked, and its name with it: until the others are done it can't be told which it was.
                    Err(_) => {
                        while running.join_next().await.is_some() {}
                        busy.clear();
                    }
                },
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Starts what has come due of plugins that have nothing running; how long to sleep.
    async fn start_due(
        &self,
        running: &mut JoinSet<String>,
        busy: &mut BTreeSet<String>,
    ) -> Result<Duration, StoreError> {
        let works = |plugin: &Arc<Plugin>| plugin.works() && !plugin.is_quarantined();
        let idle: Vec<_> = self.0.runtime.active().into_iter().filter(works).collect();
        let idle: Vec<_> = idle.into_iter().filter(|plugin| !busy.contains(plugin.name())).collect();
        if idle.is_empty() {
            return Ok(LONGEST_SLEEP);
        }
        let names: Vec<_> = idle.iter().map(|plugin| plugin.name().to_owned()).collect();
        let mut conn = self.0.ops.store().read().await?;
        let now = Timestamp::now();
        let due = conn.due_jobs(&names, now, PAGE).await?;
        let next = conn.next_job_at(&names).await?;
        drop(conn);
        for plugin in idle {
            let jobs: Vec<_> = due.iter().filter(|job| job.plugin == plugin.name()).cloned().collect();
            if jobs.is_empty() {
                continue;
            }
            busy.insert(plugin.name().to_owned());
            let deployment = self.clone();
            running.spawn(async move {
                for job in jobs {
                    // Another version, or none, runs the rest; and what was taken back meanwhile is not run.
                    let serves =
                        deployment.0.runtime.get(plugin.name()).is_some_and(|now| Arc::ptr_eq(&now, &plugin));
                    if !serves {
                        break;
                    }
                    if deployment.is_still_due(&job).await {
                        deployment.run_one(&plugin, job).await;
                    }
                }
                plugin.name().to_owned()
            });
        }
        let wait =
            next.map_or(LONGEST_SLEEP, |at| Duration::from_millis(u64::try_from(at - now.0).unwrap_or(0)));
        Ok(wait.clamp(SHORTEST_SLEEP, LONGEST_SLEEP))
    }

    async fn is_still_due(&self, job: &JobRunRow) -> bool {
        let still = async { self.0.ops.store().read().await?.is_job_due(job).await };
        // If that can't be known now it comes again.
        still.await.unwrap_or(false)
    }

    async fn run_one(&self, plugin: &Plugin, job: JobRunRow) {
        let attempt = u32::try_from(job.attempts.saturating_add(1)).unwrap_or(u32::MAX);
        let due = DueJob {
            id: job.id.clone(),
            payload: job.payload.clone(),
            due: job.due_at,
            attempt,
            depth: u8::try_from(job.depth).unwrap_or(u8::MAX),
        };
        let result = match self.0.runtime.run_job(plugin, due).await {
            // It stays due.
            Err(CallError::Busy { .. } | CallError::Quarantined) => return,
            result => result.map_err(|error| format!("{}: {error}", error.code())),
        };
        if let Err(error) = self.settle_job(plugin, job, result).await {
            tracing::warn!(plugin = plugin.name(), %error, "the end of a job could not be recorded; it comes again");
        }
    }

    async fn settle_job(
        &self,
        plugin: &Plugin,
        job: JobRunRow,
        result: Result<(), String>,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let limits = plugin.limits();
        let (most, first) = (i64::from(limits.event_attempts), limits.event_backoff);
        let attempts = job.attempts.saturating_add(1);
        let error = result.err();
        if let Some(error) = error.clone().filter(|_| attempts < most) {
            tracing::warn!(
                plugin = plugin.name(),
                job = job.id,
                error,
                attempts,
                "a job failed; it comes again"
            );
            let run_at = now.0.saturating_add(pause_after(first, job.attempts));
            let write = self.0.ops.store();
            return write
                .write(move |tx| {
                    Box::pin(async move { tx.put_off_job_run(&job, job.due_at, run_at, attempts).await })
                })
                .await;
        }
        let letter = error.map(|error| {
            tracing::warn!(plugin = plugin.name(), job = job.id, error, "a job became a dead letter");
            letter(&job, error, attempts)
        });
        self.0
            .ops
            .store()
            .write(move |tx| {
                Box::pin(async move {
                    if let Some(letter) = &letter {
                        tx.insert_dead_letter(letter, MAX_DEAD_LETTERS, now).await?;
                    }
                    match job.every_ms {
                        Some(every) => {
                            let next = next_due(job.due_at, every, now.0);
                            tx.put_off_job_run(&job, next, next, 0).await
                        }
                        None => tx.delete_job_run(&job).await,
                    }
                })
            })
            .await
    }
}

/// The next time in the job's own rhythm that lies ahead: what was missed is not made up for.
fn next_due(due: i64, every: i64, now: i64) -> i64 {
    let every = every.max(1);
    let missed = (now - due).max(0) / every;
    due.saturating_add(every.saturating_mul(missed + 1))
}

fn letter(job: &JobRunRow, error: String, attempts: i64) -> NewDeadLetter {
    let payload = serde_json::json!({ "id": job.id, "payload": job.payload, "due": job.due_at });
    NewDeadLetter {
        plugin: job.plugin.clone(),
        kind: "job".to_owned(),
        seq: None,
        channel_id: None,
        message_id: None,
        actor_id: None,
        origin: None,
        depth: u8::try_from(job.depth).unwrap_or(u8::MAX),
        payload: payload.to_string(),
        at: job.due_at,
        error,
        attempts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rhythm_is_kept_and_what_was_missed_is_not_made_up_for() {
        assert_eq!(next_due(1_000, 100, 1_005), 1_100);
        assert_eq!(next_due(1_000, 100, 1_100), 1_200);
        assert_eq!(next_due(1_000, 100, 9_950), 10_000);
        assert_eq!(next_due(1_000, 100, 500), 1_100, "a clock that was set back");
    }
}
