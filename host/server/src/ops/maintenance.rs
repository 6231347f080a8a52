//! What has to be done from time to time, in small steps, so that no step keeps other writes waiting.

use std::time::Duration;

use patchbay_core::{Timestamp, UserId};

use super::{Error, Ops, Result, invites::SHOWN, messages::KEY_LIFE};

/// Rows of one step.
const STEP: i64 = 500;
/// How often the journal is brought back to its size: clients count on what the settings say.
const PRUNE: Duration = Duration::from_secs(5);
/// Users recorded as seen in one operation.
const SEEN: usize = 200;
/// Pause between rounds.
const PAUSE: Duration = Duration::from_secs(60);
impl Ops {
    /// Does the rounds until the task is dropped.
    pub async fn keep_tidy(self) {
        let mut rounds = tokio::time::interval(PAUSE);
        let mut prunings = tokio::time::interval(PRUNE);
        loop {
            let done = tokio::select! {
                _ = rounds.tick() => self.tidy().await,
                _ = prunings.tick() => self.prune_journal().await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "maintenance was cut short; it goes on in the next round");
            }
        }
    }

    /// Removes what the journal holds beyond its retention and size.
    ///
    /// # Errors
    /// If the database can't be written.
    async fn prune_journal(&self) -> Result<()> {
        let keep = self.0.journal.max_events;
        loop {
            let before = Timestamp::now().minus(self.0.journal.retention);
            let gone = self
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.prune_journal(before, keep, STEP).await?) })
                })
                .await?;
            if gone < STEP.unsigned_abs() {
                return Ok(());
            }
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
        self.tidy_embeddings(STEP).await?;
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

    /// Records when users were last here.
    ///
    /// # Errors
    /// If the database can't be written.
    pub async fn seen_last(&self, users: Vec<(UserId, Timestamp)>) -> Result<()> {
        for users in users.chunks(SEEN) {
            let users = users.to_vec();
            self.0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        for (user, at) in users {
                            tx.set_last_seen(user, at).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
        Ok(())
    }
}
