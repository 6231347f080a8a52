//! Where a request comes from, when proxies may stand between.
//!
//! The peer is believed about everything beyond it only if `server.trusted_proxies` lists it. Then the client is the
//! rightmost address of `X-Forwarded-For` that is not a trusted proxy itself: everything left of that was written by
//! somebody who isn't trusted. `Forwarded` and `X-Real-IP` are not read for addresses, since a proxy that sets one
//! header passes the others through as the client made them up; but any of the three means that somebody stands
//! between, so that a client behind a proxy on the same machine never passes for one on loopback.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::{Extensions, HeaderMap, HeaderName, header};

use crate::{app::App, config::Networks, ops::ClientAddress};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id of a request that is taken over.
const MAX_REQUEST_ID: usize = 64;

/// The client's address.
pub(super) fn address(extensions: &Extensions, headers: &HeaderMap, app: &App) -> ClientAddress {
    client_of(peer(extensions), headers, &app.config.server.trusted_proxies)
}

/// The id that a trusted proxy has given to the request.
pub(super) fn request_id(extensions: &Extensions, headers: &HeaderMap, app: &App) -> Option<String> {
    if !app.config.server.trusted_proxies.contains(peer(extensions)) {
        return None;
    }
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    ((1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(is_good)).then(|| id.to_owned())
}

fn peer(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip().to_canonical())
}

fn client_of(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> ClientAddress {
    let names = [header::FORWARDED, FORWARDED_FOR, REAL_IP];
    let is_trusted = trusted.contains(peer);
    let is_said = names.iter().any(|name| headers.contains_key(name));
    if is_said && !is_trusted && peer.is_loopback() {
        warn_once();
    }
    let forwarded = is_trusted || is_said;
    let mut ip = peer;
    if is_trusted {
        for hop in headers
            .get_all(FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|line| line.as_bytes().rsplit(|b| *b == b','))
        {
            // What can't be read was not written by a proxy that is to be trusted: the one before it is the last
            // that is known.
            let Some(hop) = hop_address(hop) else { break };
            ip = hop;
            if !trusted.contains(hop) {
                break;
            }
        }
    }
    ClientAddress { ip, forwarded }
}

/// Whoever runs a proxy on this machine and forgot to list it should hear of it.
fn warn_once() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            "a proxy on this machine is not listed in server.trusted_proxies: all its clients count as one address"
        );
    });
}

/// An address, as some proxies write it with a port.
fn hop_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let ip = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse());
    ip.ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value as _;

    fn seen(peer: &str, lines: &[(&'static str, &'static str)]) -> (String, bool) {
        let trusted = Networks::parse("10.0.0.0/8, 127.0.0.1").unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        let client = client_of(peer.parse().unwrap(), &headers, &trusted);
        (client.ip.to_string(), client.forwarded)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let xff = "x-forwarded-for";
        for (peer, lines, ip, forwarded) in [
            ("192.0.2.1", &[][..], "192.0.2.1", false),
            ("192.0.2.1", &[(xff, "127.0.0.1")], "192.0.2.1", true),
            ("::1", &[], "::1", false),
            ("::1", &[("x-real-ip", "::1")], "::1", true),
            ("10.0.0.1", &[(xff, "192.0.2.7")], "192.0.2.7", true),
            ("10.0.0.1", &[(xff, "127.0.0.1, 192.0.2.7")], "192.0.2.7", true),
            ("10.0.0.1", &[(xff, "192.0.2.8, 192.0.2.7, 10.9.9.9")], "192.0.2.7", true),
            ("10.0.0.1", &[(xff, "192.0.2.8"), (xff, "192.0.2.7, 10.9.9.9")], "192.0.2.7", true),
            ("10.0.0.1", &[(xff, "192.0.2.7:4711")], "192.0.2.7", true),
            ("10.0.0.1", &[(xff, "[2001:db8::1]:80")], "2001:db8::1", true),
            ("10.0.0.1", &[(xff, "[2001:db8::1]")], "2001:db8::1", true),
            ("10.0.0.1", &[(xff, "::ffff:192.0.2.7")], "192.0.2.7", true),
            ("10.0.0.1", &[(xff, "192.0.2.7, unknown, 10.0.0.3")], "10.0.0.3", true),
            ("10.0.0.1", &[(xff, "192.0.2.7,")], "10.0.0.1", true),
            ("10.0.0.1", &[(xff, "10.0.0.5, 10.0.0.4")], "10.0.0.5", true),
            ("10.0.0.1", &[("x-real-ip", "192.0.2.7"), ("forwarded", "for=192.0.2.7")], "10.0.0.1", true),
            ("127.0.0.1", &[], "127.0.0.1", true),
            ("127.0.0.1", &[(xff, "127.0.0.1")], "127.0.0.1", true),
        ] {
            assert_eq!(seen(peer, lines), (ip.to_owned(), forwarded), "{peer} {lines:?}");
        }
    }
}
