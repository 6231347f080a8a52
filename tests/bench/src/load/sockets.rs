//! WebSocket clients (RFC 6455) that do next to nothing: they count messages, and note when the last has come.

use std::{
    cell::RefCell,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
};

use super::Result;

/// How a frame that is counted begins, after the frame's header.
pub const MESSAGE: &[u8] = br#"{"type":"message.created""#;

/// Connects and shakes hands.
pub async fn connect(address: &str, path: &str, token: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let authorization =
        if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: Upgrade\r\n{authorization}\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte, so that no frame is read with it.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(stream);
    }
    Err(String::from_utf8_lossy(&head).into_owned().into())
}

/// A text frame from a client. The mask is zero: what the server has to do with it is the same.
pub fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()) {
        Ok(length @ 0..126) => frame.extend((0x80 | length).to_be_bytes().last()),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((text.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// Where the first whole frame in these bytes ends, and its payload.
pub fn frame(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (header, length) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    Some((header + length, bytes.get(header..header + length)?))
}

/// Messages on their way to every socket.
pub struct Flight {
    sockets: usize,
    arrived: Vec<AtomicUsize>,
    sent: Vec<Mutex<Option<Instant>>>,
    latencies: Mutex<Vec<Duration>>,
    window: Semaphore,
}

impl Flight {
    /// At most `messages` in all, `window` of them at once.
    pub fn new(sockets: usize, messages: usize, window: usize) -> Self {
        Self {
            sockets,
            arrived: (0..messages).map(|_| AtomicUsize::new(0)).collect(),
            sent: (0..messages).map(|_| Mutex::new(None)).collect(),
            latencies: Mutex::default(),
            window: Semaphore::new(window),
        }
    }

    /// Waits until one more message may be on its way; `at` is how many were before.
    pub async fn depart(&self, at: usize) -> Result<()> {
        self.window.acquire().await?.forget();
        if let Some(sent) = self.sent.get(at) {
            *sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(())
    }

    /// Waits until nothing is on its way.
    pub async fn land(&self, window: u32) -> Result<()> {
        drop(tokio::time::timeout(Duration::from_secs(60), self.window.acquire_many(window)).await??);
        Ok(())
    }

    /// From departure to the last arrival, of all since the last call.
    pub fn latencies(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn arrive(&self, at: usize) {
        let Some(arrived) = self.arrived.get(at) else { return };
        if arrived.fetch_add(1, Ordering::Relaxed) + 1 < self.sockets {
            return;
        }
        let sent = self.sent.get(at).and_then(|sent| *sent.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(sent) = sent {
            let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.push(sent.elapsed());
        }
        self.window.add_permits(1);
    }
}

/// A socket that listens in a task of its own; what is kept of it is the end that writes.
pub fn listen(stream: TcpStream, flight: Option<Arc<Flight>>) -> OwnedWriteHalf {
    let (mut reader, writer) = stream.into_split();
    tokio::spawn(async move {
        let mut ears = Ears { flight, heard: 0, rest: Vec::new() };
        while reader.readable().await.is_ok() && ears.hear(&mut reader).is_ok() {}
    });
    writer
}

thread_local! {
    /// What is read into; sockets are many, and each needs it only for a moment.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

struct Ears {
    flight: Option<Arc<Flight>>,
    heard: usize,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
}

impl Ears {
    fn hear(&mut self, reader: &mut OwnedReadHalf) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let count = match reader.try_read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let new = scratch.get(..count).unwrap_or_default();
            if self.rest.is_empty() {
                let used = self.count(new);
                self.rest.extend_from_slice(new.get(used..).unwrap_or_default());
            } else {
                let mut all = std::mem::take(&mut self.rest);
                all.extend_from_slice(new);
                let used = self.count(&all);
                self.rest.extend_from_slice(all.get(used..).unwrap_or_default());
            }
            Ok(())
        })
    }

    /// Counts the messages in these bytes; how many bytes were whole frames.
    fn count(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some((length, payload)) = bytes.get(used..).and_then(frame) {
            used += length;
            if let Some(flight) = &self.flight
                && payload.starts_with(MESSAGE)
            {
                flight.arrive(self.heard);
                self.heard += 1;
            }
        }
        used
    }
}
