//! Messages, threads, edits and what keeps a repeated request from posting twice.

use std::collections::HashMap;

use patchbay_core::{ChannelId, File, Message, MessageEdit, MessageId, Sender, Timestamp, UserId};
use sqlx::FromRow;

use crate::{
    Conn, StoreError,
    conn::{id_list, on},
    query::Query,
};

/// A message about to be written.
#[derive(Clone, Debug)]
pub struct NewMessage<'a> {
    /// Where.
    pub channel_id: ChannelId,
    /// Who sends it.
    pub sender_id: UserId,
    /// Whether the sender is a bot.
    pub is_bot: bool,
    /// The root of its thread.
    pub parent_id: Option<MessageId>,
    /// What it says.
    pub content: &'a str,
    /// Whom it mentions, by rising id.
    pub mentions: &'a [UserId],
    /// Whether files will be attached.
    pub has_attachments: bool,
}

/// Whose key it is, where it was used, and the key.
pub type IdempotencyKey = (UserId, ChannelId, String);

/// A page of a list ordered by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only ids below this one, falling.
    pub before: Option<i64>,
    /// Only ids above this one, rising.
    pub after: Option<i64>,
    /// How many rows at most.
    pub limit: i64,
}

impl Page {
    /// Adds condition, order and limit to a query that has a `WHERE` already. Without a bound the order is
    /// `newest_first` or its opposite.
    pub(crate) fn push(&self, query: &mut Query, column: &'static str, newest_first: bool) {
        if let Some(before) = self.before {
            query.push(" AND ").push(column).push(" < ").bind(before);
        }
        if let Some(after) = self.after {
            query.push(" AND ").push(column).push(" > ").bind(after);
        }
        let falling = if self.after.is_some() { false } else { newest_first || self.before.is_some() };
        query.push(" ORDER BY ").push(column).push(if falling { " DESC" } else { " ASC" });
        query.push(" LIMIT ").bind(self.limit);
    }
}

#[derive(FromRow)]
struct Row {
    id: i64,
    channel_id: i64,
    sender_id: i64,
    parent_id: Option<i64>,
    content: String,
    mentions: String,
    has_attachments: bool,
    is_bot: bool,
    reply_count: i64,
    created_at: i64,
    updated_at: i64,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
    sender_username: String,
    sender_full_name: Option<String>,
    sender_is_bot: bool,
}

impl Row {
    fn into_message(self, files: Vec<File>) -> Message {
        Message {
            id: MessageId(self.id),
            content: self.content,
            sender: Sender {
                id: UserId(self.sender_id),
                username: self.sender_username,
                full_name: self.sender_full_name,
                is_bot: self.sender_is_bot,
            },
            channel_id: ChannelId(self.channel_id),
            parent_id: self.parent_id.map(MessageId),
            reply_count: self.reply_count,
            files,
            mentions: self.mentions.split(',').filter_map(|id| id.parse().ok().map(UserId)).collect(),
            is_bot: self.is_bot,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
            edited_at: self.edited_at.map(Timestamp),
            deleted_at: self.deleted_at.map(Timestamp),
        }
    }
}

const SELECT: &str = "SELECT m.id, m.channel_id, m.sender_id, m.parent_id, m.content, m.mentions,
        m.has_attachments, m.is_bot, m.reply_count, m.created_at, m.updated_at, m.edited_at, m.deleted_at,
        u.username AS sender_username, u.full_name AS sender_full_name, u.is_bot AS sender_is_bot
    FROM messages m JOIN users u ON u.id = m.sender_id WHERE ";

impl Conn {
    /// Messages with ids after `after` up to and including `until`, deleted ones left out, by id, at most `limit`: those
    /// in channels of which `bot` is a member, or all; but not what `own` has sent.
    pub async fn past_messages(
        &mut self,
        bot: Option<UserId>,
        own: Option<UserId>,
        after: MessageId,
        until: MessageId,
        limit: i64,
    ) -> Result<Vec<Message>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push("m.id > ").bind(after.0).push(" AND m.id <= ").bind(until.0);
        query.push(" AND m.deleted_at IS NULL AND m.channel_id IN (SELECT id FROM channels WHERE deleted_at IS NULL)");
        if let Some(bot) = bot {
            query.push(" AND m.channel_id IN (SELECT channel_id FROM channel_members WHERE user_id = ");
            query.bind(bot.0).push(")");
        }
        if let Some(own) = own {
            query.push(" AND m.sender_id <> ").bind(own.0);
        }
        query.push(" ORDER BY m.id LIMIT ").bind(limit);
        let rows = self.all(query).await?;
        self.with_files(rows).await
    }

    /// The newest message's id, and how many messages there are that `past_messages` would tell of.
    pub async fn past_extent(
        &mut self,
        bot: Option<UserId>,
        own: Option<UserId>,
    ) -> Result<(i64, i64), StoreError> {
        let mut query = Query::new(
            "SELECT coalesce(max(id), 0), count(*) FROM messages WHERE deleted_at IS NULL
             AND channel_id IN (SELECT id FROM channels WHERE deleted_at IS NULL)",
        );
        if let Some(own) = own {
            query.push(" AND sender_id <> ").bind(own.0);
        }
        if let Some(bot) = bot {
            query.push(" AND channel_id IN (SELECT channel_id FROM channel_members WHERE user_id = ");
            query.bind(bot.0).push(")");
        }
        let row: Option<(i64, i64)> = self.optional(query).await?;
        Ok(row.unwrap_or_default())
    }

    /// Writes messages and the index of their mentions; their ids, in this order.
    pub async fn insert_messages(
        &mut self,
        new: &[NewMessage<'_>],
        now: Timestamp,
    ) -> Result<Vec<MessageId>, StoreError> {
        let mut query = Query::new(
            "INSERT INTO messages (channel_id, sender_id, parent_id, content, mentions, has_attachments, is_bot,
                                   created_at, updated_at) VALUES ",
        );
        for (n, message) in new.iter().enumerate() {
            query.push(if n == 0 { "(" } else { ", (" });
            query.bind(message.channel_id.0).push(", ").bind(message.sender_id.0).push(", ");
            query.bind(message.parent_id.map(|id| id.0)).push(", ").bind(message.content).push(", ");
            query.bind(id_list(message.mentions.iter().map(|id| id.0))).push(", ");
            query.bind(message.has_attachments).push(", ").bind(message.is_bot).push(", ");
            query.bind(now.0).push(", ").bind(now.0).push(")");
        }
        query.push(" RETURNING id");
        if new.len() > 1 {
            query.uncached();
        }
        // Rows get their ids in the order in which they stand, but may be told in another one.
        let mut ids: Vec<_> =
            self.all::<(i64,)>(query).await?.into_iter().map(|(id,)| MessageId(id)).collect();
        ids.sort_unstable();
        let of_one = |(message, id): (&NewMessage<'_>, &MessageId)| {
            let (channel, id) = (message.channel_id, *id);
            message.mentions.iter().map(|user| (*user, channel, id)).collect::<Vec<_>>()
        };
        let mentions = new.iter().zip(&ids).flat_map(of_one).collect();
        self.insert_mentions(mentions).await?;
        Ok(ids)
    }

    async fn insert_mentions(
        &mut self,
        mentions: Vec<(UserId, ChannelId, MessageId)>,
    ) -> Result<(), StoreError> {
        if mentions.is_empty() {
            return Ok(());
        }
        let mut query = Query::new("INSERT INTO message_mentions (user_id, channel_id, message_id) VALUES ");
        for (n, (user, channel, message)) in mentions.into_iter().enumerate() {
            query.push(if n == 0 { "(" } else { ", (" });
            query.ids([user.0, channel.0, message.0]).push(")");
        }
        self.run(query).await.map(drop)
    }

    /// One message with its files, a tombstone too; none in a deleted channel.
    pub async fn message(&mut self, id: MessageId) -> Result<Option<Message>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push("m.id = ").bind(id.0);
        query.push(
            " AND EXISTS (SELECT 1 FROM channels c WHERE c.id = m.channel_id AND c.deleted_at IS NULL)",
        );
        let Some(row) = self.optional::<Row>(query).await? else { return Ok(None) };
        Ok(self.with_files(vec![row]).await?.pop())
    }

    /// These messages, of which there are all, by rising id.
    pub async fn messages_in_order(&mut self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        if let [id] = ids {
            // The usual statement is kept prepared.
            return Ok(self.message(*id).await?.into_iter().collect());
        }
        let mut found = self.messages_by_id(&ids.iter().map(|id| id.0).collect::<Vec<_>>()).await?;
        found.sort_unstable_by_key(|message| message.id);
        Ok(found)
    }

    /// These messages, in no particular order.
    pub(crate) async fn messages_by_id(&mut self, ids: &[i64]) -> Result<Vec<Message>, StoreError> {
        self.messages_where(|query| {
            query.push("m.id IN (").ids(ids.iter().copied()).push(")");
        })
        .await
    }

    /// The messages `m` for which this holds, in no particular order.
    pub(crate) async fn messages_where(
        &mut self,
        condition: impl FnOnce(&mut Query),
    ) -> Result<Vec<Message>, StoreError> {
        let mut query = Query::new(SELECT);
        condition(&mut query);
        let rows = self.all::<Row>(query).await?;
        self.with_files(rows).await
    }

    /// A page of a channel's messages, newest first unless `page.after` is given.
    pub async fn messages(&mut self, channel: ChannelId, page: &Page) -> Result<Vec<Message>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push("m.channel_id = ").bind(channel.0);
        page.push(&mut query, "m.id", true);
        let rows = self.all::<Row>(query).await?;
        self.with_files(rows).await
    }

    /// A page of the replies to a root, oldest first unless `page.before` is given.
    pub async fn replies(&mut self, root: MessageId, page: &Page) -> Result<Vec<Message>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push("m.parent_id = ").bind(root.0);
        page.push(&mut query, "m.id", false);
        let rows = self.all::<Row>(query).await?;
        self.with_files(rows).await
    }

    /// Turns rows into messages with one look-up of files for all of them, and none if there are no files.
    async fn with_files(&mut self, rows: Vec<Row>) -> Result<Vec<Message>, StoreError> {
        let ids: Vec<i64> = rows.iter().filter(|row| row.has_attachments).map(|row| row.id).collect();
        let mut files: HashMap<i64, Vec<File>> = HashMap::new();
        if !ids.is_empty() {
            for file in self.files_of(&ids).await? {
                files.entry(file.message_id.map_or(0, |id| id.0)).or_default().push(file);
            }
        }
        Ok(rows
            .into_iter()
            .map(|row| {
                let files = files.remove(&row.id).unwrap_or_default();
                row.into_message(files)
            })
            .collect())
    }

    /// Replaces content and mentions and keeps the earlier version.
    pub async fn edit_message(
        &mut self,
        old: &Message,
        content: &str,
        mentions: &[UserId],
        editor: Option<UserId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "INSERT INTO message_edits (message_id, content, edited_by_id, created_at, replaced_at)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(old.id.0)
            .bind(&old.content)
            .bind(editor.map(|id| id.0))
            .bind(old.edited_at.unwrap_or(old.created_at).0)
            .bind(now.0)
            .execute(&mut *c)
            .await?;
            sqlx::query(
                "UPDATE messages SET content = $2, mentions = $3, edited_at = $4, updated_at = $4 WHERE id = $1",
            )
            .bind(old.id.0)
            .bind(content)
            .bind(id_list(mentions.iter().map(|id| id.0)))
            .bind(now.0)
            .execute(&mut *c)
            .await?;
            sqlx::query("DELETE FROM message_mentions WHERE message_id = $1")
                .bind(old.id.0)
                .execute(c)
                .await?;
        });
        self.insert_mentions(mentions.iter().map(|user| (*user, old.channel_id, old.id)).collect()).await
    }

    /// The earlier versions of a message, newest first unless `page.after` is given.
    pub async fn message_edits(
        &mut self,
        message: MessageId,
        page: &Page,
    ) -> Result<Vec<MessageEdit>, StoreError> {
        let mut query = Query::new(
            "SELECT id, content, edited_by_id, created_at, replaced_at FROM message_edits WHERE message_id = ",
        );
        query.bind(message.0);
        page.push(&mut query, "id", true);
        let rows = self.all::<(i64, String, Option<i64>, i64, i64)>(query).await?;
        Ok(rows
            .into_iter()
            .map(|(id, content, editor, created_at, replaced_at)| MessageEdit {
                id,
                content,
                edited_by_id: editor.map(UserId),
                created_at: Timestamp(created_at),
                replaced_at: Timestamp(replaced_at),
            })
            .collect())
    }

    /// Changes a root's number of replies by `by`; the new number.
    pub async fn add_to_reply_count(&mut self, root: MessageId, by: i64) -> Result<i64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "UPDATE messages SET reply_count = reply_count + $2 WHERE id = $1 RETURNING reply_count",
            )
            .bind(root.0)
            .bind(by)
            .fetch_one(c)
            .await?
        }))
    }

    /// Removes a message and what hangs on it (reactions, mentions, edits, pins, files, plugins' entries).
    pub async fn delete_message(&mut self, id: MessageId) -> Result<(), StoreError> {
        on!(self, |c| sqlx::query("DELETE FROM messages WHERE id = $1")
            .bind(id.0)
            .execute(c)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Empties a root that has replies: the row stays, and nothing that hung on it.
    pub async fn entomb_message(&mut self, id: MessageId, now: Timestamp) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "UPDATE messages SET content = '', mentions = '', has_attachments = FALSE, edited_at = NULL,
                                     deleted_at = $2, updated_at = $2 WHERE id = $1",
            )
            .bind(id.0)
            .bind(now.0)
            .execute(&mut *c)
            .await?;
            for sql in [
                "DELETE FROM message_mentions WHERE message_id = $1",
                "DELETE FROM message_edits WHERE message_id = $1",
                "DELETE FROM reactions WHERE message_id = $1",
                "DELETE FROM pins WHERE message_id = $1",
                "DELETE FROM plugin_kv WHERE message_id = $1",
                "DELETE FROM files WHERE message_id = $1",
            ] {
                sqlx::query(sql).bind(id.0).execute(&mut *c).await?;
            }
        });
        self.unindex_message(id).await
    }

    /// The message that this key stands for, if it was used since `since`.
    pub async fn idempotent_message(
        &mut self,
        user: UserId,
        channel: ChannelId,
        key: &str,
        since: Timestamp,
    ) -> Result<Option<MessageId>, StoreError> {
        let id = on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "SELECT message_id FROM idempotency_keys
                 WHERE user_id = $1 AND channel_id = $2 AND key = $3 AND created_at >= $4",
            )
            .bind(user.0)
            .bind(channel.0)
            .bind(key)
            .bind(since.0)
            .fetch_optional(c)
            .await?
        });
        Ok(id.map(MessageId))
    }

    /// The same for several keys, each another one: those that are known.
    pub async fn idempotent_messages(
        &mut self,
        keys: &[IdempotencyKey],
        since: Timestamp,
    ) -> Result<HashMap<IdempotencyKey, MessageId>, StoreError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let mut query = Query::new(
            "SELECT user_id, channel_id, key, message_id FROM idempotency_keys WHERE created_at >= ",
        );
        query.bind(since.0).push(" AND (user_id, channel_id, key) IN (VALUES ");
        for (n, (user, channel, key)) in keys.iter().enumerate() {
            query.push(if n == 0 { "(" } else { ", (" });
            query.ids([user.0, channel.0]).push(", ").bind(key.as_str()).push(")");
        }
        query.push(")");
        let known = self.all::<(i64, i64, String, i64)>(query).await?.into_iter();
        Ok(known
            .map(|(user, channel, key, id)| ((UserId(user), ChannelId(channel), key), MessageId(id)))
            .collect())
    }

    /// Remembers which messages keys, each another one, stand for, in place of expired uses of the same keys.
    pub async fn remember_keys(
        &mut self,
        keys: &[(IdempotencyKey, MessageId)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut query = Query::new(
            "INSERT INTO idempotency_keys (user_id, channel_id, key, message_id, created_at) VALUES ",
        );
        for (n, ((user, channel, key), message)) in keys.iter().enumerate() {
            query.push(if n == 0 { "(" } else { ", (" });
            query
                .ids([user.0, channel.0])
                .push(", ")
                .bind(key.as_str())
                .push(", ")
                .ids([message.0, now.0])
                .push(")");
        }
        query.push(
            " ON CONFLICT (user_id, channel_id, key)
              DO UPDATE SET message_id = excluded.message_id, created_at = excluded.created_at",
        );
        self.run(query).await.map(drop)
    }

    /// Forgets up to `limit` keys used before `before`; how many there were.
    pub async fn forget_keys(&mut self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query(
                "DELETE FROM idempotency_keys WHERE (user_id, channel_id, key) IN (
                     SELECT user_id, channel_id, key FROM idempotency_keys WHERE created_at < $1 LIMIT $2)",
            )
            .bind(before.0)
            .bind(limit)
            .execute(c)
            .await?
            .rows_affected()
        }))
    }
}
