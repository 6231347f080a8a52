//! An index of Pinecone, by its REST API (the data plane, version 2025-10).
//!
//! Owns: the client, retries and bounds. Must not: know plugins. The key leaves only in requests to the index.

use std::{collections::HashMap, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use reqwest::{Client, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

const VERSION: &str = "2025-10";
const CONNECT: Duration = Duration::from_secs(3);
/// How long one request may take: less than a plugin's call may take.
const TIME: Duration = Duration::from_secs(4);
/// How often a request is sent at most.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt, if the index asks for none; then it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that is waited for: a plugin's call waits too.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Most bytes of an answer: 200 neighbors with all the metadata they can have are 2 MiB.
const MAX_ANSWER: usize = 8 << 20;
/// Most bytes of one request's items; Pinecone takes 2 MB.
const MAX_ITEMS: usize = 1_900_000;
/// Ids are ASCII there.
const IN_IDS: &AsciiSet = &CONTROLS.add(b'%');

/// Why an index did not do what it was asked. Says nothing of what that was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index of vectors {0}")]
pub struct IndexError(String);

/// An index.
#[derive(Clone, Debug)]
pub struct Index {
    client: Client,
    url: String,
}

/// What an index says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Stats {
    /// How many numbers its vectors have.
    pub dimension: Option<usize>,
    /// By name.
    #[serde(default)]
    pub namespaces: HashMap<String, Namespace>,
}

/// A namespace.
#[derive(Clone, Debug, Deserialize)]
pub struct Namespace {
    /// How many vectors it has, a little late.
    #[serde(rename = "vectorCount", default)]
    pub vector_count: u64,
}

#[derive(Deserialize)]
struct Matches {
    #[serde(default)]
    matches: Vec<Match>,
}

#[derive(Deserialize)]
struct Match {
    id: String,
    #[serde(default)]
    score: f32,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

fn encoded(id: &str) -> String {
    utf8_percent_encode(id, IN_IDS).to_string()
}

fn failed(what: impl Into<String>) -> IndexError {
    IndexError(what.into())
}

impl Index {
    /// A client. Goes nowhere.
    ///
    /// # Errors
    /// If the key can't be sent, or the client not be made.
    pub fn at(url: &str, key: &str) -> Result<Self, IndexError> {
        let mut key =
            HeaderValue::from_str(key).map_err(|_| failed("has a key that is not one line of ASCII"))?;
        key.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("api-key", key);
        headers.insert("x-pinecone-api-version", HeaderValue::from_static(VERSION));
        let client = Client::builder()
            .default_headers(headers)
            // The key is for this host.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(TIME)
            .user_agent(concat!("Patchbay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(format!("can't be asked: {error}")))?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// Puts items in: id, vector, metadata. Those beyond 2 MB go by further requests.
    ///
    /// # Errors
    /// See [`IndexError`]; some may be in.
    pub async fn upsert(
        &self,
        namespace: &str,
        items: Vec<(String, Vec<f32>, Map<String, Value>)>,
    ) -> Result<(), IndexError> {
        let (mut some, mut size) = (Vec::new(), 0);
        for (id, vector, metadata) in items {
            let item = json!({ "id": encoded(&id), "values": vector, "metadata": metadata });
            let bytes = item.to_string().len();
            if size + bytes > MAX_ITEMS && !some.is_empty() {
                self.put(namespace, std::mem::take(&mut some)).await?;
                size = 0;
            }
            size += bytes;
            some.push(item);
        }
        self.put(namespace, some).await
    }

    async fn put(&self, namespace: &str, items: Vec<Value>) -> Result<(), IndexError> {
        let request = json!({ "namespace": namespace, "vectors": items });
        self.ask::<Value>("/vectors/upsert", &request).await.map(|_| ())
    }

    /// Takes items out.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub async fn delete(&self, namespace: &str, ids: &[String]) -> Result<(), IndexError> {
        let ids: Vec<_> = ids.iter().map(|id| encoded(id)).collect();
        self.take_out(json!({ "namespace": namespace, "ids": ids })).await
    }

    /// Takes out those that pass a filter.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub async fn delete_where(&self, namespace: &str, filter: Value) -> Result<(), IndexError> {
        self.take_out(json!({ "namespace": namespace, "filter": filter })).await
    }

    /// Takes out all of a namespace.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub async fn clear(&self, namespace: &str) -> Result<(), IndexError> {
        self.take_out(json!({ "namespace": namespace, "deleteAll": true })).await
    }

    /// A namespace that is not there has nothing to take out.
    async fn take_out(&self, request: Value) -> Result<(), IndexError> {
        self.ask::<Value>("/vectors/delete", &request).await.map(|_| ())
    }

    /// The nearest, the nearest first: id, score, metadata.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub async fn query(
        &self,
        namespace: &str,
        vector: &[f32],
        filter: Value,
        limit: u32,
    ) -> Result<Vec<(String, f32, Map<String, Value>)>, IndexError> {
        let mut request = json!({
            "namespace": namespace, "vector": vector, "topK": limit, "includeMetadata": true, "includeValues": false,
        });
        if let (Some(request), false) = (request.as_object_mut(), filter.is_null()) {
            request.insert("filter".to_owned(), filter);
        }
        let found =
            self.ask::<Matches>("/query", &request).await?.map_or_else(Vec::new, |found| found.matches);
        let one = |Match { id, score, metadata }: Match| {
            (percent_decode_str(&id).decode_utf8_lossy().into_owned(), score, metadata.unwrap_or_default())
        };
        Ok(found.into_iter().map(one).collect())
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub async fn stats(&self) -> Result<Stats, IndexError> {
        self.ask("/describe_index_stats", &json!({})).await?.ok_or_else(|| failed("is not there"))
    }

    /// None for 404.
    async fn ask<T: DeserializeOwned>(&self, path: &str, request: &Value) -> Result<Option<T>, IndexError> {
        let mut attempt = 1;
        loop {
            let (error, pause) = match self.once(path, request).await {
                Ok(None) => return Ok(None),
                Ok(Some(body)) => {
                    let parsed = serde_json::from_slice(&body);
                    return parsed.map(Some).map_err(|_| failed("answered what can't be understood"));
                }
                Err(failure) => failure,
            };
            let Some(pause) = pause.filter(|pause| attempt < ATTEMPTS && *pause <= LONGEST_PAUSE) else {
                return Err(error);
            };
            tokio::time::sleep(pause.max(PAUSE * 2_u32.saturating_pow(attempt - 1))).await;
            attempt += 1;
        }
    }

    /// An error comes with the pause after which to try again, if that makes sense.
    async fn once(
        &self,
        path: &str,
        request: &Value,
    ) -> Result<Option<Vec<u8>>, (IndexError, Option<Duration>)> {
        let sent = self.client.post(format!("{}{path}", self.url)).json(request).send().await;
        // The client's own words may hold the URL.
        let mut response = sent.map_err(|error| {
            let (what, pause) = match (error.is_timeout(), error.is_connect()) {
                (true, _) => ("did not answer in time", None),
                (_, true) => ("can't be reached", Some(Duration::ZERO)),
                _ => ("broke off", Some(Duration::ZERO)),
            };
            (failed(what), pause)
        })?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let comes_again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            let asked =
                response.headers().get(header::RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
            let pause = comes_again.then(|| asked.map_or(Duration::ZERO, Duration::from_secs));
            tracing::warn!(status = status.as_u16(), path, "the index of vectors refused");
            return Err((failed(format!("answered with status {}", status.as_u16())), pause));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| (failed("broke off"), None))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err((failed("answered too much"), None));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }
}
