//! What a datagram is, by its first bytes: enough to decide whose it is and whether it may reach the core.
//!
//! Owns: RFC 7983 demultiplexing, and the few fields of STUN, RTP and RTCP that are looked at before any check of
//! authenticity. Must not: believe what they say; it is only used to find the connection that then checks.

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const USERNAME: u16 = 0x0006;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLED: u16 = 0x8029;
/// Longest local part of a user name that is looked up (RFC 8445 allows 256; ours have 16).
const MAX_UFRAG: usize = 256;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 8489.
    Stun,
    /// RFC 6347.
    Dtls,
    /// RFC 3550, encrypted.
    Rtp,
    /// RFC 3550, encrypted.
    Rtcp,
    /// Nothing of these.
    Junk,
}

/// What a datagram is (RFC 7983, RFC 5761).
pub fn kind(datagram: &[u8]) -> Kind {
    match datagram {
        [0..=3, ..] if datagram.len() >= 20 && datagram.get(4..8) == Some(&MAGIC_COOKIE) => Kind::Stun,
        [20..=63, ..] if datagram.len() >= 13 => Kind::Dtls,
        [128..=191, 192..=223, ..] if datagram.len() >= 8 => Kind::Rtcp,
        [128..=191, ..] if datagram.len() >= 12 => Kind::Rtp,
        _ => Kind::Junk,
    }
}

/// What a binding request says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    /// The part of the user name before the colon: that of the one it is sent to.
    pub ufrag: &'a str,
    /// The sender has chosen this path.
    pub use_candidate: bool,
    /// The sender claims not to be in control, which no client of a lite agent may (RFC 8445, 6.1.1).
    pub controlled: bool,
}

/// Reads a STUN binding request; none if it is another message or malformed.
pub fn binding_request(datagram: &[u8]) -> Option<BindingRequest<'_>> {
    if datagram.get(..2)? != BINDING_REQUEST {
        return None;
    }
    let length = usize::from(be16(datagram, 2)?);
    let mut rest = datagram.get(20..)?;
    if rest.len() != length {
        return None;
    }
    let (mut ufrag, mut use_candidate, mut controlled) = (None, false, false);
    while !rest.is_empty() {
        let (kind, length) = (be16(rest, 0)?, usize::from(be16(rest, 2)?));
        let value = rest.get(4..4 + length)?;
        match kind {
            USERNAME => {
                let name = std::str::from_utf8(value).ok()?;
                ufrag = Some(name.split_once(':').map_or(name, |(local, _)| local));
            }
            USE_CANDIDATE => use_candidate = true,
            ICE_CONTROLLED => controlled = true,
            _ => {}
        }
        // Attributes are padded to four bytes.
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
    let ufrag = ufrag.filter(|ufrag| ufrag.len() <= MAX_UFRAG)?;
    Some(BindingRequest { ufrag, use_candidate, controlled })
}

/// Whether an outgoing datagram is the answer to a binding request, which leaves only for an authentic one.
pub fn is_binding_success(datagram: &[u8]) -> bool {
    datagram.get(..2) == Some(&BINDING_SUCCESS)
}

/// Whether an outgoing datagram is a binding request.
pub fn is_binding_request(datagram: &[u8]) -> bool {
    datagram.get(..2) == Some(&BINDING_REQUEST)
}

/// The synchronisation source of an RTP packet, in the clear also under SRTP.
pub fn rtp_ssrc(datagram: &[u8]) -> Option<u32> {
    be32(datagram, 8)
}

/// The sender of an RTCP packet, in the clear also under SRTCP.
pub fn rtcp_sender(datagram: &[u8]) -> Option<u32> {
    be32(datagram, 4)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// The primary block of a RED payload (RFC 2198): what a receiver without RED is to get. None if it is malformed.
pub fn red_primary(payload: &[u8]) -> Option<&[u8]> {
    let (mut at, mut redundant) = (0, 0);
    loop {
        let first = *payload.get(at)?;
        if first & 0x80 == 0 {
            return payload.get(at + 1 + redundant..);
        }
        redundant += usize::from(be16(payload, at + 2)? & 0x03FF);
        at += 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = vec![0, 1];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(MAGIC_COOKIE);
        message.extend([7; 12]);
        message.extend(body);
        message
    }

    #[test]
    fn tells_datagrams_apart() {
        assert_eq!(kind(&request(&[])), Kind::Stun);
        let dtls = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(kind(&dtls), Kind::Dtls);
        let mut rtp = [0_u8; 12];
        (rtp[0], rtp[1]) = (0x80, 111);
        assert_eq!(kind(&rtp), Kind::Rtp);
        rtp[1] = 0x80 | 111;
        assert_eq!(kind(&rtp), Kind::Rtp, "the marker bit");
        assert_eq!(kind(&[0x80, 201, 0, 1, 0, 0, 0, 9]), Kind::Rtcp);
        for junk in [&b""[..], &[0], &[0; 19], &[0; 20], &[64; 40], &[0x80; 5], &[255; 100]] {
            assert_eq!(kind(junk), Kind::Junk, "{junk:?}");
        }
    }

    #[test]
    fn reads_binding_requests() {
        let message = request(&[(USERNAME, b"abcd:efghi"), (0x0024, &[1, 2, 3, 4]), (USE_CANDIDATE, b"")]);
        let expected = BindingRequest { ufrag: "abcd", use_candidate: true, controlled: false };
        assert_eq!(binding_request(&message), Some(expected));
        let message = request(&[(ICE_CONTROLLED, &[0; 8]), (USERNAME, b"x")]);
        let expected = BindingRequest { ufrag: "x", use_candidate: false, controlled: true };
        assert_eq!(binding_request(&message), Some(expected));
        assert_eq!(binding_request(&request(&[])), None, "nobody named");
        let mut longer = request(&[(USERNAME, b"abcd")]);
        longer.push(0);
        assert_eq!(binding_request(&longer), None, "its length is a lie");
    }

    #[test]
    fn takes_the_primary_block_of_red() {
        assert_eq!(red_primary(&[111, 1, 2, 3]), Some(&[1, 2, 3][..]));
        // One redundant block of two bytes.
        assert_eq!(red_primary(&[0x80 | 111, 0, 0, 2, 111, 8, 9, 1, 2, 3]), Some(&[1, 2, 3][..]));
        assert_eq!(red_primary(&[]), None);
        assert_eq!(red_primary(&[0x80 | 111, 0, 0, 200, 111, 8, 9]), None, "shorter than it says");
        assert_eq!(red_primary(&[0xFF; 64]), None, "headers without end");
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (kind(&bytes), binding_request(&bytes), red_primary(&bytes));
            let mut stun = request(&[]);
            stun.extend(&bytes);
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            stun[2..4].copy_from_slice(&length);
            if let Some(found) = binding_request(&stun) {
                prop_assert!(found.ufrag.len() <= bytes.len());
            }
        }
    }
}
