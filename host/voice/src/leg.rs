//! One participant's connection: one section that may send and a slot for each voice. ICE-lite, DTLS and SDP are those of the `rtc`
//! core; sound and its reports go around it (`keys.rs` says why and how).
//!
//! What the core leaves to its host is here (host/voice.md has how it was found): which datagrams may reach it, where its packets
//! go when a client moves, that a goodbye is noticed, that the handshake begins in time.
//!
//! Owns: one peer connection. Must not: know rooms; it gives packets and takes packets.

mod gaps;
mod keys;
mod media;
mod out;
mod setup;
mod sound;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rtc::{
    peer_connection::{
        RTCPeerConnection,
        certificate::RTCCertificate,
        event::RTCPeerConnectionEvent,
        sdp::RTCSessionDescription,
        state::{RTCIceConnectionState, RTCPeerConnectionState},
        transport::RTCDtlsTransportState,
    },
    rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit, rtp_sender::RtpCodecKind},
    sansio::Protocol,
    shared::{TaggedBytesMut, TransportContext, TransportProtocol, error::Error},
};

use crate::{
    diagnosis::{self, Attempt},
    sdp::{Offer, SdpError},
    wire,
};
use keys::Escrow;
use media::Media;
use out::Out;

/// Addresses from which a leg's client has proven to be there. The core keeps each for ever.
const MAX_ADDRESSES: usize = 16;
/// Distinct senders of RTCP, for each of which the core keeps state before it checks anything.
const MAX_REPORTERS: usize = 16;
/// How long an address must be silent until packets from another one move the path there.
const SILENT: Duration = Duration::from_millis(1_500);
/// How long after ICE the handshake begins: at once it would overtake the answer that completes ICE on the other side.
const KICK: Duration = Duration::from_millis(20);
/// How often the core is driven once it is connected, if no datagram does.
const IDLE: Duration = Duration::from_secs(5);
/// How often reports are sent while there is sound.
const REPORT: Duration = Duration::from_secs(2);
/// How long nothing may come until the media count as lost. Browsers ask for consent every 5 s (RFC 7675).
const LOST: Duration = Duration::from_secs(10);

pub(crate) use setup::certificate;

/// Something to send.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub to: SocketAddr,
    pub bytes: Bytes,
}

/// A packet of the client's microphone.
#[derive(Debug)]
pub(crate) struct Heard {
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    /// In −dBov (RFC 6464).
    pub level: Option<u8>,
    /// Whether the payload is wrapped in RED.
    pub is_red: bool,
    pub payload: Bytes,
}

/// How the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Connecting,
    Connected,
    Lost,
}

/// What came of driving the core.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub send: Vec<Datagram>,
    pub heard: Vec<Heard>,
    /// Addresses at which the client has proven to be, or at which it is being looked for.
    pub learned: Vec<SocketAddr>,
}

/// Payload types that the client agreed to.
#[derive(Clone, Copy, Debug, Default)]
struct Types {
    opus: Option<u8>,
    red: Option<u8>,
    level: Option<u8>,
    /// Whether lost packets may be asked for.
    has_nack: bool,
}

struct Path {
    to: SocketAddr,
    heard: Instant,
}

/// What is the same for all legs of a thread.
#[derive(Clone)]
pub(crate) struct Common {
    pub certificate: RTCCertificate,
    /// Where clients send to, by address family at most one that the core knows.
    pub local: Vec<SocketAddr>,
    /// All of them, as they are announced.
    pub announce: Vec<SocketAddr>,
    pub slots: usize,
}

pub(crate) struct Leg {
    /// Apart from the rest: it is large, and packets don't touch it.
    core: Box<RTCPeerConnection>,
    escrow: Arc<Escrow>,
    /// Since DTLS has agreed upon keys.
    media: Option<Media>,
    common: Common,
    pub fingerprint: String,
    outs: Vec<Out>,
    sources: Vec<u32>,
    microphone: Types,
    reporters: Vec<u32>,
    addresses: Vec<SocketAddr>,
    path: Option<Path>,
    kick: Option<Instant>,
    /// When the core is to be driven, as it said last.
    core_due: Option<Instant>,
    report_due: Instant,
    round_trip: Option<Duration>,
    alive: Instant,
    pub health: Health,
    /// Where requests came from, with and without the right password.
    pub attempts: Vec<Attempt>,
    /// What the user name of the last request with a right password asked for: to move the path here.
    nominates: bool,
}

/// How the sound of a leg fares.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Packets of the microphone that never came.
    pub lost: u64,
    /// The microphone's jitter in milliseconds.
    pub jitter: f64,
    /// Packets that the listener says never came to it.
    pub unheard: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Of a report and its answer, the last time.
    pub round_trip: Option<Duration>,
}

impl Leg {
    /// A connection that waits for its offer.
    pub fn new(now: Instant, common: &Common) -> Result<Self, Error> {
        let provider = rtc::crypto::default_provider().map_err(|error| Error::Crypto(error.to_string()))?;
        let escrow = Arc::new(Escrow::new(provider));
        let mut core = setup::core(now, common, &escrow)?;
        // For the microphone, so that its section does not take a slot.
        core.add_transceiver_from_kind(
            RtpCodecKind::Audio,
            Some(RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                ..Default::default()
            }),
        )?;
        let mut outs = Vec::with_capacity(common.slots);
        for index in 0..common.slots {
            outs.push(Out::add(&mut core, index)?);
        }
        Ok(Self {
            core: Box::new(core),
            escrow,
            media: None,
            common: common.clone(),
            fingerprint: String::new(),
            outs,
            sources: Vec::new(),
            microphone: Types::default(),
            reporters: Vec::new(),
            addresses: Vec::new(),
            path: None,
            kick: None,
            core_due: None,
            report_due: now,
            round_trip: None,
            alive: now,
            health: Health::Connecting,
            attempts: Vec::new(),
            nominates: false,
        })
    }

    /// Answers an offer: the answer, and for each slot the `mid` of the section in which it is heard.
    ///
    /// # Errors
    /// If the core can't make sense of it.
    pub fn answer(&mut self, now: Instant, offer: &Offer) -> Result<(String, Vec<Option<String>>), SdpError> {
        self.negotiate(now, offer).map_err(|error| SdpError::Malformed(error.to_string()))
    }

    fn negotiate(&mut self, now: Instant, offer: &Offer) -> Result<(String, Vec<Option<String>>), Error> {
        let description = RTCSessionDescription::offer(offer.sdp.clone())?;
        self.core.set_remote_description(now, description)?;
        for local in &self.common.local {
            self.core.add_local_candidate(setup::host_candidate(*local)?)?;
        }
        self.core.add_local_candidate(Default::default())?;
        let answer = self.core.create_answer(None)?;
        self.core.set_local_description(now, answer)?;
        let answer = self.core.local_description().map(|description| description.sdp).unwrap_or_default();
        self.fingerprint.clone_from(&offer.fingerprint);
        self.sources.clone_from(&offer.sources);
        let mut mids = Vec::with_capacity(self.outs.len());
        for out in &mut self.outs {
            let mid = self.core.rtp_transceiver(out.transceiver).and_then(|one| one.mid().clone());
            out.is_open = mid.is_some();
            if let Some(mut sender) = self.core.rtp_sender(out.sender) {
                let parameters = &sender.get_parameters().rtp_parameters;
                out.agreed(Types::of(&parameters.codecs, &parameters.header_extensions));
            }
            mids.push(mid);
        }
        let receivers: Vec<_> = self.core.get_receivers().collect();
        if let Some(mut receiver) = receivers.first().and_then(|id| self.core.rtp_receiver(*id)) {
            let parameters = &receiver.get_parameters().rtp_parameters;
            self.microphone = Types::of(&parameters.codecs, &parameters.header_extensions);
        }
        self.core_due = self.core.poll_timeout();
        Ok((self.announce(&answer), mids))
    }

    /// Puts the announced addresses into an answer, for each section: what is bundled needs them once, but there are clients that
    /// look at the last section only. The core would tell of those that it knows, twice.
    fn announce(&self, answer: &str) -> String {
        let mut candidates = String::new();
        for (index, address) in self.common.announce.iter().enumerate() {
            // RFC 8445, 5.1.2.1: of hosts, with a local preference that falls.
            let preference = 65_535_u32.saturating_sub(u32::try_from(index).unwrap_or(u32::MAX));
            let priority = (126 << 24) + (preference << 8) + 255;
            let (ip, port) = (address.ip(), address.port());
            candidates.push_str(&format!("a=candidate:{index} 1 udp {priority} {ip} {port} typ host\r\n"));
        }
        candidates.push_str("a=end-of-candidates\r\n");
        let mut out = String::with_capacity(answer.len() + 1024);
        let mut is_in_section = false;
        let kept =
            answer.lines().filter(|line| !line.starts_with("a=candidate:") && *line != "a=end-of-candidates");
        for line in kept {
            if line.starts_with("m=") {
                if is_in_section {
                    out.push_str(&candidates);
                }
                is_in_section = true;
            }
            out.push_str(line);
            out.push_str("\r\n");
        }
        out.push_str(&candidates);
        out
    }

    /// The user name by which requests find this leg.
    pub fn ufrag(&mut self) -> Option<String> {
        let sender = self.outs.first()?.sender;
        let sender = self.core.rtp_sender(sender)?;
        let parameters = sender.transport()?.ice_transport().get_local_parameters()?;
        Some(parameters.username_fragment)
    }

    /// Whether a datagram that came from an address of this leg may reach the core.
    pub fn admits(&mut self, kind: wire::Kind, datagram: &[u8]) -> bool {
        match kind {
            wire::Kind::Rtp => wire::rtp_ssrc(datagram).is_some_and(|source| self.sources.contains(&source)),
            wire::Kind::Rtcp => {
                let Some(sender) = wire::rtcp_sender(datagram) else { return false };
                if self.reporters.contains(&sender) {
                    return true;
                }
                let has_room = self.reporters.len() < MAX_REPORTERS;
                if has_room {
                    self.reporters.push(sender);
                }
                has_room
            }
            wire::Kind::Stun | wire::Kind::Dtls => true,
            wire::Kind::Junk => false,
        }
    }

    /// Whether a request may come from this address: one of the few that are known, or one more of them.
    pub fn admits_address(&self, from: SocketAddr) -> bool {
        self.addresses.contains(&from) || self.addresses.len() < MAX_ADDRESSES
    }

    /// Takes a datagram.
    pub fn datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        kind: wire::Kind,
        bytes: &[u8],
        effects: &mut Effects,
    ) {
        match kind {
            wire::Kind::Rtp => return self.sound(now, from, bytes, effects),
            wire::Kind::Rtcp => return self.reports(now, from, bytes, effects),
            wire::Kind::Stun | wire::Kind::Dtls | wire::Kind::Junk => {}
        }
        let same_family = |local: &&SocketAddr| local.is_ipv4() == from.is_ipv4();
        let Some(local) = self.common.local.iter().find(same_family).copied() else { return };
        let request = if kind == wire::Kind::Stun { wire::binding_request(bytes) } else { None };
        if request.is_some() {
            self.note_attempt(from);
        }
        self.nominates = request.is_some_and(|request| request.use_candidate);
        let transport = TransportContext {
            local_addr: local,
            peer_addr: from,
            ecn: None,
            transport_protocol: TransportProtocol::UDP,
        };
        // Errors reach only the core's log: what fails a check is dropped there.
        let _ = self.core.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(bytes) });
        self.collect(now, effects);
        if kind == wire::Kind::Dtls && self.health == Health::Connected && self.said_goodbye() {
            self.health = Health::Lost;
        }
    }

    fn note_attempt(&mut self, from: SocketAddr) {
        if let Some(known) = self.attempts.iter_mut().find(|known| known.from == from) {
            known.requests = known.requests.saturating_add(1);
        } else if self.attempts.len() < diagnosis::MOST {
            self.attempts.push(Attempt { from, requests: 1, was_answered: false });
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, effects: &mut Effects) {
        if [self.kick, self.core_due].into_iter().flatten().any(|at| at <= now) {
            self.kick = self.kick.filter(|at| *at > now);
            let _ = self.core.handle_timeout(now);
            self.collect(now, effects);
        }
        if self.health == Health::Connected && now >= self.alive + LOST {
            self.health = Health::Lost;
        }
        self.ask(now, effects);
        if self.report_due <= now {
            self.report_due = now + REPORT;
            self.report(now, effects);
        }
    }

    /// When [`Leg::tick`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let is_connected = self.health == Health::Connected;
        let lost = is_connected.then(|| self.alive + LOST);
        let report = is_connected.then_some(self.report_due);
        let asks = self.media.as_ref().filter(|_| self.microphone.has_nack).and_then(Media::asks_at);
        [self.core_due, self.kick, lost, report, asks].into_iter().flatten().min()
    }

    /// Takes what the core has to say and to send.
    fn collect(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(event) = self.core.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(RTCIceConnectionState::Connected) => {
                    self.kick = Some(now + KICK);
                }
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(RTCPeerConnectionState::Connected) => {
                    self.connected(now);
                }
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(
                    RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed,
                ) => self.health = Health::Lost,
                _ => {}
            }
        }
        while self.core.poll_read().is_some() {}
        while let Some(out) = self.core.poll_write() {
            let mut to = out.transport.peer_addr;
            if wire::is_binding_success(&out.message) {
                // Only a request with the right password is answered with success.
                self.is_at(now, to, self.nominates);
                if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.from == to) {
                    attempt.was_answered = true;
                }
                effects.learned.push(to);
            } else if wire::is_binding_request(&out.message) {
                effects.learned.push(to);
            } else if matches!(wire::kind(&out.message), wire::Kind::Rtp | wire::Kind::Rtcp) {
                // It has the same keys: two that number packets under one key would give it away.
                continue;
            } else if let Some(path) = &self.path {
                to = path.to;
            }
            effects.send.push(Datagram { to, bytes: out.message.freeze() });
        }
        self.core_due = self.core.poll_timeout();
        if self.health == Health::Connected {
            // It only wants to see whether a check is to be repeated, several times a second.
            self.core_due = self.core_due.map(|at| at.max(now + IDLE));
        }
    }

    /// ICE and DTLS are done.
    fn connected(&mut self, now: Instant) {
        if self.media.is_none() {
            let ssrc = setup::random().map(|[ssrc, ..]| ssrc);
            match ssrc.and_then(|ssrc| Media::open(now, &mut self.core, &self.escrow, ssrc)) {
                Ok(media) => self.media = Some(media),
                Err(error) => {
                    tracing::error!(%error, "a voice client's keys could not be used");
                    return;
                }
            }
        }
        self.health = Health::Connected;
        (self.alive, self.report_due) = (now, now + REPORT);
    }

    /// The client has proven to be at an address.
    fn is_at(&mut self, now: Instant, from: SocketAddr, nominates: bool) {
        if !self.addresses.contains(&from) && self.addresses.len() < MAX_ADDRESSES {
            self.addresses.push(from);
        }
        self.alive = now;
        if self.health == Health::Lost && !self.said_goodbye() {
            self.health = Health::Connected;
        }
        match &mut self.path {
            Some(path) if path.to == from => path.heard = now,
            Some(path) if nominates || now >= path.heard + SILENT => {
                tracing::debug!(from = %path.to, to = %from, "a voice client has moved");
                (path.to, path.heard) = (from, now);
            }
            Some(_) => {}
            None => self.path = Some(Path { to: from, heard: now }),
        }
    }

    /// The core does not tell when the other side closes DTLS.
    fn said_goodbye(&mut self) -> bool {
        let Some(sender) = self.outs.first().map(|out| out.sender) else { return false };
        let sender = self.core.rtp_sender(sender);
        let state = sender.as_ref().and_then(|sender| sender.transport()).map(|transport| transport.state());
        matches!(state, Some(RTCDtlsTransportState::Closed | RTCDtlsTransportState::Failed))
    }

    /// Says goodbye to the client.
    pub fn close(&mut self, now: Instant, effects: &mut Effects) {
        let _ = self.core.close();
        self.collect(now, effects);
    }

    /// Addresses at which the client has proven to be, for a log line.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}
