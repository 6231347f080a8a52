//! Clients by the hundred on one thread. They speak the whole protocol to connect; of what they hear they only see that it came.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use patchbay_voice::{Answer, Joined, ParticipantId, Refusal, Voice};
use rtc::{
    media_stream::MediaStreamTrack,
    peer_connection::{
        RTCPeerConnection, RTCPeerConnectionBuilder,
        configuration::media_engine::MediaEngine,
        event::RTCPeerConnectionEvent,
        sdp::RTCSessionDescription,
        state::RTCPeerConnectionState,
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
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{answer, patience};
use crate::load::Result;

/// 20 ms of speech at 32 kbit/s.
pub const PAYLOAD: &[u8] = &[0x78; 80];
pub const PACKET: Duration = Duration::from_millis(20);
/// How long clients look away.
const NAP: Duration = Duration::from_millis(1);
const LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

struct Client {
    core: RTCPeerConnection,
    socket: UdpSocket,
    address: SocketAddr,
    server: SocketAddr,
    sender: RTCRtpSenderId,
    ssrc: u32,
    sent: u16,
    /// The number that the level has in its packets.
    level: Option<u8>,
    room: i64,
    id: ParticipantId,
    is_connected: bool,
    heard: u64,
}

pub struct Crowd {
    clients: Vec<Client>,
    /// How many of each room speak.
    speakers: usize,
    spoke: Instant,
    ticked: Instant,
    people: usize,
    users: i64,
}

/// What the scheduler has given to a thread (proc(5): nanoseconds, first of three).
pub fn scheduled(schedstat: &Path) -> Result<Duration> {
    let text = fs::read_to_string(schedstat)?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}

impl Crowd {
    /// Fills so many rooms with so many people, all connected.
    pub fn gather(voice: &Voice, rooms: usize, people: usize) -> Result<Self> {
        let now = Instant::now();
        let mut crowd = Self { clients: Vec::new(), speakers: 0, spoke: now, ticked: now, people, users: 0 };
        for room in 0..rooms {
            for _ in 0..people {
                let client = crowd.join(voice, i64::try_from(room)?)?;
                crowd.clients.push(client);
                crowd.step(Duration::ZERO)?;
            }
        }
        while !crowd.clients.iter().all(|client| client.is_connected) {
            crowd.step(NAP)?;
            patience(now, "connecting")?;
        }
        Ok(crowd)
    }

    /// From now on so many of each room speak.
    pub fn speakers(&mut self, speakers: usize) {
        self.speakers = speakers;
    }

    /// Where everybody listens, room by room.
    pub fn addresses(&self) -> Vec<Vec<SocketAddr>> {
        self.clients.chunks(self.people).map(|room| room.iter().map(|one| one.address).collect()).collect()
    }

    /// Packets that all have heard.
    pub fn heard(&self) -> u64 {
        self.clients.iter().map(|client| client.heard).sum()
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.step(NAP)?;
        }
        Ok(())
    }

    /// Somebody comes, hears, and goes; how long it took to hear.
    pub fn newcomer(&mut self, voice: &Voice) -> Result<Duration> {
        let began = Instant::now();
        let client = self.join(voice, 0)?;
        self.clients.push(client);
        while self.clients.last().is_none_or(|client| client.heard == 0) {
            self.step(NAP)?;
            patience(began, "hearing")?;
        }
        let took = began.elapsed();
        if let Some(client) = self.clients.pop() {
            voice.leave(client.room, client.id);
        }
        Ok(took)
    }

    fn join(&mut self, voice: &Voice, room: i64) -> Result<Client> {
        self.users += 1;
        let mut client = Client::new(u32::try_from(self.users)?, room)?;
        let (put, get) = mpsc::channel::<std::result::Result<Joined, Refusal>>();
        let link =
            voice.join(room, self.users, self.users, Box::new(drop), move |joined| drop(put.send(joined)));
        client.id = answer(&get)??.id;
        let offer = client.core.create_offer(None)?;
        client.core.set_local_description(Instant::now(), offer)?;
        let sdp = client.core.local_description().map(|description| description.sdp).unwrap_or_default();
        let (put, get) = mpsc::channel::<std::result::Result<Answer, Refusal>>();
        voice.offer(room, link, client.id, sdp, move |answer| drop(put.send(answer)));
        let answer = RTCSessionDescription::answer(answer(&get)??.sdp)?;
        client.core.set_remote_description(Instant::now(), answer)?;
        client.server = *voice.announced().first().ok_or("nothing announced")?;
        Ok(client)
    }

    /// Lets a while pass, reads what has come meanwhile, sends what is due. It does not wait for datagrams: to wake a reader costs the
    /// sender of the datagram, which real clients, on other machines, do not.
    fn step(&mut self, nap: Duration) -> Result<()> {
        #[allow(clippy::disallowed_methods)] // No async worker.
        thread::sleep(nap);
        let mut ready: Vec<_> =
            self.clients.iter().map(|client| PollFd::new(&client.socket, PollFlags::IN)).collect();
        poll(&mut ready, Some(&Timespec::default()))?;
        let ready: Vec<bool> = ready.iter().map(|one| !one.revents().is_empty()).collect();
        let now = Instant::now();
        for (client, is_ready) in self.clients.iter_mut().zip(ready) {
            if is_ready {
                client.read(now)?;
            }
        }
        while self.speakers > 0 && now.duration_since(self.spoke) >= PACKET {
            self.spoke = if now.duration_since(self.spoke) > PACKET * 10 { now } else { self.spoke + PACKET };
            for room in self.clients.chunks_mut(self.people) {
                for client in room.iter_mut().take(self.speakers).filter(|client| client.is_connected) {
                    client.speak(now)?;
                }
            }
        }
        if now.duration_since(self.ticked) >= Duration::from_millis(10) {
            self.ticked = now;
            for client in &mut self.clients {
                if client.core.poll_timeout().is_some_and(|at| at <= now) {
                    client.core.handle_timeout(now)?;
                    client.flush()?;
                }
            }
        }
        Ok(())
    }
}

impl Client {
    fn new(number: u32, room: i64) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let (address, ssrc) = (socket.local_addr()?, 1_000_000 + number);
        let mut engine = MediaEngine::default();
        engine.register_default_codecs()?;
        let level = RTCRtpHeaderExtensionCapability { uri: LEVEL.to_owned() };
        engine.register_header_extension(level, RtpCodecKind::Audio, None)?;
        let mut core = RTCPeerConnectionBuilder::new().with_media_engine(engine).build(Instant::now())?;
        let codec = RTCRtpCodec {
            mime_type: "audio/opus".to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: Vec::new(),
        };
        let rtp_coding_parameters = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
        let encoding = RTCRtpEncodingParameters { rtp_coding_parameters, codec, ..Default::default() };
        let name = || "microphone".to_owned();
        let track = MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Audio, vec![encoding]);
        let init = |direction| Some(RTCRtpTransceiverInit { direction, ..Default::default() });
        let microphone =
            core.add_transceiver_from_track(track, init(RTCRtpTransceiverDirection::Sendonly))?;
        let sender = core.rtp_transceiver(microphone).and_then(|one| one.sender()).ok_or("no sender")?;
        for _ in 0..super::SPEAKERS {
            core.add_transceiver_from_kind(RtpCodecKind::Audio, init(RTCRtpTransceiverDirection::Recvonly))?;
        }
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: address.ip().to_string(),
            port: address.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host()?;
        core.add_local_candidate(RTCIceCandidate::from(&candidate).to_json()?)?;
        Ok(Self {
            core,
            socket,
            address,
            server: address,
            sender,
            ssrc,
            sent: 0,
            level: None,
            room,
            id: ParticipantId(0),
            is_connected: false,
            heard: 0,
        })
    }

    fn read(&mut self, now: Instant) -> Result<()> {
        let mut buffer = [0; 2_048];
        while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default();
            // Sound and reports are not looked at: it is not the clients that are measured.
            if matches!(bytes.first(), Some(128..=191)) {
                self.heard += u64::from(!matches!(bytes.get(1), Some(192..=223)));
                continue;
            }
            let transport = TransportContext {
                local_addr: self.address,
                peer_addr: self.server,
                ecn: None,
                transport_protocol: TransportProtocol::UDP,
            };
            self.core.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(bytes) })?;
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        while let Some(event) = self.core.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.is_connected = state == RTCPeerConnectionState::Connected;
            }
        }
        while self.core.poll_read().is_some() {}
        while let Some(out) = self.core.poll_write() {
            let _ = self.socket.send_to(&out.message, out.transport.peer_addr);
        }
        Ok(())
    }

    fn speak(&mut self, now: Instant) -> Result<()> {
        self.sent = self.sent.wrapping_add(1);
        let mut header = rtp::Header {
            version: 2,
            payload_type: 111,
            sequence_number: self.sent,
            timestamp: u32::from(self.sent) * 960,
            ssrc: self.ssrc,
            ..Default::default()
        };
        let mut sender = self.core.rtp_sender(self.sender).ok_or("no sender")?;
        if self.level.is_none() {
            let extensions = &sender.get_parameters().rtp_parameters.header_extensions;
            let level = extensions.iter().find(|one| one.uri == LEVEL);
            self.level = level.and_then(|level| u8::try_from(level.id).ok());
        }
        if let Some(id) = self.level {
            header.set_extension(id, vec![25].into())?;
        }
        sender.write_rtp(now, rtp::Packet { header, payload: PAYLOAD.into() })?;
        self.flush()
    }
}
