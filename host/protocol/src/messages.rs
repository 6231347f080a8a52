//! Messages, threads, files, reactions.

use std::collections::BTreeMap;

use patchbay_core::{
    File as CoreFile, MAX_FILES, Message as CoreMessage, MessageEdit, Reaction as CoreReaction, text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Time;

/// What a message shows of its sender.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sender {
    /// Who.
    pub id: i64,
    /// The sender's present name.
    pub username: String,
    /// The sender's present full name.
    pub full_name: Option<String>,
    /// Whether the sender is a bot.
    pub is_bot: bool,
}

/// An uploaded file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct File {
    /// Its id.
    pub id: i64,
    /// Its original name.
    pub filename: String,
    /// Its MIME type.
    pub file_type: String,
    /// Bytes.
    pub file_size: i64,
    /// Who uploaded it.
    pub uploaded_by_id: i64,
    /// The message it is attached to.
    pub message_id: Option<i64>,
    /// When it was uploaded.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Where to get it.
    pub download_url: String,
}

impl From<&CoreFile> for File {
    fn from(file: &CoreFile) -> Self {
        Self {
            id: file.id.0,
            filename: file.filename.clone(),
            file_type: file.file_type.clone(),
            file_size: file.file_size,
            uploaded_by_id: file.uploaded_by_id.0,
            message_id: file.message_id.map(|id| id.0),
            created_at: file.created_at.into(),
            updated_at: file.updated_at.into(),
            download_url: format!("/api/files/{}/download", file.id),
        }
    }
}

/// A message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: i64,
    /// What it says.
    pub content: String,
    /// Who sent it.
    pub sender_id: i64,
    /// What is shown of the sender.
    pub sender: Sender,
    /// Where.
    pub channel_id: i64,
    /// The root of its thread.
    pub parent_id: Option<i64>,
    /// How many replies a root has.
    pub reply_count: i64,
    /// Whether `files` is not empty.
    pub has_attachments: bool,
    /// What is attached.
    pub files: Vec<File>,
    /// Whom it mentions.
    pub mentions: Vec<i64>,
    /// Sent by a bot.
    pub is_bot: bool,
    /// When it was sent.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// When its content was last edited.
    pub edited_at: Option<Time>,
    /// On a tombstone only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Time")]
    pub deleted_at: Option<Time>,
    /// What plugins add, by plugin; absent in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BTreeMap<String, Box<RawValue>>")]
    pub extensions: Option<BTreeMap<String, Box<RawValue>>>,
    /// Plugins whose part is missing because they missed their budget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions_omitted: Vec<String>,
}

impl From<&CoreMessage> for Message {
    fn from(message: &CoreMessage) -> Self {
        Self {
            id: message.id.0,
            content: message.content.clone(),
            sender_id: message.sender.id.0,
            sender: Sender {
                id: message.sender.id.0,
                username: message.sender.username.clone(),
                full_name: message.sender.full_name.clone(),
                is_bot: message.sender.is_bot,
            },
            channel_id: message.channel_id.0,
            parent_id: message.parent_id.map(|id| id.0),
            reply_count: message.reply_count,
            has_attachments: !message.files.is_empty(),
            files: message.files.iter().map(File::from).collect(),
            mentions: message.mentions.iter().map(|id| id.0).collect(),
            is_bot: message.is_bot,
            created_at: message.created_at.into(),
            updated_at: message.updated_at.into(),
            edited_at: message.edited_at.map(Time),
            deleted_at: message.deleted_at.map(Time),
            extensions: None,
            extensions_omitted: Vec::new(),
        }
    }
}

/// `POST /api/channels/{id}/messages`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// 1 to 8,000 characters; may be empty with files.
    #[serde(default)]
    #[schemars(length(max = text::MAX_CONTENT_CHARS), regex(pattern = text::TEXT_PATTERN), example = &"Hello @bob")]
    pub content: String,
    /// The message to reply to.
    pub parent_id: Option<i64>,
    /// Files that the caller has uploaded.
    #[serde(default)]
    #[schemars(length(max = MAX_FILES))]
    pub file_ids: Vec<i64>,
}

/// `PATCH /api/messages/{id}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMessage {
    /// 1 to 8,000 characters; may be empty if the message has files.
    #[schemars(length(max = text::MAX_CONTENT_CHARS), regex(pattern = text::TEXT_PATTERN))]
    pub content: String,
}

/// `GET /api/messages/{id}/thread`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Thread {
    /// The message that the replies belong to.
    pub root: Message,
    /// The replies, oldest first.
    pub items: Vec<Message>,
    /// Whether there are more.
    pub has_more: bool,
    /// Plugins whose part is missing because they missed their budget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions_omitted: Vec<String>,
}

/// An earlier version of a message.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Edit {
    /// For paging.
    pub id: i64,
    /// What the message said.
    pub content: String,
    /// Who replaced it.
    pub edited_by_id: Option<i64>,
    /// When this version was written.
    pub created_at: Time,
    /// When it was replaced.
    pub replaced_at: Time,
}

impl From<&MessageEdit> for Edit {
    fn from(edit: &MessageEdit) -> Self {
        Self {
            id: edit.id,
            content: edit.content.clone(),
            edited_by_id: edit.edited_by_id.map(|id| id.0),
            created_at: edit.created_at.into(),
            replaced_at: edit.replaced_at.into(),
        }
    }
}

/// A reaction.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reaction {
    /// Its id.
    pub id: i64,
    /// The emoji.
    pub emoji: String,
    /// Who reacted.
    pub user_id: i64,
    /// To what.
    pub message_id: i64,
    /// When.
    pub created_at: Time,
}

impl From<&CoreReaction> for Reaction {
    fn from(reaction: &CoreReaction) -> Self {
        Self {
            id: reaction.id.0,
            emoji: reaction.emoji.clone(),
            user_id: reaction.user_id.0,
            message_id: reaction.message_id.0,
            created_at: reaction.created_at.into(),
        }
    }
}
