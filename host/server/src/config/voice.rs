//! `voice.*`

use std::{net::IpAddr, time::Duration};

use super::{Count, Secret, declare, value::Value};

declare! {
    /// Voice channels: where sound comes and goes, and how much of it.
    "voice" => Voice {
        /// The UDP port for all sound: a number (0 takes a free one), `auto` (7882, or a free one if another program has it), or `off`.
        udp_port: UdpPort = "auto",
        /// Addresses that clients send to, if they are not those of this machine: behind NAT, the address outside.
        public_ip: Addresses = "",
        /// STUN and TURN servers for clients, e.g. turn:turn.example.org:3478?transport=tcp.
        turn: IceUrls = "",
        /// What the TURN servers share with this one (coturn: static-auth-secret).
        turn_secret: Option<Secret> = "",
        /// For how long credentials for TURN servers are good.
        turn_ttl: Duration = "12h",
        /// Voices that a listener hears at once.
        slots: Slots = "3",
        /// People in one voice channel.
        room_size: Count = "100",
        /// Voice channels in use at once.
        rooms: Count = "1000",
    }
}

/// `voice.udp_port`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpPort {
    /// The usual one, or a free one.
    Auto,
    /// This one and no other.
    Fixed(u16),
    /// No voice.
    Off,
}

impl Value for UdpPort {
    const ALLOWED: &'static str = "a port, 0 to 65535, or auto, or off";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::Fixed)
                .map_err(|_| format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self::Off
    }
}

/// A list of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(pub Vec<IpAddr>);

impl Value for Addresses {
    const ALLOWED: &'static str = "addresses, e.g. 203.0.113.5; comma separated outside the file";
    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .map(|item| {
                let ip: Option<IpAddr> = item.parse().ok();
                ip.filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
                    .map(|ip| ip.to_canonical())
                    .ok_or_else(|| format!("{item:?} is not allowed; expected {}", Self::ALLOWED))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
    fn placeholder() -> Self {
        Self::default()
    }
}

/// STUN and TURN servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceUrls(pub Vec<String>);

impl IceUrls {
    /// Whether one of them is not for everybody.
    pub fn asks_for_credentials(&self) -> bool {
        self.0.iter().any(|url| is_turn(url))
    }
}

/// Whether it is a TURN server's.
pub fn is_turn(url: &str) -> bool {
    url.starts_with("turn:") || url.starts_with("turns:")
}

impl Value for IceUrls {
    const ALLOWED: &'static str =
        "stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp] or turns:…; comma separated outside the file";
    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .map(|item| {
                let rest = ["stun:", "stuns:", "turn:", "turns:"]
                    .iter()
                    .find_map(|scheme| item.strip_prefix(scheme));
                let is_one = rest.is_some_and(|rest| {
                    !rest.is_empty()
                        && !rest.starts_with('/')
                        && !rest.contains(|c: char| c.is_whitespace() || c == '@')
                });
                if is_one {
                    Ok(item.to_owned())
                } else {
                    Err(format!("{item:?} is not allowed; expected {}", Self::ALLOWED))
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
    fn placeholder() -> Self {
        Self::default()
    }
}

/// 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(pub usize);

impl Value for Slots {
    const ALLOWED: &'static str = "1 to 8";
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (1..=8).contains(number));
        number.map(Self).ok_or_else(|| format!("{text:?} is not allowed; expected {}", Self::ALLOWED))
    }
    fn placeholder() -> Self {
        Self(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed() {
        assert_eq!(UdpPort::parse("0"), Ok(UdpPort::Fixed(0)));
        assert_eq!(Addresses::parse("203.0.113.5, ::1").unwrap().0.len(), 2);
        assert!(IceUrls::parse("stun:a, turns:b:5349?transport=tcp").unwrap().asks_for_credentials());
        assert!(!IceUrls::parse("stun:a").unwrap().asks_for_credentials());
        assert!(UdpPort::parse("70000").is_err() && UdpPort::parse("on").is_err());
        assert!(Addresses::parse("0.0.0.0").is_err() && Addresses::parse("host").is_err());
        assert!(IceUrls::parse("turn:").is_err() && IceUrls::parse("http://a").is_err());
        assert!(Slots::parse("0").is_err() && Slots::parse("9").is_err());
    }
}
