//! Offers, looked at before the core sees them: what is refused here has a sentence that a client's author understands.
//!
//! Owns: which offers are taken, and that no offer makes the host send to an address that it names. Must not: write answers.

use crate::diagnosis::{self, Candidate};

/// Largest offer, in bytes. A browser's with four sections has 6 kB.
pub(crate) const MAX_BYTES: usize = 32 * 1024;

/// Why an offer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It has too many bytes.
    #[error("the offer is too large; {MAX_BYTES} bytes are allowed")]
    TooLarge,
    /// It is no SDP, or lacks what every offer has.
    #[error("the offer can't be used: {0}")]
    Malformed(String),
    /// A section is something else than audio.
    #[error("only audio sections are taken, not {0:?}")]
    NotAudio(String),
    /// It has too many sections.
    #[error("an offer has one section that sends and at most {0} that only receive")]
    TooManySections(usize),
    /// The microphone has no source.
    #[error("the section that sends has to name its source (a=ssrc)")]
    NoSource,
    /// No section has a codec that is spoken here.
    #[error("the offer has no Opus")]
    NoOpus,
}

/// An offer that may be given to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Without candidates: clients are learned from where they send, with the right password.
    pub sdp: String,
    /// The sources that the client sends.
    pub sources: Vec<u32>,
    /// The client's certificate. Another one is another connection.
    pub fingerprint: String,
    /// Where the client says that it is: told to the operator when no connection comes about, and used for nothing else.
    pub candidates: Vec<Candidate>,
}

#[derive(Default)]
struct Section {
    sends: Option<bool>,
    sources: Vec<u32>,
}

/// Looks at an offer; `slots` is how many sections that only receive it may have.
pub(crate) fn check(sdp: &str, slots: usize) -> Result<Offer, SdpError> {
    let malformed = |what: &str| SdpError::Malformed(what.to_owned());
    if sdp.len() > MAX_BYTES {
        return Err(SdpError::TooLarge);
    }
    if !sdp.starts_with("v=0") {
        return Err(malformed("it doesn't begin with v=0"));
    }
    let (mut kept, mut fingerprint, mut has_opus) = (String::with_capacity(sdp.len()), None, false);
    let mut sections: Vec<Section> = Vec::new();
    let mut candidates = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("a=candidate:") || line == "a=end-of-candidates" {
            let candidate = Candidate::parse(line).filter(|one| !candidates.contains(one));
            candidates.extend(candidate.filter(|_| candidates.len() < diagnosis::MOST));
            continue;
        }
        kept.push_str(line);
        kept.push_str("\r\n");
        if let Some(media) = line.strip_prefix("m=") {
            let kind = media.split(' ').next().unwrap_or_default();
            if kind != "audio" {
                return Err(SdpError::NotAudio(kind.chars().take(32).collect()));
            }
            if sections.len() > slots {
                return Err(SdpError::TooManySections(slots));
            }
            sections.push(Section::default());
            continue;
        }
        let Some(attribute) = line.strip_prefix("a=") else { continue };
        if let Some(value) = attribute.strip_prefix("fingerprint:") {
            fingerprint = Some(value.to_ascii_lowercase());
        }
        has_opus |=
            attribute.starts_with("rtpmap:") && attribute.to_ascii_lowercase().contains(" opus/48000");
        let Some(section) = sections.last_mut() else { continue };
        match attribute {
            "sendrecv" | "sendonly" => section.sends = Some(true),
            "recvonly" | "inactive" => section.sends = Some(false),
            _ => {
                let source = attribute.strip_prefix("ssrc:").and_then(|rest| rest.split(' ').next());
                if let Some(source) = source {
                    let source = source.parse().map_err(|_| malformed("a source is not a number"))?;
                    if !section.sources.contains(&source) {
                        section.sources.push(source);
                    }
                }
            }
        }
    }
    let fingerprint = fingerprint.ok_or_else(|| malformed("it has no a=fingerprint"))?;
    if sections.is_empty() {
        return Err(malformed("it has no section"));
    }
    if !has_opus {
        return Err(SdpError::NoOpus);
    }
    // Without a direction a section sends and receives (RFC 8866, 6.7).
    let sending: Vec<_> = sections.iter().filter(|section| section.sends.unwrap_or(true)).collect();
    if sending.len() > 1 {
        return Err(SdpError::TooManySections(slots));
    }
    let sources = sending.first().map(|section| section.sources.clone()).unwrap_or_default();
    if sending.len() == 1 && sources.is_empty() {
        return Err(SdpError::NoSource);
    }
    if sources.len() > 4 {
        return Err(malformed("it names more than four sources"));
    }
    Ok(Offer { sdp: kept, sources, fingerprint, candidates })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AB:CD\r\n";
    const MIC: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=sendonly\r\na=ssrc:7 cname:x\r\na=ssrc:7 msid:y\r\n";
    const EAR: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=recvonly\r\n";

    #[test]
    fn takes_a_microphone_and_ears_and_no_address() {
        let with = format!(
            "{HEAD}{MIC}a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\na=end-of-candidates\r\n{EAR}{EAR}"
        );
        let offer = check(&with, 2).unwrap();
        assert_eq!(offer.sdp, format!("{HEAD}{MIC}{EAR}{EAR}"));
        assert_eq!((offer.sources, offer.fingerprint.as_str()), (vec![7], "sha-256 ab:cd"));
        assert_eq!(offer.candidates, [Candidate::parse("candidate:1 1 udp 1 10.0.0.1 9 typ host").unwrap()]);
        assert!(check(&format!("{HEAD}{EAR}"), 2).is_ok(), "who only listens");
    }

    #[test]
    fn says_what_is_wrong() {
        let huge = format!("{HEAD}{MIC}{}", "a=x\r\n".repeat(10_000));
        for (sdp, expected) in [
            (String::new(), SdpError::Malformed("it doesn't begin with v=0".into())),
            (HEAD.into(), SdpError::Malformed("it has no section".into())),
            (format!("v=0\r\n{MIC}"), SdpError::Malformed("it has no a=fingerprint".into())),
            (format!("{HEAD}{MIC}{EAR}{EAR}{EAR}"), SdpError::TooManySections(2)),
            (format!("{HEAD}{MIC}{MIC}"), SdpError::TooManySections(2)),
            (format!("{HEAD}{MIC}m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"), SdpError::NotAudio("video".into())),
            (format!("{HEAD}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=recvonly\r\n"), SdpError::NoOpus),
            (format!("{HEAD}{}", MIC.replace("a=ssrc:7", "a=nothing")), SdpError::NoSource),
            (
                format!("{HEAD}{}", MIC.replace(":7", ":seven")),
                SdpError::Malformed("a source is not a number".into()),
            ),
            (huge, SdpError::TooLarge),
        ] {
            assert_eq!(check(&sdp, 2), Err(expected), "{sdp:.300}");
        }
    }

    proptest! {
        #[test]
        fn text_of_any_kind_does_no_harm(lines in prop::collection::vec(
            prop_oneof![Just(MIC.to_owned()), Just(EAR.to_owned()), "a=[a-z]{1,9}:.{0,20}", "m=.{0,20}", ".{0,40}"], 0..40,
        )) {
            let sdp = format!("{HEAD}{}", lines.join("\r\n"));
            if let Ok(offer) = check(&sdp, 3) {
                prop_assert!(!offer.sdp.contains("a=candidate:"));
                prop_assert!(offer.sources.len() <= 4);
            }
        }
    }
}
