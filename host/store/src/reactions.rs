//! Reactions.

use patchbay_core::{MessageId, Reaction, ReactionCount, ReactionId, Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on, query::Query};

#[derive(FromRow)]
struct Row {
    id: i64,
    emoji: String,
    user_id: i64,
    message_id: i64,
    created_at: i64,
}

impl From<Row> for Reaction {
    fn from(row: Row) -> Self {
        Self {
            id: ReactionId(row.id),
            emoji: row.emoji,
            user_id: UserId(row.user_id),
            message_id: MessageId(row.message_id),
            created_at: Timestamp(row.created_at),
        }
    }
}

impl Conn {
    /// A user's reaction to a message with that emoji.
    pub async fn reaction(
        &mut self,
        message: MessageId,
        user: UserId,
        emoji: &str,
    ) -> Result<Option<Reaction>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, Row>(
                "SELECT id, emoji, user_id, message_id, created_at FROM reactions
                 WHERE message_id = $1 AND user_id = $2 AND emoji = $3",
            )
            .bind(message.0)
            .bind(user.0)
            .bind(emoji)
            .fetch_optional(c)
            .await?
        });
        Ok(row.map(Reaction::from))
    }

    /// How many reactions of one user, and how many different emoji, a message has.
    pub async fn reaction_totals(
        &mut self,
        message: MessageId,
        user: UserId,
    ) -> Result<(i64, i64), StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_as::<_, (i64, i64)>(
                "SELECT coalesce(sum(CASE WHEN user_id = $2 THEN 1 ELSE 0 END), 0), count(DISTINCT emoji)
                 FROM reactions WHERE message_id = $1",
            )
            .bind(message.0)
            .bind(user.0)
            .fetch_one(c)
            .await?
        }))
    }

    /// Adds a reaction.
    ///
    /// # Errors
    /// [`StoreError::Unique`] if the user has reacted with it before.
    pub async fn insert_reaction(
        &mut self,
        message: MessageId,
        user: UserId,
        emoji: &str,
        now: Timestamp,
    ) -> Result<Reaction, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, Row>(
                "INSERT INTO reactions (emoji, user_id, message_id, created_at) VALUES ($1, $2, $3, $4)
                 RETURNING id, emoji, user_id, message_id, created_at",
            )
            .bind(emoji)
            .bind(user.0)
            .bind(message.0)
            .bind(now.0)
            .fetch_one(c)
            .await?
        });
        Ok(row.into())
    }

    /// Removes a reaction.
    pub async fn delete_reaction(&mut self, id: ReactionId) -> Result<(), StoreError> {
        on!(self, |c| sqlx::query("DELETE FROM reactions WHERE id = $1")
            .bind(id.0)
            .execute(c)
            .await?
            .rows_affected());
        Ok(())
    }

    /// The reactions to a message with ids after `after`, oldest first, at most `limit`.
    pub async fn reactions(
        &mut self,
        message: MessageId,
        after: Option<ReactionId>,
        limit: i64,
    ) -> Result<Vec<Reaction>, StoreError> {
        let rows = on!(self, |c| {
            sqlx::query_as::<_, Row>(
                "SELECT id, emoji, user_id, message_id, created_at FROM reactions
                 WHERE message_id = $1 AND id > $2 ORDER BY id LIMIT $3",
            )
            .bind(message.0)
            .bind(after.map_or(0, |id| id.0))
            .bind(limit)
            .fetch_all(c)
            .await?
        });
        Ok(rows.into_iter().map(Reaction::from).collect())
    }

    /// The counts of those of these messages that `viewer` can read now (the system reads all), in the order
    /// in which each emoji was first used.
    pub async fn reaction_counts(
        &mut self,
        messages: &[MessageId],
        viewer: Option<UserId>,
    ) -> Result<Vec<ReactionCount>, StoreError> {
        let mut query = Query::new("SELECT r.message_id, r.emoji, count(*), count(CASE WHEN r.user_id = ");
        query.bind(viewer.map(|id| id.0));
        query.push(" THEN 1 END) FROM reactions r ");
        if let Some(viewer) = viewer {
            query.push(
                "JOIN messages m ON m.id = r.message_id
                 JOIN channels c ON c.id = m.channel_id AND c.deleted_at IS NULL AND (c.is_public OR EXISTS (
                     SELECT 1 FROM channel_members n WHERE n.channel_id = c.id AND n.user_id = ",
            );
            query.bind(viewer.0).push(")) ");
        }
        query.push("WHERE r.message_id IN (").ids(messages.iter().map(|id| id.0));
        query.push(") GROUP BY r.message_id, r.emoji ORDER BY r.message_id, min(r.id)");
        Ok(self
            .all::<(i64, String, i64, i64)>(query)
            .await?
            .into_iter()
            .map(|(message, emoji, count, me)| ReactionCount {
                message_id: MessageId(message),
                emoji,
                count,
                me: me != 0,
            })
            .collect())
    }
}
