//! Who is here, as a pure state machine: sockets, choices and time in, changes that others see out.
//!
//! A user is here while any socket of theirs is open and for a grace period after the last one has closed, so that a
//! reconnect is not seen. Others see what the user chose to show, and `offline` for who isn't here. Whoever chose
//! `offline` is invisible: it looks as if they had gone at that moment, and their coming and going is no change.
//!
//! Owns: these rules. Must not: know who is told, or read a clock.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use patchbay_core::{Status, Timestamp, UserId, VisiblePresence};

#[derive(Debug)]
struct Person {
    sockets: usize,
    chosen: Status,
    /// When the grace period ends, and when the last socket closed.
    leaves: Option<(Instant, Timestamp)>,
}

/// Everybody who is here.
#[derive(Debug)]
pub struct Presence {
    grace: Duration,
    people: HashMap<UserId, Person>,
    leaving: BTreeSet<(Instant, UserId)>,
}

impl Presence {
    /// Nobody yet.
    pub fn new(grace: Duration) -> Self {
        Self { grace, people: HashMap::new(), leaving: BTreeSet::new() }
    }

    /// Whether the user is here.
    pub fn contains(&self, user: UserId) -> bool {
        self.people.contains_key(&user)
    }

    /// Everybody who is here.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        self.people.keys().copied()
    }

    /// What others see of the user.
    pub fn shown(&self, user: UserId) -> Status {
        self.people.get(&user).map_or(Status::Offline, |person| person.chosen)
    }

    /// A socket has opened. `chosen` is what the user chose, of which [`Presence::choose`] tells the changes.
    pub fn connect(&mut self, user: UserId, chosen: Status) -> Option<VisiblePresence> {
        if let Some(person) = self.people.get_mut(&user) {
            person.sockets += 1;
            if let Some((at, _)) = person.leaves.take() {
                self.leaving.remove(&(at, user));
            }
            return None;
        }
        self.people.insert(user, Person { sockets: 1, chosen, leaves: None });
        (chosen != Status::Offline).then_some(VisiblePresence {
            user_id: user,
            status: chosen,
            last_seen: None,
        })
    }

    /// A socket has closed; whether it was the user's last.
    pub fn disconnect(&mut self, user: UserId, now: Instant, at: Timestamp) -> bool {
        let Some(person) = self.people.get_mut(&user) else { return false };
        person.sockets = person.sockets.saturating_sub(1);
        if person.sockets > 0 {
            return false;
        }
        let until = now + self.grace;
        person.leaves = Some((until, at));
        self.leaving.insert((until, user));
        true
    }

    /// The user chose what to show.
    pub fn choose(&mut self, user: UserId, status: Status, at: Timestamp) -> Option<VisiblePresence> {
        let person = self.people.get_mut(&user)?;
        let changed = std::mem::replace(&mut person.chosen, status) != status;
        // Others can't tell it from a user who has gone.
        let last_seen = (status == Status::Offline).then_some(at);
        changed.then_some(VisiblePresence { user_id: user, status, last_seen })
    }

    /// When [`Presence::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.leaving.first().map(|(at, _)| *at)
    }

    /// Who has gone by now, each with what others see of it; nothing, of who was invisible.
    pub fn tick(&mut self, now: Instant) -> Vec<(UserId, Option<VisiblePresence>)> {
        let mut gone = Vec::new();
        while let Some((at, user)) = self.leaving.first().copied()
            && at <= now
        {
            self.leaving.pop_first();
            let Some(person) = self.people.remove(&user) else { continue };
            let last_seen = person.leaves.map(|(_, at)| at);
            let change = VisiblePresence { user_id: user, status: Status::Offline, last_seen };
            gone.push((user, (person.chosen != Status::Offline).then_some(change)));
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const SEEN: Timestamp = Timestamp(1_000);

    fn change(status: Status, last_seen: Option<Timestamp>) -> VisiblePresence {
        VisiblePresence { user_id: ANN, status, last_seen }
    }

    #[test]
    fn the_first_socket_and_the_end_of_grace_are_seen() {
        let start = Instant::now();
        let mut presence = Presence::new(Duration::from_secs(30));
        assert_eq!(presence.connect(ANN, Status::Busy), Some(change(Status::Busy, None)));
        assert_eq!(presence.connect(ANN, Status::Busy), None, "a second device");
        assert!(!presence.disconnect(ANN, start, SEEN));
        assert!(presence.disconnect(ANN, start, SEEN));
        assert_eq!(presence.deadline(), Some(start + Duration::from_secs(30)));
        assert_eq!(presence.tick(start + Duration::from_secs(29)), []);
        assert_eq!(presence.shown(ANN), Status::Busy);
        let gone = presence.tick(start + Duration::from_secs(30));
        assert_eq!(gone, [(ANN, Some(change(Status::Offline, Some(SEEN))))]);
        assert_eq!((presence.shown(ANN), presence.contains(ANN)), (Status::Offline, false));
        assert_eq!(presence.deadline(), None);
    }

    #[test]
    fn a_reconnect_within_grace_is_not_seen() {
        let start = Instant::now();
        let mut presence = Presence::new(Duration::from_secs(30));
        presence.connect(ANN, Status::Online);
        presence.disconnect(ANN, start, SEEN);
        assert_eq!(presence.connect(ANN, Status::Online), None);
        assert_eq!(presence.tick(start + Duration::from_secs(60)), []);
        assert!(presence.contains(ANN));
    }

    #[test]
    fn who_is_invisible_comes_and_goes_unseen() {
        let start = Instant::now();
        let mut presence = Presence::new(Duration::ZERO);
        assert_eq!(presence.connect(ANN, Status::Offline), None);
        assert_eq!(presence.choose(ANN, Status::Away, SEEN), Some(change(Status::Away, None)));
        assert_eq!(presence.choose(ANN, Status::Away, SEEN), None);
        assert_eq!(presence.choose(ANN, Status::Offline, SEEN), Some(change(Status::Offline, Some(SEEN))));
        presence.disconnect(ANN, start, SEEN);
        assert_eq!(presence.tick(start), [(ANN, None)]);
        assert_eq!(presence.choose(ANN, Status::Online, SEEN), None, "nobody is there to be seen");
    }
}
