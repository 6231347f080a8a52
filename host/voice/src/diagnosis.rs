//! Why a connection did not come about, in words by which an operator can act: which pairs of addresses were tried, what came of
//! each, and what to open.
//!
//! Owns: the sentence, and what clients say of their addresses, which is used for nothing else. Must not: decide anything.

use std::{
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
};

/// Most addresses of a client that are told of.
pub(crate) const MOST: usize = 16;

/// An address of which a client says that it can be reached there (RFC 8839, 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    is_udp: bool,
    /// An address, or the name by which a browser hides one.
    address: String,
    port: u16,
    /// `host`, `srflx`, `prflx` or `relay`.
    kind: &'static str,
}

impl Candidate {
    /// Reads `candidate:…`, with or without `a=` before it. None if it is malformed, or names something that is no address.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim().trim_start_matches("a=").strip_prefix("candidate:")?;
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, _, transport, _, address, port, "typ", kind, ..] = words.as_slice() else { return None };
        let kind = ["host", "srflx", "prflx", "relay"].into_iter().find(|known| known == kind)?;
        let is_hidden = address.strip_suffix(".local").is_some_and(|name| {
            name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
        if address.parse::<IpAddr>().is_err() && !is_hidden {
            return None;
        }
        Some(Self {
            is_udp: transport.eq_ignore_ascii_case("udp"),
            address: (*address).to_owned(),
            port: port.parse().ok()?,
            kind,
        })
    }

    fn is_at(&self, from: SocketAddr) -> bool {
        self.port == from.port() && self.address.parse() == Ok(from.ip())
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.is_udp { "UDP" } else { "TCP" };
        write!(f, "{transport} {}:{} ({})", self.address, self.port, self.kind)
    }
}

/// An address from which a client has asked to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub from: SocketAddr,
    pub requests: u32,
    /// Whether one had the right password and was answered.
    pub was_answered: bool,
}

/// What was tried: a line of pairs, and a sentence of what to do.
pub(crate) fn diagnose(
    announced: &[SocketAddr],
    candidates: &[Candidate],
    attempts: &[Attempt],
) -> (String, String) {
    (pairs(announced, candidates, attempts), advice(announced, candidates, attempts))
}

fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn pairs(announced: &[SocketAddr], candidates: &[Candidate], attempts: &[Attempt]) -> String {
    let mut out = Vec::new();
    for attempt in attempts {
        let Attempt { from, requests, was_answered } = attempt;
        let to = list(announced.iter().filter(|to| to.is_ipv4() == from.is_ipv4()));
        let kind = candidates.iter().find(|one| one.is_at(*from)).map_or("seen only here", |one| one.kind);
        let answered = if *was_answered { "answered" } else { "none with the right password" };
        out.push(format!("UDP {from} ({kind}) -> {to}: {requests} requests came, {answered}"));
    }
    for candidate in candidates.iter().filter(|one| !attempts.iter().any(|attempt| one.is_at(attempt.from))) {
        let is_v4 = candidate.address.parse::<IpAddr>().map(|ip| ip.is_ipv4());
        let to = list(announced.iter().filter(|to| is_v4.is_err() || is_v4 == Ok(to.is_ipv4())));
        let what = match (candidate.is_udp, to.is_empty()) {
            (false, _) => "not tried, this server has no TCP",
            (true, true) => "not tried, no address of this family is announced",
            (true, false) => "nothing came",
        };
        let mut pair = candidate.to_string();
        if !to.is_empty() {
            let _ = write!(pair, " -> {to}");
        }
        out.push(format!("{pair}: {what}"));
    }
    if out.is_empty() {
        "none: the client named no address and nothing came".to_owned()
    } else {
        out.join("; ")
    }
}

fn advice(announced: &[SocketAddr], candidates: &[Candidate], attempts: &[Attempt]) -> String {
    let port = announced.first().map_or(0, SocketAddr::port);
    if attempts.iter().any(|attempt| attempt.was_answered) {
        return format!(
            "The client's packets arrive, the answers do not get back, or not all of them. Let UDP from port {port} of this server \
             out to the clients, and see that no middlebox drops DTLS; or give them a TURN server (voice.turn)."
        );
    }
    if !attempts.is_empty() {
        return "Requests arrive with a wrong password: the client uses the answer to an earlier offer. That is a fault of \
                the client, not of the network."
            .to_owned();
    }
    let addresses = || candidates.iter().filter(|one| one.is_udp).filter_map(|one| one.address.parse().ok());
    if !candidates.is_empty() && candidates.iter().all(|one| !one.is_udp) {
        return "The client has no UDP at all. Give it a TURN server that it reaches by TCP (voice.turn)."
            .to_owned();
    }
    if announced.iter().all(|to| to.ip().is_loopback()) {
        return format!(
            "Only clients on this machine reach a loopback address. Set voice.public_ip to the address that clients reach, and open \
             UDP port {port} there."
        );
    }
    if announced.iter().all(|to| is_private(to.ip())) && addresses().any(|ip| !is_private(ip)) {
        return format!(
            "The client is outside, and what is announced can be reached inside only. Set voice.public_ip to the address outside, and \
             forward UDP port {port} to this server."
        );
    }
    format!(
        "Nothing of the client arrives. Open UDP port {port} to this server; if the address that clients reach is another one than is \
         announced, set voice.public_ip; for clients whose network lets no UDP out, set voice.turn."
    )
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(lines: &[&str]) -> Vec<Candidate> {
        lines.iter().map(|line| Candidate::parse(line).unwrap()).collect()
    }

    #[test]
    fn reads_candidates_and_nothing_else() {
        let read = Candidate::parse("candidate:1 1 UDP 2122260223 192.168.1.5 50000 typ host generation 0");
        assert_eq!(read.unwrap().to_string(), "UDP 192.168.1.5:50000 (host)");
        let hidden =
            "a=candidate:1 1 tcp 1 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 9 typ host tcptype active";
        assert!(Candidate::parse(hidden).unwrap().to_string().ends_with(".local:9 (host)"));
        for line in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 evil\u{1b}[31m 9 typ host",
            "candidate:1 1 udp 1 10.0.0.1 99999 typ host",
            "candidate:1 1 udp 1 10.0.0.1 9 typ nonsense",
            "candidate:1 1 udp 1 a.example 9 typ host",
        ] {
            assert_eq!(Candidate::parse(line), None, "{line}");
        }
    }

    #[test]
    fn says_what_was_tried_and_what_to_open() {
        let public: SocketAddr = "203.0.113.5:7882".parse().unwrap();
        let client = candidates(&[
            "candidate:1 1 udp 1 192.168.1.5 50000 typ host",
            "candidate:2 1 udp 1 198.51.100.7 40000 typ srflx raddr 192.168.1.5 rport 50000",
            "candidate:3 1 tcp 1 192.168.1.5 9 typ host tcptype active",
        ]);
        let (pairs, advice) = diagnose(&[public], &client, &[]);
        assert_eq!(
            pairs,
            "UDP 192.168.1.5:50000 (host) -> 203.0.113.5:7882: nothing came; \
             UDP 198.51.100.7:40000 (srflx) -> 203.0.113.5:7882: nothing came; \
             TCP 192.168.1.5:9 (host) -> 203.0.113.5:7882: not tried, this server has no TCP"
        );
        assert!(advice.starts_with("Nothing of the client arrives. Open UDP port 7882"), "{advice}");
        let from = "198.51.100.7:40000".parse().unwrap();
        let attempt = |was_answered| [Attempt { from, requests: 7, was_answered }];
        let (pairs, advice) = diagnose(&[public], &client[1..2], &attempt(true));
        assert_eq!(pairs, "UDP 198.51.100.7:40000 (srflx) -> 203.0.113.5:7882: 7 requests came, answered");
        assert!(advice.contains("Let UDP from port 7882 of this server out"), "{advice}");
        let (_, advice) = diagnose(&[public], &client, &attempt(false));
        assert!(advice.contains("wrong password"), "{advice}");
        let private = "10.0.0.2:7882".parse().unwrap();
        let (_, advice) = diagnose(&[private], &client, &[]);
        assert!(advice.contains("forward UDP port 7882"), "{advice}");
        let (_, advice) = diagnose(&["127.0.0.1:7882".parse().unwrap()], &client, &[]);
        assert!(advice.contains("Set voice.public_ip"), "{advice}");
        let (_, advice) = diagnose(&[public], &client[2..], &[]);
        assert!(advice.contains("TURN server that it reaches by TCP"), "{advice}");
        assert!(diagnose(&[public], &[], &[]).0.starts_with("none"));
        let v6 = candidates(&["candidate:1 1 udp 1 2001:db8::1 5 typ host"]);
        assert!(diagnose(&[public], &v6, &[]).0.ends_with("no address of this family is announced"));
    }
}
