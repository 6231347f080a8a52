//! Whole rooms in memory: clients on the same core, a network that is a queue, a clock that is a variable.

use std::{
    collections::VecDeque,
    sync::{Mutex, mpsc},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rtc::{
    media_stream::MediaStreamTrack,
    peer_connection::{
        RTCPeerConnection, RTCPeerConnectionBuilder,
        configuration::media_engine::MediaEngine,
        message::{RTCMessage, TaggedRTCMessage},
        sdp::RTCSessionDescription,
        transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate},
    },
    rtp,
    rtp_transceiver::{
        RTCRtpSenderId, RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability,
            RtpCodecKind,
        },
    },
    sansio::Protocol,
    shared::{TaggedBytesMut, TransportContext, TransportProtocol},
};

use super::*;
use crate::{Event, leg, room::Entrant};

const HOST: &str = "203.0.113.5:7882";
const ROOM: i64 = 5;
const LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

struct Nobody;

impl crate::Observer for Nobody {
    fn joined(&self, _: i64, _: &View) {}
    fn left(&self, _: i64, _: &View, _: Reason) {}
}

impl Directory for Nobody {
    fn learn_ufrag(&mut self, _: &str) {}
    fn forget_ufrag(&mut self, _: &str) {}
    fn learn_address(&mut self, _: SocketAddr) {}
    fn forget_address(&mut self, _: SocketAddr) {}
}

struct Client {
    core: RTCPeerConnection,
    address: SocketAddr,
    sender: RTCRtpSenderId,
    ssrc: u32,
    id: ParticipantId,
    told: mpsc::Receiver<Told>,
    /// SSRC, sequence number, first byte of the payload.
    heard: Vec<(u32, u16, u8)>,
    sent: u16,
}

struct World {
    now: Instant,
    worker: Worker,
    clients: Vec<Client>,
    /// Every so many-th datagram to clients is lost.
    loses: Option<usize>,
    carried: usize,
    /// Whether the next datagram is lost, by whether it goes to a client.
    lossy: Option<Box<dyn FnMut(bool) -> bool>>,
    /// What clients send.
    tapped: Option<Vec<BytesMut>>,
}

fn worker() -> Worker {
    let host: SocketAddr = HOST.parse().unwrap();
    let common = Common {
        certificate: leg::certificate().unwrap(),
        local: vec![host],
        announce: vec![host],
        slots: 3,
    };
    let limits = Limits { slots: 3, people: 50, rooms: 2 };
    Worker::new(common, limits, Arc::default(), Arc::new(Nobody), Box::new(Nobody))
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "audio/opus".into(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".into(),
        rtcp_feedback: vec![],
    }
}

/// A client's core that would send a microphone and hear three voices.
fn core(now: Instant, address: SocketAddr, ssrc: u32) -> (RTCPeerConnection, RTCRtpSenderId) {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs().unwrap();
    let level = RTCRtpHeaderExtensionCapability { uri: LEVEL.into() };
    engine.register_header_extension(level, RtpCodecKind::Audio, None).unwrap();
    let registry = rtc::interceptor::Registry::new();
    let registry =
        rtc::peer_connection::configuration::interceptor_registry::configure_nack(registry, &mut engine);
    let nack =
        rtc::rtp_transceiver::rtp_sender::RTCPFeedback { typ: "nack".into(), parameter: String::new() };
    engine.register_feedback(nack, RtpCodecKind::Audio);
    let mut core = RTCPeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_interceptor_registry(registry)
        .build(now)
        .unwrap();
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec: opus(),
        ..Default::default()
    };
    let track =
        MediaStreamTrack::new("s".into(), "t".into(), "l".into(), RtpCodecKind::Audio, vec![encoding]);
    let init = |direction| Some(RTCRtpTransceiverInit { direction, ..Default::default() });
    let microphone =
        core.add_transceiver_from_track(track, init(RTCRtpTransceiverDirection::Sendonly)).unwrap();
    let sender = core.rtp_transceiver(microphone).unwrap().sender().unwrap();
    for _ in 0..3 {
        core.add_transceiver_from_kind(RtpCodecKind::Audio, init(RTCRtpTransceiverDirection::Recvonly))
            .unwrap();
    }
    let base_config = CandidateConfig {
        network: "udp".into(),
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..Default::default()
    };
    let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().unwrap();
    core.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
    (core, sender)
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            worker: worker(),
            clients: Vec::new(),
            loses: None,
            carried: 0,
            lossy: None,
            tapped: None,
        }
    }

    fn entrant(&self, number: u64) -> (Entrant, Link, mpsc::Receiver<Told>) {
        let (tell, told) = mpsc::channel();
        let link: Link = Box::new(move |what| drop(tell.send(what)));
        let user = i64::try_from(number).unwrap();
        (Entrant { id: ParticipantId(number), link: number, user, session: user }, link, told)
    }

    /// Somebody joins and makes an offer; the index among the clients.
    fn join(&mut self) -> usize {
        let number = self.clients.len() as u64 + 1;
        let address =
            SocketAddr::new("198.51.100.7".parse().unwrap(), 40_000 + u16::try_from(number).unwrap());
        let ssrc = 1_000 + u32::try_from(number).unwrap();
        let (core, sender) = core(self.now, address, ssrc);
        let (entrant, link, told) = self.entrant(number);
        let reply = Box::new(|joined: Result<Joined, Refusal>| drop(joined.unwrap()));
        self.worker.command(self.now, Command::Join { room: ROOM, entrant, link, reply });
        let id = entrant.id;
        self.clients.push(Client { core, address, sender, ssrc, id, told, heard: Vec::new(), sent: 0 });
        let at = self.clients.len() - 1;
        let mids = self.offer(at).unwrap().mids;
        assert!(mids.iter().all(Option::is_some), "{mids:?}");
        at
    }

    fn offer(&mut self, at: usize) -> Result<Answer, Refusal> {
        let client = &mut self.clients[at];
        let offer = client.core.create_offer(None).unwrap();
        client.core.set_local_description(self.now, offer).unwrap();
        let sdp = client.core.local_description().unwrap().sdp;
        let answer = self.send_offer(at, sdp)?;
        let description = RTCSessionDescription::answer(answer.sdp.clone()).unwrap();
        self.clients[at].core.set_remote_description(self.now, description).unwrap();
        Ok(answer)
    }

    fn send_offer(&mut self, at: usize, sdp: String) -> Result<Answer, Refusal> {
        let id = self.clients[at].id;
        let answer = Arc::new(Mutex::new(None));
        let put = Arc::clone(&answer);
        let reply = Box::new(move |answer| *put.lock().unwrap() = Some(answer));
        self.worker.command(self.now, Command::Offer { room: ROOM, link: id.0, id, sdp, reply });
        answer.lock().unwrap().take().expect("answered at once")
    }

    /// Lets time pass in steps of 5 ms, and everything that is sent arrive at once.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(5);
            self.worker.tick(self.now);
            for client in &mut self.clients {
                if client.core.poll_timeout().is_some_and(|at| at <= self.now) {
                    client.core.handle_timeout(self.now).unwrap();
                }
            }
            self.carry();
        }
    }

    fn carry(&mut self) {
        loop {
            let mut to_host: VecDeque<(SocketAddr, BytesMut)> = VecDeque::new();
            for client in &mut self.clients {
                while let Some(out) = client.core.poll_write() {
                    to_host.push_back((client.address, out.message));
                }
            }
            for (from, bytes) in &to_host {
                if let Some(tapped) = &mut self.tapped {
                    tapped.push(bytes.clone());
                }
                if self.lossy.as_mut().is_some_and(|lossy| lossy(false)) {
                    continue;
                }
                self.worker.datagram(self.now, *from, bytes);
            }
            let to_clients: Vec<_> = self.worker.drain(self.now).collect();
            if to_host.is_empty() && to_clients.is_empty() {
                return;
            }
            for datagram in to_clients {
                self.carried += 1;
                if self.loses.is_some_and(|every| self.carried.is_multiple_of(every)) {
                    continue;
                }
                if self.lossy.as_mut().is_some_and(|lossy| lossy(true)) {
                    continue;
                }
                self.deliver(&datagram);
            }
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let found = self.clients.iter_mut().find(|client| client.address == datagram.to);
        let Some(client) = found else { return };
        let transport = TransportContext {
            local_addr: client.address,
            peer_addr: HOST.parse().unwrap(),
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        let message = datagram.bytes.clone();
        client.core.handle_read(TaggedBytesMut { now: self.now, transport, message }).unwrap();
        while client.core.poll_event().is_some() {}
        while let Some(TaggedRTCMessage { message, .. }) = client.core.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message {
                let first = packet.payload.first().copied().unwrap_or(0);
                client.heard.push((packet.header.ssrc, packet.header.sequence_number, first));
            }
        }
    }

    /// These speak at once for so many packets of 20 ms, the first byte of each being its place among the clients.
    fn speak(&mut self, who: &[usize], packets: usize, level: u8) {
        for _ in 0..packets {
            for at in who {
                let client = &mut self.clients[*at];
                client.sent = client.sent.wrapping_add(1);
                let mut header = rtp::Header {
                    version: 2,
                    payload_type: 111,
                    sequence_number: client.sent,
                    timestamp: u32::from(client.sent) * 960,
                    ssrc: client.ssrc,
                    ..Default::default()
                };
                let mut sender = client.core.rtp_sender(client.sender).unwrap();
                let extensions = &sender.get_parameters().rtp_parameters.header_extensions;
                let id = extensions.iter().find(|one| one.uri == LEVEL).unwrap().id;
                header.set_extension(u8::try_from(id).unwrap(), Bytes::from(vec![level])).unwrap();
                let payload = Bytes::from(vec![u8::try_from(*at).unwrap(); 80]);
                sender.write_rtp(self.now, rtp::Packet { header, payload }).unwrap();
            }
            self.run(Duration::from_millis(20));
        }
    }

    fn views(&mut self) -> Vec<View> {
        let views = Arc::new(Mutex::new(Vec::new()));
        let put = Arc::clone(&views);
        let reply = Box::new(move |found| *put.lock().unwrap() = found);
        self.worker.command(self.now, Command::Views { room: ROOM, reply });
        std::mem::take(&mut *views.lock().unwrap())
    }

    /// A world in which this many are connected.
    fn of(people: usize) -> Self {
        let mut world = Self::new();
        for _ in 0..people {
            world.join();
        }
        world.run(Duration::from_millis(1_000));
        let views = world.views();
        assert!(views.iter().all(|view| view.media == MediaState::Connected), "{views:?}");
        world
    }
}

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
    assert_eq!(world.worker.drain(world.now).count(), 0);
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
