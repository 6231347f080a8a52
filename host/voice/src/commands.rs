//! What a worker does when it is told to.

use std::{collections::hash_map::Entry as Place, sync::atomic::Ordering, time::Instant};

use crate::{
    MediaState, ParticipantId, Reason, Refusal, SdpError, View,
    diagnosis::{self, Candidate},
    leg::{Figures, Leg},
    room::{Entrant, Room},
    sdp,
};

use super::{Answer, Command, Connection, HashMap, Joined, Link, Open, Stats, Worker};

impl Worker {
    /// Carries out a command. Whether the worker goes on.
    pub fn command(&mut self, now: Instant, command: Command) -> bool {
        match command {
            Command::Join { room, entrant, link, reply } => {
                // Answered before anything else is told to this connection.
                let joined = self.join(now, room, entrant, link);
                reply(joined);
                self.tell(now, room, true);
            }
            Command::Unlink { room, link } => {
                if let Some(open) = self.rooms.get_mut(&room) {
                    open.links.remove(&link);
                    open.room.unlink(now, link);
                }
                self.tell(now, room, true);
            }
            Command::Offer { room, link, id, sdp, reply } => {
                let answer = self.offer(now, room, link, id, &sdp);
                reply(answer);
                self.tell(now, room, true);
            }
            Command::Candidate { room, link, id, candidate } => self.candidate(room, link, id, &candidate),
            Command::Set { room, id, muted, deafened } => {
                self.in_room(now, room, |open| open.set(now, id, muted, deafened));
            }
            Command::Leave { room, id } => self.in_room(now, room, |open| open.leave(now, id, Reason::Left)),
            Command::Silence { room, user, on, reply } => {
                let mut view = None;
                self.in_room(now, room, |open| {
                    if open.participant_of(user).is_some() {
                        open.silence(now, user, on);
                        view = open.views().into_iter().find(|view| view.user == user);
                    }
                });
                reply(view.ok_or(Refusal::NotHere));
            }
            Command::Remove { room, user, why, reply } => {
                let mut found = None;
                self.in_room(now, room, |open| {
                    found = open.participant_of(user);
                    if let Some(id) = found {
                        open.leave(now, id, why);
                    }
                });
                reply(found.map(drop).ok_or(Refusal::NotHere));
            }
            Command::Close { room, why } => self.close(now, room, why),
            Command::Views { room, reply } => reply(self.views(room)),
            Command::Stats { reply } => reply(self.stats()),
            Command::Stop => {
                let rooms: Vec<_> = self.rooms.keys().copied().collect();
                for room in rooms {
                    self.close(now, room, Reason::GoingAway);
                }
                return false;
            }
        }
        true
    }

    fn in_room(&mut self, now: Instant, room: i64, act: impl FnOnce(&mut Room)) {
        if let Some(open) = self.rooms.get_mut(&room) {
            act(&mut open.room);
        }
        self.tell(now, room, true);
    }

    fn join(&mut self, now: Instant, room: i64, entrant: Entrant, link: Link) -> Result<Joined, Refusal> {
        let open = match self.rooms.entry(room) {
            Place::Occupied(open) => open.into_mut(),
            Place::Vacant(place) => {
                let allowed = self.limits.rooms;
                let counted = self.rooms_open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                    (open < allowed).then_some(open + 1)
                });
                counted.map_err(|_| Refusal::TooManyRooms)?;
                place.insert(Open {
                    room: Room::new(now, self.limits),
                    links: HashMap::new(),
                    received: 0,
                    forwarded: 0,
                    gone: Figures::default(),
                    due: None,
                })
            }
        };
        let entry = open.room.join(now, entrant)?;
        open.links.insert(entrant.link, link);
        Ok(Joined {
            id: entry.id,
            resumed: entry.resumed,
            participants: entry.participants,
            slots: entry.slots,
        })
    }

    fn offer(
        &mut self,
        now: Instant,
        room: i64,
        link: u64,
        id: ParticipantId,
        sdp: &str,
    ) -> Result<Answer, Refusal> {
        let open = self.rooms.get_mut(&room).ok_or(Refusal::NotHere)?;
        if open.room.link(id) != Some(link) {
            return Err(Refusal::NotHere);
        }
        open.room.offer(now, id)?;
        let offer = sdp::check(sdp, self.common.slots)?;
        // Another certificate is another connection of the same participant: a page that was loaded again.
        let goes_on =
            self.connections.get(&id).is_some_and(|there| there.leg.fingerprint == offer.fingerprint);
        let answer =
            if goes_on { self.renegotiate(now, id, &offer) } else { self.connect(now, room, id, &offer) };
        let (sdp, mids) = answer?;
        self.settle(now, id);
        Ok(Answer { sdp, mids })
    }

    /// More sections, or an ICE restart, of a connection that goes on.
    fn renegotiate(
        &mut self,
        now: Instant,
        id: ParticipantId,
        offer: &sdp::Offer,
    ) -> Result<(String, Vec<Option<String>>), Refusal> {
        let connection = self.connections.get_mut(&id).ok_or(Refusal::NotHere)?;
        let answer = connection.leg.answer(now, offer)?;
        connection.candidates.clone_from(&offer.candidates);
        self.note_ufrag(id);
        Ok(answer)
    }

    /// Where a client says that it is: it is sent nothing there before it has asked from there.
    fn candidate(&mut self, room: i64, link: u64, id: ParticipantId, candidate: &str) {
        let is_its_own = self.rooms.get(&room).is_some_and(|open| open.room.link(id) == Some(link));
        if let Some(connection) = self.connections.get_mut(&id).filter(|_| is_its_own)
            && connection.candidates.len() < diagnosis::MOST
            && let Some(candidate) = Candidate::parse(candidate)
            && !connection.candidates.contains(&candidate)
        {
            connection.candidates.push(candidate);
        }
    }

    fn connect(
        &mut self,
        now: Instant,
        room: i64,
        id: ParticipantId,
        offer: &sdp::Offer,
    ) -> Result<(String, Vec<Option<String>>), Refusal> {
        let broken = |error: rtc::shared::error::Error| SdpError::Malformed(error.to_string());
        let mut leg = Leg::new(now, &self.common).map_err(broken)?;
        let answer = leg.answer(now, offer)?;
        self.drop_connection(now, id);
        if let Some(open) = self.rooms.get_mut(&room) {
            open.room.media(now, id, MediaState::Connecting);
        }
        let connection = Connection {
            leg,
            room,
            began: now,
            ufrags: Vec::new(),
            addresses: Vec::new(),
            due: None,
            candidates: offer.candidates.clone(),
        };
        self.connections.insert(id, connection);
        self.note_ufrag(id);
        Ok(answer)
    }

    fn note_ufrag(&mut self, id: ParticipantId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(ufrag) = connection.leg.ufrag()
            && !connection.ufrags.contains(&ufrag)
        {
            self.directory.learn_ufrag(&ufrag);
            self.by_ufrag.insert(ufrag.clone(), id);
            connection.ufrags.push(ufrag);
        }
    }

    fn close(&mut self, now: Instant, room: i64, why: Reason) {
        self.in_room(now, room, |open| {
            for view in open.views() {
                open.leave(now, view.id, why);
            }
        });
    }

    fn views(&self, room: i64) -> Vec<View> {
        self.rooms.get(&room).map(|open| open.room.views()).unwrap_or_default()
    }

    fn stats(&self) -> Vec<Stats> {
        let one = |(room, open): (&i64, &Open)| {
            let views = open.room.views();
            let legs = || views.iter().filter_map(|view| self.connections.get(&view.id));
            let figures: Vec<_> = legs().map(|one| one.leg.figures()).collect();
            Stats {
                lost: open.gone.lost + figures.iter().map(|one| one.lost).sum::<u64>(),
                unheard: open.gone.unheard + figures.iter().map(|one| one.unheard).sum::<u64>(),
                resent: open.gone.resent + figures.iter().map(|one| one.resent).sum::<u64>(),
                jitter: figures.iter().map(|one| one.jitter).fold(0.0, f64::max),
                round_trip: figures.iter().filter_map(|one| one.round_trip).max(),
                room: *room,
                participants: views.len(),
                connected: views.iter().filter(|view| view.media == MediaState::Connected).count(),
                speaking: views.iter().filter(|view| view.speaking).count(),
                received: open.received,
                forwarded: open.forwarded,
            }
        };
        self.rooms.iter().map(one).collect()
    }
}
