//! What a listener hears in one slot: packets as they leave, those that can be sent again, and what the listener reports of them.
//!
//! Owns: headers, history and reports of a slot. Must not: encrypt, or know whose voice it is.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::{
    rtcp::{reception_report::ReceptionReport, sender_report::SenderReport},
    rtp,
    rtp_transceiver::{RTCRtpSenderId, RTCRtpTransceiverId},
};

use super::{Heard, Types, media::ntp};
use crate::{slot::Slot, wire};

/// Packets that can be sent again: more than a second. A power of two.
const HISTORY: usize = 64;
/// How often one packet is sent again. A listener that asks for more is not helped by it.
const RESENDS: u8 = 5;
/// Opus' clock in RTP, each millisecond.
const SAMPLES_PER_MS: u128 = 48;
/// Audio levels as their header extension has them, with the mark of a voice (RFC 6464).
static LEVELS: [u8; 128] = levels();

#[allow(clippy::indexing_slicing)] // The loop's bound is the array's length.
const fn levels() -> [u8; 128] {
    let mut levels = [0; 128];
    let mut level: u8 = 0;
    while level < 128 {
        levels[level as usize] = 0x80 | level;
        level += 1;
    }
    levels
}

/// A packet that has left, before its encryption: its payload is shared with all who hear it, and to encrypt it again with the same
/// numbers makes the same packet.
struct Sent {
    sequence: u16,
    timestamp: u32,
    payload_type: u8,
    marker: bool,
    again: u8,
    /// The value of its level's extension.
    level: Option<Bytes>,
    payload: Bytes,
}

pub(super) struct Out {
    pub transceiver: RTCRtpTransceiverId,
    pub sender: RTCRtpSenderId,
    numbers: Slot,
    types: Types,
    /// Whether the client has a section for it.
    pub is_open: bool,
    /// Of the packet that left last.
    header: rtp::Header,
    left: Option<Instant>,
    history: Vec<Option<Sent>>,
    packets: u32,
    octets: u32,
    /// Packets at the last report.
    reported: u32,
    /// What the listener says of them.
    pub lost: u32,
    pub resent: u64,
}

impl Out {
    pub fn new(
        transceiver: RTCRtpTransceiverId,
        sender: RTCRtpSenderId,
        ssrc: u32,
        sequence: u16,
        timestamp: u32,
    ) -> Self {
        Self {
            transceiver,
            sender,
            numbers: Slot::new(sequence, timestamp),
            types: Types::default(),
            is_open: false,
            header: rtp::Header { version: 2, ssrc, ..Default::default() },
            left: None,
            history: Vec::new(),
            packets: 0,
            octets: 0,
            reported: 0,
            lost: 0,
            resent: 0,
        }
    }

    pub fn ssrc(&self) -> u32 {
        self.header.ssrc
    }

    /// The client has agreed to these.
    pub fn agreed(&mut self, types: Types) {
        // What was encrypted with one header must not be with another one under the same numbers.
        self.history.clear();
        self.types = types;
        self.header.extensions.clear();
        self.header.extension_profile = rtp::header::EXTENSION_PROFILE_ONE_BYTE;
        if let Some(id) = types.level.filter(|id| (1..rtp::header::EXTENSION_ID_RESERVED).contains(id)) {
            self.header.extensions.push(rtp::header::Extension { id, payload: Bytes::new() });
        }
    }

    /// The header and the payload of a packet that is heard here. None if it can't be, or must not be.
    pub fn packet(&mut self, now: Instant, key: u64, heard: &Heard) -> Option<(&rtp::Header, Bytes)> {
        let (payload_type, payload) = match (heard.is_red, self.types.red, self.types.opus) {
            (true, Some(red), _) => (red, heard.payload.clone()),
            (false, _, Some(opus)) => (opus, heard.payload.clone()),
            (true, None, Some(opus)) => (opus, heard.payload.slice_ref(wire::red_primary(&heard.payload)?)),
            (_, _, None) => return None,
        };
        let numbers = self.numbers.next(now, key, heard.sequence, heard.timestamp)?;
        let header = &mut self.header;
        header.marker = heard.marker || numbers.begins;
        header.payload_type = payload_type;
        header.sequence_number = numbers.sequence;
        header.timestamp = numbers.timestamp;
        let level = heard.level.and_then(|level| LEVELS.get(usize::from(level)..=usize::from(level)));
        header.extension = false;
        if let (Some(extension), Some(level)) = (header.extensions.first_mut(), level) {
            extension.payload = Bytes::from_static(level);
            header.extension = true;
        }
        Some((header, payload))
    }

    /// The packet of which the header was asked last leaves.
    pub fn leaves(&mut self, now: Instant, payload: Bytes) {
        if self.history.is_empty() {
            self.history.resize_with(HISTORY, || None);
        }
        self.left = Some(now);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(u32::try_from(payload.len()).unwrap_or(0));
        let header = &self.header;
        let level = header.extensions.first().filter(|_| header.extension);
        let sent = Sent {
            sequence: header.sequence_number,
            timestamp: header.timestamp,
            payload_type: header.payload_type,
            marker: header.marker,
            again: 0,
            level: level.map(|extension| extension.payload.clone()),
            payload,
        };
        if let Some(place) = self.history.get_mut(usize::from(sent.sequence) % HISTORY) {
            *place = Some(sent);
        }
    }

    /// A packet that the listener asks for again, as it was.
    pub fn again(&mut self, sequence: u16) -> Option<(rtp::Header, Bytes)> {
        let place = self.history.get_mut(usize::from(sequence) % HISTORY)?;
        let sent = place.as_mut().filter(|sent| sent.sequence == sequence && sent.again < RESENDS)?;
        sent.again += 1;
        self.resent += 1;
        let mut header = rtp::Header {
            sequence_number: sent.sequence,
            timestamp: sent.timestamp,
            payload_type: sent.payload_type,
            marker: sent.marker,
            extension: sent.level.is_some(),
            ..self.header.clone()
        };
        if let (Some(extension), Some(level)) = (header.extensions.first_mut(), &sent.level) {
            extension.payload.clone_from(level);
        }
        Some((header, sent.payload.clone()))
    }

    /// A report, if anything has left since the last one (RFC 3550, 6.4.1).
    pub fn report(&mut self, now: Instant, began: Instant) -> Option<SenderReport> {
        let left = self.left.filter(|_| self.packets != self.reported)?;
        self.reported = self.packets;
        let passed = now.saturating_duration_since(left).as_millis() * SAMPLES_PER_MS;
        Some(SenderReport {
            ssrc: self.header.ssrc,
            ntp_time: ntp(now.saturating_duration_since(began)),
            rtp_time: self.header.timestamp.wrapping_add(u32::try_from(passed).unwrap_or(0)),
            packet_count: self.packets,
            octet_count: self.octets,
            ..Default::default()
        })
    }

    /// What the listener reports of this slot; the time that a report took there and back, if it tells.
    pub fn reception(&mut self, now: Instant, began: Instant, report: &ReceptionReport) -> Option<Duration> {
        // A signed number of 24 bits: what came twice counts against what did not come.
        let lost = report.total_lost & 0x00FF_FFFF;
        if lost < 0x0080_0000 {
            self.lost = self.lost.max(lost);
        }
        if report.last_sender_report == 0 {
            return None;
        }
        // In units of 1/65536 s, all of them (RFC 3550, 6.4.1).
        let middle = (ntp(now.saturating_duration_since(began)) >> 16) & 0xFFFF_FFFF;
        let middle = u32::try_from(middle).unwrap_or(0);
        let there_and_back = middle.wrapping_sub(report.last_sender_report).wrapping_sub(report.delay);
        // More than a minute: the other side's clock, or its arithmetic, is wrong.
        (there_and_back < 60 << 16).then(|| Duration::from_secs_f64(f64::from(there_and_back) / 65_536.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out() -> Out {
        let mut out = Out::new(RTCRtpTransceiverId::default(), RTCRtpSenderId::default(), 9, 65_534, 0);
        out.agreed(Types { opus: Some(111), red: None, level: Some(3), has_nack: false });
        out
    }

    fn heard(sequence: u16) -> Heard {
        Heard {
            sequence,
            timestamp: u32::from(sequence) * 960,
            marker: false,
            level: Some(30),
            is_red: false,
            payload: Bytes::from_static(&[1, 2, 3]),
        }
    }

    #[test]
    fn what_left_can_be_sent_again_a_few_times() {
        let now = Instant::now();
        let mut out = out();
        let mut at_68 = 0;
        for sequence in 0..70 {
            let (header, _) = out.packet(now, 1, &heard(sequence)).unwrap();
            at_68 = if header.sequence_number == 68 { header.timestamp } else { at_68 };
            assert_eq!(header.sequence_number, 65_535_u16.wrapping_add(sequence));
            out.leaves(now, Bytes::from(vec![u8::try_from(sequence).unwrap()]));
        }
        assert_eq!(out.again(65_535), None, "70 packets ago");
        for _ in 0..RESENDS {
            let (header, payload) = out.again(68).unwrap();
            assert_eq!((header.sequence_number, header.timestamp), (68, at_68));
            assert_eq!(header.get_extension(3), Some(Bytes::from_static(&[0x80 | 30])));
            assert_eq!(payload, Bytes::from_static(&[69]));
        }
        assert_eq!(out.again(68), None, "enough");
        assert_eq!(out.again(69), None, "has not left yet");
        assert_eq!(out.resent, 5);
    }

    #[test]
    fn the_way_there_and_back_is_what_the_listener_did_not_keep_it() {
        let began = Instant::now();
        let mut out = out();
        assert_eq!(out.report(began, began), None, "nothing has left");
        out.packet(began, 1, &heard(1)).unwrap();
        out.leaves(began, Bytes::from_static(&[1, 2, 3]));
        let sent = began + Duration::from_millis(500);
        let report = out.report(sent, began).unwrap();
        assert_eq!(report.rtp_time, out.header.timestamp.wrapping_add(24_000));
        assert_eq!(out.report(sent, began), None, "nothing more has left");
        let mut reception = ReceptionReport {
            last_sender_report: u32::try_from((report.ntp_time >> 16) & 0xFFFF_FFFF).unwrap(),
            delay: 65_536 / 5,
            total_lost: 7,
            ..Default::default()
        };
        let back = sent + Duration::from_millis(280);
        let round_trip = out.reception(back, began, &reception).unwrap();
        assert!((79..=81).contains(&round_trip.as_millis()), "{round_trip:?}");
        assert_eq!(out.lost, 7);
        reception.total_lost = 0x00FF_FFFF;
        reception.delay = 65_536;
        assert_eq!(out.reception(back, began, &reception), None, "kept longer than it was away");
        assert_eq!(out.lost, 7, "one came twice");
    }
}
