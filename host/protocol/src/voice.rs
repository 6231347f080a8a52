//! Voice: `/ws/voice/{channel_id}` and who is in a voice channel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Somebody in a voice channel.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceParticipant {
    /// Names this stay in the room, until it ends.
    pub participant_id: u64,
    /// Who.
    pub user_id: i64,
    /// Has muted its own microphone.
    pub muted: bool,
    /// Is muted by a moderator.
    pub server_muted: bool,
    /// Listens to nobody.
    pub deafened: bool,
    /// Speaks now.
    pub speaking: bool,
    /// How far its media are.
    pub media: VoiceMedia,
}

/// How far somebody's media are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoiceMedia {
    /// No offer yet.
    None,
    /// Offer and answer are exchanged.
    Connecting,
    /// Sound flows.
    Connected,
    /// Nothing has come for a while; it may come back.
    Lost,
}

/// `PATCH /api/channels/{id}/voice/{user_id}`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateVoiceParticipant {
    /// Mute the user for everybody, or no longer.
    pub muted: Option<bool>,
    /// Send the user to this voice channel.
    pub channel_id: Option<i64>,
}

/// `offer`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceOffer {
    /// One audio section that sends and, for each slot, one that only receives.
    #[schemars(length(max = 32768))]
    pub sdp: String,
}

/// `candidate`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceCandidate {
    /// As the browser gives it. The server needs none, since it learns a client's address from its packets; its log tells of them if no
    /// connection comes about.
    pub candidate: Value,
}

/// `mute`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceMute {
    /// Whether one's microphone is muted.
    pub audio: bool,
}

/// `deafen`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceDeafen {
    /// Whether one listens to nobody.
    pub on: bool,
}

/// `resume` on a voice socket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VoiceResume {
    /// Who one was.
    pub participant_id: u64,
}

/// `joined`: one is in the room.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceJoined {
    /// Which room.
    pub channel_id: i64,
    /// Who one is there.
    pub participant_id: u64,
    /// Whether one was there before: what was negotiated goes on.
    pub resumed: bool,
    /// Everybody in the room, oneself too.
    pub participants: Vec<VoiceParticipant>,
    /// Who is heard in which slot.
    pub slots: Vec<VoiceSlot>,
    /// STUN and TURN servers, as a browser takes them.
    pub ice_servers: Vec<IceServer>,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct IceServer {
    /// Where.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN; good for a limited time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// `slot`: who is heard in one of one's slots from now on.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceSlot {
    /// Which slot, from 0.
    pub index: usize,
    /// Who; null for nobody.
    pub participant_id: Option<u64>,
}

/// `answer`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceAnswer {
    /// The answer to the offer.
    pub sdp: String,
    /// For each slot the `mid` of the section in which it is heard; null if the offer had too few.
    pub mids: Vec<Option<String>>,
}

/// `participant.left`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceParticipantLeft {
    /// Which stay has ended.
    pub participant_id: u64,
    /// Whose.
    pub user_id: i64,
    /// Why.
    pub reason: VoiceEnd,
}

/// `speaking`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceSpeaking {
    /// Who.
    pub participant_id: u64,
    /// Begins or ceases.
    pub on: bool,
}

/// `ended`: one is no longer in the room, and the socket closes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceEnded {
    /// Why.
    pub reason: VoiceEnd,
    /// Where to go, if one was moved.
    pub channel_id: Option<i64>,
}

/// Why a stay has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoiceEnd {
    /// By choice.
    Left,
    /// The same user came in from elsewhere.
    Replaced,
    /// By a moderator, or the end of a membership or a channel.
    Removed,
    /// To another channel, by a moderator.
    Moved,
    /// The socket was gone for too long.
    SignallingLost,
    /// The media were gone for too long.
    MediaLost,
    /// No media came about in time.
    NoMedia,
    /// The server is going away.
    GoingAway,
}

/// `voice.joined` and `voice.left` on `/ws/chat`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct VoiceMembership {
    /// Which voice channel.
    pub channel_id: i64,
    /// Who.
    pub user_id: i64,
}
