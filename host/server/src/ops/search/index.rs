//! Keeping the index: what is posted is indexed in its own transaction; what was there before, and everything after the
//! rules for words have changed, in steps behind it, so that the server serves meanwhile.

use std::time::{Duration, Instant};

use patchbay_core::Timestamp;
use patchbay_store::{Index, IndexProgress};

use super::super::{Admin, Error, Ops, Result, access::demand_superuser, audit::record};

/// Rows of a step: some milliseconds of the writer's time.
const STEP: i64 = 200;
/// How long to wait after a failure, and how often to look for what nobody has announced.
const PAUSE: Duration = Duration::from_secs(60);

/// How far the indexes have been made.
#[derive(Clone, Debug)]
pub struct IndexState {
    /// Each index and its progress.
    pub indexes: Vec<(Index, IndexProgress)>,
    /// Files whose text is still to be read.
    pub files_waiting: i64,
    /// Files whose text could not be read.
    pub files_failed: i64,
}

impl Ops {
    /// How far the indexes have been made. For metrics and operators.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn index_state(&self) -> Result<IndexState> {
        let mut conn = self.0.store.read().await?;
        let mut indexes = Vec::new();
        for index in Index::ALL {
            indexes.push((index, conn.index_progress(index).await?));
        }
        let (files_waiting, files_failed) = conn.text_counts().await?;
        Ok(IndexState { indexes, files_waiting, files_failed })
    }

    /// The same for who administers.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn index_state_for(&self, by: &Admin) -> Result<IndexState> {
        demand_superuser(&by.actor)?;
        self.index_state().await
    }

    /// Makes all indexes anew, behind what is going on: what is in them is found until it is replaced.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn reindex(&self, by: &Admin) -> Result<IndexState> {
        demand_superuser(&by.actor)?;
        let by = by.clone();
        self.0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    for index in Index::ALL {
                        tx.restart_index(index).await?;
                    }
                    let nothing = serde_json::json!({});
                    record(tx, &by, "search.reindexed", "search".to_owned(), nothing, Timestamp::now()).await
                })
            })
            .await?;
        self.0.searches.behind.notify_one();
        self.index_state().await
    }

    /// Indexes what is still to be, until the task is dropped. One at a time: what two do, they do twice.
    pub async fn keep_indexed(self) {
        loop {
            for index in Index::ALL {
                if let Err(error) = self.index_all(index).await {
                    tracing::warn!(%error, "the index of {} is not complete yet", index.as_str());
                }
            }
            let _ = tokio::time::timeout(PAUSE, self.0.searches.behind.notified()).await;
        }
    }

    async fn index_all(&self, index: Index) -> Result<()> {
        let progress = self.0.store.read().await?.index_progress(index).await?;
        if progress.is_complete() {
            return Ok(());
        }
        if progress.version != patchbay_words::VERSION {
            self.0
                .store
                .write::<_, Error, _>(move |tx| Box::pin(async move { Ok(tx.restart_index(index).await?) }))
                .await?;
        }
        let begun = Instant::now();
        loop {
            let step = Instant::now();
            let progress = self
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.index_further(index, STEP, Timestamp::now()).await?) })
                })
                .await?;
            if progress.is_complete() {
                break;
            }
            // Half of the writer's time is for others.
            tokio::time::sleep(step.elapsed()).await;
        }
        self.0.searches.unread.notify_one();
        tracing::info!(seconds = begun.elapsed().as_secs(), "the index of {} is complete", index.as_str());
        Ok(())
    }
}
