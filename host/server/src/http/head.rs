//! The heads of requests, looked at before the HTTP library sees them: it refuses a bad one with an empty answer
//! and a slow one with none, while every answer of ours has an id and a problem document.
//!
//! Owns: what a head may be, and the time that bytes may take on a connection. Must not: know routes. While a request
//! is under way, bytes pass unseen. Where that may have been part of a next request (pipelining), the rest of the
//! connection is left to the library, which has the same bounds.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{Failure, listen::Place};

/// Most bytes of a request line and its headers, as with most proxies.
pub(super) const MAX_HEAD: usize = 32 * 1024;
/// Most headers.
pub(super) const MAX_HEADERS: usize = 100;
/// What is read at once while a head is awaited.
const CHUNK: usize = 4 * 1024;
/// How long a client may refuse to take what it asked for.
const WRITE: Duration = Duration::from_secs(60);

/// Times that a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// From the first byte of a head to its last; also from connecting to the first byte.
    pub head: Duration,
    /// From one request to the next.
    pub idle: Duration,
}

/// What was wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed,
    TooLarge,
    Slow,
    Version,
}

impl Fault {
    /// The answer to it.
    pub(super) fn failure(self) -> Failure {
        let (status, code, detail) = match self {
            Self::Malformed => {
                (StatusCode::BAD_REQUEST, "malformed_request", "this is not an HTTP/1.1 request")
            }
            Self::TooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "header_too_large",
                "the request line and headers are too many or too large",
            ),
            Self::Slow => {
                (StatusCode::REQUEST_TIMEOUT, "request_timeout", "the request took too long to arrive")
            }
            Self::Version => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "version_not_supported",
                "only HTTP/1.0 and HTTP/1.1 are spoken",
            ),
        };
        Failure::new(status, code, detail)
    }
}

/// Where a connection is, told by the requests on it.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// The last request is over: what comes next is a head.
    over: AtomicBool,
    /// Nothing of a request has come yet.
    waiting: AtomicBool,
}

impl Between {
    /// A request begins.
    pub(super) fn begun(&self) {
        self.over.store(false, Ordering::Release);
    }

    /// A request is over.
    pub(super) fn over(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Whether the connection waits for a request of which nothing has come.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }
}

/// How long the body will be; none if it comes in chunks. Two servers that disagree about where a body ends can be made
/// to see different requests (RFC 9112, 6.3 and 11.2), so that what is doubtful is refused.
fn body_length(request: &httparse::Request<'_, '_>) -> Result<Option<u64>, Fault> {
    let values = |name: &'static str| {
        request
            .headers
            .iter()
            .filter(move |h| h.name.eq_ignore_ascii_case(name))
            .map(|h| h.value.trim_ascii())
    };
    let (mut lengths, mut encodings) = (values("content-length"), values("transfer-encoding"));
    let length = match (lengths.next(), encodings.next()) {
        (None, None) => Some(0),
        (Some(length), None) => {
            let digits =
                std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse::<i64>().ok()).ok_or(Fault::Malformed)?;
            Some(length.unsigned_abs())
        }
        (None, Some(encoding)) if encoding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1) => {
            None
        }
        _ => return Err(Fault::Malformed),
    };
    let is_path = request.path.is_some_and(|path| path.parse::<http::Uri>().is_ok());
    if !is_path || lengths.next().is_some() || encodings.next().is_some() {
        return Err(Fault::Malformed);
    }
    Ok(length)
}

#[derive(Debug)]
enum Phase {
    /// Waiting for a head.
    Idle,
    /// A head has begun.
    Head,
    /// A request is under way.
    Request(Passed),
    /// Nobody knows where the next head begins.
    Unseen,
}

/// What has passed since a head.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    /// Bytes of the body; none if it comes in chunks.
    length: Option<u64>,
    count: u64,
    tail: [u8; 5],
}

impl Passed {
    fn note(&mut self, bytes: &[u8]) {
        self.count = self.count.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        for byte in bytes.get(bytes.len().saturating_sub(self.tail.len())..).unwrap_or_default() {
            self.tail.rotate_left(1);
            if let Some(last) = self.tail.last_mut() {
                *last = *byte;
            }
        }
    }

    /// Whether it was the body and nothing beyond. A next request that happens to end like the last chunk is a
    /// whole one, so that what follows it is a head too.
    fn is_body(&self) -> bool {
        match self.length {
            Some(length) => self.count == length,
            None => self.tail == *b"0\r\n\r\n",
        }
    }
}

/// A connection whose heads are looked at.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    between: Arc<Between>,
    times: Times,
    phase: Phase,
    /// Bytes that have come and that the library has not been given.
    head: Vec<u8>,
    given: usize,
    patience: Option<Pin<Box<Sleep>>>,
    write_patience: Option<Pin<Box<Sleep>>>,
    /// All that was written has been taken by the system: the library lets go of an answer's body before that.
    flushed: bool,
    fault: Option<Fault>,
    /// Given back when the connection ends, whatever it has become.
    _place: Arc<Place>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, place: Arc<Place>, between: Arc<Between>, times: Times) -> Self {
        between.waiting.store(true, Ordering::Release);
        let patience = Some(Box::pin(tokio::time::sleep(times.head)));
        Self {
            stream,
            between,
            times,
            phase: Phase::Idle,
            head: Vec::new(),
            given: 0,
            patience,
            write_patience: None,
            flushed: true,
            fault: None,
            _place: place,
        }
    }

    /// What was wrong, and the connection to say so.
    pub(super) fn into_fault(self) -> Option<(Fault, S)> {
        Some((self.fault?, self.stream))
    }

    /// Looks at what has come of a head. Once it is whole: what has passed with it.
    fn look(&mut self, from: usize) -> Result<Option<Passed>, Fault> {
        let new = self.head.get(from..).unwrap_or_default();
        // Only the end of a line can complete a head; the first bytes may show that it will never be one.
        if from > 0 && !new.contains(&b'\n') {
            return if self.head.len() > MAX_HEAD { Err(Fault::TooLarge) } else { Ok(None) };
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
            Ok(httparse::Status::Partial) if self.head.len() <= MAX_HEAD => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooLarge),
            Err(httparse::Error::Version) => return Err(Fault::Version),
            Err(_) => return Err(Fault::Malformed),
        };
        let mut passed = Passed { length: body_length(&request)?, ..Passed::default() };
        passed.note(self.head.get(length..).unwrap_or_default());
        Ok(Some(passed))
    }

    fn fail(&mut self, fault: Fault) -> Poll<io::Result<()>> {
        self.fault = Some(fault);
        Poll::Ready(Err(io::Error::other("the head of a request was refused")))
    }

    /// Gives what has come to the library.
    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let rest = self.head.get(self.given..).unwrap_or_default();
        let count = rest.len().min(into.remaining());
        into.put_slice(rest.get(..count).unwrap_or_default());
        self.given += count;
        if self.given == self.head.len() {
            self.head = Vec::new();
            self.given = 0;
        }
    }

    /// Whether time is up.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.patience {
            Some(patience) => patience.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn begin(&mut self, phase: Phase, time: Duration) {
        self.phase = phase;
        let until = Instant::now() + time;
        match &mut self.patience {
            Some(patience) => patience.as_mut().reset(until),
            None => self.patience = Some(Box::pin(tokio::time::sleep_until(until))),
        }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads until a head is whole.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let from = self.head.len();
            let mut chunk = [std::mem::MaybeUninit::uninit(); CHUNK];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut chunk) {
                Poll::Pending if self.poll_patience(cx).is_pending() => return Poll::Pending,
                // Nothing came: the connection ends as if the client had closed it.
                Poll::Pending if from == 0 => return Poll::Ready(Ok(())),
                Poll::Pending => return self.fail(Fault::Slow),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if chunk.filled().is_empty() && from == 0 => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if chunk.filled().is_empty() => return self.fail(Fault::Malformed),
                Poll::Ready(Ok(())) => self.head.extend_from_slice(chunk.filled()),
            }
            if matches!(self.phase, Phase::Idle) {
                self.between.waiting.store(false, Ordering::Release);
                self.begin(Phase::Head, self.times.head);
            }
            match self.look(from) {
                Ok(None) => {}
                Ok(Some(passed)) => {
                    self.phase = Phase::Request(passed);
                    self.patience = None;
                    return Poll::Ready(Ok(()));
                }
                Err(fault) => return self.fail(fault),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.phase {
            Phase::Request(_) | Phase::Unseen if !this.head.is_empty() => {
                this.give(into);
                return Poll::Ready(Ok(()));
            }
            Phase::Request(passed) if this.flushed && this.between.over.swap(false, Ordering::Acquire) => {
                if !passed.is_body() {
                    this.phase = Phase::Unseen;
                    return Pin::new(&mut this.stream).poll_read(cx, into);
                }
                this.between.waiting.store(true, Ordering::Release);
                this.begin(Phase::Idle, this.times.idle);
            }
            Phase::Request(_) | Phase::Unseen => {
                let from = into.filled().len();
                let read = Pin::new(&mut this.stream).poll_read(cx, into);
                if let Phase::Request(passed) = &mut this.phase {
                    passed.note(into.filled().get(from..).unwrap_or_default());
                }
                return read;
            }
            Phase::Idle | Phase::Head => {}
        }
        ready!(this.poll_head(cx))?;
        this.give(into);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// A write that stands still ends the connection.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_patience = None;
            return written;
        }
        let patience = self.write_patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.flushed = false;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.flushed = false;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.flushed |= flushed.is_ok();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is wrong with the head is still to be said.
        if self.fault.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
