//! A room: who is in it, who may be heard, what they are told. Membership and media are one thing here, so that nobody can be
//! listed and not heard, or heard and not listed, for longer than the time that a connection may take.
//!
//! Owns: participants and their slots. Must not: know packets, sockets or clocks; time comes as an argument, what is to be
//! done goes out as [`Output`].

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    Event, Limits, MediaState, ParticipantId, Reason, Refusal, View,
    level::{Level, SILENCE},
    stage::{Stage, Voice},
};

/// How long a participant's media go on without signalling.
pub const RESUME: Duration = Duration::from_secs(15);
/// How long a participant may take until its media flow, and may be without them later.
pub const CONNECT: Duration = Duration::from_secs(30);
/// How often levels are looked at while somebody speaks: `speaking` has to end without a packet that says so.
const TICK: Duration = Duration::from_millis(50);
/// Offers at once, and how soon each comes back.
const OFFERS: u32 = 8;
const OFFER_EVERY: Duration = Duration::from_secs(2);
/// What a client that sends no levels is taken to be while it sends sound.
const UNTOLD: u8 = 36;

/// Who comes in.
#[derive(Clone, Copy, Debug)]
pub struct Entrant {
    /// For a new participant.
    pub id: ParticipantId,
    /// Names the signalling connection.
    pub link: u64,
    /// Who.
    pub user: i64,
    /// The login: another connection of the same login takes the participant over.
    pub session: i64,
}

/// How somebody came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who it is now: a participant that was there before keeps its id.
    pub id: ParticipantId,
    /// Whether it was there before, with its media.
    pub resumed: bool,
    /// Everybody in the room, oneself too.
    pub participants: Vec<View>,
    /// Who is heard in which slot.
    pub slots: Vec<Option<ParticipantId>>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell one participant.
    Tell(ParticipantId, Event),
    /// Tell everybody but perhaps one.
    TellAll(Option<ParticipantId>, Event),
    /// The link's connection is to be told why and let go; it has no participant any more.
    Unlink(u64, Reason),
    /// The media of this participant end.
    Drop(ParticipantId),
    /// The world outside may want to know.
    Joined(View),
    /// The same.
    Left(View, Reason),
}

#[derive(Debug)]
struct Participant {
    user: i64,
    session: i64,
    /// The signalling connection; since when it is gone otherwise.
    link: Result<u64, Instant>,
    muted: bool,
    deafened: bool,
    media: MediaState,
    /// Since when the media are as they are.
    since: Instant,
    /// Has sent a packet since its media came up.
    is_sending: bool,
    level: Level,
    told_speaking: bool,
    /// Changes when packets are dropped by decision, so that slots close the gap.
    epoch: u32,
    slots: Vec<Option<ParticipantId>>,
    /// Who hears it, in which slot.
    listeners: Vec<(ParticipantId, usize)>,
    offers: u32,
    offered: Instant,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Names the source and its unbroken run of packets.
    pub key: u64,
    /// Listeners and the slot of each.
    pub to: &'a [(ParticipantId, usize)],
}

/// A room.
#[derive(Debug)]
pub struct Room {
    limits: Limits,
    participants: BTreeMap<ParticipantId, Participant>,
    /// Users whom a moderator has muted; they stay so until the room closes.
    silenced: HashSet<i64>,
    stage: Stage,
    ticked: Instant,
    out: VecDeque<Output>,
}

impl Room {
    /// An empty room.
    pub fn new(now: Instant, limits: Limits) -> Self {
        Self {
            limits,
            participants: BTreeMap::new(),
            silenced: HashSet::new(),
            stage: Stage::new(limits.slots),
            ticked: now,
            out: VecDeque::new(),
        }
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// Everybody in it.
    pub fn views(&self) -> Vec<View> {
        self.participants.iter().map(|(id, participant)| self.view(*id, participant)).collect()
    }

    /// The participant that a user is.
    pub fn participant_of(&self, user: i64) -> Option<ParticipantId> {
        self.participants.iter().find(|(_, one)| one.user == user).map(|(id, _)| *id)
    }

    fn view(&self, id: ParticipantId, one: &Participant) -> View {
        View {
            id,
            user: one.user,
            muted: one.muted,
            silenced: self.silenced.contains(&one.user),
            deafened: one.deafened,
            speaking: one.told_speaking,
            media: one.media,
        }
    }

    /// Lets somebody in. A user is in a room once: the same login takes over what is there, another one replaces it.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub fn join(&mut self, now: Instant, entrant: Entrant) -> Result<Entry, Refusal> {
        if let Some(id) = self.participant_of(entrant.user) {
            if self.participants.get(&id).is_some_and(|there| there.session == entrant.session) {
                return Ok(self.take_over(id, entrant.link));
            }
            self.leave(now, id, Reason::Replaced);
        }
        if self.participants.len() >= self.limits.people {
            return Err(Refusal::Full);
        }
        let participant = Participant {
            user: entrant.user,
            session: entrant.session,
            link: Ok(entrant.link),
            muted: false,
            deafened: false,
            media: MediaState::None,
            since: now,
            is_sending: false,
            level: Level::new(now),
            told_speaking: false,
            epoch: 0,
            slots: vec![None; self.limits.slots],
            listeners: Vec::new(),
            offers: OFFERS,
            offered: now,
        };
        let id = entrant.id;
        self.participants.insert(id, participant);
        self.assign();
        if let Some(one) = self.participants.get(&id) {
            let view = self.view(id, one);
            self.out.push_back(Output::TellAll(Some(id), Event::Joined(view.clone())));
            self.out.push_back(Output::Joined(view));
        }
        Ok(self.entry(id, false))
    }

    fn take_over(&mut self, id: ParticipantId, link: u64) -> Entry {
        if let Some(one) = self.participants.get_mut(&id)
            && let Ok(before) = std::mem::replace(&mut one.link, Ok(link))
        {
            self.out.push_back(Output::Unlink(before, Reason::Replaced));
        }
        self.entry(id, true)
    }

    fn entry(&self, id: ParticipantId, resumed: bool) -> Entry {
        let slots = self.participants.get(&id).map(|one| one.slots.clone()).unwrap_or_default();
        Entry { id, resumed, participants: self.views(), slots }
    }

    /// Takes somebody out.
    pub fn leave(&mut self, now: Instant, id: ParticipantId, why: Reason) {
        let Some(one) = self.participants.remove(&id) else { return };
        let view = self.view(id, &one);
        if let Ok(link) = one.link {
            self.out.push_back(Output::Unlink(link, why));
        }
        self.out.push_back(Output::Drop(id));
        self.out.push_back(Output::TellAll(None, Event::Left(id, one.user, why)));
        self.out.push_back(Output::Left(view, why));
        self.choose(now);
        self.assign();
    }

    /// A signalling connection is gone; the media go on for a while.
    pub fn unlink(&mut self, now: Instant, link: u64) {
        if let Some(one) = self.participants.values_mut().find(|one| one.link == Ok(link)) {
            one.link = Err(now);
        }
    }

    /// The signalling connection of a participant.
    pub fn link(&self, id: ParticipantId) -> Option<u64> {
        self.participants.get(&id)?.link.ok()
    }

    /// Everybody's signalling connection.
    pub fn links(&self) -> impl Iterator<Item = (ParticipantId, u64)> + '_ {
        self.participants.iter().filter_map(|(id, one)| Some((*id, one.link.ok()?)))
    }

    /// Whether a participant may make an offer now; counts it.
    ///
    /// # Errors
    /// [`Refusal::TooManyOffers`].
    pub fn offer(&mut self, now: Instant, id: ParticipantId) -> Result<(), Refusal> {
        let one = self.participants.get_mut(&id).ok_or(Refusal::NotHere)?;
        let passed = now.saturating_duration_since(one.offered);
        let earned = u32::try_from(passed.as_millis() / OFFER_EVERY.as_millis()).unwrap_or(OFFERS);
        if earned > 0 {
            one.offers = one.offers.saturating_add(earned).min(OFFERS);
            one.offered = now;
        }
        one.offers = one.offers.checked_sub(1).ok_or(Refusal::TooManyOffers)?;
        Ok(())
    }

    /// What a participant says of its microphone, and of whether it listens.
    pub fn set(&mut self, now: Instant, id: ParticipantId, muted: Option<bool>, deafened: Option<bool>) {
        let Some(one) = self.participants.get_mut(&id) else { return };
        let before = (one.muted, one.deafened);
        one.muted = muted.unwrap_or(one.muted);
        one.deafened = deafened.unwrap_or(one.deafened);
        if (one.muted, one.deafened) == before {
            return;
        }
        self.after_mute(now, id);
    }

    /// A moderator mutes a user, or no longer does.
    pub fn silence(&mut self, now: Instant, user: i64, on: bool) {
        let changed = if on { self.silenced.insert(user) } else { self.silenced.remove(&user) };
        if changed && let Some(id) = self.participant_of(user) {
            self.after_mute(now, id);
        }
    }

    fn after_mute(&mut self, now: Instant, id: ParticipantId) {
        let Some(one) = self.participants.get_mut(&id) else { return };
        one.epoch = one.epoch.wrapping_add(1);
        if one.muted || self.silenced.contains(&one.user) {
            one.level.hush();
        }
        self.updated(id);
        self.tell_speaking(id);
        self.choose(now);
        self.assign();
    }

    /// The state of somebody's media has changed.
    pub fn media(&mut self, now: Instant, id: ParticipantId, state: MediaState) {
        let Some(one) = self.participants.get_mut(&id) else { return };
        if one.media == state {
            return;
        }
        (one.media, one.since) = (state, now);
        one.epoch = one.epoch.wrapping_add(1);
        if state != MediaState::Connected {
            one.is_sending = false;
            one.level.hush();
        }
        self.updated(id);
        self.tell_speaking(id);
        self.choose(now);
        self.assign();
    }

    /// A packet of somebody's microphone came: how loud it says it is (−dBov), and how many bytes of sound it has. Where it goes;
    /// none if it is not to be heard.
    pub fn packet(
        &mut self,
        now: Instant,
        id: ParticipantId,
        level: Option<u8>,
        bytes: usize,
    ) -> Option<Route<'_>> {
        let one = self.participants.get_mut(&id)?;
        if one.muted || one.media != MediaState::Connected || self.silenced.contains(&one.user) {
            return None;
        }
        // Opus says with a byte or two that nothing is to be heard.
        one.level.packet(now, level.unwrap_or(if bytes > 3 { UNTOLD } else { SILENCE }));
        let begins = !std::mem::replace(&mut one.is_sending, true);
        let (speaks, told) = (one.level.speaks(), one.told_speaking);
        if speaks != told {
            self.tell_speaking(id);
        }
        if begins || (speaks && !self.stage.holds(id)) {
            self.choose(now);
        }
        let one = self.participants.get(&id)?;
        Some(Route { key: id.0 << 32 | u64::from(one.epoch), to: &one.listeners })
    }

    /// When [`Room::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let levels = self.participants.values().any(|one| one.told_speaking).then(|| self.ticked + TICK);
        let patience = self.participants.values().filter_map(Participant::patience).map(|(at, _)| at).min();
        [levels, patience].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.ticked = now;
        let impatient: Vec<_> = self
            .participants
            .iter()
            .filter_map(|(id, one)| one.patience().filter(|(at, _)| *at <= now).map(|(_, why)| (*id, why)))
            .collect();
        for (id, why) in impatient {
            self.leave(now, id, why);
        }
        let speaking: Vec<_> =
            self.participants.iter().filter(|(_, one)| one.told_speaking).map(|(id, _)| *id).collect();
        for id in speaking {
            if let Some(one) = self.participants.get_mut(&id) {
                one.level.tick(now);
            }
            self.tell_speaking(id);
        }
        self.choose(now);
    }

    fn updated(&mut self, id: ParticipantId) {
        if let Some(one) = self.participants.get(&id) {
            self.out.push_back(Output::TellAll(None, Event::Updated(self.view(id, one))));
        }
    }

    fn tell_speaking(&mut self, id: ParticipantId) {
        let Some(one) = self.participants.get_mut(&id) else { return };
        let speaks = one.level.speaks();
        if std::mem::replace(&mut one.told_speaking, speaks) != speaks {
            self.out.push_back(Output::TellAll(None, Event::Speaking(id, speaks)));
        }
    }

    fn choose(&mut self, now: Instant) {
        let voices: Vec<_> = self
            .participants
            .iter()
            .filter(|(_, one)| one.is_sending && !one.muted && !self.silenced.contains(&one.user))
            .map(|(id, one)| Voice { who: *id, loudness: one.level.loudness(), speaks: one.level.speaks() })
            .collect();
        if self.stage.choose(now, &voices) {
            self.assign();
        }
    }

    /// Gives each listener its slots, so that who stays stays where it is, and notes for each source who hears it.
    fn assign(&mut self) {
        let main: Vec<_> = self.stage.main().collect();
        let spare = self.stage.spare();
        let mut listeners: BTreeMap<ParticipantId, Vec<(ParticipantId, usize)>> = BTreeMap::new();
        for (id, one) in &mut self.participants {
            let extra = spare.filter(|spare| main.contains(id) && spare != id);
            let wanted: Vec<_> = main.iter().copied().filter(|who| who != id).chain(extra).collect();
            let before = one.slots.clone();
            for slot in &mut one.slots {
                *slot = slot.filter(|who| wanted.contains(who));
            }
            for who in wanted {
                if !one.slots.contains(&Some(who))
                    && let Some(free) = one.slots.iter_mut().find(|slot| slot.is_none())
                {
                    *free = Some(who);
                }
            }
            for (index, (slot, before)) in one.slots.iter().zip(before).enumerate() {
                if *slot != before {
                    self.out.push_back(Output::Tell(*id, Event::Slot(index, *slot)));
                }
                if let Some(who) = slot
                    && !one.deafened
                    && one.media == MediaState::Connected
                {
                    listeners.entry(*who).or_default().push((*id, index));
                }
            }
        }
        for (id, one) in &mut self.participants {
            one.listeners = listeners.remove(id).unwrap_or_default();
        }
    }
}

impl Participant {
    /// Until when it may stay as it is, and why it has to go then.
    fn patience(&self) -> Option<(Instant, Reason)> {
        let signalling = self.link.err().map(|since| (since + RESUME, Reason::SignallingLost));
        let media = match self.media {
            MediaState::Connected => None,
            MediaState::None | MediaState::Connecting => Some((self.since + CONNECT, Reason::NoMedia)),
            MediaState::Lost => Some((self.since + RESUME, Reason::MediaLost)),
        };
        [signalling, media].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
