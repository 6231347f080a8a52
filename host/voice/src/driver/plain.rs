//! The same with what every system has: one socket, a call for each datagram, and a short nap instead of a bell.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    time::Duration,
};

use crate::leg::Datagram;

use super::StartError;

/// How long a command may wait for the thread.
const NAP: Duration = Duration::from_millis(5);

pub(super) struct Heard {
    pub socket: bool,
    pub bell: bool,
}

pub(super) struct Bell;

pub(super) struct Ear;

pub(super) fn bell() -> std::io::Result<(Bell, Ear)> {
    Ok((Bell, Ear))
}

impl Bell {
    pub fn ring(&self) {}
}

impl Ear {
    pub fn hush(&self) {}
}

pub(super) fn bind(_: &[IpAddr], port: u16, _: usize) -> Result<(Vec<UdpSocket>, u16), StartError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AddrInUse => StartError::PortTaken(port),
        _ => StartError::Socket { port, error },
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(failed)?;
    let port = socket.local_addr().map_err(failed)?.port();
    socket.set_nonblocking(true).map_err(failed)?;
    Ok((vec![socket], port))
}

pub(super) fn wait(socket: &UdpSocket, _: &Ear, patience: Duration) -> Heard {
    let nap = patience.clamp(Duration::from_millis(1), NAP);
    let _ = socket.set_nonblocking(false);
    let _ = socket.set_read_timeout(Some(nap));
    let heard = socket.peek_from(&mut [0; 1]);
    let _ = socket.set_nonblocking(true);
    // Some systems call a datagram that is longer an error.
    let is_waiting =
        |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    Heard { socket: !heard.as_ref().is_err_and(is_waiting), bell: true }
}

pub(super) fn send(socket: &UdpSocket, _: bool, datagrams: std::vec::Drain<'_, Datagram>) {
    for one in datagrams {
        let _ = socket.send_to(&one.bytes, one.to);
    }
}
