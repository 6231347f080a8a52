//! A leg's sound: packets of the microphone and to the slots, and what both sides report of them.
//!
//! Owns: what is done with RTP and RTCP. Must not: touch the core.

use std::{net::SocketAddr, time::Instant};

use rtc::rtcp::{
    self, receiver_report::ReceiverReport, sender_report::SenderReport,
    transport_feedbacks::transport_layer_nack::TransportLayerNack,
};

use super::{Datagram, Effects, Figures, Heard, Leg};

impl Leg {
    /// A packet of the microphone.
    pub(super) fn sound(&mut self, now: Instant, from: SocketAddr, bytes: &[u8], effects: &mut Effects) {
        let Some(packet) = self.media.as_mut().and_then(|media| media.decrypt(now, bytes)) else { return };
        self.is_at(now, from, false);
        let level = self.microphone.level.and_then(|id| packet.header.get_extension(id));
        effects.heard.push(Heard {
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            level: level.and_then(|bytes| bytes.first().map(|byte| byte & 0x7F)),
            is_red: Some(packet.header.payload_type) == self.microphone.red,
            payload: packet.payload,
        });
        self.ask(now, effects);
    }

    /// Asks for packets that are missing, of a client that has agreed to be asked.
    pub(super) fn ask(&mut self, now: Instant, effects: &mut Effects) {
        if let Some(media) = self.media.as_mut().filter(|_| self.microphone.has_nack)
            && media.asks_at().is_some_and(|at| at <= now)
            && let (Some(bytes), Some(path)) = (media.ask(now), &self.path)
        {
            effects.send.push(Datagram { to: path.to, bytes });
        }
    }

    /// What the client says of what it sends and hears.
    pub(super) fn reports(&mut self, now: Instant, from: SocketAddr, bytes: &[u8], effects: &mut Effects) {
        let Some(media) = &mut self.media else { return };
        let began = media.began();
        let packets = media.reports(bytes);
        if packets.is_empty() {
            return;
        }
        for packet in &packets {
            let packet = packet.as_any();
            let receptions = if let Some(report) = packet.downcast_ref::<SenderReport>() {
                media.reported(now, report.ssrc, report.ntp_time);
                report.reports.as_slice()
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
                report.reports.as_slice()
            } else {
                &[]
            };
            for reception in receptions {
                if let Some(out) = self.outs.iter_mut().find(|out| out.ssrc() == reception.ssrc) {
                    self.round_trip = out.reception(now, began, reception).or(self.round_trip);
                }
            }
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>()
                && let Some(out) = self.outs.iter_mut().find(|out| out.ssrc() == nack.media_ssrc)
                && let Some(path) = &self.path
            {
                let missing = nack.nacks.iter().flat_map(|pair| pair.into_iter());
                for (header, payload) in missing.filter_map(|one| out.again(one)) {
                    let bytes = media.encrypt(&header, &payload);
                    effects.send.extend(bytes.map(|bytes| Datagram { to: path.to, bytes }));
                }
            }
        }
        self.is_at(now, from, false);
    }

    /// Says how sound arrives here, and what was sent; nothing while there is none.
    pub(super) fn report(&mut self, now: Instant, effects: &mut Effects) {
        let (Some(media), Some(path)) = (&mut self.media, &self.path) else { return };
        let began = media.began();
        let sent = self.outs.iter_mut().filter_map(|out| out.report(now, began));
        let mut reports: Vec<Box<dyn rtcp::Packet>> =
            sent.map(|report| Box::new(report) as Box<dyn rtcp::Packet>).collect();
        if let Some(report) = media.receiver_report(now) {
            reports.push(Box::new(report));
        }
        if let Some(bytes) = media.encrypt_reports(&reports) {
            effects.send.push(Datagram { to: path.to, bytes });
        }
    }

    /// Puts a packet into a slot; what is to be sent, if it leaves.
    pub fn forward(&mut self, now: Instant, slot: usize, key: u64, heard: &Heard) -> Option<Datagram> {
        let out = self.outs.get_mut(slot).filter(|out| out.is_open)?;
        let (media, path) = (self.media.as_mut()?, self.path.as_ref()?);
        let (header, payload) = out.packet(now, key, heard)?;
        let bytes = media.encrypt(header, &payload)?;
        out.leaves(now, payload);
        Some(Datagram { to: path.to, bytes })
    }

    /// How its sound fares.
    pub fn figures(&self) -> Figures {
        let microphones = || self.media.iter().flat_map(|media| &media.microphones).map(|one| &one.reception);
        Figures {
            lost: microphones().map(|one| one.lost()).sum(),
            jitter: microphones().map(|one| one.jitter()).fold(0.0, f64::max),
            unheard: self.outs.iter().map(|out| u64::from(out.lost)).sum(),
            resent: self.outs.iter().map(|out| out.resent).sum(),
            round_trip: self.round_trip,
        }
    }
}
