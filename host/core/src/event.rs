//! What a change leaves in the journal.

use crate::{Channel, ChannelId, Member, Message, MessageId, Reaction, Timestamp, User, UserId};

/// Who may see an event, decided when it is delivered, not when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Everyone who is logged in.
    Everyone,
    /// The members of the event's channel, whoever subscribed to it while it is public, and the target.
    Channel,
    /// The target only.
    Target,
}

impl Audience {
    /// The name that the database uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Channel => "channel",
            Self::Target => "target",
        }
    }

    /// The audience of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Everyone, Self::Channel, Self::Target].into_iter().find(|a| a.as_str() == name)
    }
}

/// A change that has happened. Each is written in the transaction of the change itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message was posted.
    MessageCreated(Message),
    /// A message was edited.
    MessageUpdated(Message),
    /// A message is gone.
    MessageDeleted {
        /// Which.
        id: MessageId,
        /// Where it was.
        channel_id: ChannelId,
        /// The thread it belonged to.
        parent_id: Option<MessageId>,
        /// Its empty place stays, because it has replies.
        is_tombstone: bool,
        /// When.
        deleted_at: Timestamp,
    },
    /// A message was pinned to its channel, or is no longer.
    Pinned {
        /// Which.
        message_id: MessageId,
        /// Where.
        channel_id: ChannelId,
        /// By whom, in either case.
        by: UserId,
        /// Whether it is pinned now.
        is_pinned: bool,
    },
    /// A channel was made.
    ChannelCreated(Channel),
    /// A channel's name, description or visibility changed.
    ChannelUpdated(Channel),
    /// A channel is gone.
    ChannelDeleted(Channel),
    /// A user became a member.
    MemberAdded(Member),
    /// A member's role changed.
    MemberUpdated(Member),
    /// A user is no longer a member.
    MemberRemoved {
        /// Of which channel.
        channel_id: ChannelId,
        /// Who.
        user_id: UserId,
    },
    /// Somebody reacted to a message.
    ReactionAdded(ChannelId, Reaction),
    /// Somebody took a reaction back.
    ReactionRemoved(ChannelId, Reaction),
    /// A user's public profile changed.
    UserUpdated(User),
    /// A user's read mark moved.
    ReadUpdated {
        /// Whose.
        user_id: UserId,
        /// Where.
        channel_id: ChannelId,
        /// The newest message that is read.
        message_id: MessageId,
    },
    /// A plugin's own event, written together with the plugin's state.
    Plugin {
        /// `plugin.{name}.{kind}`.
        kind: String,
        /// The channel whose members may see it.
        channel_id: ChannelId,
        /// A JSON object.
        data: String,
    },
}

impl Event {
    /// The event's name, as clients and plugins see it.
    pub fn kind(&self) -> &str {
        match self {
            Self::MessageCreated(_) => "message.created",
            Self::MessageUpdated(_) => "message.updated",
            Self::MessageDeleted { .. } => "message.deleted",
            Self::Pinned { is_pinned: true, .. } => "message.pinned",
            Self::Pinned { is_pinned: false, .. } => "message.unpinned",
            Self::ChannelCreated(_) => "channel.created",
            Self::ChannelUpdated(_) => "channel.updated",
            Self::ChannelDeleted(_) => "channel.deleted",
            Self::MemberAdded(_) => "member.added",
            Self::MemberUpdated(_) => "member.updated",
            Self::MemberRemoved { .. } => "member.removed",
            Self::ReactionAdded(..) => "reaction.added",
            Self::ReactionRemoved(..) => "reaction.removed",
            Self::UserUpdated(_) => "user.updated",
            Self::ReadUpdated { .. } => "read.updated",
            Self::Plugin { kind, .. } => kind,
        }
    }

    /// The channel it happened in.
    pub fn channel_id(&self) -> Option<ChannelId> {
        match self {
            Self::MessageCreated(m) | Self::MessageUpdated(m) => Some(m.channel_id),
            Self::ChannelCreated(c) | Self::ChannelUpdated(c) | Self::ChannelDeleted(c) => Some(c.id),
            Self::MemberAdded(m) | Self::MemberUpdated(m) => Some(m.channel_id),
            Self::MessageDeleted { channel_id, .. }
            | Self::Pinned { channel_id, .. }
            | Self::MemberRemoved { channel_id, .. }
            | Self::ReactionAdded(channel_id, _)
            | Self::ReactionRemoved(channel_id, _)
            | Self::ReadUpdated { channel_id, .. }
            | Self::Plugin { channel_id, .. } => Some(*channel_id),
            Self::UserUpdated(_) => None,
        }
    }

    /// The message whose deletion must scrub this event's payload.
    pub fn message_id(&self) -> Option<MessageId> {
        match self {
            Self::MessageCreated(m) | Self::MessageUpdated(m) => Some(m.id),
            _ => None,
        }
    }

    /// The user who hears of it whatever else the audience is.
    pub fn target_user_id(&self) -> Option<UserId> {
        match self {
            Self::MemberAdded(m) | Self::MemberUpdated(m) => Some(m.user.id),
            Self::MemberRemoved { user_id, .. } | Self::ReadUpdated { user_id, .. } => Some(*user_id),
            _ => None,
        }
    }

    /// Who may see it.
    pub fn audience(&self) -> Audience {
        match self {
            Self::UserUpdated(_) => Audience::Everyone,
            Self::ChannelCreated(c) | Self::ChannelUpdated(c) | Self::ChannelDeleted(c) if c.is_public => {
                Audience::Everyone
            }
            Self::ReadUpdated { .. } => Audience::Target,
            _ => Audience::Channel,
        }
    }
}
