//! A set of rooms with their connections: commands, datagrams and time in; datagrams and news out. No socket, no clock.
//!
//! Owns: which room and which connection something is for. Must not: decide who is heard (`room`) or wait for anything.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Limits, Link, MediaState, Observed, ParticipantId, Reason, Refusal, Told, View,
    diagnosis::{self, Candidate},
    leg::{Common, Datagram, Effects, Figures, Health, Heard, Leg},
    room::{Entrant, Output, Room},
    wire,
};

/// The answer to somebody who came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Who it is in this room.
    pub id: ParticipantId,
    /// Whether it was there before, with its media.
    pub resumed: bool,
    /// Everybody in the room, oneself too.
    pub participants: Vec<View>,
    /// Who is heard in which slot.
    pub slots: Vec<Option<ParticipantId>>,
}

/// Figures of one room.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Which room.
    pub room: i64,
    /// People in it.
    pub participants: usize,
    /// Of these, whose media flow.
    pub connected: usize,
    /// Of these, who speak.
    pub speaking: usize,
    /// Packets that came from microphones since the room opened.
    pub received: u64,
    /// Packets that went to listeners since the room opened.
    pub forwarded: u64,
    /// Packets of microphones that never came since the room opened.
    pub lost: u64,
    /// Packets that listeners say never came to them, of those who are there or have gone since the room opened.
    pub unheard: u64,
    /// Packets that were sent again since the room opened, because listeners asked.
    pub resent: u64,
    /// The worst jitter of a microphone's packets now, in milliseconds.
    pub jitter: f64,
    /// The longest way to a client and back now; none while nobody has heard or reported anything.
    pub round_trip: Option<Duration>,
}

/// Takes the answer to a command. Must not block.
pub(crate) type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// What a worker can be told to do.
pub(crate) enum Command {
    Join {
        room: i64,
        entrant: Entrant,
        link: Link,
        reply: Reply<Result<Joined, Refusal>>,
    },
    Unlink {
        room: i64,
        link: u64,
    },
    Offer {
        room: i64,
        link: u64,
        id: ParticipantId,
        sdp: String,
        reply: Reply<Result<Answer, Refusal>>,
    },
    /// A candidate, as the client wrote it.
    Candidate {
        room: i64,
        link: u64,
        id: ParticipantId,
        candidate: String,
    },
    Set {
        room: i64,
        id: ParticipantId,
        muted: Option<bool>,
        deafened: Option<bool>,
    },
    Leave {
        room: i64,
        id: ParticipantId,
    },
    Silence {
        room: i64,
        user: i64,
        on: bool,
        reply: Reply<Result<View, Refusal>>,
    },
    Remove {
        room: i64,
        user: i64,
        why: Reason,
        reply: Reply<Result<(), Refusal>>,
    },
    Close {
        room: i64,
        why: Reason,
    },
    Views {
        room: i64,
        reply: Reply<Vec<View>>,
    },
    Stats {
        reply: Reply<Vec<Stats>>,
    },
    /// Everybody goes, and the worker ends.
    Stop,
}

/// An answer, and in which section each slot is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SDP.
    pub sdp: String,
    /// For each slot the `mid` of its section; none if the offer has too few.
    pub mids: Vec<Option<String>>,
}

/// Which worker has a connection: for datagrams that reach another one.
pub(crate) trait Directory: Send {
    fn learn_ufrag(&mut self, ufrag: &str);
    fn forget_ufrag(&mut self, ufrag: &str);
    fn learn_address(&mut self, address: SocketAddr);
    fn forget_address(&mut self, address: SocketAddr);
}

struct Open {
    room: Room,
    links: HashMap<u64, Link>,
    received: u64,
    forwarded: u64,
    /// Of those who have gone.
    gone: Figures,
    /// When the room is to be ticked, as far as the timers know.
    due: Option<Instant>,
}

struct Connection {
    leg: Leg,
    room: i64,
    began: Instant,
    ufrags: Vec<String>,
    addresses: Vec<SocketAddr>,
    due: Option<Instant>,
    /// Where the client says that it is.
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Leg(ParticipantId),
    Room(i64),
}

pub(crate) struct Worker {
    common: Common,
    limits: Limits,
    /// Of all workers.
    rooms_open: Arc<AtomicUsize>,
    observer: Observed,
    directory: Box<dyn Directory>,
    rooms: HashMap<i64, Open>,
    connections: HashMap<ParticipantId, Connection>,
    by_ufrag: HashMap<String, ParticipantId>,
    by_address: HashMap<SocketAddr, ParticipantId>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    effects: Effects,
    out: Vec<Datagram>,
}

impl Worker {
    pub fn new(
        common: Common,
        limits: Limits,
        rooms_open: Arc<AtomicUsize>,
        observer: Observed,
        directory: Box<dyn Directory>,
    ) -> Self {
        Self {
            common,
            limits,
            rooms_open,
            observer,
            directory,
            rooms: HashMap::new(),
            connections: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            timers: BinaryHeap::new(),
            effects: Effects::default(),
            out: Vec::new(),
        }
    }

    /// What is to be sent, after a batch of commands, datagrams and timers.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Datagram> {
        self.out.drain(..)
    }

    /// When [`Worker::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        while let Some(Reverse((at, timer))) =
            self.timers.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.timers.pop();
            match timer {
                Timer::Leg(id) => {
                    let mut effects = std::mem::take(&mut self.effects);
                    if let Some(connection) = self.connections.get_mut(&id).filter(|one| one.due == Some(at))
                    {
                        connection.due = None;
                        connection.leg.tick(now, &mut effects);
                    }
                    self.effects = effects;
                    self.settle(now, id);
                }
                Timer::Room(room) => {
                    if let Some(open) = self.rooms.get_mut(&room).filter(|open| open.due == Some(at)) {
                        open.due = None;
                        open.room.tick(now);
                    }
                    self.tell(now, room, true);
                }
            }
        }
    }

    /// A datagram came. Whether it is for one of the connections here; nothing is done with it otherwise.
    pub fn datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> bool {
        let kind = wire::kind(bytes);
        let id = match kind {
            wire::Kind::Junk => return true,
            wire::Kind::Stun => match wire::binding_request(bytes) {
                // A claim that no client of a lite agent makes, and that the core would believe without a password.
                Some(request) if request.controlled => return true,
                Some(request) => self.by_ufrag.get(request.ufrag),
                None => self.by_address.get(&from),
            },
            _ => self.by_address.get(&from),
        };
        let Some(id) = id.copied() else { return false };
        let Some(connection) = self.connections.get_mut(&id) else { return true };
        let is_known = connection.leg.admits_address(from);
        if is_known && connection.leg.admits(kind, bytes) {
            let mut effects = std::mem::take(&mut self.effects);
            connection.leg.datagram(now, from, kind, bytes, &mut effects);
            self.effects = effects;
            self.settle(now, id);
        }
        true
    }

    /// A datagram from this address broke something: its connection goes.
    pub fn evict(&mut self, now: Instant, from: SocketAddr) {
        self.effects = Effects::default();
        let Some(id) = self.by_address.get(&from).copied() else { return };
        // Its core is not to be trusted with a farewell.
        let Some(connection) = self.connections.remove(&id) else { return };
        self.forget(id, &connection);
        if let Some(open) = self.rooms.get_mut(&connection.room) {
            open.room.leave(now, id, Reason::MediaLost);
        }
        self.tell(now, connection.room, true);
    }

    /// Deals with what driving a connection brought about.
    fn settle(&mut self, now: Instant, id: ParticipantId) {
        self.out.append(&mut self.effects.send);
        let Some(connection) = self.connections.get_mut(&id) else {
            self.effects = Effects::default();
            return;
        };
        let room = connection.room;
        for address in self.effects.learned.drain(..) {
            if self.by_address.insert(address, id) != Some(id) {
                connection.addresses.push(address);
                self.directory.learn_address(address);
            }
        }
        if let Some(at) = connection.leg.deadline()
            && connection.due.is_none_or(|due| at < due)
        {
            connection.due = Some(at);
            self.timers.push(Reverse((at, Timer::Leg(id))));
        }
        let state = match connection.leg.health {
            Health::Connecting => MediaState::Connecting,
            Health::Connected => MediaState::Connected,
            Health::Lost => MediaState::Lost,
        };
        if let Some(open) = self.rooms.get_mut(&room) {
            open.room.media(now, id, state);
        }
        let mut heard = std::mem::take(&mut self.effects.heard);
        for packet in heard.drain(..) {
            self.forward(now, room, id, &packet);
        }
        self.effects.heard = heard;
        self.tell(now, room, false);
    }

    /// Lets a connection go, with a goodbye.
    fn drop_connection(&mut self, now: Instant, id: ParticipantId) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        connection.leg.close(now, &mut self.effects);
        self.out.append(&mut self.effects.send);
        self.effects = Effects::default();
        self.forget(id, &connection);
    }

    fn forget(&mut self, id: ParticipantId, connection: &Connection) {
        if let Some(open) = self.rooms.get_mut(&connection.room) {
            let figures = connection.leg.figures();
            open.gone.lost += figures.lost;
            open.gone.unheard += figures.unheard;
            open.gone.resent += figures.resent;
        }
        for ufrag in &connection.ufrags {
            self.by_ufrag.remove(ufrag);
            self.directory.forget_ufrag(ufrag);
        }
        for address in &connection.addresses {
            if self.by_address.get(address) == Some(&id) {
                self.by_address.remove(address);
                self.directory.forget_address(*address);
            }
        }
    }

    fn forward(&mut self, now: Instant, room: i64, id: ParticipantId, packet: &Heard) {
        let Some(open) = self.rooms.get_mut(&room) else { return };
        open.received += 1;
        let Some(route) = open.room.packet(now, id, packet.level, packet.payload.len()) else { return };
        for (listener, slot) in route.to {
            let Some(connection) = self.connections.get_mut(listener) else { continue };
            if let Some(datagram) = connection.leg.forward(now, *slot, route.key, packet) {
                open.forwarded += 1;
                self.out.push(datagram);
            }
        }
    }

    /// Passes on what a room has to say, and closes it when nobody is left. A packet that changed nothing changes no deadline.
    fn tell(&mut self, now: Instant, id: i64, may_be_due: bool) {
        let Some(open) = self.rooms.get_mut(&id) else { return };
        let mut dropped = Vec::new();
        let mut has_changed = may_be_due;
        while let Some(output) = open.room.poll() {
            has_changed = true;
            match output {
                Output::Tell(to, event) => open.tell(to, Told::Event(event)),
                Output::TellAll(but, event) => {
                    for (participant, link) in open.room.links() {
                        if Some(participant) != but
                            && let Some(tell) = open.links.get(&link)
                        {
                            tell(Told::Event(event.clone()));
                        }
                    }
                }
                Output::Unlink(link, why) => {
                    if let Some(tell) = open.links.remove(&link) {
                        tell(Told::Ended(why));
                    }
                }
                Output::Drop(participant) => dropped.push(participant),
                Output::Joined(view) => self.observer.joined(id, &view),
                Output::Left(view, why) => {
                    if matches!(why, Reason::NoMedia | Reason::MediaLost) {
                        explain(id, &view, why, self.connections.get(&view.id), &self.common);
                    }
                    self.observer.left(id, &view, why);
                }
            }
        }
        if !has_changed {
            return;
        }
        for participant in dropped {
            self.drop_connection(now, participant);
        }
        let Some(open) = self.rooms.get_mut(&id) else { return };
        if open.room.is_empty() {
            self.rooms.remove(&id);
            self.rooms_open.fetch_sub(1, Ordering::Relaxed);
        } else if let Some(at) = open.room.deadline()
            && open.due.is_none_or(|due| at < due)
        {
            open.due = Some(at);
            self.timers.push(Reverse((at, Timer::Room(id))));
        }
    }
}

impl Open {
    fn tell(&self, to: ParticipantId, told: Told) {
        if let Some(tell) = self.room.link(to).and_then(|link| self.links.get(&link)) {
            tell(told);
        }
    }
}

/// Says what an operator can do about a connection that did not come about, or was lost.
fn explain(room: i64, view: &View, why: Reason, connection: Option<&Connection>, common: &Common) {
    let (participant, user) = (view.id.0, view.user);
    let Some(connection) = connection else {
        tracing::info!(room, participant, user, "a voice client joined and made no offer");
        return;
    };
    let after = connection.began.elapsed().as_secs();
    if why == Reason::MediaLost {
        let seen: Vec<_> = connection.leg.addresses().iter().map(ToString::to_string).collect();
        let seen = seen.join(", ");
        tracing::info!(room, participant, user, seen, after, "a voice client has gone without a word");
        return;
    }
    let (candidates, attempts) = (&connection.candidates, &connection.leg.attempts);
    let (pairs, advice) = diagnosis::diagnose(&common.announce, candidates, attempts);
    tracing::warn!(room, participant, user, after, pairs, "a voice client got no connection. {advice}");
}

#[path = "commands.rs"]
mod commands;

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
