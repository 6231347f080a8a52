//! Sound and its reports on their way between the wire and the slots: SRTP, NACK, sender and receiver reports.
//!
//! Owns: the keys of a connection's sound, and what is known of its microphone. Must not: know slots' voices or where packets go.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc::{
    crypto::RTCCryptoProvider,
    peer_connection::RTCPeerConnection,
    rtcp::{
        self,
        receiver_report::ReceiverReport,
        reception_report::ReceptionReport,
        transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    },
    rtp,
    shared::{
        error::Error,
        marshal::{Marshal, MarshalSize, Unmarshal},
    },
    srtp::{
        context::Context,
        option::{srtcp_replay_protection, srtp_replay_protection},
        protection_profile::ProtectionProfile,
    },
    statistics::StatsSelector,
};

use super::{gaps::Gaps, keys::Escrow};
use crate::reception::Reception;

/// Packets of a microphone that may come late, as one that was asked for again does.
const LATE: usize = 128;
/// Between the years 1900 and 1970, in seconds: NTP counts from the first.
const NTP_OF_1970: u64 = 2_208_988_800;

/// Some time after the beginning as NTP writes it, in units of 2⁻³² s. The host tells no time of day, only differences (RFC 3550,
/// 6.4.1 allows it).
pub(super) fn ntp(since: Duration) -> u64 {
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    ((NTP_OF_1970 + since.as_secs()) << 32) | fraction
}

/// One source of a client's microphone.
pub(super) struct Microphone {
    pub ssrc: u32,
    pub reception: Reception,
    gaps: Gaps,
    /// Of its last report: the middle of its time, and when it came.
    report: Option<(u32, Instant)>,
    /// What had been expected and received when it was reported on last.
    told: (u64, u64),
}

pub(super) struct Media {
    local: Context,
    remote: Context,
    began: Instant,
    /// Who the host is in its own reports.
    ssrc: u32,
    pub microphones: Vec<Microphone>,
    plain: BytesMut,
}

impl Media {
    /// What DTLS has agreed upon.
    ///
    /// # Errors
    /// If it has not yet, or to nothing that is spoken here.
    pub fn open(
        now: Instant,
        core: &mut RTCPeerConnection,
        escrow: &Escrow,
        ssrc: u32,
    ) -> Result<Self, Error> {
        let stats = core.get_stats(now, StatsSelector::None);
        let profile = match stats.transport().map(|transport| transport.srtp_cipher.as_str()) {
            Some("SRTP_AEAD_AES_128_GCM") => ProtectionProfile::AeadAes128Gcm,
            Some("SRTP_AEAD_AES_256_GCM") => ProtectionProfile::AeadAes256Gcm,
            Some("SRTP_AES128_CM_HMAC_SHA1_80") => ProtectionProfile::Aes128CmHmacSha1_80,
            Some("SRTP_AES128_CM_HMAC_SHA1_32") => ProtectionProfile::Aes128CmHmacSha1_32,
            _ => return Err(Error::ErrNoSuchSrtpProfile),
        };
        let (local, remote) = escrow.take().ok_or(Error::ErrDtlsTransportNotStarted)?;
        let (rtp, rtcp) = (srtp_replay_protection(LATE), srtcp_replay_protection(LATE));
        Ok(Self {
            local: local.context(profile, None, None, escrow.crypto())?,
            remote: remote.context(profile, Some(rtp), Some(rtcp), escrow.crypto())?,
            began: now,
            ssrc,
            microphones: Vec::new(),
            plain: BytesMut::new(),
        })
    }

    /// Since when its reports count their time.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// A packet as it goes over the wire.
    pub fn encrypt(&mut self, header: &rtp::Header, payload: &[u8]) -> Option<Bytes> {
        let length = header.marshal_size();
        self.plain.clear();
        self.plain.resize(length, 0);
        header.marshal_to(&mut self.plain).ok()?;
        self.plain.extend_from_slice(payload);
        self.local.encrypt_rtp_with_header(&self.plain, header).ok().map(BytesMut::freeze)
    }

    /// A packet of the microphone, if it is authentic and has not come before.
    pub fn decrypt(&mut self, now: Instant, bytes: &[u8]) -> Option<rtp::Packet> {
        let plain = self.remote.decrypt_rtp(bytes).ok()?;
        let packet = rtp::Packet::unmarshal(&mut plain.freeze()).ok()?;
        let (ssrc, sequence) = (packet.header.ssrc, packet.header.sequence_number);
        let known = self.microphones.iter().position(|one| one.ssrc == ssrc);
        let at = known.unwrap_or_else(|| {
            // As many as the offer names at most: others are not let through.
            let (reception, gaps) = (Reception::default(), Gaps::default());
            self.microphones.push(Microphone { ssrc, reception, gaps, report: None, told: (0, 0) });
            self.microphones.len() - 1
        });
        if let Some(one) = self.microphones.get_mut(at) {
            one.reception.packet(now, sequence, packet.header.timestamp);
            one.gaps.packet(now, sequence);
        }
        Some(packet)
    }

    /// What a client reports, if it is authentic.
    pub fn reports(&mut self, bytes: &[u8]) -> Vec<Box<dyn rtcp::Packet>> {
        let plain = self.remote.decrypt_rtcp(bytes).ok();
        plain.and_then(|plain| rtcp::packet::unmarshal(&mut plain.freeze()).ok()).unwrap_or_default()
    }

    /// A microphone's report came.
    pub fn reported(&mut self, now: Instant, ssrc: u32, ntp_time: u64) {
        if let Some(one) = self.microphones.iter_mut().find(|one| one.ssrc == ssrc) {
            one.report = Some((u32::try_from((ntp_time >> 16) & 0xFFFF_FFFF).unwrap_or(0), now));
        }
    }

    /// When packets are to be asked for.
    pub fn asks_at(&self) -> Option<Instant> {
        self.microphones.iter().filter_map(|one| one.gaps.deadline()).min()
    }

    /// Asks for what is missing, if it is time.
    pub fn ask(&mut self, now: Instant) -> Option<Bytes> {
        let mut asks: Vec<Box<dyn rtcp::Packet>> = Vec::new();
        for one in &mut self.microphones {
            let missing = one.gaps.due(now);
            if !missing.is_empty() {
                let nacks = nack_pairs_from_sequence_numbers(&missing);
                asks.push(Box::new(TransportLayerNack {
                    sender_ssrc: self.ssrc,
                    media_ssrc: one.ssrc,
                    nacks,
                }));
            }
        }
        self.encrypt_reports(&asks)
    }

    /// What is to be said of the microphone since the last time (RFC 3550, 6.4.2).
    pub fn receiver_report(&mut self, now: Instant) -> Option<ReceiverReport> {
        let heard = |one: &&mut Microphone| one.reception.received() != one.told.1;
        let reports: Vec<_> = self.microphones.iter_mut().filter(heard).map(|one| one.told(now)).collect();
        (!reports.is_empty()).then(|| ReceiverReport { ssrc: self.ssrc, reports, ..Default::default() })
    }

    /// Reports as they go over the wire.
    pub fn encrypt_reports(&mut self, reports: &[Box<dyn rtcp::Packet>]) -> Option<Bytes> {
        if reports.is_empty() {
            return None;
        }
        let plain = rtcp::packet::marshal(reports).ok()?;
        self.local.encrypt_rtcp(&plain).ok().map(BytesMut::freeze)
    }
}

impl Microphone {
    fn told(&mut self, now: Instant) -> ReceptionReport {
        let reception = &self.reception;
        let (expected, received) = (reception.expected(), reception.received());
        let (due, came) = (expected - self.told.0, received - self.told.1);
        self.told = (expected, received);
        let fraction = due.saturating_sub(came) * 256 / due.max(1);
        let delay = |at: Instant| now.saturating_duration_since(at).as_secs_f64() * 65_536.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates, and is not negative.
        ReceptionReport {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            total_lost: u32::try_from(reception.lost()).unwrap_or(u32::MAX).min(0x007F_FFFF),
            last_sequence_number: reception.newest(),
            jitter: (reception.jitter() * 48.0) as u32,
            last_sender_report: self.report.map_or(0, |(middle, _)| middle),
            delay: self.report.map_or(0, |(_, at)| delay(at) as u32),
        }
    }
}
