//! What a connection is made of: codecs, header extensions, interceptors, sections, the certificate.
//!
//! Owns: what is offered to every client alike. Must not: drive a connection.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rtc::{
    crypto::{RTCCryptoProvider, SignatureScheme},
    media_stream::MediaStreamTrack,
    peer_connection::{
        RTCPeerConnection, RTCPeerConnectionBuilder,
        certificate::{CertificateParams, RTCCertificate},
        configuration::{
            RTCConfigurationBuilder,
            media_engine::{MIME_TYPE_OPUS, MediaEngine},
            setting_engine::SettingEngineBuilder,
        },
        transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate, RTCIceCandidateInit},
    },
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters,
            RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability, RTCRtpHeaderExtensionParameters,
            RtpCodecKind,
        },
    },
    shared::error::Error,
};

use super::{Common, Types, keys::Escrow, out::Out};

/// RFC 6464.
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// RFC 2198.
const MIME_TYPE_RED: &str = "audio/red";
/// RFC 7587, with the redundancy of Opus itself.
const OPUS: &str = "minptime=10;useinbandfec=1";

/// A connection without sections, and without interceptors: no sound reaches it.
pub(super) fn core(now: Instant, common: &Common, escrow: &Arc<Escrow>) -> Result<RTCPeerConnection, Error> {
    let mut engine = MediaEngine::default();
    for (mime, fmtp, payload_type) in [(MIME_TYPE_OPUS, OPUS, 111), (MIME_TYPE_RED, "", 63)] {
        let rtp_codec = RTCRtpCodec {
            mime_type: mime.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: fmtp.to_owned(),
            rtcp_feedback: vec![RTCPFeedback { typ: "nack".to_owned(), parameter: String::new() }],
        };
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, RtpCodecKind::Audio)?;
    }
    let level = RTCRtpHeaderExtensionCapability { uri: AUDIO_LEVEL.to_owned() };
    engine.register_header_extension(level, RtpCodecKind::Audio, None)?;
    // Liveness is the host's: the core would fail a client that has moved.
    let settings = SettingEngineBuilder::new()
        .with_crypto_provider(Arc::clone(escrow) as Arc<dyn RTCCryptoProvider>)
        .with_lite(true)
        .with_ice_timeouts(Some(Duration::ZERO), Some(Duration::ZERO), None)
        .build();
    let configuration =
        RTCConfigurationBuilder::new().with_certificates(vec![common.certificate.clone()]).build();
    RTCPeerConnectionBuilder::new()
        .with_setting_engine(settings)
        .with_media_engine(engine)
        .with_configuration(configuration)
        .build(now)
}

impl Out {
    pub fn add(core: &mut RTCPeerConnection, index: usize) -> Result<Self, Error> {
        let [ssrc, sequence, timestamp] = random()?;
        let track = MediaStreamTrack::new(
            format!("slot{index}"),
            format!("slot{index}"),
            format!("slot{index}"),
            RtpCodecKind::Audio,
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
                codec: RTCRtpCodec {
                    mime_type: MIME_TYPE_OPUS.to_owned(),
                    clock_rate: 48_000,
                    channels: 2,
                    sdp_fmtp_line: OPUS.to_owned(),
                    rtcp_feedback: Vec::new(),
                },
                ..Default::default()
            }],
        );
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, ..Default::default() };
        let transceiver = core.add_transceiver_from_track(track, Some(init))?;
        let sender = core
            .rtp_transceiver(transceiver)
            .and_then(|one| one.sender())
            .ok_or(Error::ErrRTPSenderNotExisted)?;
        #[allow(clippy::cast_possible_truncation)] // Any sixteen bits do.
        Ok(Self::new(transceiver, sender, ssrc, sequence as u16, timestamp))
    }
}

impl Types {
    pub fn of(codecs: &[RTCRtpCodecParameters], extensions: &[RTCRtpHeaderExtensionParameters]) -> Self {
        let find = |mime: &str| {
            let codec = codecs.iter().find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(mime));
            codec.map(|codec| codec.payload_type)
        };
        let level = extensions.iter().find(|extension| extension.uri == AUDIO_LEVEL);
        let has_nack = codecs.iter().any(|codec| {
            codec.rtp_codec.rtcp_feedback.iter().any(|one| one.typ == "nack" && one.parameter.is_empty())
        });
        Self {
            opus: find(MIME_TYPE_OPUS),
            red: find(MIME_TYPE_RED),
            level: level.and_then(|extension| u8::try_from(extension.id).ok()),
            has_nack,
        }
    }
}

/// The certificate that all connections of a server show; clients learn its fingerprint with the answer.
pub(crate) fn certificate() -> Result<RTCCertificate, String> {
    let provider = rtc::crypto::default_provider().map_err(|error| error.to_string())?;
    let parameters = CertificateParams::new(Vec::new()).map_err(|error| error.to_string())?;
    RTCCertificate::generate(provider.crypto(), SignatureScheme::EcdsaP256Sha256, parameters)
        .map_err(|error| error.to_string())
}

pub(super) fn host_candidate(address: SocketAddr) -> Result<RTCIceCandidateInit, Error> {
    let base_config = CandidateConfig {
        network: "udp".to_owned(),
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..Default::default()
    };
    let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host()?;
    RTCIceCandidate::from(&candidate).to_json()
}

pub(super) fn random() -> Result<[u32; 3], Error> {
    let mut words = [0; 3];
    for word in &mut words {
        *word = getrandom::u32().map_err(|error| Error::Other(error.to_string()))?;
    }
    Ok(words)
}
