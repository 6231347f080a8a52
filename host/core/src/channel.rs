//! Channels and their members.

use crate::{ChannelId, MessageId, Timestamp, User, UserId};

/// Most people that can be added while a channel is made.
pub const MAX_FIRST_MEMBERS: usize = 200;
/// Most channels that one connection can follow.
pub const MAX_FOLLOWED: usize = 100;

/// What a member may do in a channel. Ordered: an owner can do what an admin can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads and writes.
    Member,
    /// Also manages the channel and its members.
    Admin,
    /// Also deletes the channel and makes owners.
    Owner,
}

impl Role {
    /// The name that the database and the API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin, Self::Owner].into_iter().find(|r| r.as_str() == name)
    }
}

/// A place where messages are exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// 1 to 100 characters; empty for a direct message without a name.
    pub name: String,
    /// Up to 1,000 characters.
    pub description: Option<String>,
    /// A conversation of a fixed set of people.
    pub is_direct_message: bool,
    /// Readable by everyone who is logged in.
    pub is_public: bool,
    /// A voice channel.
    pub is_vc: bool,
    /// Who made it; none once that account is gone.
    pub created_by_id: Option<UserId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its name, description or visibility last changed.
    pub updated_at: Timestamp,
}

/// A channel as one user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelForViewer {
    /// The channel.
    pub channel: Channel,
    /// The viewer's role, if a member.
    pub role: Option<Role>,
    /// How many members there are.
    pub member_count: i64,
    /// The newest message.
    pub last_message_id: Option<MessageId>,
    /// Messages of others after the viewer's read mark, counted up to 10,000; 0 for a non-member.
    pub unread_count: i64,
    /// Those of them that mention the viewer.
    pub mention_count: i64,
}

/// A user's membership of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The channel.
    pub channel_id: ChannelId,
    /// Who.
    pub user: User,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
}
