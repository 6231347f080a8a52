//! Messages pinned to their channels.

use patchbay_core::{ChannelId, Message, MessageId, Timestamp, UserId};

use crate::{Conn, StoreError, conn::on};

impl Conn {
    /// Pins a message; whether it was not pinned before.
    pub async fn insert_pin(
        &mut self,
        channel: ChannelId,
        message: MessageId,
        by: UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query(
                "INSERT INTO pins (channel_id, message_id, pinned_by_id, created_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (message_id) DO NOTHING",
            )
            .bind(channel.0)
            .bind(message.0)
            .bind(by.0)
            .bind(now.0)
            .execute(c)
            .await?
            .rows_affected()
                > 0
        }))
    }

    /// Unpins a message; whether it was pinned.
    pub async fn delete_pin(&mut self, message: MessageId) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("DELETE FROM pins WHERE message_id = $1")
                .bind(message.0)
                .execute(c)
                .await?
                .rows_affected()
                > 0
        }))
    }

    /// How many messages are pinned to a channel.
    pub async fn count_pins(&mut self, channel: ChannelId) -> Result<i64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pins WHERE channel_id = $1")
                .bind(channel.0)
                .fetch_one(c)
                .await?
        }))
    }

    /// The messages pinned to a channel, the newest pin first.
    pub async fn pinned_messages(&mut self, channel: ChannelId) -> Result<Vec<Message>, StoreError> {
        let ids = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT message_id FROM pins WHERE channel_id = $1 ORDER BY id DESC")
                .bind(channel.0)
                .fetch_all(c)
                .await?
        });
        let mut messages = self.messages_by_id(&ids).await?;
        messages.sort_by_key(|message| ids.iter().position(|id| *id == message.id.0));
        Ok(messages)
    }
}
