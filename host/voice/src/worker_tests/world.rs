//! A world in memory: clients on the same core, a network that is a queue, a clock that is a variable.
//!
//! Owns: what is sent between them and what of it is lost. Must not: expect anything.

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
        configuration::{
            interceptor_registry::{configure_nack, configure_rtcp_reports},
            media_engine::MediaEngine,
        },
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

use super::super::*;
use crate::{leg, room::Entrant};

pub(super) const HOST: &str = "203.0.113.5:7882";
pub(super) const ROOM: i64 = 5;
pub(super) const LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

pub(super) struct Nobody;

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

pub(super) struct Client {
    pub(super) core: RTCPeerConnection,
    pub(super) address: SocketAddr,
    pub(super) sender: RTCRtpSenderId,
    pub(super) ssrc: u32,
    pub(super) id: ParticipantId,
    pub(super) told: mpsc::Receiver<Told>,
    /// SSRC, sequence number, first byte of the payload.
    pub(super) heard: Vec<(u32, u16, u8)>,
    pub(super) sent: u16,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) worker: Worker,
    pub(super) clients: Vec<Client>,
    /// Every so many-th datagram to clients is lost.
    pub(super) loses: Option<usize>,
    pub(super) carried: usize,
    /// Whether the next datagram is lost, by whether it goes to a client.
    pub(super) lossy: Option<Box<dyn FnMut(bool) -> bool>>,
    /// What clients send.
    pub(super) tapped: Option<Vec<BytesMut>>,
}

pub(super) fn worker() -> Worker {
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

pub(super) fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "audio/opus".into(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".into(),
        rtcp_feedback: vec![],
    }
}

/// A client's core that would send a microphone and hear three voices.
pub(super) fn core(now: Instant, address: SocketAddr, ssrc: u32) -> (RTCPeerConnection, RTCRtpSenderId) {
    let mut engine = MediaEngine::default();
    engine.register_default_codecs().unwrap();
    let level = RTCRtpHeaderExtensionCapability { uri: LEVEL.into() };
    engine.register_header_extension(level, RtpCodecKind::Audio, None).unwrap();
    let registry = rtc::interceptor::Registry::new();
    let registry = configure_rtcp_reports(configure_nack(registry, &mut engine));
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
    pub(super) fn new() -> Self {
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

    pub(super) fn entrant(&self, number: u64) -> (Entrant, Link, mpsc::Receiver<Told>) {
        let (tell, told) = mpsc::channel();
        let link: Link = Box::new(move |what| drop(tell.send(what)));
        let user = i64::try_from(number).unwrap();
        (Entrant { id: ParticipantId(number), link: number, user, session: user }, link, told)
    }

    /// Somebody joins and makes an offer; the index among the clients.
    pub(super) fn join(&mut self) -> usize {
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

    pub(super) fn offer(&mut self, at: usize) -> Result<Answer, Refusal> {
        let client = &mut self.clients[at];
        let offer = client.core.create_offer(None).unwrap();
        client.core.set_local_description(self.now, offer).unwrap();
        let sdp = client.core.local_description().unwrap().sdp;
        let answer = self.send_offer(at, sdp)?;
        let description = RTCSessionDescription::answer(answer.sdp.clone()).unwrap();
        self.clients[at].core.set_remote_description(self.now, description).unwrap();
        Ok(answer)
    }

    pub(super) fn send_offer(&mut self, at: usize, sdp: String) -> Result<Answer, Refusal> {
        let id = self.clients[at].id;
        let answer = Arc::new(Mutex::new(None));
        let put = Arc::clone(&answer);
        let reply = Box::new(move |answer| *put.lock().unwrap() = Some(answer));
        self.worker.command(self.now, Command::Offer { room: ROOM, link: id.0, id, sdp, reply });
        answer.lock().unwrap().take().expect("answered at once")
    }

    /// Lets time pass in steps of 5 ms, and everything that is sent arrive at once.
    pub(super) fn run(&mut self, time: Duration) {
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

    pub(super) fn carry(&mut self) {
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
            let to_clients: Vec<_> = self.worker.drain().collect();
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

    pub(super) fn deliver(&mut self, datagram: &Datagram) {
        let found = self.clients.iter_mut().find(|client| client.address == datagram.to);
        let Some(client) = found else { return };
        let transport = TransportContext {
            local_addr: client.address,
            peer_addr: HOST.parse().unwrap(),
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        let message = BytesMut::from(&datagram.bytes[..]);
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
    pub(super) fn speak(&mut self, who: &[usize], packets: usize, level: u8) {
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

    pub(super) fn views(&mut self) -> Vec<View> {
        let views = Arc::new(Mutex::new(Vec::new()));
        let put = Arc::clone(&views);
        let reply = Box::new(move |found| *put.lock().unwrap() = found);
        self.worker.command(self.now, Command::Views { room: ROOM, reply });
        std::mem::take(&mut *views.lock().unwrap())
    }

    /// A world in which this many are connected.
    pub(super) fn of(people: usize) -> Self {
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
