//! The least that forwarding takes: a packet is encrypted and sent.

use std::{
    io::IoSlice,
    net::{SocketAddr, UdpSocket},
    path::Path,
};

use rtc::{
    rtp,
    shared::marshal::Marshal,
    srtp::{context::Context, protection_profile::ProtectionProfile},
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg};

use super::crowd::{PAYLOAD, scheduled};
use crate::load::Result;

const PACKETS: u16 = 20_032;
const BATCH: u16 = 64;

/// Microseconds of processor time for each packet.
pub fn run() -> Result<f64> {
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let to: SocketAddrAny = sink.local_addr().map(|address: SocketAddr| address.as_any())?;
    let crypto = rtc::crypto::default_provider()?;
    let profile = ProtectionProfile::AeadAes128Gcm;
    let mut context = Context::new(&[7; 16], &[9; 12], profile, None, None, crypto.crypto())?;
    let this_thread = Path::new("/proc/thread-self/schedstat");
    let began = scheduled(this_thread)?;
    for first in (0..PACKETS).step_by(usize::from(BATCH)) {
        let mut encrypted = Vec::with_capacity(usize::from(BATCH));
        for sequence in first..first + BATCH {
            let header = rtp::Header {
                version: 2,
                payload_type: 111,
                sequence_number: sequence,
                timestamp: u32::from(sequence) * 960,
                ssrc: 7,
                ..Default::default()
            };
            let packet = rtp::Packet { header, payload: PAYLOAD.into() };
            encrypted.push(context.encrypt_rtp(&packet.marshal()?)?);
        }
        let slices: Vec<[IoSlice<'_>; 1]> = encrypted.iter().map(|bytes| [IoSlice::new(bytes)]).collect();
        let mut nothing: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<_> = slices
            .iter()
            .zip(&mut nothing)
            .map(|(slice, none)| MMsgHdr::new_with_addr(&to, slice, none))
            .collect();
        rustix::net::sendmmsg(&socket, &mut messages, SendFlags::empty())?;
    }
    let spent = scheduled(this_thread)? - began;
    Ok(spent.as_secs_f64() * 1e6 / f64::from(PACKETS))
}
