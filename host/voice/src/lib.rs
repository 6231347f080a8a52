//! Voice rooms: a selective forwarding unit for audio. Each participant sends its microphone to the host and gets back a fixed
//! number of streams, its slots, in which those who speak are heard.
//!
//! `level`, `stage`, `slot`, `reception` and `room` are the rules, as pure state machines; `wire` and `sdp` read what clients send; `diagnosis`
//! says why a connection did not come about; `leg` is
//! one participant's connection on the `rtc` core; `worker` is a set of rooms with their legs, still without a socket or clock;
//! `driver` is the only place that has both.
//!
//! Owns: who hears whom. Must not: know accounts, channels or permissions; the server decides who may come in.

mod diagnosis;
mod driver;
mod leg;
mod level;
mod reception;
mod room;
mod sdp;
mod slot;
mod stage;
mod wire;
mod worker;

use std::{net::IpAddr, sync::Arc};

pub use driver::{StartError, Voice};
pub use room::{CONNECT, RESUME};
pub use sdp::SdpError;
pub use worker::{Answer, Joined, Stats};

/// Names a participant: somebody's stay in a room, from joining to leaving. Never used twice by a server that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParticipantId(pub u64);

/// How much is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Voices that a listener hears at once, 1 to 8.
    pub slots: usize,
    /// Participants of a room.
    pub people: usize,
    /// Rooms at once.
    pub rooms: usize,
}

/// What the driver has to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The UDP port for everything; 0 takes a free one.
    pub port: u16,
    /// Addresses that clients are told to send to, the most likely first. At least one.
    pub announce: Vec<IpAddr>,
    /// Threads; at least one. A room belongs to one of them.
    pub threads: usize,
    /// How much is allowed.
    pub limits: Limits,
}

/// How far somebody's media are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaState {
    /// No offer yet.
    None,
    /// Offer and answer are exchanged.
    Connecting,
    /// Packets flow.
    Connected,
    /// Nothing has come for ten seconds, or the client has said goodbye.
    Lost,
}

/// What others see of a participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its stay in the room.
    pub id: ParticipantId,
    /// Who it is.
    pub user: i64,
    /// Has muted its own microphone.
    pub muted: bool,
    /// Is muted by a moderator.
    pub silenced: bool,
    /// Listens to nobody.
    pub deafened: bool,
    /// Speaks now.
    pub speaking: bool,
    /// How far its media are.
    pub media: MediaState,
}

/// Why somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Wanted to.
    Left,
    /// The same user joined again, from elsewhere.
    Replaced,
    /// A moderator, or the end of a membership or a channel.
    Removed,
    /// A moderator wants it in another room.
    Moved(i64),
    /// The signalling connection did not come back.
    SignallingLost,
    /// The media did not come back.
    MediaLost,
    /// No media came about in time.
    NoMedia,
    /// The server is going away.
    GoingAway,
}

/// What participants are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody came in.
    Joined(View),
    /// Somebody went: participant, user, why.
    Left(ParticipantId, i64, Reason),
    /// Somebody's state has changed.
    Updated(View),
    /// Who is heard in one of the listener's slots from now on.
    Slot(usize, Option<ParticipantId>),
    /// Somebody began or ceased to speak.
    Speaking(ParticipantId, bool),
}

/// What a signalling connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Something has happened in the room.
    Event(Event),
    /// The connection has no participant any more.
    Ended(Reason),
}

/// Takes what a signalling connection is told. Must not block: it runs on the thread that forwards packets.
pub type Link = Box<dyn Fn(Told) + Send>;

/// Hears of who comes and goes, in any room. Must not block.
pub trait Observer: Send + Sync + 'static {
    /// Somebody came into a room.
    fn joined(&self, room: i64, who: &View);
    /// Somebody left a room.
    fn left(&self, room: i64, who: &View, why: Reason);
}

/// Who hears of who comes and goes.
pub type Observed = Arc<dyn Observer>;

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The room has as many people as it may.
    #[error("the room is full")]
    Full,
    /// There are as many rooms as there may be.
    #[error("there are too many rooms")]
    TooManyRooms,
    /// Offers come too fast.
    #[error("offers come too fast; wait a few seconds")]
    TooManyOffers,
    /// The participant or user is not in the room.
    #[error("not in this room")]
    NotHere,
    /// The offer can't be answered.
    #[error(transparent)]
    Offer(#[from] SdpError),
    /// The server is going away.
    #[error("the server is going away")]
    GoingAway,
}
