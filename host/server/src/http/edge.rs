//! What every request passes through: a request id, CORS, optional trailing slashes, the body of problem
//! documents, a constant answer to a panic, one line in the log.

use std::time::Instant;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};

use super::{Failure, drain, openapi::Document};
use crate::{app::App, auth};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A plugin's problem document longer than this is a failure of the plugin.
const MAX_PROBLEM: usize = 64 * 1024;

/// Puts the layers around the routes.
pub(super) fn layers(router: Router, app: &App) -> Router {
    let origins = app.config.cors.clone();
    let cors = CorsLayer::new()
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
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-requested-with"),
        ])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER, header::ETAG]);
    // A request passes the last layer first. The trailing slash has to go before routes are matched, so the
    // routes become the fallback of a router that has none of its own.
    Router::new()
        .fallback_service(router)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            Failure::from(crate::ops::Error::Internal("a request handler panicked".into())).into_response()
        }))
        .layer(middleware::from_fn(drain::refused))
        .layer(middleware::map_request(without_trailing_slash))
        .layer(cors)
        .layer(middleware::from_fn(request_id))
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

async fn without_trailing_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let path = path.trim_end_matches('/');
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

/// Gives the request an id, which every answer carries, and writes the body of failures.
async fn request_id(request: Request, next: Next) -> Response {
    let id = auth::random_text(12).unwrap_or_else(|_| "unknown".into());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = Instant::now();
    let span = tracing::info_span!("request", %id);
    let response = tracing::Instrument::instrument(next.run(request), span.clone()).await;
    let status = response.status();
    let mut response = finish(response, &id).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let ms = begun.elapsed().as_millis();
    span.in_scope(|| tracing::debug!(%method, path, status = status.as_u16(), ms, "answered"));
    response
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
}
