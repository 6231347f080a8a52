//! History that is made up: many rows at once, with their ids and times, without events. A client that connects
//! afterwards fetches it as it would fetch any history.
//!
//! Owns: these inserts. Must not: be used for anything that somebody may be waiting to hear of.

use patchbay_core::{ChannelId, MessageId, Role, Status, Timestamp, UserId};

use crate::{
    Conn, Document, Index, StoreError, Value,
    channels::search_key,
    conn::id_list,
    query::Query,
    snapshot::{MAX_PARAMETERS, ROWS_PER_INSERT},
    users::key,
};

/// A user who has been there since `created_at`.
#[derive(Clone, Debug)]
pub struct PastUser {
    /// Who.
    pub id: UserId,
    /// Lower-case letters, digits, `_ . -`.
    pub username: String,
    /// The name to show.
    pub full_name: String,
    /// A PHC string.
    pub hashed_password: String,
    /// May administer the deployment.
    pub is_superuser: bool,
    /// What they chose to show.
    pub status: Status,
    /// When they were last there.
    pub last_seen: Timestamp,
    /// Since when.
    pub created_at: Timestamp,
}

/// A channel that has been there since `created_at`.
#[derive(Clone, Debug)]
pub struct PastChannel {
    /// Which.
    pub id: ChannelId,
    /// Its name; empty for a direct message.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether everyone may read it.
    pub is_public: bool,
    /// The sorted ids of its people, if it is a direct message.
    pub dm_key: Option<String>,
    /// Who made it.
    pub created_by: UserId,
    /// Since when.
    pub created_at: Timestamp,
}

/// A membership.
#[derive(Clone, Debug)]
pub struct PastMember {
    /// Where.
    pub channel: ChannelId,
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Up to where they have read.
    pub last_read: MessageId,
    /// Since when.
    pub joined_at: Timestamp,
}

/// A message of the past.
#[derive(Clone, Debug)]
pub struct PastMessage {
    /// Which.
    pub id: MessageId,
    /// Where.
    pub channel: ChannelId,
    /// Who said it.
    pub sender: UserId,
    /// What it replies to, an earlier message.
    pub parent: Option<MessageId>,
    /// What it says.
    pub content: String,
    /// Whom it mentions, by rising id.
    pub mentions: Vec<UserId>,
    /// Whether files hang on it.
    pub has_attachments: bool,
    /// When.
    pub created_at: Timestamp,
    /// What it said before, and when that was replaced.
    pub edited: Option<(String, Timestamp)>,
}

/// A reaction of the past.
#[derive(Clone, Debug)]
pub struct PastReaction {
    /// To what.
    pub message: MessageId,
    /// Whose.
    pub user: UserId,
    /// Which.
    pub emoji: &'static str,
    /// When.
    pub created_at: Timestamp,
}

/// A file of the past whose bytes are in the object store.
#[derive(Clone, Debug)]
pub struct PastFile {
    /// Its name.
    pub filename: String,
    /// Where its bytes are.
    pub path: String,
    /// Its media type.
    pub kind: &'static str,
    /// Bytes.
    pub size: i64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Whose.
    pub owner: UserId,
    /// On which message.
    pub message: MessageId,
    /// When.
    pub created_at: Timestamp,
}

/// A row with one value for each column that is named.
type Values = Vec<Value>;

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(Some(value))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl Conn {
    /// Inserts rows; `into` is `TABLE (COLUMN, …)`.
    async fn insert_all(&mut self, into: &'static str, rows: Vec<Values>) -> Result<(), StoreError> {
        let columns = rows.first().map_or(1, Vec::len);
        let most = (MAX_PARAMETERS / columns).clamp(1, ROWS_PER_INSERT);
        let mut rows = rows.into_iter();
        loop {
            let chunk: Vec<_> = rows.by_ref().take(most).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            let mut insert = Query::new("INSERT INTO ");
            insert.push(into).push(" VALUES ");
            if chunk.len() < most {
                insert.uncached();
            }
            for (n, row) in chunk.into_iter().enumerate() {
                insert.push(if n == 0 { "(" } else { ", (" }).bind_list(row).push(")");
            }
            self.run(insert).await?;
        }
    }

    /// Adds users.
    ///
    /// # Errors
    /// [`StoreError::Unique`] if a name is taken.
    pub async fn insert_past_users(&mut self, users: &[PastUser]) -> Result<(), StoreError> {
        let row = |user: &PastUser| -> Values {
            let email = format!("{}@example.org", user.username);
            vec![
                user.id.0.into(),
                user.username.as_str().into(),
                key(&user.username).into(),
                email.as_str().into(),
                key(&email).into(),
                user.full_name.as_str().into(),
                key(&user.full_name).into(),
                user.hashed_password.as_str().into(),
                user.is_superuser.into(),
                user.created_at.0.into(),
                user.created_at.0.into(),
            ]
        };
        self.insert_all(
            "users (id, username, username_key, email, email_key, full_name, full_name_key, hashed_password,
                    is_superuser, created_at, updated_at)",
            users.iter().map(row).collect(),
        )
        .await?;
        let row = |user: &PastUser| -> Values {
            vec![user.id.0.into(), user.status.as_str().into(), user.last_seen.0.into()]
        };
        self.insert_all("presence (user_id, status, last_seen)", users.iter().map(row).collect()).await
    }

    /// Adds channels, still without members.
    pub async fn insert_past_channels(&mut self, channels: &[PastChannel]) -> Result<(), StoreError> {
        let row = |channel: &PastChannel| -> Values {
            vec![
                channel.id.0.into(),
                channel.name.as_str().into(),
                channel.description.clone().into(),
                channel.dm_key.is_some().into(),
                channel.is_public.into(),
                false.into(),
                channel.dm_key.clone().into(),
                channel.created_by.0.into(),
                channel.created_at.0.into(),
                channel.created_at.0.into(),
                search_key(&channel.name, channel.description.as_deref()).into(),
            ]
        };
        self.insert_all(
            "channels (id, name, description, is_direct_message, is_public, is_vc, dm_key, created_by_id,
                       created_at, updated_at, search_key)",
            channels.iter().map(row).collect(),
        )
        .await
    }

    /// Adds members.
    pub async fn insert_past_members(&mut self, members: &[PastMember]) -> Result<(), StoreError> {
        let row = |member: &PastMember| -> Values {
            vec![
                member.channel.0.into(),
                member.user.0.into(),
                member.role.as_str().into(),
                member.joined_at.0.into(),
                member.last_read.0.into(),
            ]
        };
        self.insert_all(
            "channel_members (channel_id, user_id, role, joined_at, last_read_message_id)",
            members.iter().map(row).collect(),
        )
        .await
    }

    /// Adds messages with their mentions and earlier versions; what a reply belongs to is there, or before it
    /// among them. Its number of replies is set by [`Conn::count_replies`].
    pub async fn insert_past_messages(&mut self, messages: &[PastMessage]) -> Result<(), StoreError> {
        let row = |message: &PastMessage| -> Values {
            let edited = message.edited.as_ref().map(|(_, at)| at.0);
            vec![
                message.id.0.into(),
                message.channel.0.into(),
                message.sender.0.into(),
                message.parent.map(|id| id.0).into(),
                message.content.as_str().into(),
                id_list(message.mentions.iter().map(|id| id.0)).into(),
                message.has_attachments.into(),
                message.created_at.0.into(),
                edited.unwrap_or(message.created_at.0).into(),
                edited.into(),
            ]
        };
        self.insert_all(
            "messages (id, channel_id, sender_id, parent_id, content, mentions, has_attachments, created_at,
                       updated_at, edited_at)",
            messages.iter().map(row).collect(),
        )
        .await?;
        let document =
            |message: &PastMessage| Document::message(&message.content, message.channel, message.sender);
        let documents: Vec<_> = messages.iter().map(|message| (message.id.0, document(message))).collect();
        self.index(Index::Messages, documents.iter().map(|(id, document)| (*id, document))).await?;
        let mentions = messages.iter().flat_map(|message| {
            let row = |user: &UserId| -> Values {
                vec![user.0.into(), message.channel.0.into(), message.id.0.into()]
            };
            message.mentions.iter().map(row)
        });
        self.insert_all("message_mentions (user_id, channel_id, message_id)", mentions.collect()).await?;
        let edits = messages.iter().filter_map(|message| -> Option<Values> {
            let (content, at) = message.edited.as_ref()?;
            Some(vec![
                message.id.0.into(),
                content.as_str().into(),
                message.sender.0.into(),
                message.created_at.0.into(),
                at.0.into(),
            ])
        });
        self.insert_all(
            "message_edits (message_id, content, edited_by_id, created_at, replaced_at)",
            edits.collect(),
        )
        .await
    }

    /// Counts the replies to the messages after `after` up to `until`.
    pub async fn count_replies(&mut self, after: MessageId, until: MessageId) -> Result<(), StoreError> {
        let mut count = Query::new(
            "UPDATE messages SET reply_count = (SELECT count(*) FROM messages r WHERE r.parent_id = messages.id)
             WHERE parent_id IS NULL AND id > ",
        );
        count.bind(after.0).push(" AND id <= ").bind(until.0);
        self.run(count).await?;
        Ok(())
    }

    /// Adds reactions; one that a user gives twice to a message is an error.
    pub async fn insert_past_reactions(&mut self, reactions: &[PastReaction]) -> Result<(), StoreError> {
        let row = |reaction: &PastReaction| -> Values {
            vec![
                reaction.emoji.into(),
                reaction.user.0.into(),
                reaction.message.0.into(),
                reaction.created_at.0.into(),
            ]
        };
        self.insert_all(
            "reactions (emoji, user_id, message_id, created_at)",
            reactions.iter().map(row).collect(),
        )
        .await
    }

    /// Adds files.
    pub async fn insert_past_files(&mut self, files: &[PastFile]) -> Result<(), StoreError> {
        let row = |file: &PastFile| -> Values {
            vec![
                file.filename.as_str().into(),
                file.path.as_str().into(),
                file.kind.into(),
                file.size.into(),
                file.sha256.as_str().into(),
                file.owner.0.into(),
                file.message.0.into(),
                file.created_at.0.into(),
                file.created_at.0.into(),
            ]
        };
        self.insert_all(
            "files (filename, file_path, file_type, file_size, sha256, uploaded_by_id, message_id, created_at,
                    updated_at)",
            files.iter().map(row).collect(),
        )
        .await?;
        // Their ids are not known here.
        self.restart_index(Index::Files).await
    }

    /// Goes on giving ids after those of the rows that were added with theirs.
    pub async fn count_on(&mut self, users: i64, channels: i64, messages: i64) -> Result<(), StoreError> {
        let counters = [("users", users), ("channels", channels), ("messages", messages)];
        self.set_counters(&counters.map(|(table, last)| (table.to_owned(), last)).into()).await
    }

    /// Whether nobody has an account and nothing has ever been given an id.
    pub async fn is_unused(&mut self) -> Result<bool, StoreError> {
        let users = Query::new("SELECT count(*) FROM users");
        let found = self.optional::<(i64,)>(users).await?;
        Ok(found.is_none_or(|(count,)| count == 0))
    }
}
