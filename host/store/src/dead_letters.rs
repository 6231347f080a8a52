//! What plugins could not handle: events and jobs, until an operator lets them be delivered again.

use patchbay_core::{MessageId, Timestamp};
use sqlx::FromRow;

use crate::{Conn, Page, StoreError, query::Query};

/// Something that a plugin could not handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// Which plugin.
    pub plugin: String,
    /// The event's name, or `job`.
    pub kind: String,
    /// The event's place in the journal; none for a job, 0 in history.
    pub seq: Option<i64>,
    /// Where it happened.
    pub channel_id: Option<i64>,
    /// The message whose content the payload holds.
    pub message_id: Option<MessageId>,
    /// Who did it.
    pub actor_id: Option<i64>,
    /// The plugin through which it was done.
    pub origin: Option<String>,
    /// How many plugins stand between a person and it.
    pub depth: u8,
    /// A JSON object.
    pub payload: String,
    /// When it happened, in ms.
    pub at: i64,
    /// Why the last attempt failed.
    pub error: String,
    /// How many there were.
    pub attempts: i64,
}

/// One that is kept.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DeadLetterRow {
    /// Its id.
    pub id: i64,
    /// Which plugin.
    pub plugin: String,
    /// The event's name, or `job`.
    pub kind: String,
    /// The event's place in the journal.
    pub seq: Option<i64>,
    /// Where it happened.
    pub channel_id: Option<i64>,
    /// The message whose content the payload holds.
    pub message_id: Option<i64>,
    /// Who did it.
    pub actor_id: Option<i64>,
    /// The plugin through which it was done.
    pub origin: Option<String>,
    /// How many plugins stand between a person and it.
    pub depth: i64,
    /// A JSON object.
    pub payload: String,
    /// When it happened, in ms.
    pub at: i64,
    /// Why the last attempt failed.
    pub error: String,
    /// How many there were.
    pub attempts: i64,
    /// When it was given up, in ms.
    pub created_at: i64,
}

const SELECT: &str =
    "SELECT id, plugin, kind, seq, channel_id, message_id, actor_id, origin, depth, payload, at, error, attempts,
        created_at FROM dead_letters WHERE plugin = ";

impl Conn {
    /// Keeps one; of a plugin's the oldest go when there are more than `most`.
    pub async fn insert_dead_letter(
        &mut self,
        new: &NewDeadLetter,
        most: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut query = Query::new(
            "INSERT INTO dead_letters (plugin, kind, seq, channel_id, message_id, actor_id, origin, depth, payload,
                                       at, error, attempts, created_at) VALUES (",
        );
        query.bind(new.plugin.as_str()).push(", ").bind(new.kind.as_str()).push(", ");
        query.bind_list([new.seq, new.channel_id, new.message_id.map(|id| id.0), new.actor_id]).push(", ");
        query.bind(new.origin.as_deref()).push(", ").bind(i64::from(new.depth)).push(", ");
        query.bind(new.payload.as_str()).push(", ").bind(new.at).push(", ").bind(new.error.as_str());
        query.push(", ").bind(new.attempts).push(", ").bind(now.0).push(")");
        self.run(query).await?;
        let mut query = Query::new("DELETE FROM dead_letters WHERE plugin = ");
        query.bind(new.plugin.as_str());
        query.push(" AND id <= (SELECT id FROM dead_letters WHERE plugin = ").bind(new.plugin.as_str());
        query.push(" ORDER BY id DESC LIMIT 1 OFFSET ").bind(most).push(")");
        self.run(query).await.map(drop)
    }

    /// A page of a plugin's, newest first.
    pub async fn dead_letters(
        &mut self,
        plugin: &str,
        page: &Page,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query.bind(plugin);
        page.push(&mut query, "id", true);
        self.all(query).await
    }

    /// Those of these ids, or the oldest ones, at most `limit`, oldest first.
    pub async fn dead_letters_to_redeliver(
        &mut self,
        plugin: &str,
        ids: Option<&[i64]>,
        limit: i64,
    ) -> Result<Vec<DeadLetterRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query.bind(plugin);
        if let Some(ids) = ids {
            query.push(" AND id IN (").ids(ids.iter().copied()).push(")");
        }
        query.push(" ORDER BY id LIMIT ").bind(limit);
        self.all(query).await
    }

    /// How many each plugin has, of those that have any.
    pub async fn dead_letter_counts(&mut self) -> Result<Vec<(String, i64)>, StoreError> {
        self.all(Query::new("SELECT plugin, count(*) FROM dead_letters GROUP BY plugin")).await
    }

    /// One has been handled after all.
    pub async fn delete_dead_letter(&mut self, plugin: &str, id: i64) -> Result<bool, StoreError> {
        let mut query = Query::new("DELETE FROM dead_letters WHERE id = ");
        query.bind(id).push(" AND plugin = ").bind(plugin);
        Ok(self.run(query).await? > 0)
    }

    /// One has failed again.
    pub async fn update_dead_letter(&mut self, id: i64, error: &str) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE dead_letters SET attempts = attempts + 1, error = ");
        query.bind(error).push(" WHERE id = ").bind(id);
        self.run(query).await.map(drop)
    }
}
