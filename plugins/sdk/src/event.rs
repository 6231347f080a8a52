//! Events with types: what an [`Entry`] says.
//!
//! ```
//! use patchbay_sdk::{Entry, Event};
//!
//! let entry = Entry {
//!     seq: 7,
//!     kind: "message.deleted".to_owned(),
//!     channel: Some(3),
//!     actor: Some(2),
//!     at: 1_700_000_000_000,
//!     depth: 0,
//!     origin: None,
//!     history: false,
//!     payload: r#"{"id":5,"channel_id":3,"parent_id":null,"is_tombstone":false}"#.to_owned(),
//! };
//! let Event::MessageDeleted(gone) = entry.event() else { panic!("another kind") };
//! assert_eq!((gone.id, gone.channel_id), (5, 3));
//! ```
//!
//! Owns: the shapes of the kinds that hosts of version 0.1 know. Must not: fail at what it doesn't know; new kinds and new
//! fields come with new hosts.

use serde::Deserialize;
use serde_json::Value;

use crate::{ChannelId, Entry, FileId, MessageId, UserId};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// `message.created`: a message was posted.
    MessageCreated(Message),
    /// `message.updated`: a message was edited.
    MessageUpdated(Message),
    /// `message.deleted`: a message is gone.
    MessageDeleted(DeletedMessage),
    /// `message.pinned`: a message was pinned to its channel.
    MessagePinned(Pin),
    /// `message.unpinned`: it is pinned no more.
    MessageUnpinned(Pin),
    /// `channel.created`: a channel was made.
    ChannelCreated(Channel),
    /// `channel.updated`: its name, description or visibility changed.
    ChannelUpdated(Channel),
    /// `channel.deleted`: the channel of this id is gone.
    ChannelDeleted(ChannelId),
    /// `member.added`: a user became a member.
    MemberAdded(Member),
    /// `member.updated`: a member's role changed.
    MemberUpdated(Member),
    /// `member.removed`: a user is no longer a member.
    MemberRemoved(RemovedMember),
    /// `reaction.added`: somebody reacted to a message.
    ReactionAdded(Reaction),
    /// `reaction.removed`: somebody took a reaction back.
    ReactionRemoved(Reaction),
    /// `user.updated`: a user's public profile changed.
    UserUpdated(User),
    /// `plugin.{name}.{kind}`: an event of another plugin.
    Plugin {
        /// The plugin's name.
        plugin: String,
        /// What the plugin calls it.
        kind: String,
        /// A JSON object.
        data: Value,
    },
    /// A kind that this version of the SDK does not know, or data of another form than it expects.
    Unknown {
        /// Its name.
        kind: String,
        /// Its data; null if that is no JSON.
        data: Value,
    },
}

/// A message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it is.
    pub channel_id: ChannelId,
    /// What it says: up to 8,000 characters, empty only with files.
    pub content: String,
    /// Who sent it.
    pub sender_id: UserId,
    /// What is shown of the sender.
    pub sender: Sender,
    /// The root of its thread.
    pub parent_id: Option<MessageId>,
    /// Sent by a bot.
    pub is_bot: bool,
    /// Whom it mentions.
    #[serde(default)]
    pub mentions: Vec<UserId>,
    /// What is attached.
    #[serde(default)]
    pub files: Vec<File>,
    /// When it was sent (RFC 3339).
    pub created_at: String,
    /// When it was last edited.
    pub edited_at: Option<String>,
}

/// What a message shows of its sender.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Sender {
    /// Who.
    pub id: UserId,
    /// The sender's name.
    pub username: String,
    /// The sender's full name.
    pub full_name: Option<String>,
    /// Whether the sender is a bot.
    pub is_bot: bool,
}

/// A file of a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct File {
    /// Its id.
    pub id: FileId,
    /// Its name.
    pub filename: String,
    /// Its media type.
    pub file_type: String,
    /// Its bytes.
    pub file_size: u64,
}

/// What is left of a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DeletedMessage {
    /// Its id.
    pub id: MessageId,
    /// Where it was.
    pub channel_id: ChannelId,
    /// The root of the thread it belonged to.
    pub parent_id: Option<MessageId>,
    /// Its empty place stays, because it has replies.
    pub is_tombstone: bool,
}

/// A pin that was put up or taken down.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pin {
    /// Which message.
    pub message_id: MessageId,
    /// Where.
    pub channel_id: ChannelId,
    /// Who did it.
    pub user_id: UserId,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// Its name; empty for a direct message without one.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// The people in it are fixed.
    pub is_direct_message: bool,
    /// Everyone may read it.
    pub is_public: bool,
    /// A voice channel.
    pub is_vc: bool,
}

/// A membership.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Member {
    /// Where.
    pub channel_id: ChannelId,
    /// Who.
    pub user: User,
    /// As what: `member`, `admin`, `owner`.
    pub role: String,
}

/// A membership that ended.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RemovedMember {
    /// Where.
    pub channel_id: ChannelId,
    /// Who.
    pub user_id: UserId,
}

/// A user's reaction to a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Reaction {
    /// Where.
    pub channel_id: ChannelId,
    /// To what.
    pub message_id: MessageId,
    /// Who.
    pub user_id: UserId,
    /// How.
    pub emoji: String,
}

/// A user's public profile.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub username: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// A bot account.
    pub is_bot: bool,
    /// Inactive users can't log in.
    pub is_active: bool,
}

#[derive(Deserialize)]
struct OnlyId {
    id: u64,
}

impl Entry {
    /// What it says.
    pub fn event(&self) -> Event {
        Event::read(&self.kind, &self.payload)
    }
}

impl Event {
    /// Reads a kind and its data, a JSON object. What can't be read is [`Event::Unknown`].
    pub fn read(kind: &str, payload: &str) -> Self {
        fn of<T: for<'a> Deserialize<'a>>(payload: &str, event: impl FnOnce(T) -> Event) -> Option<Event> {
            serde_json::from_str(payload).ok().map(event)
        }
        let known = match kind {
            "message.created" => of(payload, Self::MessageCreated),
            "message.updated" => of(payload, Self::MessageUpdated),
            "message.deleted" => of(payload, Self::MessageDeleted),
            "message.pinned" => of(payload, Self::MessagePinned),
            "message.unpinned" => of(payload, Self::MessageUnpinned),
            "channel.created" => of(payload, Self::ChannelCreated),
            "channel.updated" => of(payload, Self::ChannelUpdated),
            "channel.deleted" => of(payload, |gone: OnlyId| Self::ChannelDeleted(gone.id)),
            "member.added" => of(payload, Self::MemberAdded),
            "member.updated" => of(payload, Self::MemberUpdated),
            "member.removed" => of(payload, Self::MemberRemoved),
            "reaction.added" => of(payload, Self::ReactionAdded),
            "reaction.removed" => of(payload, Self::ReactionRemoved),
            "user.updated" => of(payload, Self::UserUpdated),
            _ => kind.strip_prefix("plugin.").and_then(|rest| rest.split_once('.')).and_then(
                |(plugin, kind)| {
                    let (plugin, kind) = (plugin.to_owned(), kind.to_owned());
                    of(payload, |data| Self::Plugin { plugin, kind, data })
                },
            ),
        };
        known.unwrap_or_else(|| Self::Unknown {
            kind: kind.to_owned(),
            data: serde_json::from_str(payload).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_kept() {
        let unknown = Event::read("moon.rose", r#"{"phase":"full"}"#);
        let data = serde_json::json!({ "phase": "full" });
        assert_eq!(unknown, Event::Unknown { kind: "moon.rose".to_owned(), data });
        let broken = Event::read("message.created", "{");
        assert_eq!(broken, Event::Unknown { kind: "message.created".to_owned(), data: Value::Null });
        let other = Event::read("plugin.poll.voted", r#"{"poll":1}"#);
        let data = serde_json::json!({ "poll": 1 });
        assert_eq!(other, Event::Plugin { plugin: "poll".to_owned(), kind: "voted".to_owned(), data });
    }
}
