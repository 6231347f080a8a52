//! The gateway's frames: `{type, seq?, id?, data}`.

use patchbay_core::{MAX_FILES, MAX_FOLLOWED, VisiblePresence, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{StatusName, Time, User};

/// A frame from a client. `data` is parsed once the type is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFrame {
    /// What it wants.
    #[serde(rename = "type")]
    pub kind: String,
    /// A string or a number, given back in the answer.
    pub id: Option<Value>,
    /// Depends on the type.
    pub data: Option<Box<RawValue>>,
}

/// `authenticate`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authenticate {
    /// An access token.
    pub token: String,
}

/// `resume`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The last `seq` that the client has seen.
    pub seq: i64,
    /// Public channels to follow from then on.
    #[serde(default)]
    pub subscribe: Vec<i64>,
}

/// `message.send`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageSend {
    /// Where.
    pub channel_id: i64,
    /// What.
    #[serde(default)]
    #[schemars(length(max = text::MAX_CONTENT_CHARS), regex(pattern = text::TEXT_PATTERN))]
    pub content: String,
    /// The message to reply to.
    pub parent_id: Option<i64>,
    /// Files that the caller has uploaded.
    #[serde(default)]
    #[schemars(length(max = MAX_FILES))]
    pub file_ids: Vec<i64>,
    /// The same as REST's `Idempotency-Key`.
    #[schemars(length(min = 1, max = text::MAX_KEY_CHARS))]
    pub nonce: Option<String>,
}

/// `typing`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Typing {
    /// Where.
    pub channel_id: i64,
}

/// `read`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadFrame {
    /// Where.
    pub channel_id: i64,
    /// The newest message that is read.
    pub message_id: i64,
}

/// `subscribe`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Public channels to follow.
    #[schemars(length(max = MAX_FOLLOWED))]
    pub channel_ids: Vec<i64>,
}

/// `hello`: the connection is somebody's.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Hello {
    /// How often the client should send `heartbeat`, in milliseconds.
    pub heartbeat_ms: u64,
    /// Live events begin after this place of the journal.
    pub seq: i64,
    /// Who is connected.
    pub user: User,
}

/// A place in the journal: the data of `resumed`, `resync` and the answer to `subscribe`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Place {
    /// Its number.
    pub seq: i64,
}

/// `error`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Refusal<'a> {
    /// Stable snake_case, as in problem documents; `unknown_type` for a type that doesn't exist.
    pub code: &'a str,
    /// A sentence for people.
    pub detail: &'a str,
}

/// `typing`, from the server.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct IsTyping {
    /// Where.
    pub channel_id: i64,
    /// Who.
    pub user_id: i64,
}

/// Nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// `presence.changed`, and an item of `presence.snapshot`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PresenceOf {
    /// Whose.
    pub user_id: i64,
    /// What others see.
    pub status: StatusName,
    /// When a socket of the user was last open, if that is known.
    pub last_seen: Option<Time>,
}

impl From<&VisiblePresence> for PresenceOf {
    fn from(presence: &VisiblePresence) -> Self {
        Self {
            user_id: presence.user_id.0,
            status: presence.status.into(),
            last_seen: presence.last_seen.map(Time),
        }
    }
}

/// `presence.snapshot`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PresenceSnapshot {
    /// The people that one shares a channel with, by rising id.
    pub items: Vec<PresenceOf>,
}

#[derive(Serialize)]
struct ServerFrame<'a, T: Serialize> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    data: T,
}

/// A frame of the server's own.
pub fn frame(kind: &str, data: impl Serialize) -> String {
    reply(kind, None, data)
}

/// A frame that answers a request.
pub fn reply(kind: &str, id: Option<&Value>, data: impl Serialize) -> String {
    // String keys and no fallible parts: serialising can't fail.
    serde_json::to_string(&ServerFrame { kind, id, data }).unwrap_or_default()
}

/// A journal entry as a frame. `kind` is made of letters, digits, `.`, `_` and `-`, `payload` is JSON: both go
/// in as they are, so that an event is serialised once however many hear of it.
pub fn event_frame(kind: &str, seq: i64, payload: &str) -> String {
    format!(r#"{{"type":"{kind}","seq":{seq},"data":{payload}}}"#)
}

/// A plugin's signal as a frame, which has no place in the journal; kind and payload as for [`event_frame`].
pub fn signal_frame(kind: &str, payload: &str) -> String {
    format!(r#"{{"type":"{kind}","data":{payload}}}"#)
}
