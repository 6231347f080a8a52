//! How a provider is asked: again when it has too much to do, no longer than is worth waiting for, and with bounds to what
//! it answers.
//!
//! Owns: retries, times, sizes, and what of a failure may be told. Must not: know what is asked.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use async_openai::{error::OpenAIError, middleware::HttpRequestFactory};
use futures_util::{StreamExt as _, stream::try_unfold};
use http::{HeaderMap, StatusCode, header};
use reqwest::Response;
use serde::Deserialize;

use super::ModelError;

/// How often a request is sent at most.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt, if the provider asks for none; then it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that a provider may ask for; if it asks for more, the request has failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Most bytes of an answer: 64 embeddings of 4,096 numbers as text are 3 MiB.
const MAX_ANSWER: usize = 16 << 20;
/// Most bytes of an error that are looked at.
const MAX_ERROR: usize = 64 << 10;

/// Sends requests for the client of OpenAI's API.
#[derive(Clone, Debug)]
pub struct Patience {
    client: reqwest::Client,
    provider: String,
    /// How long the provider may say nothing.
    silence: Duration,
}

impl Patience {
    /// For the provider of that name.
    pub fn new(client: reqwest::Client, provider: &str, silence: Duration) -> Self {
        Self { client, provider: provider.to_owned(), silence }
    }

    async fn send(self, request: HttpRequestFactory) -> Result<Response, ModelError> {
        let mut attempt = 1;
        loop {
            let (error, pause) = match self.once(&request).await {
                Ok(response) => return Ok(self.bounded(response)),
                Err(failed) => failed,
            };
            let Some(pause) = pause.filter(|_| attempt < ATTEMPTS) else { return Err(error) };
            tracing::debug!(provider = %self.provider, %error, attempt, "a provider of models is asked again");
            tokio::time::sleep(pause.unwrap_or(PAUSE * 2_u32.saturating_pow(attempt - 1))).await;
            attempt += 1;
        }
    }

    /// The error comes with whether to ask again, and with the pause that the provider wants.
    async fn once(
        &self,
        request: &HttpRequestFactory,
    ) -> Result<Response, (ModelError, Option<Option<Duration>>)> {
        let failed = |what: &str| ModelError::Failed(format!("{} {what}", self.provider));
        let mut request = request.build().await.map_err(|_| (failed("can't be asked this"), None))?;
        // Without a key there is nothing to show.
        let is_keyless = |value: &http::HeaderValue| value.as_bytes().trim_ascii_end() == b"Bearer";
        if request.headers().get(header::AUTHORIZATION).is_some_and(is_keyless) {
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        let sent = tokio::time::timeout(self.silence, self.client.execute(request)).await;
        let response = match sent {
            Err(_) => return Err((failed("did not answer in time"), None)),
            // The client's own words may hold the URL.
            Ok(Err(error)) if error.is_connect() => return Err((failed("can't be reached"), Some(None))),
            Ok(Err(_)) => return Err((failed("broke off"), Some(None))),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let pause = asked_for(response.headers());
        let code = self.code_of(response).await;
        tracing::warn!(provider = %self.provider, status = status.as_u16(), code, "a provider of models refused");
        let is_busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let error = match status.as_u16() {
            _ if is_busy => ModelError::Busy(format!("{} has too much to do", self.provider)),
            401 | 403 => failed("does not accept the key that the operator set"),
            status => failed(&format!("answered with status {status}")),
        };
        let comes_again = is_busy || matches!(status.as_u16(), 500 | 502 | 504 | 529);
        // A quota that is used up is not there again in seconds.
        let comes_again =
            comes_again && code != "insufficient_quota" && pause.is_none_or(|p| p <= LONGEST_PAUSE);
        Err((error, comes_again.then_some(pause)))
    }

    /// The code of an error, for the log: nothing else of what a provider says, which may repeat keys and messages.
    async fn code_of(&self, response: Response) -> String {
        #[derive(Deserialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            code: Option<serde_json::Value>,
            r#type: Option<String>,
        }
        let body = tokio::time::timeout(self.silence, read(response, MAX_ERROR)).await.unwrap_or_default();
        let Ok(Body { error }) = serde_json::from_slice(&body) else { return String::new() };
        let code = error.code.as_ref().and_then(|code| code.as_str()).map(str::to_owned).or(error.r#type);
        let is_plain = |c: &char| c.is_ascii_lowercase() || *c == '_';
        code.unwrap_or_default().chars().take_while(is_plain).take(64).collect()
    }

    /// The same answer, which fails if it becomes too long or stops coming.
    fn bounded(&self, response: Response) -> Response {
        let (status, headers, silence) = (response.status(), response.headers().clone(), self.silence);
        let chunks = Box::pin(response.bytes_stream());
        let bounded = try_unfold((chunks, MAX_ANSWER), move |(mut chunks, left)| async move {
            let failed = std::io::Error::other;
            match tokio::time::timeout(silence, chunks.next()).await {
                Err(_) => Err(failed("it stopped")),
                Ok(None) => Ok(None),
                Ok(Some(Err(_))) => Err(failed("it broke off")),
                Ok(Some(Ok(chunk))) => {
                    let left = left.checked_sub(chunk.len()).ok_or_else(|| failed("it is too long"))?;
                    Ok(Some((chunk, (chunks, left))))
                }
            }
        });
        let mut response = http::Response::new(reqwest::Body::wrap_stream(bounded));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        response.into()
    }
}

impl tower::Service<HttpRequestFactory> for Patience {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.send(request).await.map_err(|error| OpenAIError::Boxed(Box::new(error))) })
    }
}

/// Up to that many bytes of a body; fewer if it breaks off.
async fn read(mut response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await
        && body.len() + chunk.len() <= most
    {
        body.extend_from_slice(&chunk);
    }
    body
}

/// How long a provider wants a client to wait: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), or in
/// milliseconds as OpenAI has it.
fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let text = text(header::RETRY_AFTER.as_str())?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_asks_for() {
        let asked = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            asked_for(&headers)
        };
        assert_eq!(asked("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(asked("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("retry-after", "soon"), None);
        assert_eq!(asked("x-other", "7"), None);
    }
}
