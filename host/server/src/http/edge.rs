//! What every request passes through, from the outside in: its id, span, log line and the bodies of its failures;
//! CORS; compression; the time it may take; what a refused client still sends; the rate of its address; an
//! optional trailing slash; a constant answer to a panic.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};

use super::{Failure, Operator, body, client, compression, drain, headers, openapi::Document};
use crate::{app::App, auth, ops::ClientAddress, traces};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A plugin's problem document longer than this is a failure of the plugin.
const MAX_PROBLEM: usize = 64 * 1024;

/// The path template that a request matched, once that is known; for the log, the metrics and the traces.
#[derive(Clone, Debug, Default)]
pub(super) struct Route(Arc<OnceLock<String>>);

impl Route {
    pub(super) fn set(&self, template: &str) {
        // A request matches once.
        let _ = self.0.set(template.to_owned());
    }

    fn get(&self) -> &str {
        self.0.get().map_or("unmatched", String::as_str)
    }
}

/// Puts the layers around the routes.
pub(super) fn layers(router: Router, app: &App) -> Router {
    // A request passes the last layer first. The trailing slash has to go before routes are matched, so the
    // routes become the fallback of a router that has none of its own.
    Router::new()
        .fallback_service(router)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            Failure::from(crate::ops::Error::Internal("a request handler panicked".into())).into_response()
        }))
        .layer(middleware::map_request(without_trailing_slash))
        .layer(middleware::from_fn_with_state(app.clone(), admit))
        .layer(middleware::from_fn(drain::refused))
        .layer(middleware::from_fn_with_state(app.clone(), body::within_time))
        .layer(compression::layer())
        .layer(cors(app))
        .layer(middleware::from_fn_with_state(app.clone(), exchange))
}

fn cors(app: &App) -> CorsLayer {
    let origins = app.config.cors.clone();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| {
            origin.to_str().is_ok_and(|origin| origins.allows(origin))
        }))
        .allow_credentials(true)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::RANGE,
            header::IF_RANGE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-requested-with"),
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers([
            REQUEST_ID,
            header::RETRY_AFTER,
            header::ETAG,
            header::CONTENT_DISPOSITION,
            header::CONTENT_RANGE,
        ])
        .max_age(std::time::Duration::from_secs(600))
}

/// `/healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// `/readyz`: the database answers too, and nothing is being shut down.
pub(super) async fn readyz(State(app): State<App>) -> Result<&'static str, Failure> {
    app.ready().await?;
    Ok("ok")
}

/// `/metrics`
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], app.metrics.render(&app).await)
}

/// Tells the outside which of the host's routes it is.
pub(super) async fn note_route(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(route), Some(matched)) = (extensions.get::<Route>(), extensions.get::<MatchedPath>()) {
        route.set(matched.as_str());
    }
    next.run(request).await
}

/// Counts a request by its address. Whether the process answers must not depend on who else asks; a preflight, which
/// CORS has answered before, costs as little as its refusal; and the operator at the machine has no address.
async fn admit(State(app): State<App>, request: Request, next: Next) -> Response {
    let refused = match request.extensions().get::<ClientAddress>() {
        _ if request.uri().path() == "/healthz" => Ok(()),
        // By the control socket, which only the machine's operator reaches.
        _ if request.extensions().get::<Operator>().is_some() => Ok(()),
        Some(from) => app.ops.admit(from),
        None => Err(crate::ops::Error::Internal("a request without an address".into())),
    };
    match refused {
        Ok(()) => next.run(request).await,
        Err(error) => Failure::from(error).into_response(),
    }
}

async fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let path_and_query = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = request.uri().clone().into_parts();
        if let Ok(path_and_query) = PathAndQuery::try_from(path_and_query) {
            parts.path_and_query = Some(path_and_query);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

/// Gives the request an id, which every answer carries, writes the body of failures, and takes note of how it went.
async fn exchange(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = client::request_id(request.extensions(), request.headers(), &app).unwrap_or_else(new_id);
    let address = client::address(request.extensions(), request.headers(), &app);
    let route = Route::default();
    let method = request.method().clone();
    let span = traces::request_span(&id, &method, request.headers());
    request.extensions_mut().insert(address);
    request.extensions_mut().insert(route.clone());
    let under_way = app.metrics.begin();
    let response = tracing::Instrument::instrument(next.run(request), span.clone()).await;
    let mut response = finish(response, &id).await;
    headers::secure(response.headers_mut(), &app.config);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let (status, elapsed) = (response.status(), begun.elapsed());
    drop(under_way);
    app.metrics.request(&method, route.get(), status, elapsed);
    traces::request_ended(&span, &method, route.get(), status);
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| {
        tracing::debug!(target: "patchbay::request", route = route.get(), status = status.as_u16(), ms, "answered");
    });
    response
}

fn new_id() -> String {
    auth::random_text(12).unwrap_or_else(|_| "unknown".into())
}

async fn finish(mut response: Response, id: &str) -> Response {
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        let document = serde_json::to_vec(&failure.document(id)).unwrap_or_default();
        return with_problem_body(response, document);
    }
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    if !is_problem {
        return response;
    }
    // A plugin's own problem document: it can't know the id.
    let (parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_PROBLEM).await else {
        let failure = Failure::new(StatusCode::BAD_GATEWAY, "plugin_invalid_response", "The plugin failed.");
        let document = serde_json::to_vec(&failure.document(id)).unwrap_or_default();
        return with_problem_body(StatusCode::BAD_GATEWAY.into_response(), document);
    };
    let document = match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes) {
        Ok(mut document) => {
            document.insert("request_id".into(), id.into());
            serde_json::to_vec(&document).unwrap_or_default()
        }
        Err(_) => bytes.to_vec(),
    };
    with_problem_body(Response::from_parts(parts, Body::empty()), document)
}

fn with_problem_body(mut response: Response, document: Vec<u8>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(document.len()));
    *response.body_mut() = Body::from(document);
    response
}

/// The bytes of an answer to what never became a request, after which the connection ends.
pub(super) fn bare_answer(failure: Failure) -> Vec<u8> {
    let id = new_id();
    let document = serde_json::to_vec(&failure.document(&id)).unwrap_or_default();
    let response = failure.into_response();
    let status = response.status();
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nx-request-id: {id}\r\n\
         x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        document.len(),
    )
    .into_bytes();
    for (name, value) in response.headers() {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&document);
    answer
}

/// These endpoints in the document.
pub(super) fn describe(doc: &mut Document) {
    doc.tag("Health", "For whoever watches over the server.");
    let content = || serde_json::json!({ "text/plain": { "schema": { "const": "ok" } } });
    doc.plain("/healthz", "healthz").says("Whether the process answers", "").answers_with(
        200,
        "It does.",
        content(),
        serde_json::json!({}),
    );
    doc.plain("/readyz", "readyz")
        .says(
            "Whether requests should come here",
            "The database answers too, and the server is not stopping.",
        )
        .answers_with(200, "They should.", content(), serde_json::json!({}))
        .refuses(500, &["internal_error"])
        .refuses(503, &["unavailable"]);
    let text = serde_json::json!({ "text/plain": { "schema": { "type": "string" } } });
    doc.plain("/metrics", "metrics")
        .says(
            "What the server is busy with",
            "For Prometheus. Not here if the operator gave it an address of its own.",
        )
        .answers_with(200, "Metrics in the text format.", text, serde_json::json!({}))
        .refuses(404, &["not_found"]);
}
