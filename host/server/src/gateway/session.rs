//! One connection as a pure state machine: frames and time in, actions out. No IO, no clock of its own.
//!
//! The rule it keeps: `seq` rises strictly on a connection, and after a resume nothing is missing. Live events
//! begin at the place in the journal where the connection was registered; they are held back for a moment
//! after `hello`, so that a client's `resume` can be served first, from what it last saw up to that place.

use std::time::{Duration, Instant};

use patchbay_core::ChannelId;
use patchbay_protocol::{
    Authenticate, ClientFrame, Empty, MessageSend, ReadFrame, Resume, SetStatus, Subscribe, Typing,
    VoiceCandidate, VoiceDeafen, VoiceMute, VoiceOffer, VoiceResume,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How often a client should send something.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long nothing may come from a client: two heartbeats and the time for one to travel.
const SILENCE: Duration = Duration::from_secs(75);
/// How long a connection may take to authenticate.
const AUTHENTICATION: Duration = Duration::from_secs(10);
/// For how long live events wait for a `resume` after `hello`: a round trip across the world.
const HOLD: Duration = Duration::from_millis(400);
/// Frames that a client may send at once, and how many per second in the long run.
const BURST: f64 = 120.0;
const PER_SECOND: f64 = 20.0;
/// Longest id of a frame.
const MAX_ID_BYTES: usize = 128;

/// Which socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `/ws/chat`: events.
    Chat,
    /// `/ws/presence`: who is here.
    Presence,
    /// `/ws/voice/{channel_id}`: a voice channel.
    Voice(ChannelId),
}

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// All is said.
    Done = 1000,
    /// May not be here; an `error` frame has said why (RFC 6455, 7.4.1).
    NotAllowed = 1008,
    /// A frame that isn't one.
    BadFrame = 4400,
    /// No, wrong or ended authentication.
    Authentication = 4401,
    /// Nothing came for too long.
    HeartbeatMissed = 4408,
    /// A frame that is too large.
    TooLarge = 4413,
    /// Too many frames.
    TooMany = 4429,
    /// The server is going away; resume elsewhere.
    GoingAway = 4503,
    /// The client reads too slowly; resume.
    SlowConsumer = 4508,
}

impl Close {
    /// What is said with the code.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotAllowed => "not allowed",
            Self::BadFrame => "bad frame",
            Self::Authentication => "authentication",
            Self::HeartbeatMissed => "heartbeat missed",
            Self::TooLarge => "frame too large",
            Self::TooMany => "too many frames",
            Self::GoingAway => "going away",
            Self::SlowConsumer => "slow consumer",
        }
    }
}

/// A request, to be answered with its id.
#[derive(Debug)]
pub enum Request {
    /// Keep the connection.
    Heartbeat,
    /// Replay what was missed.
    Resume(Resume),
    /// Post a message.
    Send(MessageSend),
    /// Say that one is typing.
    Typing(Typing),
    /// Move the read mark.
    Read(ReadFrame),
    /// Follow public channels.
    Subscribe(Subscribe),
    /// Choose what others are to see.
    SetStatus(SetStatus),
    /// Something in a voice channel.
    Voice(VoiceRequest),
}

/// A request in a voice channel.
#[derive(Debug)]
pub enum VoiceRequest {
    /// Answer this offer.
    Offer(VoiceOffer),
    /// Nothing: a lite agent needs no candidates.
    Candidate(VoiceCandidate),
    /// Mute one's microphone, or no longer.
    Mute(VoiceMute),
    /// Listen to nobody, or again.
    Deafen(VoiceDeafen),
    /// Go.
    Leave,
    /// Go on as who one was.
    Resume(VoiceResume),
}

impl Request {
    /// Whether others can notice it.
    pub fn changes_something(&self) -> bool {
        match self {
            Self::Heartbeat | Self::Resume(_) | Self::Subscribe(_) => false,
            Self::Send(_) | Self::Typing(_) | Self::Read(_) | Self::SetStatus(_) | Self::Voice(_) => true,
        }
    }
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Check this token, then call [`Session::authenticated`] or close.
    Authenticate(String, Option<Value>),
    /// Carry out a request and answer it.
    Carry(Request, Option<Value>),
    /// Answer that the frame was wrong: code and sentence.
    Reject(Option<Value>, &'static str, String),
    /// Close.
    Close(Close),
}

#[derive(Debug)]
enum Phase {
    /// Nobody yet.
    Connecting,
    /// Authenticated; live events wait until then.
    Holding(Instant),
    /// Live events flow.
    Live,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    door: Door,
    phase: Phase,
    /// When the connection ends unless something comes.
    patience: Instant,
    /// Where live events begin: what comes after this place of the journal arrives by itself.
    registered: i64,
    /// The last `seq` that was sent; 0 if none was.
    sent: i64,
    /// Frames that may still come at once; none if rates aren't limited.
    allowance: Option<(f64, Instant)>,
}

impl Session {
    /// A connection that has just been made.
    pub fn new(door: Door, now: Instant, limits_rates: bool) -> Self {
        Self {
            door,
            phase: Phase::Connecting,
            patience: now + AUTHENTICATION,
            registered: 0,
            sent: 0,
            allowance: limits_rates.then_some((BURST, now)),
        }
    }

    /// The connection is somebody's, and live events begin after `registered`.
    pub fn authenticated(&mut self, now: Instant, registered: i64) {
        self.registered = registered;
        self.phase = match self.door {
            Door::Chat => Phase::Holding(now + HOLD),
            // Nothing here can be resumed.
            Door::Presence | Door::Voice(_) => Phase::Live,
        };
        self.patience = now + SILENCE;
    }

    /// Which socket it is.
    pub fn door(&self) -> Door {
        self.door
    }

    /// Whether somebody is behind the connection.
    pub fn is_authenticated(&self) -> bool {
        !matches!(self.phase, Phase::Connecting)
    }

    /// Whether live events may be sent.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// Live events can wait no longer: so many have come that the client would be cut off before it could resume.
    pub fn begin(&mut self) {
        self.phase = Phase::Live;
    }

    /// When [`Session::tick`] must be called at the latest.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Holding(until) => until.min(self.patience),
            Phase::Connecting | Phase::Live => self.patience,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Option<Close> {
        if let Phase::Holding(until) = self.phase
            && now >= until
        {
            self.phase = Phase::Live;
        }
        if now < self.patience {
            return None;
        }
        Some(if self.is_authenticated() { Close::HeartbeatMissed } else { Close::Authentication })
    }

    /// Something came that is not a frame of ours (a ping, a pong): the client is there.
    pub fn alive(&mut self, now: Instant) {
        if self.is_authenticated() {
            self.patience = now + SILENCE;
        }
    }

    /// A text frame came.
    pub fn frame(&mut self, now: Instant, text: &str) -> Action {
        self.alive(now);
        if !self.within_rate(now) {
            return Action::Close(Close::TooMany);
        }
        if !is_object(text) {
            return Action::Close(Close::BadFrame);
        }
        let Ok(frame) = serde_json::from_str::<ClientFrame>(text) else {
            return Action::Close(Close::BadFrame);
        };
        if !id_is_valid(frame.id.as_ref()) {
            return Action::Close(Close::BadFrame);
        }
        if !self.is_authenticated() {
            return match (frame.kind.as_str(), data::<Authenticate>(&frame)) {
                ("authenticate", Ok(authenticate)) => Action::Authenticate(authenticate.token, frame.id),
                _ => Action::Close(Close::Authentication),
            };
        }
        let request = match request(self.door, &frame) {
            Ok(request) => request,
            Err((code, detail)) => return Action::Reject(frame.id, code, detail),
        };
        if !matches!(request, Request::Resume(_) | Request::Heartbeat) {
            // A client that begins to work has nothing to resume.
            self.phase = Phase::Live;
        }
        Action::Carry(request, frame.id)
    }

    /// From where up to where the journal has to be replayed for a client that has seen `seen`, so that live
    /// events can go on from `until`, a place at or after the one where the connection was registered. None if
    /// continuity can't be proven: the client claims what has not happened, what it missed has been pruned, or
    /// it has been sent what comes later.
    pub fn resume(&mut self, seen: i64, floor: i64, until: i64) -> Option<(i64, i64)> {
        self.phase = Phase::Live;
        let until = until.max(self.registered);
        let provable = seen >= floor && seen <= until && self.sent <= seen;
        provable.then_some((seen, until))
    }

    /// All up to `until` has been replayed: live events up to there have been sent, or are not for this client.
    pub fn resumed(&mut self, now: Instant, until: i64) {
        self.sent = self.sent.max(until);
        // Whatever the client sent during the replay is still to be read.
        self.alive(now);
    }

    /// Whether an event of this `seq` may be sent; remembers it as sent. Replay and live events never overlap,
    /// so this refuses only what would break the rule.
    pub fn send(&mut self, seq: i64) -> bool {
        let rises = seq > self.sent;
        if rises {
            self.sent = seq;
        }
        rises
    }

    fn within_rate(&mut self, now: Instant) -> bool {
        let Some((allowance, since)) = &mut self.allowance else { return true };
        let earned = now.saturating_duration_since(*since).as_secs_f64() * PER_SECOND;
        *allowance = (*allowance + earned).min(BURST) - 1.0;
        *since = now;
        *allowance >= 0.0
    }
}

/// Arrays would otherwise be taken for objects, field by field.
fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn id_is_valid(id: Option<&Value>) -> bool {
    match id {
        None | Some(Value::Number(_)) => true,
        Some(Value::String(text)) => text.len() <= MAX_ID_BYTES,
        Some(_) => false,
    }
}

fn data<T: DeserializeOwned>(frame: &ClientFrame) -> Result<T, String> {
    let text = frame.data.as_ref().map_or("{}", |data| data.get());
    if !is_object(text) {
        return Err("data must be an object".into());
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn request(door: Door, frame: &ClientFrame) -> Result<Request, (&'static str, String)> {
    let invalid = |detail| ("validation_failed", detail);
    Ok(match (door, frame.kind.as_str()) {
        (_, "heartbeat") => Request::Heartbeat,
        (Door::Chat, "resume") => Request::Resume(data(frame).map_err(invalid)?),
        (Door::Chat, "message.send") => Request::Send(data(frame).map_err(invalid)?),
        (Door::Chat, "typing") => Request::Typing(data(frame).map_err(invalid)?),
        (Door::Chat, "read") => Request::Read(data(frame).map_err(invalid)?),
        (Door::Chat, "subscribe") => Request::Subscribe(data(frame).map_err(invalid)?),
        (Door::Presence, "presence.set") => Request::SetStatus(data(frame).map_err(invalid)?),
        (Door::Voice(_), "offer") => Request::Voice(VoiceRequest::Offer(data(frame).map_err(invalid)?)),
        (Door::Voice(_), "candidate") => {
            Request::Voice(VoiceRequest::Candidate(data(frame).map_err(invalid)?))
        }
        (Door::Voice(_), "mute") => Request::Voice(VoiceRequest::Mute(data(frame).map_err(invalid)?)),
        (Door::Voice(_), "deafen") => Request::Voice(VoiceRequest::Deafen(data(frame).map_err(invalid)?)),
        (Door::Voice(_), "resume") => Request::Voice(VoiceRequest::Resume(data(frame).map_err(invalid)?)),
        (Door::Voice(_), "leave") => {
            data::<Empty>(frame).map_err(invalid)?;
            Request::Voice(VoiceRequest::Leave)
        }
        (_, "authenticate") => return Err(("conflict", "this connection is authenticated".into())),
        (_, other) => return Err(("unknown_type", format!("there is no frame type {other:?} here"))),
    })
}

#[cfg(test)]
mod tests;
