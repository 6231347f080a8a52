//! A client that sends whatever bytes it likes.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long a test waits for bytes that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    came: Vec<u8>,
}

/// An answer, as it came.
#[derive(Debug)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The problem's code, if the status is this one and the answer is a problem document with an id.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.head);
        let document: Value = serde_json::from_slice(&self.body).unwrap();
        let id = document["request_id"].as_str().unwrap().to_lowercase();
        assert_eq!(Some(id.as_str()), self.header("x-request-id"), "{}", self.head);
        document["code"].as_str().unwrap().to_owned()
    }
}

impl Raw {
    /// Connects to `http://…`.
    pub async fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        Self { stream, came: Vec::new() }
    }

    /// Sends bytes; whether the server still took them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Will send no more.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next answer; none if the server closes without one.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        let end = loop {
            if let Some(at) = self.came.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                assert!(self.came.is_empty(), "cut off: {:?}", String::from_utf8_lossy(&self.came));
                return None;
            }
        };
        let head = String::from_utf8(self.came.drain(..end).collect()).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = RawAnswer { status, head, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        while self.came.len() < length {
            assert!(self.more().await, "the body was cut off");
        }
        answer.body = self.came.drain(..length).collect();
        Some(answer)
    }

    /// Whether the server has closed and nothing is left to read.
    pub async fn is_closed(&mut self) -> bool {
        !self.more().await && self.came.is_empty()
    }

    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk)).await;
        let count = read.expect("nothing came").unwrap_or(0);
        self.came.extend_from_slice(&chunk[..count]);
        count > 0
    }
}
