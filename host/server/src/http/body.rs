//! The body of a request on its way in: it must keep coming.
//!
//! A body may stand still for `limits.body_time`, and over its whole length it must bring [`SLOWEST`] bytes a second:
//! otherwise one byte every half minute would keep a request alive for ever. It ends in an error then, and `within_time`
//! answers 408 whatever the handler makes of that. A handler that takes its time is cut off after
//! `limits.request_time`, counted from the body's last byte, so that long uploads are not; what an answer streams is not
//! limited at all.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::{Buf, Bytes};
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{Failure, head::Between};
use crate::app::App;

/// Bytes a second that a body must bring on the whole.
const SLOWEST: u64 = 512;
/// What operators do there, such as compiling a component, may take long, and only they can do it.
const UNLIMITED: &str = "/api/admin/";

/// How far the body of a request has come, for who waits for its answer.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    /// When the last bytes came, in milliseconds after `begun`.
    last: AtomicU64,
    stalled: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), last: AtomicU64::new(0), stalled: AtomicBool::new(false) })
    }

    fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn note(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }
}

/// Held by both bodies of a request; once both are gone the connection awaits the next head.
#[derive(Debug)]
pub(super) struct Exchange {
    between: Arc<Between>,
    /// What follows on the connection is no head.
    spoilt: AtomicBool,
}

impl Exchange {
    pub(super) fn new(between: Arc<Between>) -> Arc<Self> {
        between.begun();
        Arc::new(Self { between, spoilt: AtomicBool::new(false) })
    }

    /// The connection has become something else than HTTP.
    pub(super) fn upgraded(&self) {
        self.spoilt.store(true, Ordering::Relaxed);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.spoilt.load(Ordering::Relaxed) {
            self.between.over();
        }
    }
}

/// The body of a request.
pub(super) struct Incoming<B> {
    inner: B,
    exchange: Option<Arc<Exchange>>,
    progress: Arc<Progress>,
    /// How long it may stand still.
    patience: Duration,
    until: Option<Pin<Box<Sleep>>>,
    bytes: u64,
}

impl<B: Body> Incoming<B> {
    pub(super) fn new(
        inner: B,
        exchange: Arc<Exchange>,
        progress: Arc<Progress>,
        patience: Duration,
    ) -> Self {
        let exchange = (!inner.is_end_stream()).then_some(exchange);
        Self { inner, exchange, progress, patience, until: None, bytes: 0 }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Body for Incoming<B> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.until = None;
                this.progress.note();
                if let Some(Ok(frame)) = &frame {
                    let count = frame.data_ref().map_or(0, Buf::remaining);
                    this.bytes = this.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                }
                if frame.is_none() || this.inner.is_end_stream() {
                    this.exchange = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
            }
            Poll::Pending => {
                let slowest = this.progress.begun + this.patience + Duration::from_secs(this.bytes / SLOWEST);
                let until = (Instant::now() + this.patience).min(slowest);
                let sleep = this.until.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.progress.stalled.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(axum::Error::new("the body of the request stands still"))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Incoming<B> {
    fn drop(&mut self) {
        // The rest of the body may still come, and is no head.
        if let Some(exchange) = &self.exchange {
            exchange.spoilt.store(true, Ordering::Relaxed);
        }
    }
}

/// The body of an answer, which keeps its request going.
pub(super) struct Outgoing {
    pub(super) inner: axum::body::Body,
    pub(super) _exchange: Arc<Exchange>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Answers for a request whose body stands still, or whose handler does.
pub(super) async fn within_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(progress) = request.extensions().get::<Arc<Progress>>().cloned() else {
        return next.run(request).await;
    };
    let is_limited = !request.uri().path().starts_with(UNLIMITED);
    let mut running = std::pin::pin!(next.run(request));
    let response = loop {
        let until = progress.last() + app.config.limits.request_time;
        tokio::select! {
            response = &mut running => break response,
            () = tokio::time::sleep_until(until), if is_limited => {}
        }
        if progress.last() + app.config.limits.request_time <= Instant::now() {
            tracing::warn!("a request took too long and was given up");
            let detail = "the server could not answer in time";
            return Failure::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", detail)
                .with_retry_after(5)
                .into_response();
        }
    };
    if !progress.stalled.load(Ordering::Relaxed) {
        return response;
    }
    let mut response = super::head::Fault::Slow.failure().into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
