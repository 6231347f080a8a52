//! The door to plugins: whatever path is not the host's own may be a plugin's.

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use patchbay_core::Actor;
use patchbay_runtime::{Auth, CallError, HttpRequest, PluginBody, Routed};

use super::{
    Failure, Operator,
    edge::Route,
    extract::{bearer, body},
    problem,
};
use crate::{app::App, ops::Error};

/// Not for plugins: they are told who calls, not how the caller proves it.
const WITHHELD: [header::HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

pub(super) async fn dispatch(State(app): State<App>, request: Request) -> Result<Response, Failure> {
    // As for the host's own routes: HEAD is GET, and the server leaves the body out.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() }.clone();
    let call = match app.plugins.route(&method, request.uri().path()) {
        Routed::Call(call) => call,
        Routed::MethodNotAllowed(methods) => return Ok(method_not_allowed(&methods)),
        Routed::NotFound => {
            return Err(problem::not_found().await);
        }
    };
    if let Some(route) = request.extensions().get::<Route>() {
        route.set(&call.route);
    }
    let caller = if request.extensions().get::<Operator>().is_some() {
        // Who can reach the data directory can do whatever the deployment can.
        Some(Actor::SYSTEM)
    } else {
        caller(&app, call.auth, &method, request.headers()).await?
    };
    let request = HttpRequest {
        method,
        path: request.uri().path().to_owned(),
        query: form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect(),
        headers: headers(request.headers()),
        body: body(request, &app).await?,
    };
    match app.plugins.runtime().call_http(call, request, caller).await {
        Ok(answer) => Ok(response(answer)),
        Err(error) => Err(failure(&error)),
    }
}

async fn caller(
    app: &App,
    auth: Auth,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Actor>, Failure> {
    match (auth, bearer(headers)) {
        (Auth::None, _) | (Auth::Optional, None) => Ok(None),
        (Auth::Required, None) => Err(Error::unauthenticated().into()),
        (_, Some(token)) => {
            let caller = app.ops.authenticate(token).await?;
            if !method.is_safe() {
                caller.demand_write()?;
            }
            Ok(Some(caller.actor))
        }
    }
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !WITHHELD.contains(name))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect()
}

fn response(answer: http::Response<PluginBody>) -> Response {
    let (parts, content) = answer.into_parts();
    let content = match content {
        PluginBody::Whole(bytes) => Body::from(bytes),
        PluginBody::Stream(chunks) => Body::from_stream(stream::unfold(chunks, |mut chunks| async {
            let chunk = chunks.recv().await?;
            Some((chunk, chunks))
        })),
    };
    let mut response = Response::from_parts(parts, content);
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        // Every 503 says when to try again, those of plugins too.
        response.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    response
}

/// What a plugin's failure is to its client. The runtime has logged it.
pub(super) fn failure(error: &CallError) -> Failure {
    let failure = Failure::new(error.status(), error.code(), error.public_detail());
    match error.retry_after() {
        Some(wait) => failure.with_retry_after(wait.as_secs().max(1)),
        None => failure,
    }
}

fn method_not_allowed(methods: &[Method]) -> Response {
    let mut response = Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not have this method",
    )
    .into_response();
    let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}
