//! Refusals that arrive: an answer to a request whose body is still on its way would be lost with the
//! connection, since the client is busy sending. So the rest is read and thrown away, within bounds.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    extract::Request,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header;
use tokio::sync::oneshot;

/// Most bytes that are thrown away; whoever sends more finds the connection closed.
const MOST: usize = 32 * 1024 * 1024;
/// For how long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A body that comes back when it is dropped before its end.
struct Returning {
    inner: Option<BodyDataStream>,
    back: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Returning {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = inner.poll_next_unpin(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.inner = None;
        }
        polled
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        if let (Some(inner), Some(back)) = (self.inner.take(), self.back.take()) {
            let _ = back.send(inner);
        }
    }
}

/// Reads what a refused request still sends before the refusal goes out.
pub(super) async fn refused(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING) {
        return next.run(request).await;
    }
    let (back, mut returned) = oneshot::channel();
    let request = request
        .map(|body| Body::from_stream(Returning { inner: Some(body.into_data_stream()), back: Some(back) }));
    let response = next.run(request).await;
    if let Ok(mut rest) = returned.try_recv() {
        let reading = async {
            let mut read = 0;
            while read < MOST
                && let Some(Ok(chunk)) = rest.next().await
            {
                read += chunk.len();
            }
        };
        let _ = tokio::time::timeout(PATIENCE, reading).await;
    }
    response
}
