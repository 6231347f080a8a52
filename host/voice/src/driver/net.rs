//! The system calls.

use std::{
    io::{ErrorKind, IoSlice, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt},
};

use crate::leg::Datagram;

use super::StartError;

/// The kernel's queue of each socket: a second of a few thousand packets. It grants what its own limit allows.
const BUFFER: usize = 4 * 1024 * 1024;

/// What [`wait`] heard.
pub(super) struct Heard {
    pub socket: bool,
    pub bell: bool,
}

/// As many sockets on one port. A single address that this machine has is the one they are bound to, so that answers come from
/// where clients sent to; otherwise they are bound to all, for IPv4 and IPv6 where the system has both.
pub(super) fn bind(
    announce: &[IpAddr],
    port: u16,
    count: usize,
) -> Result<(Vec<UdpSocket>, u16), StartError> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AddrInUse => StartError::PortTaken(port),
        _ => StartError::Socket { port, error },
    };
    let any_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let any_v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let any = match announce {
        [ip] if open(*ip, 0, false).is_ok() => *ip,
        _ if open(any_v6, 0, false).is_ok() => any_v6,
        _ => any_v4,
    };
    if port != 0 {
        // Alone first: sockets that share a port would share it with another server too.
        drop(open(any, port, false).map_err(failed)?);
    }
    let shares = count > 1;
    let first = open(any, port, shares).map_err(failed)?;
    let port = first.local_addr().map_err(failed)?.port();
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(open(any, port, shares).map_err(failed)?);
    }
    Ok((sockets, port))
}

fn open(ip: IpAddr, port: u16, shares: bool) -> std::io::Result<UdpSocket> {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if shares {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    let _ = sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
    let _ = sockopt::set_socket_send_buffer_size(&socket, BUFFER);
    rustix::net::bind(&socket, &SocketAddr::new(ip, port))?;
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Waits until there is something to read, or the time is over.
pub(super) fn wait(socket: &UdpSocket, ear: &Ear, patience: Duration) -> Heard {
    let mut both = [PollFd::new(socket, PollFlags::IN), PollFd::new(&ear.0, PollFlags::IN)];
    let patience = Timespec::try_from(patience).ok();
    if poll(&mut both, patience.as_ref()).is_err() {
        return Heard { socket: false, bell: false };
    }
    let [socket, bell] = both.map(|one| !one.revents().is_empty());
    Heard { socket, bell }
}

/// Wakes a thread that waits.
pub(super) struct Bell(UnixStream);

/// Where it is heard.
pub(super) struct Ear(UnixStream);

pub(super) fn bell() -> std::io::Result<(Bell, Ear)> {
    let (bell, ear) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ear.set_nonblocking(true)?;
    Ok((Bell(bell), Ear(ear)))
}

impl Bell {
    pub fn ring(&self) {
        // Full: it rings already.
        let _ = (&self.0).write(&[1]);
    }
}

impl Ear {
    pub fn hush(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.0).read(&mut bytes), Ok(length) if length == bytes.len()) {}
    }
}

/// Sends what there is. What the kernel has no room for is lost, as it would be further on; what it refuses (an address without
/// a route) holds up nothing else.
#[cfg(target_os = "linux")]
pub(super) fn send(socket: &UdpSocket, is_v6: bool, datagrams: std::vec::Drain<'_, Datagram>) {
    use rustix::net::{MMsgHdr, SendAncillaryBuffer, SocketAddrAny, addr::SocketAddrArg};

    /// Messages in one call.
    const BATCH: usize = 64;

    if datagrams.len() == 0 {
        return;
    }
    let datagrams: Vec<Datagram> = datagrams.collect();
    for batch in datagrams.chunks(BATCH) {
        let to: Vec<SocketAddrAny> = batch.iter().map(|one| mapped(one.to, is_v6).as_any()).collect();
        let bytes: Vec<[IoSlice<'_>; 1]> = batch.iter().map(|one| [IoSlice::new(&one.bytes)]).collect();
        let mut nothing: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            batch.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let parts = to.iter().zip(&bytes).zip(&mut nothing);
        let mut messages: Vec<_> =
            parts.map(|((to, bytes), nothing)| MMsgHdr::new_with_addr(to, bytes, nothing)).collect();
        let mut rest = messages.as_mut_slice();
        while !rest.is_empty() {
            let done = match rustix::net::sendmmsg(socket, rest, SendFlags::DONTWAIT) {
                Ok(sent) => sent.max(1),
                Err(Errno::AGAIN | Errno::NOBUFS) => return,
                Err(Errno::INTR) => 0,
                Err(_) => 1,
            };
            rest = rest.get_mut(done..).unwrap_or_default();
        }
    }
}

/// The same where a batch takes a call for each.
#[cfg(not(target_os = "linux"))]
pub(super) fn send(socket: &UdpSocket, is_v6: bool, datagrams: std::vec::Drain<'_, Datagram>) {
    for one in datagrams {
        let _ = socket.send_to(&one.bytes, mapped(one.to, is_v6));
    }
}

/// The address as the socket's family writes it.
fn mapped(address: SocketAddr, is_v6: bool) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        other => other,
    }
}
