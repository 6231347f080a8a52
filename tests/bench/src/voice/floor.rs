//! The least that forwarding takes: packets are encrypted for their listeners and sent to them, a batch in one system call.
//!
//! The listeners are those of the rooms, so that both sides send to the same sockets, at the same pace, and wake the same reader:
//! over the loopback device most of a packet's way to its reader is work of the sender.

use std::{
    io::IoSlice,
    net::{SocketAddr, UdpSocket},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rtc::{
    rtp,
    shared::marshal::Marshal,
    srtp::{context::Context, protection_profile::ProtectionProfile},
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg};

use super::{
    SPEAKERS,
    crowd::{Crowd, PACKET, PAYLOAD, scheduled},
};
use crate::load::Result;

const BATCH: usize = 64;

/// Microseconds of processor time for each packet, of those that the crowd has read.
pub fn run(crowd: &mut Crowd, time: Duration) -> Result<f64> {
    let rooms = crowd.addresses();
    let before = crowd.heard();
    crowd.speakers(0);
    let (spent, sent) = thread::scope(|scope| {
        let sender =
            thread::Builder::new().name("floor".to_owned()).spawn_scoped(scope, || send(&rooms, time))?;
        crowd.run(time + PACKET * 5)?;
        sender.join().map_err(|_| "the sender has failed")?
    })?;
    crowd.speakers(SPEAKERS);
    let read = crowd.heard() - before;
    if read < sent - sent / 10 {
        return Err(format!("only {read} of {sent} packets were read").into());
    }
    Ok(spent.as_secs_f64() * 1e6 / sent as f64)
}

/// One listener, as a sender knows it.
struct Ear {
    to: SocketAddrAny,
    context: Context,
}

/// Sends to each listener what it would hear; the time that it took, and how many packets.
fn send(rooms: &[Vec<SocketAddr>], time: Duration) -> Result<(Duration, u64)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let crypto = rtc::crypto::default_provider()?;
    let ear = |to: &SocketAddr| -> Result<Ear> {
        let profile = ProtectionProfile::AeadAes128Gcm;
        let context = Context::new(&[7; 16], &[9; 12], profile, None, None, crypto.crypto())?;
        Ok(Ear { to: to.as_any(), context })
    };
    let rooms: Result<Vec<Vec<Ear>>> = rooms.iter().map(|room| room.iter().map(ear).collect()).collect();
    let (mut rooms, mut sent, mut sequence) = (rooms?, 0, 0_u16);
    let this_thread = Path::new("/proc/thread-self/schedstat");
    let (began, start) = (scheduled(this_thread)?, Instant::now());
    let mut due = start;
    while start.elapsed() < time {
        due += PACKET;
        #[allow(clippy::disallowed_methods)] // No async worker.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sequence = sequence.wrapping_add(1);
        let mut batch = Vec::with_capacity(BATCH);
        for room in &mut rooms {
            for speaker in 0..SPEAKERS {
                for (_, ear) in room.iter_mut().enumerate().filter(|(ear, _)| *ear != speaker) {
                    batch.push((ear.to.clone(), ear.encrypt(speaker, sequence)?));
                    sent += 1;
                    if batch.len() == BATCH {
                        flush(&socket, &mut batch)?;
                    }
                }
            }
        }
        flush(&socket, &mut batch)?;
    }
    Ok((scheduled(this_thread)? - began, sent))
}

impl Ear {
    fn encrypt(&mut self, speaker: usize, sequence: u16) -> Result<bytes::BytesMut> {
        let header = rtp::Header {
            version: 2,
            payload_type: 111,
            sequence_number: sequence,
            timestamp: u32::from(sequence) * 960,
            ssrc: u32::try_from(speaker)?,
            ..Default::default()
        };
        let packet = rtp::Packet { header, payload: PAYLOAD.into() };
        Ok(self.context.encrypt_rtp_with_header(&packet.marshal()?, &packet.header)?)
    }
}

fn flush(socket: &UdpSocket, batch: &mut Vec<(SocketAddrAny, bytes::BytesMut)>) -> Result<()> {
    let slices: Vec<[IoSlice<'_>; 1]> = batch.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
    let mut nothing: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let parts = batch.iter().zip(&slices).zip(&mut nothing);
    let mut messages: Vec<_> =
        parts.map(|(((to, _), slice), none)| MMsgHdr::new_with_addr(to, slice, none)).collect();
    let mut rest = messages.as_mut_slice();
    while !rest.is_empty() {
        let done = rustix::net::sendmmsg(socket, rest, SendFlags::empty())?;
        rest = rest.get_mut(done..).unwrap_or_default();
    }
    batch.clear();
    Ok(())
}
