//! Servers that plugins' host talks to, as far as it does, for tests: one that speaks OpenAI's API, and an index of Pinecone.
//! They do wrong what a test wants.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What a server answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status, headers, and a body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// Server-sent events, with a pause before each; then the end, or a connection that is cut.
    Events(Vec<String>, Duration, bool),
    /// Nothing, for so long; then something.
    After(Duration, Box<Reply>),
    /// Nothing ever.
    Hang,
}

impl Reply {
    /// A status and JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Whole(status, vec![("content-type", "application/json".to_owned())], body.to_string())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its path.
    pub path: String,
    /// Its headers, one line each, names in lower case.
    pub headers: String,
    /// Its body.
    pub body: Value,
}

type Usual = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A server. It ends with the test.
#[derive(Clone)]
pub struct Fake {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    hung_up: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(usual: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            script: Arc::default(),
            hung_up: Arc::default(),
        };
        let (this, usual): (_, Arc<Usual>) = (fake.clone(), Arc::new(usual));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(this.clone().serve(stream, Arc::clone(&usual)));
            }
        });
        fake
    }

    /// What it answers next, once each; afterwards as usual.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().extend(replies);
    }

    /// The requests since this was last asked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// How many clients left before they had their answer.
    pub fn hung_up(&self) -> usize {
        self.hung_up.load(Ordering::Relaxed)
    }

    async fn serve(self, stream: TcpStream, usual: Arc<Usual>) {
        let mut stream = BufReader::new(stream);
        while let Some(seen) = read(&mut stream).await {
            let reply = self.script.lock().unwrap().pop_front().unwrap_or_else(|| usual(&seen));
            self.seen.lock().unwrap().push(seen);
            let mut nothing = [0];
            let (input, mut output) = stream.get_mut().split();
            let mut input = input;
            tokio::select! {
                goes_on = write(&mut output, reply) => if !goes_on { return },
                // A client has nothing more to say before it has its answer.
                _ = input.read(&mut nothing) => {
                    self.hung_up.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let (mut path, mut headers, mut length) = (None, String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        match (&path, line.split_once(':')) {
            (None, _) => path = Some(line.split(' ').nth(1)?.to_owned()),
            (Some(_), None) => break,
            (Some(_), Some((name, value))) => {
                let name = name.to_ascii_lowercase();
                if name == "content-length" {
                    length = value.trim().parse().ok()?;
                }
                headers.push_str(&format!("{name}: {}\n", value.trim()));
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { path: path?, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// Whether the connection can go on.
async fn write(output: &mut (impl tokio::io::AsyncWrite + Unpin), reply: Reply) -> bool {
    let mut reply = reply;
    while let Reply::After(time, next) = reply {
        tokio::time::sleep(time).await;
        reply = *next;
    }
    match reply {
        Reply::Whole(status, headers, body) => {
            let headers: String =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
            output.write_all(answer.as_bytes()).await.is_ok()
        }
        Reply::Events(events, pause, is_cut) => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = output.write_all(head.as_bytes()).await;
            for event in events {
                tokio::time::sleep(pause).await;
                let chunk = format!("data: {event}\n\n");
                let _ = output.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).await;
            }
            if !is_cut {
                let _ = output.write_all(b"0\r\n\r\n").await;
            }
            !is_cut
        }
        Reply::Hang | Reply::After(..) => std::future::pending().await,
    }
}

/// The key that [`openai`] wants.
pub const OPENAI_KEY: &str = "sk-very-secret-4711";

/// A piece of an answer.
pub fn piece(content: &str, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": { "content": content }, "finish_reason": finish });
    json!({ "id": "x", "object": "chat.completion.chunk", "model": "fake-1", "choices": [choice] })
        .to_string()
}

fn pieces(content: &str) -> Vec<String> {
    let mut events: Vec<String> = content.split_inclusive(' ').map(|word| piece(word, None)).collect();
    events.push(piece("", Some("stop")));
    let usage = json!({ "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 });
    events.push(json!({ "model": "fake-1", "choices": [], "usage": usage }).to_string());
    events.push("[DONE]".to_owned());
    events
}

/// A server of models: it repeats what it is told, and embeds texts by the vowels in them.
pub async fn openai() -> Fake {
    Fake::start(|seen| {
        if !seen.headers.contains(&format!("authorization: Bearer {OPENAI_KEY}\n")) {
            let error = json!({ "message": format!("wrong key, not {OPENAI_KEY}"), "type": "invalid_request_error", "code": "invalid_api_key" });
            return Reply::json(401, &json!({ "error": error }));
        }
        let body = &seen.body;
        match seen.path.as_str() {
            "/v1/chat/completions" => {
                let said = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
                let content = format!("You said: {said}");
                if body["stream"] == true {
                    return Reply::Events(pieces(&content), Duration::ZERO, false);
                }
                let usage = json!({ "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 });
                let message = json!({ "role": "assistant", "content": content });
                let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
                Reply::json(200, &json!({ "id": "x", "model": "fake-1", "choices": [choice], "usage": usage }))
            }
            "/v1/embeddings" => {
                let embed = |(at, text): (usize, &Value)| {
                    let text = text.as_str().unwrap();
                    let count = |vowel: char| text.chars().filter(|c| *c == vowel).count();
                    let vector: Vec<usize> = "aeiou".chars().map(count).collect();
                    json!({ "object": "embedding", "index": at, "embedding": vector })
                };
                let texts = body["input"].as_array().unwrap();
                // In another order than they were asked for, as the contract allows.
                let data: Vec<_> = texts.iter().enumerate().map(embed).rev().collect();
                let usage = json!({ "prompt_tokens": texts.len(), "total_tokens": texts.len() });
                Reply::json(200, &json!({ "object": "list", "data": data, "model": "vowels", "usage": usage }))
            }
            _ => Reply::json(404, &json!({ "error": { "message": "no such path" } })),
        }
    })
    .await
}

/// The key that [`pinecone`] wants.
pub const PINECONE_KEY: &str = "pcsk_very_secret_0815";

type Namespaces = BTreeMap<String, BTreeMap<String, Value>>;

/// An index of Pinecone for vectors of three numbers, by their cosine.
pub async fn pinecone() -> Fake {
    let namespaces: Mutex<Namespaces> = Mutex::default();
    Fake::start(move |seen| {
        if !seen.headers.contains(&format!("api-key: {PINECONE_KEY}\n")) {
            return Reply::json(401, &json!({ "message": "Unauthorized" }));
        }
        assert!(seen.headers.contains("x-pinecone-api-version: 2025-10\n"));
        let (mut all, body) = (namespaces.lock().unwrap(), &seen.body);
        let namespace = body["namespace"].as_str().unwrap_or_default().to_owned();
        match seen.path.as_str() {
            "/vectors/upsert" => {
                let vectors = body["vectors"].as_array().unwrap();
                let wrong = vectors.iter().any(|vector| vector["values"].as_array().unwrap().len() != 3);
                if wrong || body.to_string().len() > 2_000_000 {
                    return Reply::json(400, &json!({ "code": 3, "message": "wrong" }));
                }
                let kept = all.entry(namespace).or_default();
                for vector in vectors {
                    kept.insert(vector["id"].as_str().unwrap().to_owned(), vector.clone());
                }
                Reply::json(200, &json!({ "upsertedCount": vectors.len() }))
            }
            "/vectors/delete" => {
                let Some(kept) = all.get_mut(&namespace) else {
                    return Reply::json(404, &json!({ "code": 5, "message": "Namespace not found" }));
                };
                if body["deleteAll"] == true {
                    all.remove(&namespace);
                } else if let Some(ids) = body["ids"].as_array() {
                    kept.retain(|id, _| !ids.contains(&json!(id)));
                } else {
                    kept.retain(|_, vector| !passes(&body["filter"], &vector["metadata"]));
                }
                Reply::json(200, &json!({}))
            }
            "/query" => {
                let kept = all.get(&namespace).into_iter().flat_map(BTreeMap::values);
                let fitting = kept.filter(|vector| passes(&body["filter"], &vector["metadata"]));
                let mut matches: Vec<Value> = fitting
                    .map(|vector| {
                        let score = cosine(&vector["values"], &body["vector"]);
                        json!({ "id": vector["id"], "score": score, "metadata": vector["metadata"] })
                    })
                    .collect();
                matches.sort_by(|a, b| b["score"].as_f64().unwrap().total_cmp(&a["score"].as_f64().unwrap()));
                matches.truncate(usize::try_from(body["topK"].as_u64().unwrap()).unwrap());
                Reply::json(200, &json!({ "matches": matches, "namespace": namespace }))
            }
            "/describe_index_stats" => {
                let count = |(name, kept): (&String, &BTreeMap<_, _>)| {
                    (name.clone(), json!({ "vectorCount": kept.len() }))
                };
                let counted: serde_json::Map<_, _> = all.iter().map(count).collect();
                Reply::json(200, &json!({ "namespaces": counted, "dimension": 3 }))
            }
            _ => Reply::json(404, &json!({})),
        }
    })
    .await
}

fn cosine(a: &Value, b: &Value) -> f64 {
    let numbers = |v: &Value| v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let (a, b) = (numbers(a), numbers(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// Pinecone's filters, as far as the host uses them.
fn passes(filter: &Value, metadata: &Value) -> bool {
    let Some(filter) = filter.as_object() else { return true };
    filter.iter().all(|(name, condition)| {
        if name == "$and" {
            return condition.as_array().unwrap().iter().all(|part| passes(part, metadata));
        }
        let (value, condition) = (&metadata[name], condition.as_object().unwrap());
        condition.iter().all(|(operator, wanted)| match operator.as_str() {
            "$in" => wanted.as_array().unwrap().contains(value),
            "$gte" => value.as_f64().is_some_and(|value| value >= wanted.as_f64().unwrap()),
            "$lt" => value.as_f64().is_some_and(|value| value < wanted.as_f64().unwrap()),
            other => panic!("{other}"),
        })
    })
}
