//! One operation of the document: what its handler's signature says by itself, and what has to be said beside it.
//!
//! Owns: how extractors and results become parameters, bodies and responses. Must not: know any endpoint.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Schemas;
use crate::http::Failure;

/// What an extractor takes from a request.
pub trait Asks {
    /// Adds that to an operation.
    fn describe(operation: &mut Operation<'_>);
}

/// What a handler's result answers.
pub trait Answers {
    /// Adds that to an operation.
    fn describe(operation: &mut Operation<'_>);
}

/// A handler whose signature describes it.
pub trait Described<T> {
    /// Adds what the signature says to an operation.
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! described {
    ($($part:ident)*) => {
        impl<F, Fut, $($part,)* A> Described<($($part,)* Fut,)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = Result<A, Failure>>,
            $($part: Asks,)*
            A: Answers,
        {
            fn describe(operation: &mut Operation<'_>) {
                A::describe(operation);
                $($part::describe(operation);)*
            }
        }
    };
}
described!(P1);
described!(P1 P2);
described!(P1 P2 P3);
described!(P1 P2 P3 P4);
described!(P1 P2 P3 P4 P5);

impl<T: JsonSchema> Answers for axum::Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schemas.answer::<T>();
        operation.entry.answer = Some(json!({ "application/json": { "schema": schema } }));
    }
}

/// Which statuses there are, the signature doesn't say: [`Operation::answers`] does.
impl<T: JsonSchema> Answers for (StatusCode, axum::Json<T>) {
    fn describe(operation: &mut Operation<'_>) {
        <axum::Json<T> as Answers>::describe(operation);
    }
}

/// Handlers that answer with nothing but a status answer 204.
impl Answers for StatusCode {
    fn describe(operation: &mut Operation<'_>) {
        operation.entry.statuses.insert(204, "Done.".into());
    }
}

/// Described by hand.
impl Answers for axum::response::Response {
    fn describe(_: &mut Operation<'_>) {}
}

impl Answers for &'static str {
    fn describe(operation: &mut Operation<'_>) {
        operation.entry.answer = Some(json!({ "text/plain": { "schema": { "type": "string" } } }));
    }
}

/// What is gathered of one method of one path.
#[derive(Clone, Default)]
pub(super) struct Entry {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    /// Another method that does the same.
    also: Option<&'static str>,
    id: String,
    tag: &'static str,
    summary: &'static str,
    description: String,
    needs_login: bool,
    parameters: Vec<Value>,
    body: Map<String, Value>,
    /// The `content` of the answers that are no problems.
    answer: Option<Value>,
    statuses: BTreeMap<u16, String>,
    /// Answers that have a content or headers of their own.
    special: BTreeMap<u16, Value>,
    problems: BTreeMap<u16, BTreeSet<&'static str>>,
}

impl Entry {
    pub(super) fn new(path: &'static str, method: &'static str, id: String, tag: &'static str) -> Self {
        Self { path, method, id, tag, ..Self::default() }
    }

    /// Methods with their Operation Objects (OpenAPI 3.1, 4.8.10).
    pub(super) fn finish(mut self, responses: &mut Map<String, Value>) -> Vec<(&'static str, Value)> {
        if self.statuses.is_empty() && self.special.keys().all(|status| *status >= 300) {
            self.statuses.insert(200, "Done.".into());
        }
        let methods = [Some(self.method), self.also];
        let object = |method: &'static str, responses: &mut Map<String, Value>| {
            let mut operation = json!({
                "operationId": if method == self.method { self.id.clone() } else { format!("{}_{method}", self.id) },
                "tags": [self.tag],
                "summary": self.summary,
                "responses": self.responses(responses),
            });
            if !self.description.is_empty() {
                operation["description"] = self.description.clone().into();
            }
            if !self.parameters.is_empty() {
                operation["parameters"] = self.parameters.clone().into();
            }
            if !self.body.is_empty() {
                operation["requestBody"] = json!({ "required": true, "content": self.body });
            }
            if self.needs_login {
                operation["security"] = json!([{ "bearer": [] }]);
            }
            (method, operation)
        };
        methods.into_iter().flatten().map(|method| object(method, responses)).collect()
    }

    fn responses(&self, shared: &mut Map<String, Value>) -> Map<String, Value> {
        let mut responses = Map::new();
        for (status, description) in &self.statuses {
            let mut response = json!({ "description": description, "headers": super::request_id_header() });
            if let Some(content) = self.answer.as_ref().filter(|_| *status != 204) {
                response["content"] = content.clone();
            }
            responses.insert(status.to_string(), response);
        }
        for (status, response) in &self.special {
            responses.insert(status.to_string(), response.clone());
        }
        for (status, codes) in &self.problems {
            let reference = super::problems::response(shared, *status, codes, &self.id);
            responses.insert(status.to_string(), reference);
        }
        responses
    }
}

/// An operation that is being described.
pub struct Operation<'a> {
    pub(super) schemas: &'a mut Schemas,
    pub(super) entry: &'a mut Entry,
}

impl Operation<'_> {
    /// What it does: a line, and what there is to know beyond it (Markdown; may be empty).
    pub fn says(self, summary: &'static str, description: impl Into<String>) -> Self {
        self.entry.summary = summary;
        self.entry.description = description.into();
        self
    }

    /// A status of an answer that is no problem, and when it comes.
    pub fn answers(self, status: u16, when: &str) -> Self {
        self.entry.statuses.insert(status, when.to_owned());
        self
    }

    /// An answer that is not JSON: a Response Object's `content` and `headers`.
    pub fn answers_with(self, status: u16, when: &str, content: Value, headers: Value) -> Self {
        let mut response = json!({ "description": when, "headers": super::request_id_header() });
        if content != Value::Null {
            response["content"] = content;
        }
        if let (Some(all), Value::Object(more)) = (response["headers"].as_object_mut(), headers) {
            all.extend(more);
        }
        self.entry.special.insert(status, response);
        self
    }

    /// Codes of problems beside those that the signature tells of.
    pub fn refuses(mut self, status: u16, codes: &[&'static str]) -> Self {
        self.problem(status, codes);
        self
    }

    /// Another method does the same.
    pub fn also(self, method: &'static str) -> Self {
        self.entry.also = Some(method);
        self
    }

    /// A body that no extractor tells of: its media type and schema.
    pub fn takes(mut self, media_type: &str, schema: &Value) -> Self {
        self.add_body(media_type, schema);
        self
    }

    /// A JSON body that no extractor tells of.
    pub fn takes_json<T: JsonSchema>(mut self, media_type: &str) -> Self {
        let schema = self.schemas.request::<T>();
        self.add_body(media_type, &schema);
        self
    }

    /// The path's parameters, where no extractor takes them.
    pub fn in_path(mut self, schema: &Value) -> Self {
        self.path_parameters(std::slice::from_ref(schema));
        self
    }

    /// A header that may be sent.
    pub fn header(self, name: &str, schema: &Value, description: &str) -> Self {
        self.entry.parameters.push(json!({
            "name": name, "in": "header", "required": false, "schema": schema, "description": description,
        }));
        self
    }

    pub(in crate::http) fn problem(&mut self, status: u16, codes: &[&'static str]) {
        self.entry.problems.entry(status).or_default().extend(codes);
    }

    pub(in crate::http) fn needs_login(&mut self) {
        self.entry.needs_login = true;
        self.problem(401, &["unauthenticated"]);
    }

    pub(in crate::http) fn json_body<T: JsonSchema>(&mut self) {
        let schema = self.schemas.request::<T>();
        self.add_body("application/json", &schema);
        self.problem(400, &["malformed_json", "incomplete_body"]);
        self.problem(413, &["too_large"]);
        self.problem(415, &["unsupported_media_type"]);
        self.problem(422, &["validation_failed"]);
    }

    fn add_body(&mut self, media_type: &str, schema: &Value) {
        self.entry.body.insert(media_type.to_owned(), json!({ "schema": schema }));
    }

    /// The path's parameters, in their order.
    pub(in crate::http) fn path_parameters(&mut self, schemas: &[Value]) {
        let names = self.entry.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters = names
            .zip(schemas)
            .map(|(name, schema)| json!({ "name": name, "in": "path", "required": true, "schema": schema }));
        self.entry.parameters.extend(parameters);
        self.problem(404, &["not_found"]);
    }

    /// The query's parameters: the fields of `T`.
    pub(in crate::http) fn query_parameters<T: JsonSchema>(&mut self) {
        let schema = SchemaGenerator::default().into_root_schema_for::<T>();
        let needed = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let fields = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, mut schema) in fields {
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            // A parameter is there or not; it can't be null.
            if let Some(kinds) = schema["type"].as_array_mut() {
                kinds.retain(|kind| kind != "null");
                if let [kind] = kinds.as_slice() {
                    schema["type"] = kind.clone();
                }
            }
            self.entry.parameters.push(json!({
                "name": name, "in": "query", "required": needed.contains(&json!(name)),
                "description": description.unwrap_or_default(), "schema": schema,
            }));
        }
        self.problem(422, &["validation_failed"]);
    }
}
