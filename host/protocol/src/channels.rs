//! Channels and members.

use patchbay_core::{Channel as CoreChannel, ChannelForViewer, MAX_FIRST_MEMBERS, Role, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Time, User, absent_is_not_null, double_option};

/// A channel.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Channel {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// The set of people is fixed.
    pub is_direct_message: bool,
    /// Everyone who is logged in may read it.
    pub is_public: bool,
    /// A voice channel.
    pub is_vc: bool,
    /// Who made it.
    pub created_by_id: Option<i64>,
    /// When.
    pub created_at: Time,
    /// When name, description or visibility last changed.
    pub updated_at: Time,
    /// What the reader sees of it; absent in events, which have many readers.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub view: Option<ChannelView>,
}

/// What depends on who reads and when.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChannelView {
    /// How many members there are.
    pub member_count: i64,
    /// The newest message.
    pub last_message_id: Option<i64>,
    /// Messages of others after the reader's mark, counted up to 10,000.
    pub unread_count: i64,
    /// Those of them that mention the reader.
    pub mention_count: i64,
}

impl From<&CoreChannel> for Channel {
    fn from(channel: &CoreChannel) -> Self {
        Self {
            id: channel.id.0,
            name: channel.name.clone(),
            description: channel.description.clone(),
            is_direct_message: channel.is_direct_message,
            is_public: channel.is_public,
            is_vc: channel.is_vc,
            created_by_id: channel.created_by_id.map(|id| id.0),
            created_at: channel.created_at.into(),
            updated_at: channel.updated_at.into(),
            view: None,
        }
    }
}

impl From<&ChannelForViewer> for Channel {
    fn from(view: &ChannelForViewer) -> Self {
        Self {
            view: Some(ChannelView {
                member_count: view.member_count,
                last_message_id: view.last_message_id.map(|id| id.0),
                unread_count: view.unread_count,
                mention_count: view.mention_count,
            }),
            ..Self::from(&view.channel)
        }
    }
}

/// A member's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    /// Reads and writes.
    Member,
    /// Also manages.
    Admin,
    /// Also deletes and makes owners.
    Owner,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Member => Self::Member,
            Role::Admin => Self::Admin,
            Role::Owner => Self::Owner,
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Member => Self::Member,
            RoleName::Admin => Self::Admin,
            RoleName::Owner => Self::Owner,
        }
    }
}

/// A membership.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Member {
    /// Who.
    pub user: User,
    /// As what.
    pub role: RoleName,
    /// Since when.
    pub joined_at: Time,
}

fn yes() -> bool {
    true
}

/// `POST /api/channels/`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [
    { "required": ["name"], "properties": { "name": { "type": "string", "minLength": 1 } } },
    { "required": ["is_direct_message", "member_ids"], "properties": { "is_direct_message": { "const": true } } },
]))]
pub struct CreateChannel {
    /// 1 to 100 characters; a direct message can do without.
    #[schemars(length(max = text::MAX_CHANNEL_NAME_CHARS), regex(pattern = text::TEXT_PATTERN), example = &"general")]
    pub name: Option<String>,
    /// Up to 1,000 characters.
    #[schemars(length(max = text::MAX_DESCRIPTION_CHARS), regex(pattern = text::TEXT_PATTERN))]
    pub description: Option<String>,
    /// Ignored for a direct message, which never is public.
    #[serde(default = "yes")]
    pub is_public: bool,
    /// A voice channel.
    #[serde(default)]
    pub is_vc: bool,
    /// A conversation of the caller and `member_ids`.
    #[serde(default)]
    pub is_direct_message: bool,
    /// Whom to add beside the caller.
    #[serde(default)]
    #[schemars(length(max = MAX_FIRST_MEMBERS))]
    pub member_ids: Vec<i64>,
}

/// `PATCH /api/channels/{id}`. Absent fields stay as they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateChannel {
    /// 1 to 100 characters.
    #[schemars(length(min = 1, max = text::MAX_CHANNEL_NAME_CHARS), regex(pattern = text::TEXT_PATTERN))]
    pub name: Option<String>,
    /// Up to 1,000 characters; null removes it.
    #[serde(default, deserialize_with = "double_option")]
    #[schemars(length(max = text::MAX_DESCRIPTION_CHARS), regex(pattern = text::TEXT_PATTERN), transform = absent_is_not_null)]
    pub description: Option<Option<String>>,
    /// Whether everyone may read it.
    pub is_public: Option<bool>,
    /// Whether it is a voice channel.
    pub is_vc: Option<bool>,
}

/// `POST /api/channels/{id}/members`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// Whom; oneself to join.
    pub user_id: i64,
    /// As what; `member` if absent.
    pub role: Option<RoleName>,
}

/// `PATCH /api/channels/{id}/members/{user_id}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateMember {
    /// The new role.
    pub role: RoleName,
}

/// `PUT /api/channels/{id}/read`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkRead {
    /// The newest message that is read.
    pub message_id: i64,
}
