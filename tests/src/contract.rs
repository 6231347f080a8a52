//! The server's OpenAPI document as the judge of all that the server says in tests: an answer or a frame that is
//! not described, or that has another shape, fails the test that got it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::Validator;
use reqwest::{Client, Method, header::HeaderMap};
use serde_json::{Value, json};

/// A document, ready to judge.
pub(crate) struct Document {
    json: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// A request and what came of it.
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) sent: Option<(&'a str, &'a [u8])>,
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

static DOCUMENTS: Mutex<Option<HashMap<String, Arc<Document>>>> = Mutex::new(None);

/// The document of the server at this address, as it was when it was last fetched.
pub(crate) async fn document(client: &Client, url: &str) -> Arc<Document> {
    if let Some(known) = lock(&DOCUMENTS).get_or_insert_default().get(url) {
        return Arc::clone(known);
    }
    fetch(client, url).await
}

async fn fetch(client: &Client, url: &str) -> Arc<Document> {
    let answer = client.get(format!("{url}/api/openapi.json")).send().await.unwrap();
    let json: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let document = Arc::new(Document { json: strict(json), validators: Mutex::default() });
    lock(&DOCUMENTS).get_or_insert_default().insert(url.to_owned(), Arc::clone(&document));
    document
}

/// Fails unless the document describes this exchange.
pub(crate) async fn check(client: &Client, url: &str, exchange: &Exchange<'_>) {
    let Err(first) = document(client, url).await.judge(exchange) else { return };
    // Other plugins may serve by now.
    if let Err(fault) = fetch(client, url).await.judge(exchange) {
        panic!(
            "{} {} {}: {fault} (before: {first})\n{}",
            exchange.method,
            exchange.path,
            exchange.status,
            String::from_utf8_lossy(exchange.body)
        );
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clients are to pass over fields that they don't know; here each of them has to be described.
fn strict(mut document: Value) -> Value {
    for (_, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
        if schema["properties"].is_object() && schema.get("additionalProperties").is_none() {
            schema["additionalProperties"] = json!(false);
        }
    }
    document
}

impl Document {
    /// Fails unless this is a frame that the server may send.
    #[track_caller]
    pub(crate) fn check_frame(&self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap_or_default();
        let name = if kind.starts_with("plugin.") { "plugin" } else { kind };
        if let Err(fault) = self.valid(&format!("/components/schemas/frame.{name}"), frame) {
            panic!("the frame {frame}: {fault}");
        }
    }

    /// Fails unless this is a frame that the server says it takes.
    #[track_caller]
    pub(crate) fn check_request(&self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap_or_default();
        if let Err(fault) = self.valid(&format!("/components/schemas/request.{kind}"), frame) {
            panic!("the server took {frame}: {fault}");
        }
    }

    fn judge(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        if exchange.method == Method::OPTIONS {
            return Ok(());
        }
        let Some(template) = self.template(exchange.path) else {
            return if exchange.status == 404 {
                self.problem(exchange)
            } else {
                Err("the path is not described".into())
            };
        };
        let item = &self.json["paths"][template];
        let method = match exchange.method.as_str().to_ascii_lowercase() {
            head if head == "head" => "get".to_owned(),
            method => method,
        };
        let at = format!("/paths/{}/{method}", escaped(template));
        if item.get(&method).is_none() {
            return if exchange.status == 405 {
                allowed(exchange, item)?;
                self.problem(exchange)
            } else {
                Err("the method is not described".into())
            };
        }
        if (200..300).contains(&exchange.status) {
            self.judge_request(exchange, &at)?;
        }
        self.judge_answer(exchange, &at)
    }

    fn judge_request(&self, exchange: &Exchange<'_>, at: &str) -> Result<(), String> {
        let Some((kind, bytes)) = exchange.sent else { return Ok(()) };
        let Some(content) = self.json.pointer(&format!("{at}/requestBody/content")) else { return Ok(()) };
        if content.get(kind).is_none() {
            return Err(format!("a body of {kind} was taken, and is not described"));
        }
        if kind != "application/json" {
            return Ok(());
        }
        let body = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let schema = format!("{at}/requestBody/content/{}/schema", escaped(kind));
        self.valid(&schema, &body).map_err(|fault| format!("{body} was taken: {fault}"))
    }

    fn judge_answer(&self, exchange: &Exchange<'_>, at: &str) -> Result<(), String> {
        let responses = &self.json.pointer(at).unwrap()["responses"];
        let status = exchange.status.to_string();
        let status = if responses.get(&status).is_some() { status } else { "default".to_owned() };
        let Some(response) = responses.get(&status) else { return Err("the status is not described".into()) };
        let at = self.resolved(response, format!("{at}/responses/{status}"));
        let response = self.json.pointer(&at).unwrap();
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            let header = self.json.pointer(&self.resolved(header, String::new())).unwrap_or(header);
            if header["required"] == true && !exchange.headers.contains_key(name) {
                return Err(format!("the header {name} is missing"));
            }
        }
        let Some(content) = response.get("content") else {
            let silent = exchange.body.is_empty() || status == "default";
            return if silent { Ok(()) } else { Err("the body is not described".into()) };
        };
        if *exchange.method == Method::HEAD {
            return Ok(());
        }
        let kind = media_type(exchange.headers);
        let Some(named) = [kind.as_str(), "*/*"].into_iter().find(|kind| content.get(kind).is_some()) else {
            return Err(format!("the media type {kind:?} is not described"));
        };
        if !kind.ends_with("json") {
            return Ok(());
        }
        let body = serde_json::from_slice(exchange.body).map_err(|error| error.to_string())?;
        self.valid(&format!("{at}/content/{}/schema", escaped(named)), &body)
    }

    fn problem(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        if *exchange.method == Method::HEAD {
            return Ok(());
        }
        if media_type(exchange.headers) != "application/problem+json" {
            return Err("is no problem document".into());
        }
        let body = serde_json::from_slice(exchange.body).map_err(|error| error.to_string())?;
        self.valid("/components/schemas/Problem", &body)
    }

    /// Where an object that may be a reference really is.
    fn resolved(&self, object: &Value, at: String) -> String {
        match object["$ref"].as_str() {
            Some(reference) => reference.trim_start_matches('#').to_owned(),
            None => at,
        }
    }

    /// The template that a path fits, one with fewer parameters before one with more.
    fn template(&self, path: &str) -> Option<&str> {
        let path = path.split('?').next().unwrap_or_default();
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let segments: Vec<_> = path.split('/').collect();
        let is_parameter = |part: &str| part.starts_with('{');
        let fits = |template: &&str| {
            let parts: Vec<_> = template.split('/').collect();
            parts.len() == segments.len()
                && parts.iter().zip(&segments).all(|(part, segment)| is_parameter(part) || part == segment)
        };
        let templates = self.json["paths"].as_object().unwrap().keys().map(String::as_str);
        templates
            .filter(fits)
            .min_by_key(|template| template.split('/').filter(|part| is_parameter(part)).count())
    }

    fn valid(&self, pointer: &str, instance: &Value) -> Result<(), String> {
        let known = lock(&self.validators).get(pointer).map(Arc::clone);
        let validator = match known {
            Some(validator) => validator,
            None => {
                let Some(schema) = self.json.pointer(pointer) else {
                    return Err(format!("{pointer} is not in the document"));
                };
                let schema = json!({ "allOf": [schema], "components": self.json["components"] });
                let built = jsonschema::options().should_validate_formats(true).build(&schema);
                let built = Arc::new(built.unwrap_or_else(|error| panic!("{pointer}: {error}")));
                lock(&self.validators).insert(pointer.to_owned(), Arc::clone(&built));
                built
            }
        };
        let faults: Vec<_> = validator
            .iter_errors(instance)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}

/// A key as a part of a JSON pointer (RFC 6901).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// `Allow` has to list the methods that are described, and no others.
fn allowed(exchange: &Exchange<'_>, item: &Value) -> Result<(), String> {
    let listed = exchange.headers.get("allow").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let listed: BTreeSet<_> = listed
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| name != "head")
        .collect();
    let described: BTreeSet<_> = item.as_object().unwrap().keys().cloned().collect();
    if listed == described { Ok(()) } else { Err(format!("allowed are {listed:?}, described {described:?}")) }
}
