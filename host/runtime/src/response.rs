//! The answer that a plugin writes: kept back while it is short, streamed once it is not.
//!
//! Owns: the `response` resource and its limits. Must not: know routes, or who reads the answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::Resource;

use crate::{
    CallError, HostError, HostErrorKind,
    bindings::wit::{http_types, types},
    limits::{Exceeded, Limits},
    state::CallState,
};

/// Chunks on their way to the client; each holds up to the size of the buffer.
const CHUNKS_UNDER_WAY: usize = 4;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Headers that belong to the connection or to the host.
const HOST_HEADERS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::SET_COOKIE,
];

/// Status and headers.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

pub(crate) type ChunkSender = mpsc::Sender<Result<Bytes, CallError>>;

/// What a call says when its answer begins to stream.
pub(crate) struct Streaming {
    pub(crate) head: Head,
    pub(crate) chunks: mpsc::Receiver<Result<Bytes, CallError>>,
    /// To tell the reader that the stream broke off.
    pub(crate) sender: ChunkSender,
}

enum Phase {
    New,
    Buffering(Head),
    Streaming(ChunkSender),
}

/// An answer under way.
pub struct Response {
    phase: Phase,
    buffer: BytesMut,
    written: usize,
    may_have_body: bool,
    on_stream: Option<oneshot::Sender<Streaming>>,
    max_bytes: usize,
    buffer_bytes: usize,
    stall: Duration,
}

/// How an answer ended.
pub(crate) enum Finished {
    Whole(Head, Bytes),
    Streamed,
}

impl Response {
    pub(crate) fn new(limits: &Limits, on_stream: oneshot::Sender<Streaming>) -> Self {
        Self {
            phase: Phase::New,
            buffer: BytesMut::new(),
            written: 0,
            may_have_body: true,
            on_stream: Some(on_stream),
            max_bytes: limits.response_bytes,
            buffer_bytes: limits.response_buffer,
            stall: limits.stream_stall,
        }
    }

    fn start(&mut self, status: u16, headers: Vec<(String, String)>) -> Result<(), HostError> {
        if !matches!(self.phase, Phase::New) {
            return Err(HostError::new(HostErrorKind::Conflict, "the response was started before"));
        }
        let head = parse_head(status, headers)?;
        self.may_have_body = !matches!(status, 204 | 205 | 304);
        self.phase = Phase::Buffering(head);
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<Result<(), HostError>, Exceeded> {
        if matches!(self.phase, Phase::New) {
            return Ok(Err(HostError::new(HostErrorKind::Conflict, "write before start")));
        }
        if !self.may_have_body && !bytes.is_empty() {
            return Ok(Err(HostError::new(HostErrorKind::Invalid, "this status has no body")));
        }
        // A guest that ignored an error here would send half an answer as if it were whole.
        self.written = self.written.checked_add(bytes.len()).ok_or(Exceeded::Response)?;
        if self.written > self.max_bytes {
            return Err(Exceeded::Response);
        }
        let mut rest = bytes;
        while self.buffer.len() + rest.len() > self.buffer_bytes {
            let room = self.buffer_bytes.saturating_sub(self.buffer.len());
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(now);
            rest = later;
            self.send().await?;
        }
        self.buffer.extend_from_slice(rest);
        Ok(Ok(()))
    }

    async fn flush(&mut self) -> Result<Result<(), HostError>, Exceeded> {
        if matches!(self.phase, Phase::New) {
            return Ok(Err(HostError::new(HostErrorKind::Conflict, "flush before start")));
        }
        self.send().await.map(Ok)
    }

    /// Sends what is in the buffer, and begins to stream if that was not done before.
    async fn send(&mut self) -> Result<(), Exceeded> {
        if let Phase::Buffering(head) = &mut self.phase {
            let (sender, chunks) = mpsc::channel(CHUNKS_UNDER_WAY);
            let empty = Head { status: head.status, headers: HeaderMap::new() };
            let head = std::mem::replace(head, empty);
            let streaming = Streaming { head, chunks, sender: sender.clone() };
            let told = self.on_stream.take().map(|tell| tell.send(streaming).is_ok());
            if told != Some(true) {
                return Err(Exceeded::ClientGone);
            }
            self.phase = Phase::Streaming(sender);
        }
        let Phase::Streaming(sender) = &self.phase else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        match tokio::time::timeout(self.stall, sender.send(Ok(chunk))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Exceeded::ClientGone),
            Err(_) => Err(Exceeded::Stalled),
        }
    }

    /// The end: `handle` returned without an error.
    pub(crate) async fn finish(mut self) -> Result<Finished, CallError> {
        if matches!(self.phase, Phase::Streaming(_)) {
            self.send().await.map_err(CallError::from)?;
            return Ok(Finished::Streamed);
        }
        match self.phase {
            Phase::Buffering(head) => Ok(Finished::Whole(head, self.buffer.freeze())),
            Phase::New | Phase::Streaming(_) => Err(CallError::NoResponse),
        }
    }
}

fn parse_head(status: u16, headers: Vec<(String, String)>) -> Result<Head, HostError> {
    let invalid = |what: String| HostError::new(HostErrorKind::Invalid, what);
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|code| (200..600).contains(&code.as_u16()))
        .ok_or_else(|| invalid(format!("status {status} is not 200 to 599")))?;
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MAX_HEADERS || size > MAX_HEADER_BYTES {
        return Err(invalid(format!("more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")));
    }
    let mut parsed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let parsed_name = HeaderName::try_from(name.as_str()).ok().filter(|n| !HOST_HEADERS.contains(n));
        let parsed_name =
            parsed_name.ok_or_else(|| invalid(format!("header {name:?} is not for plugins")))?;
        let value =
            HeaderValue::try_from(value).map_err(|_| invalid(format!("header {name:?} is invalid")))?;
        parsed.append(parsed_name, value);
    }
    Ok(Head { status, headers: parsed })
}

impl http_types::HostResponse for CallState {
    async fn start(
        &mut self,
        response: Resource<Response>,
        status: u16,
        headers: Vec<(String, String)>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        self.charge_call(headers.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        let response = self.table.get_mut(&response)?;
        Ok(response.start(status, headers).map_err(types::Error::from))
    }

    async fn write(
        &mut self,
        response: Resource<Response>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        // The body has a limit of its own, so its bytes are not counted here.
        self.charge_call(0)?;
        self.cpu.pause();
        let since = std::time::Instant::now();
        let done = self.table.get_mut(&response)?.write(&bytes).await?;
        self.cpu.waited(since);
        Ok(done.map_err(types::Error::from))
    }

    async fn flush(&mut self, response: Resource<Response>) -> wasmtime::Result<Result<(), types::Error>> {
        self.charge_call(0)?;
        self.cpu.pause();
        let since = std::time::Instant::now();
        let done = self.table.get_mut(&response)?.flush().await?;
        self.cpu.waited(since);
        Ok(done.map_err(types::Error::from))
    }

    async fn drop(&mut self, response: Resource<Response>) -> wasmtime::Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

impl http_types::Host for CallState {}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(limits: &Limits) -> (Response, oneshot::Receiver<Streaming>) {
        let (tell, told) = oneshot::channel();
        (Response::new(limits, tell), told)
    }

    #[tokio::test]
    async fn a_short_answer_is_whole() {
        let (mut response, mut told) = response(&Limits::default());
        assert!(response.write(b"x").await.unwrap().is_err(), "write before start");
        response.start(200, vec![("x-a".to_owned(), "b".to_owned())]).unwrap();
        assert!(response.start(200, vec![]).is_err(), "a second start");
        response.write(b"hello").await.unwrap().unwrap();
        assert!(told.try_recv().is_err());
        let Ok(Finished::Whole(head, body)) = response.finish().await else { panic!("not whole") };
        assert_eq!((head.status.as_u16(), body.as_ref(), head.headers.len()), (200, &b"hello"[..], 1));
    }

    #[tokio::test]
    async fn a_long_answer_streams_in_chunks() {
        let limits = Limits { response_buffer: 4, ..Limits::default() };
        let (mut response, told) = response(&limits);
        response.start(200, vec![]).unwrap();
        response.write(b"0123456789").await.unwrap().unwrap();
        let mut streaming = told.await.unwrap();
        assert!(matches!(response.finish().await, Ok(Finished::Streamed)));
        drop(streaming.sender);
        let mut chunks = Vec::new();
        while let Some(chunk) = streaming.chunks.recv().await {
            chunks.push(chunk.unwrap());
        }
        assert_eq!(chunks, ["0123", "4567", "89"]);
    }

    #[tokio::test]
    async fn bounds() {
        let limits = Limits { response_bytes: 10, ..Limits::default() };
        let (mut response, _told) = response(&limits);
        response.start(200, vec![]).unwrap();
        assert_eq!(response.write(&[0; 11]).await.map(|_| ()), Err(Exceeded::Response));
    }

    #[tokio::test]
    async fn a_client_that_left_ends_the_call() {
        let (mut response, told) = response(&Limits::default());
        response.start(200, vec![]).unwrap();
        response.write(b"x").await.unwrap().unwrap();
        drop(told);
        assert_eq!(response.flush().await.map(|_| ()), Err(Exceeded::ClientGone));
    }

    #[test]
    fn heads() {
        assert!(parse_head(199, vec![]).is_err());
        assert!(parse_head(600, vec![]).is_err());
        for name in ["Content-Length", "connection", "set-cookie", "a b", ""] {
            assert!(parse_head(200, vec![(name.to_owned(), "1".to_owned())]).is_err(), "{name}");
        }
        assert!(parse_head(200, vec![("x".to_owned(), "a\r\nb".to_owned())]).is_err());
        assert!(parse_head(200, vec![("x".to_owned(), "1".to_owned()); 65]).is_err());
    }
}
