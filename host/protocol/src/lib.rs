//! The JSON of the REST API and the gateway, version 1. Each type is converted from `core` by hand, here and
//! nowhere else.
//!
//! Owns: field names, formats, which fields a request may have. Must not: decide anything.

mod admin;
mod auth;
mod channels;
mod events;
mod frames;
mod messages;
mod plugins;
mod problem;
mod time;
mod users;
mod voice;

pub use admin::{
    AuditActor, AuditEntry, CreateInvite, CreateUser, IndexProgress, Invite, Rekey, SearchIndex, SetPassword,
    UpdateUser,
};
pub use auth::{Login, Refresh, Register, Session, Tokens};
pub use channels::{
    AddMember, Channel, ChannelView, CreateChannel, MarkRead, Member, RoleName, UpdateChannel, UpdateMember,
};
pub use events::{event_data, event_schemas, scrubbed_message};
pub use frames::{
    Authenticate, ClientFrame, Empty, Hello, IsTyping, MessageSend, Place, PresenceOf, PresenceSnapshot,
    ReadFrame, Refusal, Resume, Subscribe, Typing, event_frame, frame, reply, signal_frame,
};
pub use messages::{Edit, EditMessage, File, Message, PostMessage, Reaction, Sender, Thread};
pub use plugins::{
    Command, CommandAnswer, CommandSuggestion, CommandSuggestions, DeadLetter, OnFailure, Plugin,
    PluginBackfill, PluginCalls, PluginConfigKey, PluginCursor, PluginHooks, PluginLogLine, PluginVersion,
    Redeliver, Redelivered, RunCommand, UpdateHooks, UpdatePlugin,
};
pub use problem::{FieldError, Problem};
pub use time::Time;
pub use users::{ChangePassword, SetStatus, StatusName, UpdateMe, User};
pub use voice::{
    IceServer, UpdateVoiceParticipant, VoiceAnswer, VoiceCandidate, VoiceDeafen, VoiceEnd, VoiceEnded,
    VoiceJoined, VoiceMedia, VoiceMembership, VoiceMute, VoiceOffer, VoiceParticipant, VoiceParticipantLeft,
    VoiceResume, VoiceSlot, VoiceSpeaking,
};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A page of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct List<T> {
    /// The page, in the order that the endpoint documents.
    pub items: Vec<T>,
    /// Whether there are more in the direction of paging.
    pub has_more: bool,
    /// Plugins whose part of the items is missing because they missed their budget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions_omitted: Vec<String>,
}

/// For fields of [`double_option`]: serde's default, which means absent, would be shown as null.
fn absent_is_not_null(schema: &mut schemars::Schema) {
    schema.remove("default");
}

/// A field that may be absent (`None`), null (`Some(None)`) or there.
fn double_option<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}
