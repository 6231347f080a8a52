//! The OpenAPI document: made from the handlers' signatures, the types of `protocol`, and what each area of
//! `http` says of its endpoints beside them; with the fragments of the plugins that serve.
//!
//! Owns: the document's form. Must not: say what an endpoint does (its own module does that).

#![allow(
    clippy::indexing_slicing,
    reason = "of JSON values: what is missing reads as null, and only objects that were made or checked here are written to"
)]

mod merge;
mod operation;
mod page;
mod problems;
mod sockets;

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwapOption;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::header;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::app::App;

pub use operation::Operation;
pub(super) use operation::{Asks, Described};
pub(super) use page::{asset, page};
pub(super) use problems::{OF_COMPONENTS, OF_PLUGINS};

use operation::Entry;

/// The generators of schemas: fields with a default may be left out of a request but are always in an answer.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    fn request<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    fn answer<T: JsonSchema>(&mut self) -> Value {
        self.answers.subschema_for::<T>().to_value()
    }
}

/// The document while it is made.
pub struct Document {
    schemas: Schemas,
    tags: Vec<Value>,
    tag: &'static str,
    entries: Vec<Entry>,
}

impl Document {
    fn new() -> Self {
        Self { schemas: Schemas::new(), tags: Vec::new(), tag: "", entries: Vec::new() }
    }

    /// What follows belongs to this area.
    pub fn tag(&mut self, name: &'static str, description: &str) {
        self.tag = name;
        if !self.tags.iter().any(|tag| tag["name"] == name) {
            self.tags.push(json!({ "name": name, "description": description }));
        }
    }

    /// `GET`.
    pub fn get<H: Described<T>, T>(&mut self, path: &'static str, _: H) -> Operation<'_> {
        self.operation::<H, T>("get", path)
    }

    /// `POST`.
    pub fn post<H: Described<T>, T>(&mut self, path: &'static str, _: H) -> Operation<'_> {
        self.operation::<H, T>("post", path)
    }

    /// `PUT`.
    pub fn put<H: Described<T>, T>(&mut self, path: &'static str, _: H) -> Operation<'_> {
        self.operation::<H, T>("put", path)
    }

    /// `PATCH`, and `PUT` as the same.
    pub fn change<H: Described<T>, T>(&mut self, path: &'static str, _: H) -> Operation<'_> {
        self.operation::<H, T>("patch", path).also("put")
    }

    /// `PATCH` alone.
    pub fn patch<H: Described<T>, T>(&mut self, path: &'static str, _: H) -> Operation<'_> {
        self.operation::<H, T>("patch", path)
    }

    /// `DELETE`.
    pub fn delete<H: Described<T>, T>(&mut self, path: &'static str, _: H) -> Operation<'_> {
        self.operation::<H, T>("delete", path)
    }

    /// A `GET` whose handler's signature tells nothing.
    pub fn plain(&mut self, path: &'static str, id: &str) -> Operation<'_> {
        self.entry("get", path, id.to_owned())
    }

    fn operation<H: Described<T>, T>(&mut self, method: &'static str, path: &'static str) -> Operation<'_> {
        // patchbay::http::channels::list
        let name = std::any::type_name::<H>();
        let mut parts = name.rsplit("::");
        let function = parts.next().unwrap_or_default();
        let id = format!("{}_{function}", parts.next().unwrap_or_default());
        let mut operation = self.entry(method, path, id);
        H::describe(&mut operation);
        operation.refuses(500, &["internal_error"]).refuses(503, &["unavailable"])
    }

    fn entry(&mut self, method: &'static str, path: &'static str, id: String) -> Operation<'_> {
        let entry = self.entries.push_mut(Entry::new(path, method, id, self.tag));
        let mut operation = Operation { schemas: &mut self.schemas, entry };
        // What the edge answers for any of them; whether the process answers is not limited.
        if path != "/healthz" {
            operation.problem(429, &["rate_limited"]);
            operation.problem(503, &["timed_out"]);
        }
        operation
    }

    fn finish(mut self) -> Value {
        let frames = sockets::describe(&mut self.schemas);
        self.schemas.answer::<patchbay_protocol::Problem>();
        let (mut paths, mut responses) = (Map::new(), Map::new());
        for entry in std::mem::take(&mut self.entries) {
            let path = paths.entry(entry.path).or_insert_with(|| json!({}));
            for (method, operation) in entry.finish(&mut responses) {
                path[method] = operation;
            }
        }
        let mut schemas = self.schemas.requests.take_definitions(true);
        schemas.extend(self.schemas.answers.take_definitions(true));
        let text = include_str!("about.md");
        let text = text.replace("{{codes}}", &problems::table()).replace("{{frames}}", &frames.text);
        schemas.extend(frames.schemas);
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Patchbay",
                "version": env!("CARGO_PKG_VERSION"),
                "summary": "The REST API and the gateway of a Patchbay server.",
                "description": text,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "servers": [{ "url": "/", "description": "This server." }],
            "tags": self.tags,
            "paths": paths,
            "components": {
                "schemas": schemas,
                "responses": responses,
                "headers": headers(),
                "securitySchemes": { "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "An access token: `access_token` of `POST /api/auth/login`.",
                } },
            },
            "x-sockets": frames.sockets,
        })
    }
}

fn request_id_header() -> Value {
    json!({ "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } })
}

fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({ "description": description, "required": true, "schema": schema });
    let text = || json!({ "type": "string" });
    json!({
        "X-Request-Id": header("Names this request in the server's log.", text()),
        "WWW-Authenticate": header("The scheme that is asked for.", json!({ "type": "string", "const": "Bearer" })),
        "Retry-After": header("Seconds.", json!({ "type": "integer", "minimum": 0 })),
        "Allow": header("The methods that the path has.", text()),
        "ETag": header("Changes with the content.", text()),
        "Last-Modified": header("When the content came.", text()),
        "Content-Disposition": header("`inline` for images that are safe to show, `attachment` otherwise; with the name.", text()),
        "Content-Range": header("Which part, and of how much.", text()),
        "X-Content-Type-Options": header("The type is what it says.", json!({ "type": "string", "const": "nosniff" })),
    })
}

/// The document of the host's own endpoints.
pub fn core() -> &'static Value {
    static CORE: LazyLock<Value> = LazyLock::new(|| {
        let mut document = Document::new();
        super::describe(&mut document);
        document.finish()
    });
    &CORE
}

/// The document as it is served: the host's and that of each plugin that serves. Cheap to clone.
#[derive(Clone, Default)]
pub struct ApiDocument(Arc<ArcSwapOption<Served>>);

struct Served {
    /// Name and digest of the plugins in it.
    of: Vec<(String, String)>,
    text: Bytes,
}

impl ApiDocument {
    /// The text, made anew if other plugins serve than when it was made last.
    fn text(&self, app: &App) -> Bytes {
        let active = app.plugins.runtime().active();
        let of: Vec<_> =
            active.iter().map(|plugin| (plugin.name().to_owned(), plugin.digest().to_owned())).collect();
        if let Some(served) = self.0.load_full()
            && served.of == of
        {
            return served.text.clone();
        }
        let mut document = core().clone();
        for plugin in &active {
            merge::add(&mut document, plugin.manifest(), plugin.openapi());
        }
        // A JSON value has string keys: writing it can't fail.
        let text = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
        self.0.store(Some(Arc::new(Served { of, text: text.clone() })));
        text
    }
}

/// `/api/openapi.json`.
pub(super) async fn document(State(app): State<App>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, app.api_document.text(&app)).into_response()
}

/// What the documents themselves say of themselves.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Documents", "This document.");
    doc.plain("/api/openapi.json", "openapi_document")
        .says("This document", "OpenAPI 3.1, with the endpoints of the plugins that serve at the moment.")
        .answers_with(
            200,
            "The document.",
            json!({ "application/json": { "schema": { "type": "object" } } }),
            json!({}),
        );
    let html = json!({ "text/html": { "schema": { "type": "string" } } });
    doc.plain("/api/docs", "openapi_page")
        .says("This document, to read and to try", "Needs nothing from outside.")
        .answers_with(200, "A page.", html, json!({}));
    let files = json!({ "text/javascript": { "schema": { "type": "string" } }, "text/css": { "schema": { "type": "string" } } });
    doc.plain("/api/docs/{file}", "openapi_asset")
        .says("Scripts and styles of the page", "")
        .answers_with(200, "The file.", files, json!({}))
        .refuses(404, &["not_found"])
        .in_path(&json!({ "type": "string", "examples": ["page.js"] }));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes: BTreeSet<_> = crate::http::native_paths().into_iter().collect();
        let paths = core()["paths"].as_object().unwrap();
        assert_eq!(paths.keys().map(String::as_str).collect::<BTreeSet<_>>(), routes);
    }

    #[test]
    fn every_code_is_explained_under_its_status() {
        for (path, item) in core()["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(
                    operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                    "{method} {path}"
                );
            }
        }
        for (name, response) in core()["components"]["responses"].as_object().unwrap() {
            let code = &response["content"]["application/problem+json"]["schema"]["properties"]["code"];
            let codes = code["enum"].as_array().cloned().unwrap_or_else(|| vec![code["const"].clone()]);
            for code in codes {
                let known = problems::CODES.iter().any(|(_, known, _)| code == *known);
                assert!(known, "{code} of {name} is not in the table");
            }
        }
    }

    #[test]
    fn plugins_find_the_schemas_that_they_may_refer_to() {
        for name in patchbay_runtime::HOST_SCHEMAS {
            assert!(core()["components"]["schemas"][name].is_object(), "{name}");
        }
    }

    #[test]
    fn names_are_used_once() {
        let mut ids = BTreeSet::new();
        for (path, item) in core()["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id), "{method} {path}: {id} is there twice");
            }
        }
        let mut document = Document::new();
        crate::http::describe(&mut document);
        let requests = document.schemas.requests.take_definitions(true);
        for (name, schema) in document.schemas.answers.take_definitions(true) {
            assert!(requests.get(&name).is_none_or(|other| *other == schema), "{name} has two meanings");
        }
    }
}
