//! Requests that plugins send to other servers: by whom they may be sent where, hop by hop.
//!
//! Owns: the client, and the rules for URLs, redirects, sizes and time. Must not: know plugins; whose request it is and
//! what was granted comes with it.

mod policy;
mod resolver;

use std::{error::Error as _, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use patchbay_runtime::{
    Egress as Grant,
    capabilities::http_client::{IncomingAnswer, OutgoingRequest},
};
use reqwest::{Client, Response, Url, redirect};

use crate::config::Networks;
use policy::Policy;
use resolver::{Blocked, Vetted};

/// Most bytes of an answer's body.
const MAX_ANSWER: usize = 4 << 20;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// How long one connection may take to come about; the request's own time runs meanwhile.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The URL, or one that a redirect names, is none that can be asked.
    #[error("{0}")]
    Invalid(String),
    /// The host, or one that a redirect leads to, is not granted.
    #[error("{0} is not granted")]
    NotGranted(String),
    /// The address is not of the public internet, and the operator does not allow it.
    #[error("{0} has no address that may be connected to")]
    Blocked(String),
    /// No connection, or no answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is too large.
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLarge,
}

/// The client.
#[derive(Clone, Debug)]
pub struct Egress {
    /// None if it could not be made.
    client: Option<Client>,
    policy: Arc<Policy>,
}

impl Egress {
    /// A client that may reach these addresses although they are not of the public internet.
    pub fn new(allow_private: Networks) -> Self {
        let policy = Arc::new(Policy::new(allow_private));
        let client = Client::builder()
            .dns_resolver(Arc::new(Vetted::new(Arc::clone(&policy))))
            .redirect(redirect::Policy::none())
            // Neither what the environment says nor what an answer unpacks to is for a plugin to use.
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .user_agent(concat!("Patchbay/", env!("CARGO_PKG_VERSION")))
            .build()
            .inspect_err(|error| tracing::error!(%error, "plugins can't send requests"))
            .ok();
        Self { client, policy }
    }

    /// Sends a request to a host that is granted and follows redirects to such.
    ///
    /// # Errors
    /// See [`EgressError`].
    pub async fn send(
        &self,
        grants: &[Grant],
        request: OutgoingRequest,
    ) -> Result<IncomingAnswer, EgressError> {
        let timeout = request.timeout;
        let answered = tokio::time::timeout(timeout, self.follow(grants, request)).await;
        answered.unwrap_or_else(|_| Err(EgressError::Unreachable("there was no answer in time".into())))
    }

    async fn follow(
        &self,
        grants: &[Grant],
        request: OutgoingRequest,
    ) -> Result<IncomingAnswer, EgressError> {
        let mut url = parse(&request.url)?;
        let OutgoingRequest { mut method, mut headers, mut body, .. } = request;
        for _ in 0..=MAX_REDIRECTS {
            self.vet(grants, &url)?;
            let response = self.ask(&url, &method, &headers, &body).await?;
            let Some(next) = redirected(&url, &response)? else { return read(response).await };
            if response.status() == StatusCode::SEE_OTHER || becomes_get(response.status(), &method) {
                method = if method == Method::HEAD { Method::HEAD } else { Method::GET };
                body = Bytes::new();
                for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
                    headers.remove(name);
                }
            }
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(EgressError::Unreachable("it redirects from https to http".into()));
            }
            if next.origin() != url.origin() {
                headers.remove(header::AUTHORIZATION);
                headers.remove(header::COOKIE);
            }
            url = next;
        }
        Err(EgressError::Unreachable(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Whether this URL may be asked. Names are looked at again when they are resolved.
    fn vet(&self, grants: &[Grant], url: &Url) -> Result<(), EgressError> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(EgressError::Invalid("the URL has no host".into()));
        };
        let default = if url.scheme() == "https" { 443 } else { 80 };
        if !grants.iter().any(|grant| grant.covers(host, port, default)) {
            return Err(EgressError::NotGranted(format!("{host}:{port}")));
        }
        // An address is connected to without asking the resolver.
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) if !self.policy.permits(address) => Err(EgressError::Blocked(host.to_owned())),
            _ => Ok(()),
        }
    }

    async fn ask(
        &self,
        url: &Url,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, EgressError> {
        let client =
            self.client.as_ref().ok_or_else(|| EgressError::Unreachable("there is no client".into()))?;
        let request = client.request(method.clone(), url.clone()).headers(headers.clone()).body(body.clone());
        request.send().await.map_err(|error| failed(url, &error))
    }
}

/// `http` or `https`, without credentials.
fn parse(text: &str) -> Result<Url, EgressError> {
    let url = Url::parse(text).map_err(|error| EgressError::Invalid(format!("the URL is wrong: {error}")))?;
    check(url)
}

fn check(mut url: Url) -> Result<Url, EgressError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(EgressError::Invalid("only http and https can be asked".into()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(EgressError::Invalid("a URL must not hold credentials".into()));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Where a redirect leads.
fn redirected(from: &Url, response: &Response) -> Result<Option<Url>, EgressError> {
    let status = response.status().as_u16();
    let location = response.headers().get(header::LOCATION);
    let (true, Some(location)) = (matches!(status, 301 | 302 | 303 | 307 | 308), location) else {
        return Ok(None);
    };
    let wrong = || EgressError::Invalid("the answer redirects to what is no URL".into());
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| wrong())?;
    check(from.join(location).map_err(|_| wrong())?).map(Some)
}

/// What clients have made of these ever since (RFC 9110, 15.4.2 and 15.4.3).
fn becomes_get(status: StatusCode, method: &Method) -> bool {
    matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) && *method == Method::POST
}

/// The reason is found somewhere below what the client says; the rest of that is for nobody, since it may hold the URL
/// with what a plugin put into its query.
fn failed(url: &Url, error: &reqwest::Error) -> EgressError {
    let host = url.host_str().unwrap_or_default();
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<Blocked>() {
            return EgressError::Blocked(host.to_owned());
        }
        cause = error.source();
    }
    let what = if error.is_connect() { "can't be reached" } else { "did not answer" };
    EgressError::Unreachable(format!("{host} {what}"))
}

/// Takes an answer in, no further than it may go.
async fn read(mut response: Response) -> Result<IncomingAnswer, EgressError> {
    if response.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(EgressError::TooLarge);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect();
    let (status, mut body) = (response.status().as_u16(), Vec::new());
    let broken = |_| EgressError::Unreachable("the answer broke off".into());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(EgressError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(IncomingAnswer { status, headers, body })
}

#[cfg(test)]
mod tests;
