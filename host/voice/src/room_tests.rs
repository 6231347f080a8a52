use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { slots: 2, people: 6, rooms: 9 };

fn entrant(id: u64) -> Entrant {
    Entrant { id: ParticipantId(id), link: id, user: i64::try_from(id).unwrap() * 10, session: 1 }
}

fn outputs(room: &mut Room) -> Vec<Output> {
    std::iter::from_fn(|| room.poll()).collect()
}

/// A room in which this many are connected and have sent a silent packet.
fn room_of(now: Instant, people: u64) -> Room {
    let mut room = Room::new(now, LIMITS);
    for id in 1..=people {
        room.join(now, entrant(id)).unwrap();
        room.media(now, ParticipantId(id), MediaState::Connected);
        room.packet(now, ParticipantId(id), Some(SILENCE), 80);
    }
    outputs(&mut room);
    room
}

fn hearers(room: &mut Room, now: Instant, id: u64) -> Option<HashSet<u64>> {
    let route = room.packet(now, ParticipantId(id), Some(SILENCE), 80)?;
    Some(route.to.iter().map(|(who, _)| who.0).collect())
}

#[test]
fn three_people_hear_each_other() {
    let now = Instant::now();
    let mut room = room_of(now, 3);
    for id in 1..=3 {
        let expected: HashSet<_> = (1..=3).filter(|other| *other != id).collect();
        assert_eq!(hearers(&mut room, now, id), Some(expected));
    }
}

#[test]
fn who_is_muted_is_not_heard_by_anybody_and_comes_back() {
    let now = Instant::now();
    let mut room = room_of(now, 2);
    let id = ParticipantId(1);
    let before = room.packet(now, id, None, 80).unwrap().key;
    room.set(now, id, Some(true), None);
    assert!(room.packet(now, id, Some(5), 80).is_none(), "muted by itself");
    room.silence(now, 10, true);
    room.set(now, id, Some(false), None);
    assert!(room.packet(now, id, Some(5), 80).is_none(), "still muted by a moderator");
    room.silence(now, 10, false);
    let after = room.packet(now, id, None, 80).unwrap();
    assert_eq!(after.to, [(ParticipantId(2), 0)]);
    assert_ne!(after.key, before, "the slot closes the gap");
    let told = outputs(&mut room);
    let states: Vec<_> = told
        .iter()
        .filter_map(|output| match output {
            Output::TellAll(None, Event::Updated(view)) => Some((view.muted, view.silenced)),
            _ => None,
        })
        .collect();
    assert_eq!(states, [(true, false), (true, true), (false, true), (false, false)]);
}

#[test]
fn a_moderators_mute_outlasts_a_rejoin() {
    let now = Instant::now();
    let mut room = room_of(now, 2);
    room.silence(now, 10, true);
    room.leave(now, ParticipantId(1), Reason::Left);
    room.join(now, Entrant { id: ParticipantId(7), ..entrant(1) }).unwrap();
    room.media(now, ParticipantId(7), MediaState::Connected);
    assert!(room.packet(now, ParticipantId(7), Some(5), 80).is_none());
}

#[test]
fn who_is_deafened_hears_nobody_but_is_heard() {
    let now = Instant::now();
    let mut room = room_of(now, 2);
    room.set(now, ParticipantId(1), None, Some(true));
    assert_eq!(hearers(&mut room, now, 2), Some(HashSet::new()));
    assert_eq!(hearers(&mut room, now, 1), Some(HashSet::from([2])));
}

#[test]
fn speaking_is_told_once_and_in_time() {
    let start = Instant::now();
    let mut room = room_of(start, 2);
    let mut now = start;
    for _ in 0..20 {
        now += Duration::from_millis(20);
        room.packet(now, ParticipantId(1), Some(20), 80);
    }
    let event = |on| Output::TellAll(None, Event::Speaking(ParticipantId(1), on));
    assert_eq!(outputs(&mut room), [event(true)]);
    // Then nothing comes any more.
    let stopped = now;
    let mut told = Vec::new();
    while told.is_empty() {
        now = room.deadline().expect("somebody speaks");
        room.tick(now);
        told = outputs(&mut room);
    }
    assert_eq!(told, [event(false)]);
    assert!(now - stopped <= Duration::from_millis(400), "{:?}", now - stopped);
}

#[test]
fn the_same_login_takes_over_and_another_one_replaces() {
    let now = Instant::now();
    let mut room = room_of(now, 2);
    let entry = room.join(now, Entrant { id: ParticipantId(8), link: 80, ..entrant(1) }).unwrap();
    assert_eq!((entry.id, entry.resumed), (ParticipantId(1), true));
    assert_eq!(entry.slots, [Some(ParticipantId(2)), None]);
    assert_eq!(outputs(&mut room), [Output::Unlink(1, Reason::Replaced)]);
    // The old connection's end changes nothing now.
    room.unlink(now, 1);
    assert_eq!(room.link(ParticipantId(1)), Some(80));
    let entry = room.join(now, Entrant { id: ParticipantId(9), link: 90, session: 2, ..entrant(1) }).unwrap();
    assert_eq!((entry.id, entry.resumed, entry.participants.len()), (ParticipantId(9), false, 2));
    assert!(outputs(&mut room).contains(&Output::Drop(ParticipantId(1))));
}

#[test]
fn a_dropped_connection_may_come_back_for_a_while() {
    let now = Instant::now();
    let mut room = room_of(now, 2);
    room.unlink(now, 1);
    room.tick(now + RESUME - Duration::from_millis(1));
    assert_eq!(hearers(&mut room, now, 1), Some(HashSet::from([2])), "its media go on");
    assert_eq!(room.deadline(), Some(now + RESUME));
    room.tick(now + RESUME);
    assert_eq!(room.views().len(), 1);
    let left = Event::Left(ParticipantId(1), 10, Reason::SignallingLost);
    assert!(outputs(&mut room).contains(&Output::TellAll(None, left)));
}

#[test]
fn who_gets_no_media_does_not_stay_in_the_list() {
    let now = Instant::now();
    let mut room = Room::new(now, LIMITS);
    room.join(now, entrant(1)).unwrap();
    room.media(now, ParticipantId(1), MediaState::Connecting);
    room.tick(now + CONNECT);
    assert!(room.is_empty());
    assert!(outputs(&mut room).contains(&Output::Unlink(1, Reason::NoMedia)));
}

#[test]
fn a_room_is_full_at_some_point() {
    let now = Instant::now();
    let mut room = room_of(now, 6);
    assert_eq!(room.join(now, entrant(7)), Err(Refusal::Full));
    assert!(room.join(now, entrant(3)).is_ok(), "who is in it may come again");
}

#[test]
fn offers_have_a_rate() {
    let now = Instant::now();
    let mut room = room_of(now, 1);
    let id = ParticipantId(1);
    assert!((0..OFFERS).all(|_| room.offer(now, id).is_ok()));
    assert_eq!(room.offer(now, id), Err(Refusal::TooManyOffers));
    assert_eq!(room.offer(now + OFFER_EVERY, id), Ok(()));
    assert_eq!(room.offer(now + OFFER_EVERY, id), Err(Refusal::TooManyOffers));
}

#[derive(Clone, Debug)]
enum Step {
    Join { user: i64, session: i64 },
    Leave(usize),
    Unlink(usize),
    Media(usize, MediaState),
    Set(usize, Option<bool>, Option<bool>),
    Silence(i64, bool),
    Packet(usize, Option<u8>),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let states = [MediaState::Connecting, MediaState::Connected, MediaState::Connected, MediaState::Lost];
    prop_oneof![
        2 => (0_i64..8, 0_i64..2).prop_map(|(user, session)| Step::Join { user, session }),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Unlink),
        2 => (any::<usize>(), prop::sample::select(states.to_vec())).prop_map(|(who, state)| Step::Media(who, state)),
        1 => (any::<usize>(), any::<Option<bool>>(), any::<Option<bool>>())
            .prop_map(|(who, muted, deaf)| Step::Set(who, muted, deaf)),
        1 => (0_i64..8, any::<bool>()).prop_map(|(user, on)| Step::Silence(user, on)),
        8 => (any::<usize>(), any::<Option<u8>>()).prop_map(|(who, level)| Step::Packet(who, level)),
        2 => (0_u64..5_000).prop_map(Step::Wait),
    ]
}

/// What a listener who believes all that it is told knows.
#[derive(Default)]
struct Told {
    there: HashMap<u64, View>,
    slots: HashMap<u64, Vec<Option<ParticipantId>>>,
}

impl Told {
    fn take(&mut self, room: &mut Room) {
        while let Some(output) = room.poll() {
            match output {
                Output::TellAll(_, Event::Joined(view) | Event::Updated(view)) => {
                    self.there.insert(view.id.0, view);
                }
                Output::TellAll(_, Event::Speaking(id, on)) => {
                    self.there.get_mut(&id.0).expect("known before it speaks").speaking = on;
                }
                Output::TellAll(_, Event::Left(id, ..)) => {
                    assert!(self.there.remove(&id.0).is_some(), "left once");
                    self.slots.remove(&id.0);
                }
                Output::Tell(id, Event::Slot(index, who)) => {
                    self.slots.entry(id.0).or_insert_with(|| vec![None; LIMITS.slots])[index] = who;
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens: what was told is what is, nobody hears itself or one voice twice, who is heard is listed and in a slot,
    /// and whoever is in a small room and sends is heard by all who listen.
    #[test]
    fn membership_and_media_never_drift_apart(steps in prop::collection::vec(step(), 1..150)) {
        let mut now = Instant::now();
        let mut room = Room::new(now, LIMITS);
        let mut told = Told::default();
        let mut next = 0;
        for step in steps {
            let ids: Vec<_> = room.views().iter().map(|view| view.id).collect();
            let pick = |at: usize| (!ids.is_empty()).then(|| ids[at % ids.len()]);
            match step {
                Step::Join { user, session } => {
                    next += 1;
                    let entrant = Entrant { id: ParticipantId(next), link: next, user, session };
                    if let Ok(entry) = room.join(now, entrant) {
                        prop_assert_eq!(entry.participants, room.views());
                        prop_assert!(entry.resumed || entry.id.0 == next);
                    }
                }
                Step::Leave(who) => if let Some(id) = pick(who) { room.leave(now, id, Reason::Left) },
                Step::Unlink(who) => {
                    if let Some(link) = pick(who).and_then(|id| room.link(id)) { room.unlink(now, link) }
                }
                Step::Media(who, state) => if let Some(id) = pick(who) { room.media(now, id, state) },
                Step::Set(who, muted, deaf) => if let Some(id) = pick(who) { room.set(now, id, muted, deaf) },
                Step::Silence(user, on) => room.silence(now, user, on),
                Step::Packet(who, level) => if let Some(id) = pick(who) {
                    let view = room.views().into_iter().find(|view| view.id == id).unwrap();
                    let open = !view.muted && !view.silenced && view.media == MediaState::Connected;
                    let route = room.packet(now, id, level, 80).map(|route| route.to.to_vec());
                    prop_assert_eq!(route.is_some(), open);
                    told.take(&mut room);
                    let views = room.views();
                    for (listener, slot) in route.unwrap_or_default() {
                        let listener = views.iter().find(|view| view.id == listener).expect("is here");
                        prop_assert!(listener.id != id && !listener.deafened);
                        prop_assert_eq!(listener.media, MediaState::Connected);
                        prop_assert_eq!(told.slots[&listener.id.0][slot], Some(id));
                    }
                },
                Step::Wait(ms) => {
                    let until = now + Duration::from_millis(ms);
                    while let Some(at) = room.deadline().filter(|at| *at <= until) {
                        now = now.max(at);
                        room.tick(now);
                    }
                    now = until;
                }
            }
            told.take(&mut room);
            let views = room.views();
            let known: HashMap<_, _> = views.iter().map(|view| (view.id.0, view.clone())).collect();
            prop_assert_eq!(&told.there, &known);
            prop_assert!(views.len() <= LIMITS.people);
            prop_assert_eq!(views.iter().map(|view| view.user).collect::<HashSet<_>>().len(), views.len());
            for view in &views {
                let slots = told.slots.get(&view.id.0).cloned().unwrap_or_default();
                let heard: Vec<_> = slots.iter().flatten().collect();
                prop_assert_eq!(heard.iter().collect::<HashSet<_>>().len(), heard.len());
                prop_assert!(heard.iter().all(|who| **who != view.id && known.contains_key(&who.0)));
            }
        }
    }
}
