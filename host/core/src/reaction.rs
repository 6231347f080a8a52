//! Reactions.

use crate::{MessageId, ReactionId, Timestamp, UserId};

/// One user's reaction to one message; a user reacts with the same emoji at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Its id.
    pub id: ReactionId,
    /// 1 to 64 bytes; the reactions plugin decides what an emoji is.
    pub emoji: String,
    /// Who reacted.
    pub user_id: UserId,
    /// To what.
    pub message_id: MessageId,
    /// When.
    pub created_at: Timestamp,
}

/// How often a message got an emoji, as one user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactionCount {
    /// The message.
    pub message_id: MessageId,
    /// The emoji.
    pub emoji: String,
    /// How many users reacted with it; at least 1.
    pub count: i64,
    /// Whether the viewer is one of them.
    pub me: bool,
}
