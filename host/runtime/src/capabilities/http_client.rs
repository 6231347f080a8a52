//! `http-client`: requests to other servers. Where they may go is decided by the embedder, hop by hop.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::component::Linker;

use crate::{
    HostError, HostErrorKind,
    bindings::wit::{http_client as wit, types},
    state::{CallState, Own, own},
};

const MAX_URL_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 32 << 10;
const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_TIMEOUT_MS: u32 = 30_000;

/// Headers that belong to the connection, which are the host's.
const OF_THE_HOST: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// A request on its way out.
#[derive(Clone, Debug)]
pub struct OutgoingRequest {
    /// The method.
    pub method: http::Method,
    /// The URL as the plugin gave it, up to 8 KiB.
    pub url: String,
    /// Headers, none that belongs to the connection.
    pub headers: http::HeaderMap,
    /// The body, up to 1 MiB.
    pub body: Bytes,
    /// How long all of it may take, up to 30 s.
    pub timeout: Duration,
}

/// An answer, its body up to 4 MiB.
#[derive(Clone, Debug)]
pub struct IncomingAnswer {
    /// The status.
    pub status: u16,
    /// Headers with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the embedder does with requests to other servers.
#[async_trait]
pub trait HttpClient {
    /// Sends a request and follows up to 5 redirects, to hosts that are granted and addresses that are allowed only.
    ///
    /// # Errors
    /// `Forbidden` with `egress_not_granted` or `egress_blocked`, `Unavailable`, `LimitExceeded`, `Invalid`.
    async fn send(&self, plugin: &str, request: OutgoingRequest) -> Result<IncomingAnswer, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn headers(list: Vec<(String, String)>) -> Result<http::HeaderMap, HostError> {
    let invalid = |detail: String| HostError::new(HostErrorKind::Invalid, detail);
    let bytes: usize = list.iter().map(|(name, value)| name.len() + value.len()).sum();
    if list.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(invalid(format!("at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together")));
    }
    let mut headers = http::HeaderMap::with_capacity(list.len());
    for (name, value) in list {
        let parsed =
            http::HeaderName::try_from(name.as_str()).map_err(|_| invalid(format!("header {name:?}")))?;
        if OF_THE_HOST.contains(&parsed.as_str()) {
            return Err(invalid(format!("the header {parsed} is the host's")));
        }
        let value = http::HeaderValue::try_from(value)
            .map_err(|_| invalid(format!("the value of header {parsed}")))?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

fn check(request: wit::Outgoing) -> Result<OutgoingRequest, HostError> {
    let invalid = |detail: String| HostError::new(HostErrorKind::Invalid, detail);
    if request.url.len() > MAX_URL_BYTES {
        return Err(invalid(format!("a URL has at most {MAX_URL_BYTES} bytes")));
    }
    if request.body.len() > MAX_BODY_BYTES {
        let detail = format!("a request's body has at most {MAX_BODY_BYTES} bytes");
        return Err(HostError::new(HostErrorKind::LimitExceeded, detail));
    }
    if !(1..=MAX_TIMEOUT_MS).contains(&request.timeout_ms) {
        return Err(invalid(format!("timeout-ms must be 1 to {MAX_TIMEOUT_MS}")));
    }
    let method = http::Method::from_bytes(request.method.as_bytes())
        .ok()
        // A tunnel would be a connection that nobody looks into.
        .filter(|method| method.as_str().len() <= 32 && *method != http::Method::CONNECT)
        .ok_or_else(|| invalid(format!("method {:?}", request.method)))?;
    Ok(OutgoingRequest {
        method,
        url: request.url,
        headers: headers(request.headers)?,
        body: request.body.into(),
        timeout: Duration::from_millis(u64::from(request.timeout_ms)),
    })
}

impl wit::Host for CallState {
    async fn send(
        &mut self,
        request: wit::Outgoing,
    ) -> wasmtime::Result<Result<wit::Incoming, types::Error>> {
        let of_headers: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.charge_call(request.url.len() + request.body.len() + of_headers)?;
        let request = match check(request) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let answer = match self.wait(HttpClient::send(&*host, &plugin, request)).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.into())),
        };
        let IncomingAnswer { status, headers, body } = answer;
        let of_headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.charge_bytes(body.len() + of_headers)?;
        Ok(Ok(wit::Incoming { status, headers, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(method: &str, headers: &[(&str, &str)], body: usize, timeout_ms: u32) -> wit::Outgoing {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let url = "https://example.org/".to_owned();
        wit::Outgoing { method: method.to_owned(), url, headers, body: vec![0; body], timeout_ms }
    }

    #[test]
    fn requests_are_checked_before_they_leave() {
        let kind = |request| check(request).map(|_| ()).map_err(|error: HostError| error.kind);
        assert_eq!(kind(outgoing("POST", &[("X-Key", "v")], MAX_BODY_BYTES, MAX_TIMEOUT_MS)), Ok(()));
        assert_eq!(kind(outgoing("POST", &[], MAX_BODY_BYTES + 1, 1)), Err(HostErrorKind::LimitExceeded));
        let many = vec![("a", "b"); MAX_HEADERS + 1];
        for wrong in [
            outgoing("CONNECT", &[], 0, 1),
            outgoing("GE T", &[], 0, 1),
            outgoing("GET", &[("Host", "example.com")], 0, 1),
            outgoing("GET", &[("Transfer-Encoding", "chunked")], 0, 1),
            outgoing("GET", &[("Content-Length", "1")], 0, 1),
            outgoing("GET", &[("a b", "c")], 0, 1),
            outgoing("GET", &[("a", "b\r\nc: d")], 0, 1),
            outgoing("GET", &many, 0, 1),
            outgoing("GET", &[], 0, 0),
            outgoing("GET", &[], 0, MAX_TIMEOUT_MS + 1),
        ] {
            let what = format!("{} {:?} {}", wrong.method, wrong.headers.first(), wrong.timeout_ms);
            assert_eq!(kind(wrong), Err(HostErrorKind::Invalid), "{what}");
        }
    }
}
