//! What has to be done from time to time, in small steps, so that no step keeps other writes waiting.

use std::time::Duration;

use patchbay_core::{Timestamp, UserId};

use super::{Error, Ops, Result, invites::SHOWN, messages::KEY_LIFE};

/// Rows of one step.
const STEP: i64 = 500;
/// Users recorded as seen by one statement.
const SEEN: usize = 1_000;
/// Pause between rounds.
const PAUSE: Duration = Duration::from_secs(60);
impl Ops {
    /// Does the rounds until the task is dropped.
    pub async fn keep_tidy(self) {
        loop {
            if let Err(error) = self.tidy().await {
                tracing::warn!(%error, "maintenance was cut short; it goes on in the next round");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One round: removes what is no longer needed.
    ///
    /// # Errors
    /// If the database can't be written.
    pub async fn tidy(&self) -> Result<()> {
        let now = Timestamp::now();
        let store = &self.0.store;
        loop {
            let gone = store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        let keys = tx.forget_keys(now.minus(KEY_LIFE), STEP).await?;
                        let invites = tx.delete_expired_invites(now.minus(SHOWN), STEP).await?;
                        Ok(keys.max(invites).max(tx.delete_expired_sessions(now, STEP).await?))
                    })
                })
                .await?;
            if gone < STEP.unsigned_abs() {
                break;
            }
        }
        self.tidy_keys().await?;
        self.blend_logins().await?;
        self.tidy_files().await?;
        let (before, keep) = (now.minus(self.0.journal.retention), self.0.journal.max_events);
        loop {
            let gone = store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.prune_journal(before, keep, STEP).await?) })
                })
                .await?;
            if gone < STEP.unsigned_abs() {
                break;
            }
        }
        loop {
            let gone = store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.purge_deleted_channels(STEP).await?) })
                })
                .await?;
            if gone == 0 {
                return Ok(());
            }
        }
    }

    /// Records that users are or were here just now.
    ///
    /// # Errors
    /// If the database can't be written.
    pub async fn seen_last(&self, users: Vec<UserId>) -> Result<()> {
        let now = Timestamp::now();
        for users in users.chunks(SEEN) {
            let users = users.to_vec();
            self.0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.set_last_seen(&users, now).await?) })
                })
                .await?;
        }
        Ok(())
    }
}
