//! From errors to `application/problem+json`. The one table of codes and statuses.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use patchbay_protocol::{FieldError, Problem};

use crate::ops::Error;

/// An error on its way out. `edge` writes the body, which needs the request's id.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) errors: Vec<FieldError>,
    retry_after: Option<u64>,
}

impl Failure {
    /// A failure without field errors.
    pub fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// 422 `validation_failed` for one field.
    pub fn field(field: &str, code: &str, message: impl Into<String>) -> Self {
        Error::invalid(field, code, message).into()
    }

    /// The document, for the request of that id.
    pub(super) fn document(&self, request_id: &str) -> Problem {
        Problem {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.clone(),
            detail: self.detail.clone(),
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
        }
    }

    /// Code and sentence, for an error frame.
    pub fn code_and_detail(&self) -> (String, String) {
        let fields: Vec<_> = self.errors.iter().map(|e| format!("{} {}", e.field, e.message)).collect();
        let detail = if fields.is_empty() { self.detail.clone() } else { fields.join("; ") };
        (self.code.clone(), detail)
    }

    pub(super) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 429 `rate_limited`.
    fn too_many(wait: std::time::Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        let detail = format!("too many requests; the next one is welcome in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
            .with_retry_after(u64::try_from(seconds).unwrap_or(u64::MAX))
    }

    fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the server failed; it has logged why")
    }
}

/// The answer to a path that leads nowhere.
pub(super) async fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

/// The answer to a method that a path doesn't have.
pub(super) async fn method_not_allowed() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not have this method")
}

impl Failure {
    /// A plugin refused what a field says, for a reason of its own.
    pub(super) fn refused(code: &'static str, field: &str, reason: &str, detail: &str) -> Self {
        let error = FieldError::new(field, reason, detail);
        Self { errors: vec![error], ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(thing) => Self::new(
                StatusCode::NOT_FOUND,
                format!("{}_not_found", thing.as_str()),
                format!("there is no such {}", thing.as_str()),
            ),
            Error::Forbidden(why) => Self::new(StatusCode::FORBIDDEN, "forbidden", why),
            Error::Denied(code, why) => Self::new(StatusCode::FORBIDDEN, code, why),
            Error::Unauthenticated(code, why) => Self::new(StatusCode::UNAUTHORIZED, code, why),
            Error::Invalid(faults) => Self {
                errors: faults.into_iter().map(|f| FieldError::new(f.field, f.code, f.message)).collect(),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", "the request is not valid")
            },
            Error::Conflict(code, why) => Self::new(StatusCode::CONFLICT, code, why),
            Error::RefusedByPlugin { code, detail } => {
                Self::refused("message_refused", "content", &code, &detail)
            }
            Error::Refused(code, why) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, why),
            Error::TooLarge(why) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why),
            Error::TooMany(wait) => Self::too_many(wait),
            Error::QuotaExceeded(why) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "quota_exceeded", why),
            Error::Unavailable(why) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why).with_retry_after(1)
            }
            Error::Store(error) => {
                tracing::error!(%error, "a request failed");
                Self::internal()
            }
            Error::Internal(error) => {
                tracing::error!(%error, "a request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        // Every 503 says when to try again.
        let at_least = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        if let Some(seconds) = self.retry_after.or(at_least) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
