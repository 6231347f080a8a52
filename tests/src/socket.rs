//! A user's socket.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::contract::{self, Document};

/// How long a test waits for a frame that must come.
const PATIENCE: Duration = Duration::from_secs(15);

/// An open socket.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Frames that came while another was waited for.
    waiting: VecDeque<Value>,
    /// The `hello`.
    pub hello: Value,
    /// The last `seq` that was seen.
    pub seq: i64,
    next_id: i64,
    document: Arc<Document>,
}

impl Socket {
    /// Connects without saying who.
    pub async fn connect(url: &str) -> Self {
        Self::connect_to(url, "/ws/chat").await
    }

    async fn connect_to(url: &str, path: &str) -> Self {
        let address = format!("{}{path}", url.replacen("http", "ws", 1));
        let (stream, _) = connect_async(address).await.unwrap();
        Self::new(url, stream).await
    }

    async fn new(url: &str, stream: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        let document = contract::document(&reqwest::Client::new(), url).await;
        Self { stream, waiting: VecDeque::new(), hello: Value::Null, seq: 0, next_id: 0, document }
    }

    /// Connects with a token in the header of the upgrade.
    pub async fn open_with_header(url: &str, token: &str) -> Self {
        let address = format!("{}/ws/chat", url.replacen("http", "ws", 1));
        let mut request = address.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (stream, _) = connect_async(request).await.unwrap();
        let mut socket = Self::new(url, stream).await;
        socket.welcome().await;
        socket
    }

    /// Like [`Socket::open`], with next to no room in the system for what has come and isn't read yet.
    pub async fn open_narrow(url: &str, token: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let host = url.strip_prefix("http://").unwrap();
        let stream = socket.connect(host.parse().unwrap()).await.unwrap();
        let address = format!("ws://{host}/ws/chat");
        let (stream, _) = client_async(address, MaybeTlsStream::Plain(stream)).await.unwrap();
        let mut socket = Self::new(url, stream).await;
        socket.authenticate(token).await;
        socket
    }

    async fn authenticate(&mut self, token: &str) {
        self.send_raw(&json!({ "type": "authenticate", "data": { "token": token } }).to_string()).await;
        self.welcome().await;
    }

    /// Connects and authenticates by the first frame.
    pub async fn open(url: &str, token: &str) -> Self {
        Self::open_at(url, "/ws/chat", token).await
    }

    /// Connects to this path and authenticates by the first frame.
    pub async fn open_at(url: &str, path: &str, token: &str) -> Self {
        let mut socket = Self::connect_to(url, path).await;
        socket.authenticate(token).await;
        socket
    }

    async fn welcome(&mut self) {
        let hello = self.next().await.expect("closed before hello");
        assert_eq!(hello["type"], "hello", "{hello}");
        self.seq = hello["data"]["seq"].as_i64().unwrap();
        self.hello = hello["data"].clone();
    }

    /// Sends a text as it is.
    pub async fn send_raw(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Sends a request and returns its answer, `ack`, `error` or whatever has its id.
    pub async fn call(&mut self, kind: &str, data: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({ "type": kind, "id": id, "data": data });
        self.send_raw(&request.to_string()).await;
        let answer = self.wait_for(|frame| frame["id"] == id).await;
        if answer["type"] != "error" {
            self.document.check_request(&request);
        }
        answer
    }

    /// The next event of that kind, passing over others.
    pub async fn event(&mut self, kind: &str) -> Value {
        self.wait_for(|frame| frame["type"] == kind).await
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at).unwrap();
        }
        loop {
            let frame = self.next().await.expect("closed while a frame was awaited");
            if wanted(&frame) {
                return frame;
            }
            self.waiting.push_back(frame);
        }
    }

    /// The frames that have come and that nobody asked for, once those on their way have had time to arrive.
    pub async fn quiet(&mut self) -> Vec<Value> {
        // The answer to a heartbeat comes after whatever the server had to send before it; live events may
        // still be held back for a resume.
        tokio::time::sleep(Duration::from_millis(600)).await;
        self.call("heartbeat", json!({})).await;
        self.waiting.drain(..).collect()
    }

    /// The next frame; none once the socket is closed. Checks that `seq` rises.
    pub async fn next(&mut self) -> Option<Value> {
        self.next_or_close().await.ok()
    }

    /// The next frame, or the code with which the server closes. Checks that `seq` rises.
    pub async fn next_or_close(&mut self) -> Result<Value, u16> {
        loop {
            match self.receive().await {
                Some(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    self.document.check_frame(&frame);
                    if let Some(seq) = frame["seq"].as_i64() {
                        assert!(
                            seq > self.seq || self.hello.is_null(),
                            "seq went from {} to {seq}",
                            self.seq
                        );
                        self.seq = seq;
                    }
                    return Ok(frame);
                }
                Some(Message::Close(Some(close))) => return Err(close.code.into()),
                Some(Message::Close(None)) | None => return Err(0),
                Some(_) => {}
            }
        }
    }

    async fn receive(&mut self) -> Option<Message> {
        let received = tokio::time::timeout(PATIENCE, self.stream.next()).await;
        received.unwrap_or_else(|_| panic!("no frame came; waiting: {:?}", self.waiting))?.ok()
    }

    /// The code with which the server closes.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next_or_close().await {
                return code;
            }
        }
    }

    /// Replays from `seq`; the answer and the events that were replayed.
    pub async fn resume(&mut self, seq: i64) -> (Value, Vec<Value>) {
        self.seq = seq;
        let answer = self.call("resume", json!({ "seq": seq })).await;
        (answer, self.waiting.drain(..).collect())
    }
}
