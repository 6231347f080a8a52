//! Whole rooms in memory.

#[path = "worker_tests/world.rs"]
mod world;

use std::{sync::Mutex, time::Duration};

use rtc::sansio::Protocol as _;

use super::*;
use crate::Event;
use world::*;

/// For each speaker, how many of its packets a client has heard.
fn heard_of(client: &Client, speaker: usize) -> usize {
    client.heard.iter().filter(|(_, _, first)| usize::from(*first) == speaker).count()
}

#[test]
fn two_people_hear_each_other_and_nobody_hears_itself() {
    let mut world = World::of(2);
    world.speak(&[0, 1], 50, 30);
    for (listener, speaker) in [(0, 1), (1, 0)] {
        let client = &world.clients[listener];
        assert_eq!(heard_of(client, speaker), 50);
        assert_eq!(heard_of(client, listener), 0);
        let numbers: Vec<_> = client.heard.iter().map(|(_, sequence, _)| *sequence).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
    }
    let told: Vec<_> = world.clients[1].told.try_iter().collect();
    assert!(told.contains(&Told::Event(Event::Speaking(ParticipantId(1), true))), "{told:?}");
}

#[test]
fn six_talk_and_the_loud_ones_are_heard_by_all() {
    let mut world = World::of(6);
    world.speak(&[0, 1, 2, 3, 4, 5], 20, 120);
    for client in &mut world.clients {
        client.heard.clear();
    }
    world.speak(&[4, 5], 100, 20);
    for listener in 0..6 {
        for speaker in [4, 5] {
            let heard = heard_of(&world.clients[listener], speaker);
            if listener == speaker {
                assert_eq!(heard, 0);
            } else {
                assert!(heard > 85, "{listener} hears {heard} of {speaker}");
            }
        }
    }
}

#[test]
fn a_slot_goes_on_without_a_gap_when_its_speaker_changes() {
    let mut world = World::of(6);
    for _ in 0..3 {
        for pair in [[0, 1], [2, 3], [4, 0]] {
            world.speak(&pair, 60, 20);
        }
    }
    let mut by_source: HashMap<u32, Vec<u16>> = HashMap::new();
    for (ssrc, sequence, _) in &world.clients[5].heard {
        by_source.entry(*ssrc).or_default().push(*sequence);
    }
    assert!(by_source.len() <= 3);
    for numbers in by_source.values() {
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
    }
}

#[test]
fn mute_by_a_moderator_stops_packets_at_the_door() {
    let mut world = World::of(2);
    world.speak(&[0], 10, 30);
    world
        .worker
        .command(world.now, Command::Silence { room: ROOM, user: 1, on: true, reply: Box::new(|_| ()) });
    let before = heard_of(&world.clients[1], 0);
    world.speak(&[0], 10, 30);
    assert_eq!(heard_of(&world.clients[1], 0), before);
}

#[test]
fn what_is_lost_on_the_way_is_sent_again() {
    let mut world = World::of(2);
    world.loses = Some(5);
    world.speak(&[0], 300, 30);
    world.loses = None;
    world.run(Duration::from_millis(400));
    let heard = heard_of(&world.clients[1], 0);
    assert!(heard >= 297, "{heard} of 300");
}

#[test]
fn a_client_that_moves_is_heard_and_hears() {
    let mut world = World::of(2);
    world.speak(&[0, 1], 10, 30);
    // A NAT gives the first one another port; it does not know.
    world.clients[0].address.set_port(50_000);
    world.speak(&[0, 1], 200, 30);
    let moved = &mut world.clients[0];
    moved.heard.clear();
    world.speak(&[0, 1], 50, 30);
    assert_eq!(heard_of(&world.clients[0], 1), 50);
    assert_eq!(world.views().len(), 2);
}

#[test]
fn who_vanishes_is_gone_from_the_list_and_a_goodbye_is_quicker() {
    let mut world = World::of(3);
    world.clients[0].core.close().unwrap();
    world.run(Duration::from_millis(50));
    assert_eq!(world.views()[0].media, MediaState::Lost, "said goodbye");
    world.clients.remove(1);
    world.run(Duration::from_secs(26));
    let users: Vec<_> = world.views().iter().map(|view| view.user).collect();
    assert_eq!(users, [3]);
    assert_eq!(world.worker.connections.len(), 1);
}

#[test]
fn an_ice_restart_keeps_the_participant_and_a_new_page_gets_a_new_connection() {
    let mut world = World::of(2);
    world.clients[0].core.restart_ice();
    world.offer(0).unwrap();
    world.run(Duration::from_millis(500));
    world.speak(&[0, 1], 20, 30);
    assert_eq!(heard_of(&world.clients[0], 1), 20);
    assert_eq!(heard_of(&world.clients[1], 0), 20);
    // The same participant, from a page that was loaded again.
    let (again, sender) = core(world.now, "198.51.100.9:9".parse().unwrap(), 77);
    let client = &mut world.clients[0];
    (client.core, client.sender, client.ssrc) = (again, sender, 77);
    (client.address, client.sent) = ("198.51.100.9:9".parse().unwrap(), 0);
    client.heard.clear();
    world.offer(0).unwrap();
    world.run(Duration::from_millis(1_000));
    world.speak(&[0, 1], 20, 30);
    assert_eq!(heard_of(&world.clients[0], 1), 20);
    assert_eq!(heard_of(&world.clients[1], 0), 40);
    assert_eq!(world.views().len(), 2);
}

#[test]
fn a_thousand_joins_and_leaves_leave_nothing_behind() {
    let mut world = World::new();
    for round in 0..1_000_u64 {
        let (entrant, link, _told) = world.entrant(round + 1);
        world.worker.command(world.now, Command::Join { room: ROOM, entrant, link, reply: Box::new(|_| ()) });
        if round % 20 == 0 {
            let (mut offering, _) = core(world.now, "198.51.100.7:1000".parse().unwrap(), 5);
            let offer = offering.create_offer(None).unwrap();
            let (id, link) = (entrant.id, entrant.link);
            let reply = Box::new(|answer: Result<Answer, Refusal>| drop(answer.unwrap()));
            world.worker.command(world.now, Command::Offer { room: ROOM, link, id, sdp: offer.sdp, reply });
        }
        world.run(Duration::from_millis(5));
        world.worker.command(world.now, Command::Leave { room: ROOM, id: entrant.id });
    }
    world.run(Duration::from_secs(60));
    let worker = &world.worker;
    assert!(worker.rooms.is_empty() && worker.connections.is_empty());
    assert!(worker.by_ufrag.is_empty() && worker.by_address.is_empty() && worker.timers.is_empty());
    assert_eq!(worker.rooms_open.load(Ordering::Relaxed), 0);
}

#[test]
fn datagrams_of_strangers_reach_nobody() {
    let mut world = World::of(1);
    let stranger: SocketAddr = "192.0.2.66:6".parse().unwrap();
    for first in [0_u8, 22, 128, 255] {
        assert_eq!(world.worker.datagram(world.now, stranger, &[first; 60]), first == 255 || first == 0);
    }
    assert_eq!(world.worker.drain().count(), 0);
    assert!(!world.worker.by_address.contains_key(&stranger));
}

#[test]
fn rooms_are_bounded() {
    let mut world = World::new();
    let refused = Arc::new(Mutex::new(Vec::new()));
    for room in 0..3 {
        let (entrant, link, _) = world.entrant(1);
        let put = Arc::clone(&refused);
        let reply = Box::new(move |joined: Result<Joined, Refusal>| put.lock().unwrap().push(joined.err()));
        world.worker.command(world.now, Command::Join { room, entrant, link, reply });
    }
    assert_eq!(*refused.lock().unwrap(), [None, None, Some(Refusal::TooManyRooms)]);
}

/// What is logged while this runs.
fn logged(run: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let paper = Paper::default();
    let writer = paper.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = paper.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// The server's log has to be enough to know what to do.
#[test]
fn a_connection_that_fails_is_explained() {
    // Nothing arrives.
    let log = logged(|| {
        let mut world = World::new();
        world.join();
        let id = world.clients[0].id;
        let candidate = "candidate:7 1 udp 1 198.51.100.200 4000 typ srflx raddr 10.0.0.1 rport 4".to_owned();
        world.worker.command(world.now, Command::Candidate { room: ROOM, link: id.0, id, candidate });
        world.lossy = Some(Box::new(|to_client| !to_client));
        world.run(Duration::from_secs(31));
        assert!(world.views().is_empty());
    });
    let expected = "UDP 198.51.100.7:40001 (host) -> 203.0.113.5:7882: nothing came; \
                    UDP 198.51.100.200:4000 (srflx) -> 203.0.113.5:7882: nothing came";
    assert!(log.contains(expected), "{log}");
    assert!(log.contains("Open UDP port 7882") && log.contains("user=1"), "{log}");
    // Requests arrive, answers don't.
    let log = logged(|| {
        let mut world = World::new();
        world.join();
        world.lossy = Some(Box::new(|to_client| to_client));
        world.run(Duration::from_secs(31));
        assert!(world.views().is_empty());
    });
    assert!(log.contains("UDP 198.51.100.7:40001 (host) -> 203.0.113.5:7882: "), "{log}");
    assert!(log.contains(" requests came, answered") && log.contains("Let UDP from port 7882"), "{log}");
}

/// Round trips, loss and what was sent again are told as they are.
#[test]
fn figures_of_a_room_are_what_happened() {
    let mut world = World::of(2);
    world.loses = Some(10);
    world.speak(&[0, 1], 500, 30);
    let figures = Arc::new(Mutex::new(Vec::new()));
    let put = Arc::clone(&figures);
    let reply = Box::new(move |found| *put.lock().unwrap() = found);
    world.worker.command(world.now, Command::Stats { reply });
    let figures = figures.lock().unwrap()[0].clone();
    assert_eq!((figures.room, figures.participants, figures.connected), (ROOM, 2, 2));
    assert_eq!((figures.speaking, figures.received, figures.forwarded), (2, 1_000, 1_000));
    assert_eq!(figures.lost, 0, "nothing was lost on the way here");
    assert!((80..200).contains(&figures.resent), "{figures:?}");
    // In this world datagrams arrive at once and clients look every 5 ms.
    assert!(figures.round_trip.is_some_and(|time| time < Duration::from_millis(20)), "{figures:?}");
    assert!(figures.jitter < 10.0, "{figures:?}");
}

/// Loss in bursts, both ways (Gilbert's model): one in five packets goes, three or four at a time.
#[test]
fn bursts_of_loss_do_not_end_a_session() {
    let mut world = World::of(2);
    let mut random = 12_345_u32;
    let mut is_bad = [false; 2];
    world.lossy = Some(Box::new(move |to_client| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let chance = random >> 16;
        let bad = &mut is_bad[usize::from(to_client)];
        *bad = if *bad { chance % 100 >= 28 } else { chance % 100 < 7 };
        *bad
    }));
    world.speak(&[0, 1], 3_000, 30);
    world.lossy = None;
    world.run(Duration::from_millis(500));
    assert!(world.views().iter().all(|view| view.media == MediaState::Connected));
    for (listener, speaker) in [(0, 1), (1, 0)] {
        let heard = heard_of(&world.clients[listener], speaker);
        assert!(
            heard > 2_500,
            "{heard} of 3000: retransmission makes up for most of a loss of a third on both legs"
        );
    }
}

/// Whatever comes from a client's own address, or with its name, breaks nothing.
#[test]
fn mangled_datagrams_break_nothing() {
    let mut world = World::of(2);
    world.speak(&[0, 1], 20, 30);
    // What the client really sends, as the seed.
    world.tapped = Some(Vec::new());
    world.speak(&[0, 1], 150, 30);
    world.clients[0].core.restart_ice();
    let seeds = world.tapped.take().unwrap();
    let mut random = 99_u32;
    let mut next = move || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize
    };
    let address = world.clients[0].address;
    for round in 0..60_000 {
        let mut bytes = if round % 10 == 0 {
            (0..next() % 300).map(|_| next().to_le_bytes()[0]).collect()
        } else {
            seeds[next() % seeds.len()].to_vec()
        };
        for _ in 0..1 + next() % 4 {
            match next() % 4 {
                0 if !bytes.is_empty() => bytes.truncate(next() % bytes.len()),
                1 => bytes.push(next().to_le_bytes()[0]),
                _ if !bytes.is_empty() => {
                    let at = next() % bytes.len().min(40);
                    bytes[at] ^= 1 << (next() % 8);
                }
                _ => {}
            }
        }
        world.worker.datagram(world.now, address, &bytes);
        if round % 100 == 0 {
            world.run(Duration::from_millis(5));
        }
    }
    assert_eq!(world.views().len(), 2);
    for client in &mut world.clients {
        client.heard.clear();
    }
    world.speak(&[0, 1], 50, 30);
    assert!(heard_of(&world.clients[0], 1) >= 48 && heard_of(&world.clients[1], 0) >= 48);
}
