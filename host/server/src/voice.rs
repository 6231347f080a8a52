//! The voice service as this server runs it: its port and addresses, and who hears of comings and goings.
//!
//! Owns: start, announced addresses, credentials for TURN servers. Must not: decide who may come in (`ops/voice.rs`).

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use patchbay_core::{ChannelId, UserId};
use patchbay_protocol::IceServer;
use patchbay_voice::{Limits, Observer, Reason, StartError, View, Voice};
use sha1::Sha1;

use crate::{
    bus::{Bus, Signal},
    config::{self, Config, UdpPort},
};

/// The port that is registered for nothing else and that clients of other voice servers use too.
const USUAL_PORT: u16 = 7882;
/// Threads that forward packets, at most.
const MAX_THREADS: usize = 8;

/// Tells the members of a channel, by the bus.
struct Herald(Bus);

impl Observer for Herald {
    fn joined(&self, room: i64, who: &View) {
        self.tell(room, who, true);
    }

    fn left(&self, room: i64, who: &View, why: Reason) {
        // Who comes in again from elsewhere has not gone.
        if why != Reason::Replaced {
            self.tell(room, who, false);
        }
    }
}

impl Herald {
    /// The thread that forwards packets can't wait: with thousands of signals before it, this one is lost. The list of
    /// participants stays right.
    fn tell(&self, room: i64, who: &View, is_in: bool) {
        let signal = Signal::Voice { channel_id: ChannelId(room), user_id: UserId(who.user), is_in };
        self.0.send_lossy(signal);
    }
}

/// Opens the port. None if voice is off, or can't be had and nobody insisted on it; the log says so.
///
/// # Errors
/// If a port was asked for and can't be had.
pub fn start(config: &Config, bus: Bus) -> Result<Option<Voice>, StartError> {
    let wanted = match config.voice.udp_port {
        UdpPort::Off => return Ok(None),
        UdpPort::Auto => USUAL_PORT,
        UdpPort::Fixed(port) => port,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let count = |count: config::Count| usize::try_from(count.0.get()).unwrap_or(usize::MAX);
    let limits = Limits {
        slots: config.voice.slots.0,
        people: count(config.voice.room_size),
        rooms: count(config.voice.rooms),
    };
    let announce = announced(config);
    let settings = |port| patchbay_voice::Config { port, announce: announce.clone(), threads, limits };
    let herald = Arc::new(Herald(bus));
    match Voice::start(&settings(wanted), herald.clone()) {
        Ok(voice) => Ok(Some(voice)),
        Err(error) if matches!(config.voice.udp_port, UdpPort::Fixed(_)) => Err(error),
        Err(StartError::PortTaken(port)) => match Voice::start(&settings(0), herald) {
            Ok(voice) => {
                tracing::warn!(
                    "UDP port {port} is in use by another program; voice uses {} this time. Set voice.udp_port \
                     to a port that is free and that clients can reach",
                    voice.port()
                );
                Ok(Some(voice))
            }
            Err(error) => Ok(without(&error)),
        },
        Err(error) => Ok(without(&error)),
    }
}

fn without(error: &StartError) -> Option<Voice> {
    tracing::warn!(%error, "voice is not available; set voice.udp_port to a port to make this an error, or to off");
    None
}

/// Where clients are told to send: what the operator says, or the addresses of this machine by which it reaches others, and
/// itself for those who are on it.
fn announced(config: &Config) -> Vec<IpAddr> {
    if !config.voice.public_ip.0.is_empty() {
        return config.voice.public_ip.0.clone();
    }
    let mut found = Vec::new();
    if !config.server.listen.ip().is_loopback() {
        // Nothing is sent: this only asks which address would be used.
        for (own, far) in [("0.0.0.0:0", "203.0.113.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
            let socket = UdpSocket::bind(own).and_then(|socket| {
                socket.connect(far)?;
                socket.local_addr()
            });
            found.extend(
                socket.ok().map(|address: SocketAddr| address.ip()).filter(|ip| !ip.is_unspecified()),
            );
        }
    }
    if found.is_empty() || config.server.listen.ip().is_loopback() {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    found
}

/// The STUN and TURN servers for a user, with credentials that end by themselves (draft-uberti-behave-turn-rest-00, as coturn
/// takes them).
pub fn ice_servers(config: &config::Voice, user: UserId) -> Vec<IceServer> {
    let (turn, stun): (Vec<_>, Vec<_>) = config.turn.0.iter().cloned().partition(|url| config::is_turn(url));
    let mut servers = Vec::new();
    if !stun.is_empty() {
        servers.push(IceServer { urls: stun, username: None, credential: None });
    }
    if let Some(secret) = config.turn_secret.as_ref().filter(|_| !turn.is_empty()) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let username = format!("{}:{}", (now + config.turn_ttl).as_secs(), user.0);
        let credential = credential(&secret.0, &username);
        servers.push(IceServer { urls: turn, username: Some(username), credential });
    }
    servers
}

fn credential(secret: &str, username: &str) -> Option<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(username.as_bytes());
    Some(STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_what_coturn_computes() {
        // By `echo -n 1433895918:ninefingers | openssl dgst -sha1 -hmac north -binary | base64`.
        let expected = "jy8hTxmOO7UtEKXqSkSlvakPVYA=";
        assert_eq!(credential("north", "1433895918:ninefingers").as_deref(), Some(expected));
    }
}
