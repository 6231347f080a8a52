//! Parsing requests: bodies, ids, pages, who calls. Every failure is a problem document that says which field.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request, State, rejection::PathRejection},
    http::request::Parts,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use patchbay_core::Actor;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Failure, Operator, client,
    openapi::{Asks, Operation},
};
use crate::{
    app::App,
    ops::{Admin, Caller, ClientAddress, Device, MAX_PAGE, PageRequest},
};

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            return Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be application/json",
            ));
        }
        parse_json(&body(request, app).await?).map(Self)
    }
}

impl<T: JsonSchema> Asks for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.json_body::<T>();
    }
}

/// The whole body, within the route's limit.
pub async fn body(request: Request, app: &App) -> Result<Bytes, Failure> {
    Bytes::from_request(request, app).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large")
        } else {
            Failure::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body could not be read")
        }
    })
}

/// The body's media type, in lower case and without parameters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| {
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    })
}

/// Whether the body is a form.
pub fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/x-www-form-urlencoded")
}

/// Reads JSON; says where it stops being JSON, or which field is wrong.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    // Every body is an object; an array would otherwise be taken for one, field by field.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
        return Err(Failure::field("body", "invalid_type", "must be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() { wrong_field(&path, &error.to_string()) } else { malformed(&error) }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not JSON: {error}"))
}

/// serde tells unknown and missing fields apart from wrong ones only in its text.
fn wrong_field(path: &str, message: &str) -> Failure {
    let message = message.split(" at line ").next().unwrap_or(message);
    let named = message.split('`').nth(1).unwrap_or_default();
    let join = |name: &str| {
        if path == "." || path.is_empty() || path.split('.').next_back() == Some(name) {
            if path == "." { name.to_owned() } else { path.to_owned() }
        } else {
            format!("{path}.{name}")
        }
    };
    if message.starts_with("unknown field") {
        Failure::field(&join(named), "unknown_field", message)
    } else if message.starts_with("missing field") {
        Failure::field(&join(named), "missing", "is needed")
    } else {
        Failure::field(path, "invalid_type", message)
    }
}

/// One path parameter.
pub struct Id<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Id<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => Err(Failure::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "there is nothing at this path: ids are integers",
            )),
            Err(_) => Err(Failure::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")),
        }
    }
}

/// What stands in a path.
pub trait InPath {
    /// The schema of each parameter, in their order.
    fn schemas() -> Vec<Value>;
}

impl InPath for i64 {
    fn schemas() -> Vec<Value> {
        vec![json!({ "type": "integer", "format": "int64" })]
    }
}

impl InPath for (i64, i64) {
    fn schemas() -> Vec<Value> {
        [i64::schemas(), i64::schemas()].concat()
    }
}

impl InPath for String {
    fn schemas() -> Vec<Value> {
        vec![json!({ "type": "string", "minLength": 1 })]
    }
}

impl<T: InPath> Asks for Id<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.path_parameters(&T::schemas());
    }
}

/// The query string.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Failure> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                // The rejection's text names the parameter before a colon.
                let text = rejection.body_text();
                let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                let (field, message) = text.split_once(": ").unwrap_or(("query", text));
                Err(Failure::field(field, "invalid", message))
            }
        }
    }
}

impl<T: JsonSchema> Asks for Params<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query_parameters::<T>();
    }
}

/// `?limit=&before=&after=`.
#[derive(Debug, serde::Deserialize, JsonSchema)]
pub struct PageParams {
    /// How many.
    #[schemars(range(min = 1, max = MAX_PAGE), extend("default" = 50))]
    pub limit: Option<i64>,
    /// Only ids below this one.
    #[schemars(range(min = 0))]
    pub before: Option<i64>,
    /// Only ids above this one; not with `before`.
    #[schemars(range(min = 0))]
    pub after: Option<i64>,
}

impl PageParams {
    /// The page that is asked for.
    pub fn request(&self) -> Result<PageRequest, Failure> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Failure::field("limit", "out_of_range", format!("must be 1 to {MAX_PAGE}")));
        }
        if self.before.is_some() && self.after.is_some() {
            return Err(Failure::field("after", "conflict", "can't be combined with before"));
        }
        for (name, id) in [("before", self.before), ("after", self.after)] {
            if id.is_some_and(|id| id < 0) {
                return Err(Failure::field(name, "out_of_range", "must not be negative"));
            }
        }
        Ok(PageRequest { before: self.before, after: self.after, limit })
    }

    /// The part that is asked for of a list that is short enough to be shown whole, in its own order; whether there
    /// is more. Without a limit there never is.
    pub fn of<T>(&self, all: Vec<T>, id: impl Fn(&T) -> i64) -> Result<(Vec<T>, bool), Failure> {
        let page = self.request()?;
        let is_wanted = |item: &T| {
            page.before.is_none_or(|before| id(item) < before)
                && page.after.is_none_or(|after| id(item) > after)
        };
        let mut items: Vec<T> = all.into_iter().filter(is_wanted).collect();
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let has_more = items.len() > limit;
        items.truncate(limit);
        Ok((items, has_more))
    }
}

/// The bearer token of a request, if it has one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let token = bearer(&parts.headers).ok_or_else(crate::ops::Error::unauthenticated)?;
        let caller = app.ops.authenticate(token).await?;
        if !parts.method.is_safe() {
            caller.demand_write()?;
        }
        Ok(caller)
    }
}

impl Asks for Caller {
    fn describe(operation: &mut Operation<'_>) {
        operation.needs_login();
    }
}

/// The caller's authority, where nothing else of the caller matters.
pub struct As(pub Actor);

impl FromRequestParts<App> for As {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        Ok(Self(Admin::from_request_parts(parts, app).await?.actor))
    }
}

/// Whoever asks, as one who may want to administer; the operator at the machine needs no token.
impl FromRequestParts<App> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        if parts.extensions.get::<Operator>().is_some() {
            return Ok(Self::operator());
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        let From(address) = From::from_request_parts(parts, app).await?;
        Ok(Self { actor: caller.actor, ip: Some(address.ip.to_canonical().to_string()) })
    }
}

impl Asks for As {
    fn describe(operation: &mut Operation<'_>) {
        operation.needs_login();
    }
}

impl Asks for Admin {
    fn describe(operation: &mut Operation<'_>) {
        operation.needs_login();
    }
}

/// Where a request comes from.
pub struct From(pub ClientAddress);

impl FromRequestParts<App> for From {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let known = parts.extensions.get::<ClientAddress>().cloned();
        Ok(Self(known.unwrap_or_else(|| client::address(&parts.extensions, &parts.headers, app))))
    }
}

impl FromRequestParts<App> for Device {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let From(address) = From::from_request_parts(parts, app).await?;
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            user_agent: agent.map(|agent| agent.chars().take(200).collect()),
            ip: Some(address.ip.to_canonical().to_string()),
        })
    }
}

/// What a handler takes without the client's having to know.
macro_rules! silent {
    ($($part:ty),*) => {
        $(impl Asks for $part {
            fn describe(_: &mut Operation<'_>) {}
        })*
    };
}
silent!(State<App>, From, Device, HeaderMap, http::Method, Request);

impl<T, E> Asks for Result<T, E> {
    fn describe(_: &mut Operation<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(rename = "name")]
        _name: String,
        #[serde(rename = "inner")]
        _inner: Option<Inner>,
        #[serde(rename = "ids")]
        _ids: Option<Vec<i64>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "new")]
        _new: String,
    }

    fn fault(text: &str) -> (u16, String, String) {
        let failure = parse_json::<Body>(text.as_bytes()).unwrap_err();
        let field = failure.errors.first().map(|e| format!("{} {}", e.field, e.code)).unwrap_or_default();
        (failure.status.as_u16(), failure.code, field)
    }

    #[test]
    fn wrong_bodies_name_the_field() {
        let invalid = |field: &str| (422, "validation_failed".to_owned(), field.to_owned());
        assert_eq!(fault(r#"{"name":1}"#), invalid("name invalid_type"));
        assert_eq!(fault(r#"{}"#), invalid("name missing"));
        assert_eq!(fault(r#"{"name":"a","x":1}"#), invalid("x unknown_field"));
        assert_eq!(fault(r#"{"name":"a","inner":{}}"#), invalid("inner.new missing"));
        assert_eq!(fault(r#"{"name":"a","inner":{"new":"a","y":0}}"#), invalid("inner.y unknown_field"));
        assert_eq!(fault(r#"{"name":"a","ids":[1,"2"]}"#), invalid("ids[1] invalid_type"));
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in [r#"["a"]"#, "null", "1"] {
            assert_eq!(fault(text), (422, "validation_failed".into(), "body invalid_type".into()), "{text}");
        }
        for text in ["", "{", r#"{"name":"a"} x"#, "\u{1}", r#"{"name":}"#] {
            let (status, code, _) = fault(text);
            assert_eq!((status, code.as_str()), (400, "malformed_json"), "{text}");
        }
    }
}
