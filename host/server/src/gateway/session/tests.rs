//! The session without sockets: by example, and by every interleaving that a generator comes up with.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

fn open(start: Instant) -> Session {
    let mut session = Session::new(Door::Chat, start, true);
    let action = session.frame(start, r#"{"type":"authenticate","data":{"token":"t"}}"#);
    assert!(matches!(action, Action::Authenticate(token, None) if token == "t"));
    session.authenticated(start, 100);
    session
}

#[test]
fn who_does_not_authenticate_is_closed() {
    let start = Instant::now();
    let mut session = Session::new(Door::Chat, start, true);
    assert_eq!(session.tick(at(start, 9_999)), None);
    assert_eq!(session.tick(at(start, 10_000)), Some(Close::Authentication));
    let action = session.frame(start, r#"{"type":"heartbeat"}"#);
    assert!(matches!(action, Action::Close(Close::Authentication)));
}

#[test]
fn silence_ends_a_connection_and_any_frame_keeps_it() {
    let start = Instant::now();
    let mut session = open(start);
    assert_eq!(session.tick(at(start, 74_999)), None);
    session.frame(at(start, 74_999), r#"{"type":"heartbeat"}"#);
    assert_eq!(session.tick(at(start, 149_998)), None);
    assert_eq!(session.tick(at(start, 149_999)), Some(Close::HeartbeatMissed));
}

/// Nothing but the deadlines that the driver sleeps until: a peer that has vanished without a word is noticed.
#[test]
fn a_half_open_connection_ends_whatever_it_was_doing() {
    let start = Instant::now();
    let connecting = Session::new(Door::Chat, start, true);
    let mut pinged = open(start);
    pinged.alive(start);
    let mut resumed = open(start);
    resumed.resume(90, 50, 100);
    resumed.resumed(start, 100);
    let mut present = Session::new(Door::Presence, start, true);
    present.authenticated(start, 0);
    let sessions = [
        (connecting, 10, Close::Authentication),
        (open(start), 75, Close::HeartbeatMissed),
        (pinged, 75, Close::HeartbeatMissed),
        (resumed, 75, Close::HeartbeatMissed),
        (present, 75, Close::HeartbeatMissed),
    ];
    for (mut session, seconds, why) in sessions {
        let (now, closed) = loop {
            let now = session.deadline();
            // What the server sends proves nothing.
            session.send(1_000);
            if let Some(closed) = session.tick(now) {
                break (now, closed);
            }
            assert!(session.deadline() > now, "the driver would spin");
        };
        assert_eq!((now - start, closed), (Duration::from_secs(seconds), why));
    }
}

#[test]
fn live_events_wait_a_moment_for_a_resume() {
    let start = Instant::now();
    let mut session = open(start);
    assert!(!session.is_live());
    assert_eq!(session.deadline(), at(start, 400));
    session.tick(at(start, 400));
    assert!(session.is_live());

    let mut session = open(start);
    session.frame(start, r#"{"type":"heartbeat"}"#);
    assert!(!session.is_live(), "a heartbeat says nothing about resuming");
    session.frame(start, r#"{"type":"typing","data":{"channel_id":1}}"#);
    assert!(session.is_live());
}

#[test]
fn a_resume_covers_all_that_was_missed_or_nothing() {
    let start = Instant::now();
    assert_eq!(open(start).resume(90, 50, 100), Some((90, 100)));
    assert_eq!(open(start).resume(100, 50, 0), Some((100, 100)));
    assert_eq!(open(start).resume(50, 50, 100), Some((50, 100)), "the floor itself has been seen");
    assert_eq!(open(start).resume(49, 50, 100), None, "pruned");
    assert_eq!(open(start).resume(101, 50, 100), None, "has not happened");
    let mut late = open(start);
    assert!(late.send(101));
    assert_eq!(late.resume(90, 50, 100), None, "would repeat or go back");
    assert!(!late.send(101));
    assert!(late.send(102));
    let mut follower = open(start);
    assert_eq!(follower.resume(90, 50, 120), Some((90, 120)), "up to where it began to follow");
    follower.resumed(start, 120);
    assert!(!follower.send(110), "that was part of the replay");
    assert!(follower.send(121));
}

#[test]
fn floods_are_cut_off() {
    let start = Instant::now();
    let mut session = open(start);
    let flood = |session: &mut Session, now, count| {
        (0..count)
            .filter(|_| {
                matches!(session.frame(now, r#"{"type":"heartbeat"}"#), Action::Close(Close::TooMany))
            })
            .count()
    };
    assert_eq!(flood(&mut session, start, 119), 0);
    assert_eq!(flood(&mut session, start, 1), 1);
    let mut patient = open(start);
    for second in 0..30 {
        assert_eq!(flood(&mut patient, at(start, second * 1_000), 20), 0);
    }
    let mut unlimited = Session::new(Door::Chat, start, false);
    unlimited.authenticated(start, 0);
    assert_eq!(flood(&mut unlimited, start, 1_000), 0);
}

#[test]
fn bad_frames() {
    let start = Instant::now();
    for text in [
        "",
        "x",
        "[]",
        r#"["heartbeat",1,null]"#,
        r#"{"data":{}}"#,
        r#"{"type":"heartbeat","id":{}}"#,
        r#"{"type":1}"#,
    ] {
        assert!(matches!(open(start).frame(start, text), Action::Close(Close::BadFrame)), "{text}");
    }
    for (text, expected) in [
        (r#"{"type":"nonsense"}"#, "unknown_type"),
        (r#"{"type":"typing"}"#, "validation_failed"),
        (r#"{"type":"typing","data":[1]}"#, "validation_failed"),
        (r#"{"type":"typing","data":{"channel_id":1,"x":2}}"#, "validation_failed"),
    ] {
        let action = open(start).frame(start, text);
        assert!(matches!(action, Action::Reject(_, code, _) if code == expected), "{text}");
    }
}

/// A journal, a client that goes away and comes back, and what lies between them.
#[derive(Debug, Default)]
struct World {
    now: u64,
    /// Whether the client may see each entry; the first has number 1.
    journal: Vec<bool>,
    floor: i64,
    connection: Option<(Session, VecDeque<i64>)>,
    client: Client,
}

#[derive(Debug, Default)]
struct Client {
    /// From here on it has to hear everything; none before it was first connected.
    from: Option<i64>,
    heard: Vec<i64>,
    /// Since the connection was made anew: what it had seen before. It has to resume from there.
    owes_resume: Option<i64>,
}

impl Client {
    fn seen(&self) -> i64 {
        self.owes_resume.or(self.heard.last().copied()).or(self.from).unwrap_or(0)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(bool),
    Prune(u8),
    Wait(u16),
    Connect,
    Disconnect,
    Resume,
    /// The driver sends what is due, up to so many.
    Pump(u8),
}

impl World {
    fn head(&self) -> i64 {
        i64::try_from(self.journal.len()).unwrap()
    }

    fn visible(&self, from: i64, until: i64) -> Vec<i64> {
        (from + 1..=until).filter(|seq| self.journal[usize::try_from(seq - 1).unwrap()]).collect()
    }

    fn step(&mut self, start: Instant, step: &Step) {
        match step {
            Step::Append(visible) => {
                self.journal.push(*visible);
                let seq = self.head();
                if let Some((_, queue)) = self.connection.as_mut().filter(|_| *visible) {
                    queue.push_back(seq);
                }
            }
            Step::Prune(count) => self.floor = (self.floor + i64::from(*count)).min(self.head()),
            Step::Wait(ms) => {
                self.now += u64::from(*ms);
                if self.connection.as_mut().is_some_and(|(s, _)| s.tick(at(start, self.now)).is_some()) {
                    self.connection = None;
                }
            }
            Step::Connect if self.connection.is_none() => {
                let mut session = Session::new(Door::Chat, at(start, self.now), true);
                session.authenticated(at(start, self.now), self.head());
                match self.client.from {
                    None => self.client.from = Some(self.head()),
                    Some(_) => {
                        // What it heard on a connection that it never resumed proves nothing.
                        let seen = self.client.seen();
                        self.client.heard.retain(|seq| *seq <= seen);
                        self.client.owes_resume = Some(seen);
                    }
                }
                self.connection = Some((session, VecDeque::new()));
            }
            Step::Connect => {}
            Step::Disconnect => self.connection = None,
            Step::Resume => self.resume(start),
            Step::Pump(count) => {
                let Some((session, queue)) = self.connection.as_mut() else { return };
                for _ in 0..*count {
                    if !session.is_live() {
                        break;
                    }
                    let Some(seq) = queue.pop_front() else { break };
                    if session.send(seq) {
                        self.client.heard.push(seq);
                    }
                }
            }
        }
    }

    fn resume(&mut self, start: Instant) {
        let (head, seen) = (self.head(), self.client.seen());
        let Some((session, _)) = self.connection.as_mut() else { return };
        let answer = session.resume(seen, self.floor, head);
        self.client.owes_resume = None;
        let Some((from, until)) = answer else {
            // The client fetches everything afresh and goes on from here.
            self.client.heard.retain(|seq| *seq > head);
            self.client.from = Some(head);
            return;
        };
        let due = self.visible(from, until);
        let Some((session, _)) = self.connection.as_mut() else { return };
        for seq in due {
            if session.send(seq) {
                self.client.heard.push(seq);
            }
        }
        session.resumed(at(start, self.now), until);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(Step::Append),
        1 => (0u8..4).prop_map(Step::Prune),
        2 => (0u16..900).prop_map(Step::Wait),
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Resume),
        4 => (0u8..4).prop_map(Step::Pump),
    ]
}

proptest! {
    /// Whatever the order of events, disconnects and resumes: each visible event once, in order, none missing.
    #[test]
    fn a_client_that_resumes_hears_everything_once(steps in prop::collection::vec(step(), 0..60)) {
        let start = Instant::now();
        let mut world = World::default();
        for step in &steps {
            world.step(start, step);
        }
        for step in [Step::Connect, Step::Resume, Step::Wait(400), Step::Append(true), Step::Pump(255)] {
            world.step(start, &step);
        }
        prop_assert!(world.connection.is_some());
        prop_assert!(world.client.heard.is_sorted_by(|a, b| a < b), "{:?}", world.client.heard);
        let from = world.client.from.unwrap_or(0);
        let heard: Vec<i64> = world.client.heard.iter().copied().filter(|seq| *seq > from).collect();
        prop_assert_eq!(heard, world.visible(from, world.head()));
    }
}
