//! A voice client: a socket for what is said about sound, and a peer connection of the `webrtc` crate for the sound.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use patchbay_tests::{Socket, TestApp, User, Value, json};
use rtc::{
    interceptor::Registry,
    media_stream::MediaStreamTrack,
    peer_connection::{
        configuration::{
            interceptor_registry::{configure_nack, configure_rtcp_reports},
            media_engine::MediaEngine,
        },
        sdp::RTCSessionDescription,
    },
    rtp::{
        self,
        extension::{HeaderExtension, audio_level_extension::AudioLevelExtension},
    },
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCPFeedback, RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters,
            RTCRtpHeaderExtensionCapability, RtpCodecKind,
        },
    },
};
use tokio::sync::watch;
use webrtc::{
    media_stream::{
        track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
        track_remote::{TrackRemote, TrackRemoteEvent},
    },
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
        RTCPeerConnectionState,
    },
    runtime::TokioRuntime,
};

const PATIENCE: Duration = Duration::from_secs(15);

/// A packet that was heard: its source, number and first byte.
pub type Heard = (u32, u16, u8);

struct Handler {
    gathered: watch::Sender<bool>,
    connected: watch::Sender<bool>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.connected.send_replace(state == RTCPeerConnectionState::Connected);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let first = packet.payload.first().copied().unwrap_or(0);
                    heard.lock().unwrap().push((packet.header.ssrc, packet.header.sequence_number, first));
                }
            }
        });
    }
}

/// Somebody in a voice channel.
pub struct Client {
    pub socket: Socket,
    pub joined: Value,
    core: Arc<dyn PeerConnection>,
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    sent: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// Joins by the socket alone.
pub async fn signal(app: &TestApp, user: &User, channel: i64) -> (Socket, Value) {
    let mut socket = Socket::open_at(&app.url, &format!("/ws/voice/{channel}"), &user.token).await;
    let joined = socket.event("joined").await["data"].clone();
    (socket, joined)
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

/// The port that an answer tells to send to.
pub fn candidate(answer: &str) -> String {
    let line = answer.lines().find(|line| line.starts_with("a=candidate:")).unwrap();
    line.split(' ').nth(5).unwrap().to_owned()
}

impl Client {
    /// Joins, and returns once sound can flow.
    pub async fn join(app: &TestApp, user: &User, channel: i64) -> Self {
        Self::join_by(app, user, channel, None).await
    }

    /// The same by another port than the server's own.
    pub async fn join_by(app: &TestApp, user: &User, channel: i64, port: Option<u16>) -> Self {
        let (mut socket, joined) = signal(app, user, channel).await;
        let (gathered, mut has_gathered) = watch::channel(false);
        let (connected, mut is_connected) = watch::channel(false);
        let heard = Arc::default();
        let handler = Arc::new(Handler { gathered, connected, heard: Arc::clone(&heard) });
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let nack = RTCPFeedback { typ: "nack".into(), parameter: String::new() };
        engine.register_feedback(nack, RtpCodecKind::Audio);
        let level = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
        let level = RTCRtpHeaderExtensionCapability { uri: level.into() };
        engine.register_header_extension(level, RtpCodecKind::Audio, None).unwrap();
        let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine));
        let core = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_handler(handler)
            .with_runtime(Arc::new(TokioRuntime))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap();
        let core: Arc<dyn PeerConnection> = Arc::new(core);
        let ssrc = 1 + fastrand::u32(..u32::MAX);
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec: opus(),
            ..Default::default()
        };
        let name = || "microphone".to_owned();
        let track = MediaStreamTrack::new(name(), name(), name(), RtpCodecKind::Audio, vec![encoding]);
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        let init = |direction| Some(RTCRtpTransceiverInit { direction, ..Default::default() });
        let microphone = Arc::clone(&track) as Arc<dyn TrackLocal>;
        core.add_transceiver_from_track(microphone, init(RTCRtpTransceiverDirection::Sendonly))
            .await
            .unwrap();
        for _ in 0..joined["slots"].as_array().unwrap().len() {
            let ear = init(RTCRtpTransceiverDirection::Recvonly);
            core.add_transceiver_from_kind(RtpCodecKind::Audio, ear).await.unwrap();
        }
        let offer = core.create_offer(None).await.unwrap();
        core.set_local_description(offer).await.unwrap();
        let wait = tokio::time::timeout(PATIENCE, has_gathered.wait_for(|done| *done));
        wait.await.expect("candidates").unwrap();
        let sdp = core.local_description().await.unwrap().sdp;
        let answer = socket.call("offer", json!({ "sdp": sdp })).await;
        assert_eq!(answer["type"], "answer", "{answer}");
        assert!(answer["data"]["mids"].as_array().unwrap().iter().all(Value::is_string), "{answer}");
        let sdp = answer["data"]["sdp"].as_str().unwrap();
        let sdp = port.map_or(sdp.to_owned(), |port| sdp.replace(&candidate(sdp), &port.to_string()));
        core.set_remote_description(RTCSessionDescription::answer(sdp).unwrap()).await.unwrap();
        let wait = tokio::time::timeout(PATIENCE, is_connected.wait_for(|done| *done));
        wait.await.expect("no connection").unwrap();
        Self { socket, joined, core, track, ssrc, sent: 0, heard }
    }

    /// Which participant it is.
    pub fn participant(&self) -> u64 {
        self.joined["participant_id"].as_u64().unwrap()
    }

    /// Speaks for so many packets of 20 ms, each full of this byte.
    pub async fn speak(&mut self, packets: usize, byte: u8) {
        for _ in 0..packets {
            self.sent = self.sent.wrapping_add(1);
            let header = rtp::Header {
                version: 2,
                payload_type: 111,
                sequence_number: self.sent,
                timestamp: u32::from(self.sent) * 960,
                ssrc: self.ssrc,
                ..Default::default()
            };
            let packet = rtp::Packet { header, payload: vec![byte; 80].into() };
            let loud = HeaderExtension::AudioLevel(AudioLevelExtension { level: 25, voice: true });
            self.track.write_rtp_with_extensions(packet, &[loud]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many packets full of this byte have been heard.
    pub fn heard(&self, byte: u8) -> usize {
        self.heard.lock().unwrap().iter().filter(|(_, _, first)| *first == byte).count()
    }

    /// How many different ones.
    pub fn heard_once(&self, byte: u8) -> usize {
        let heard = self.heard.lock().unwrap();
        let numbers: HashSet<_> = heard.iter().filter(|(_, _, first)| *first == byte).collect();
        numbers.len()
    }

    /// Waits until so many have been heard.
    pub async fn hears(&self, byte: u8, packets: usize) {
        let all = async {
            while self.heard(byte) < packets {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, all).await;
        assert!(in_time.is_ok(), "{} of {packets} packets of {byte} heard", self.heard(byte));
    }

    /// Ends the sound, not the socket.
    pub async fn hang_up(&self) {
        self.core.close().await.unwrap();
    }
}
