//! Messages.

use crate::{ChannelId, File, MessageId, Timestamp, UserId};

/// Most files of one message.
pub const MAX_FILES: usize = 20;

/// What a message shows of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Who.
    pub id: UserId,
    /// The sender's present username.
    pub username: String,
    /// The sender's present full name.
    pub full_name: Option<String>,
    /// Whether the sender is a bot.
    pub is_bot: bool,
}

/// A message, or the tombstone of a deleted thread root (`deleted_at` set, no content, no files).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// 1 to 8,000 characters; may be empty with files.
    pub content: String,
    /// Who sent it.
    pub sender: Sender,
    /// Where.
    pub channel_id: ChannelId,
    /// The root of the thread it belongs to.
    pub parent_id: Option<MessageId>,
    /// For a root: how many replies it has.
    pub reply_count: i64,
    /// The files attached to it, oldest first.
    pub files: Vec<File>,
    /// Whom it mentions, by rising id.
    pub mentions: Vec<UserId>,
    /// Sent by a bot.
    pub is_bot: bool,
    /// When it was sent.
    pub created_at: Timestamp,
    /// When its row last changed in a way that a reader sees.
    pub updated_at: Timestamp,
    /// When its content was last edited.
    pub edited_at: Option<Timestamp>,
    /// Set on a tombstone only.
    pub deleted_at: Option<Timestamp>,
}

/// An earlier version of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEdit {
    /// Rises with each version; only for paging.
    pub id: i64,
    /// What it said.
    pub content: String,
    /// Who replaced it; none once that account is gone.
    pub edited_by_id: Option<UserId>,
    /// When this version was written.
    pub created_at: Timestamp,
    /// When it was replaced.
    pub replaced_at: Timestamp,
}
