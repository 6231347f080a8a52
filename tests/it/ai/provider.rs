//! An OpenAI-compatible server that writes down all that it is told, and fails as it is bid.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::Engine as _;
use patchbay_tests::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// How it answers a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this text, in these pieces if it is asked to stream.
    Says(Vec<&'static str>),
    /// With this status.
    Fails(u16),
    /// With these pieces, and then the connection ends.
    Breaks(Vec<&'static str>),
    /// With a piece now and then, for ever.
    Rambles,
}

#[derive(Default)]
struct State {
    heard: Vec<(String, Value)>,
    replies: VecDeque<Reply>,
    left: usize,
}

/// The server.
#[derive(Clone)]
pub struct Provider {
    /// `http://127.0.0.1:PORT/v1`.
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// Numbers of a vector.
const DIMENSIONS: usize = 64;

impl Provider {
    /// One that says "so [1]" unless it is told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let provider = Self { url, state: Arc::default() };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = serving.clone();
                tokio::spawn(async move {
                    // The other side may leave at any time.
                    let _ = provider.serve(stream).await;
                });
            }
        });
        provider
    }

    /// The settings that make it the one provider.
    pub fn settings(&self, embeds: bool) -> Vec<String> {
        let mut settings = vec![
            format!("ai.base_url={}", self.url),
            "ai.api_key=key-of-nobody".to_owned(),
            "ai.model=fake-chat".to_owned(),
        ];
        if embeds {
            settings.push("ai.embedding_model=fake-embedding".to_owned());
        }
        settings
    }

    /// From now on it answers questions like this, one after the other, then as before.
    pub fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().replies = replies.into_iter().collect();
    }

    /// All that it was told so far, as one text.
    pub fn heard(&self) -> String {
        let state = self.state.lock().unwrap();
        state.heard.iter().map(|(path, body)| format!("{path} {body}\n")).collect()
    }

    /// The questions that it was asked.
    pub fn questions(&self) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let asked = state.heard.iter().filter(|(path, _)| path.ends_with("/chat/completions"));
        asked.map(|(_, body)| body.clone()).collect()
    }

    /// How often somebody left while it rambled.
    pub fn left(&self) -> usize {
        self.state.lock().unwrap().left
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if bytes.len() >= end + 4 + length {
                break (head, bytes[end + 4..].to_vec());
            }
        };
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.state.lock().unwrap().heard.push((path.clone(), body.clone()));
        if path.ends_with("/embeddings") {
            return whole(&mut stream, 200, &embeddings(&body)).await;
        }
        let next = self.state.lock().unwrap().replies.pop_front();
        let reply = next.unwrap_or_else(|| Reply::Says(vec!["so", " [1]"]));
        match reply {
            Reply::Fails(status) => {
                let error = json!({ "error": { "message": "no", "type": "server_error", "code": null } });
                whole(&mut stream, status, &error).await
            }
            Reply::Says(pieces) if body["stream"] == true => {
                begin(&mut stream).await?;
                for piece in pieces {
                    chunk(&mut stream, &delta(Some(piece), None)).await?;
                }
                chunk(&mut stream, &delta(None, Some("stop"))).await?;
                stream.write_all(b"data: [DONE]\n\n").await
            }
            Reply::Says(pieces) => whole(&mut stream, 200, &completion(&pieces.concat())).await,
            Reply::Breaks(pieces) => {
                begin(&mut stream).await?;
                for piece in pieces {
                    chunk(&mut stream, &delta(Some(piece), None)).await?;
                }
                Ok(())
            }
            Reply::Rambles => {
                begin(&mut stream).await?;
                loop {
                    if chunk(&mut stream, &delta(Some("and "), None)).await.is_err() {
                        self.state.lock().unwrap().left += 1;
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

async fn whole(stream: &mut TcpStream, status: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

async fn begin(stream: &mut TcpStream) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await
}

async fn chunk(stream: &mut TcpStream, data: &Value) -> std::io::Result<()> {
    stream.write_all(format!("data: {data}\n\n").as_bytes()).await?;
    stream.flush().await
}

fn delta(content: Option<&str>, finish: Option<&str>) -> Value {
    let delta =
        content.map_or_else(|| json!({}), |content| json!({ "role": "assistant", "content": content }));
    json!({
        "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "fake-chat",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    })
}

fn completion(content: &str) -> Value {
    json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "fake-chat",
        "choices": [{
            "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": content },
        }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 },
    })
}

/// By words, but it knows that two of them mean the same.
fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0_f32; DIMENSIONS];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = if word == "feline" { "cat" } else { word };
        let hash = word.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        vector[hash % DIMENSIONS] += 1.0;
    }
    vector[0] += 0.01;
    vector
}

fn embeddings(body: &Value) -> Value {
    let texts: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        list => list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect(),
    };
    let as_base64 = body["encoding_format"] == "base64";
    let shown = |vector: Vec<f32>| match as_base64 {
        true => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            json!(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        false => json!(vector),
    };
    let data = texts.iter().enumerate().map(
        |(index, text)| json!({ "object": "embedding", "index": index, "embedding": shown(vector(text)) }),
    );
    json!({
        "object": "list", "model": "fake-embedding", "data": data.collect::<Vec<_>>(),
        "usage": { "prompt_tokens": 1, "total_tokens": 1 },
    })
}
