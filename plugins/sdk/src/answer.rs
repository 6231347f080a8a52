//! Answers: JSON, nothing, and problem documents (RFC 9457) in the shape that the whole API uses.
//!
//! Owns: the wire form of a plugin's answers. Must not: decide what went wrong; that is the plugin's.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Error, Response};

/// A whole answer, sent at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    status: u16,
    content_type: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A JSON body.
    pub fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            content_type: Some("application/json"),
            headers: Vec::new(),
            body: value.to_string().into_bytes(),
        }
    }

    /// Any value as a JSON body.
    ///
    /// # Errors
    /// 500 if it can't be JSON: a map whose keys are no texts.
    pub fn of(status: u16, value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value);
        let body = body.map_err(|_| Problem::new(500, "internal_error", "The server failed."))?;
        Ok(Self { status, content_type: Some("application/json"), headers: Vec::new(), body })
    }

    /// A plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let content_type = Some("text/plain; charset=utf-8");
        Self { status, content_type, headers: Vec::new(), body: text.into().into_bytes() }
    }

    /// 204, no body.
    pub fn no_content() -> Self {
        Self { status: 204, content_type: None, headers: Vec::new(), body: Vec::new() }
    }

    /// The same with one more header; its name is in lower case.
    ///
    /// ```
    /// use patchbay_sdk::answer::{Answer, Problem};
    ///
    /// let refused = Problem::new(429, "rate_limited", "Wait a minute.");
    /// let answer = Answer::from(refused).with_header("retry-after", "60");
    /// assert_eq!(answer.status(), 429);
    /// ```
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The status, 200 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Sends it.
    ///
    /// # Errors
    /// If `response` was started before, or the answer is larger than the host allows.
    pub fn send(&self, response: &Response) -> Result<(), Error> {
        let content_type = self.content_type.map(|value| ("content-type".to_owned(), value.to_owned()));
        let others = self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let headers: Vec<_> = content_type.into_iter().chain(others).collect();
        response.start(self.status, &headers)?;
        if self.body.is_empty() { Ok(()) } else { response.write(&self.body) }
    }
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, a query parameter or the name of a member of the body.
    pub field: String,
    /// Stable snake_case.
    pub code: &'static str,
    /// A sentence for people, without the field's name.
    pub message: String,
    /// Where in the field's text it is, if that has a grammar.
    pub place: Option<Place>,
}

/// A place in a text, in Unicode characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How many come before it.
    pub offset: usize,
    /// How many it has.
    pub length: usize,
}

/// A request that can't be answered as asked. The host adds the request's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// Stable snake_case; clients branch on it.
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub detail: String,
    /// For 422: what is wrong with which field.
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A problem without field errors.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), errors: Vec::new() }
    }

    /// 422 for one field.
    pub fn field(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let detail = format!("{field} {message}");
        Self {
            status: 422,
            code: "validation_failed".into(),
            detail,
            errors: vec![FieldError { field, code, message, place: None }],
        }
    }
}

/// What an error of the host is to the client: the same code and sentence, with the fitting status.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, reason) = match error {
            Error::NotFound(reason) => (404, reason),
            Error::Forbidden(reason) => (403, reason),
            Error::Invalid(reason) => (422, reason),
            Error::Conflict(reason) => (409, reason),
            Error::LimitExceeded(reason) | Error::Unavailable(reason) => (503, reason),
            Error::Internal(_) | Error::Other(_) => {
                return Self::new(500, "internal_error", "The server failed.");
            }
        };
        Self::new(status, reason.code, reason.detail)
    }
}

/// The reason phrase of a status that plugins use.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ if status < 500 => "Request Failed",
        _ => "Internal Server Error",
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let mut document = Map::new();
        document.insert("type".to_owned(), "about:blank".into());
        document.insert("title".to_owned(), title(problem.status).into());
        document.insert("status".to_owned(), problem.status.into());
        document.insert("code".to_owned(), problem.code.into_owned().into());
        document.insert("detail".to_owned(), problem.detail.into());
        if !problem.errors.is_empty() {
            let errors = problem.errors.into_iter().map(|error| {
                let mut shown =
                    serde_json::json!({ "field": error.field, "code": error.code, "message": error.message });
                if let (Some(place), Value::Object(shown)) = (error.place, &mut shown) {
                    shown.insert("offset".to_owned(), place.offset.into());
                    shown.insert("length".to_owned(), place.length.into());
                }
                shown
            });
            document.insert("errors".to_owned(), errors.collect());
        }
        Self {
            status: problem.status,
            content_type: Some("application/problem+json"),
            headers: Vec::new(),
            body: Value::Object(document).to_string().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_field() {
        let answer = Answer::from(Problem::field("emoji", "format", "must be an emoji"));
        let document: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "about:blank",
                "title": "Unprocessable Entity",
                "status": 422,
                "code": "validation_failed",
                "detail": "emoji must be an emoji",
                "errors": [{ "field": "emoji", "code": "format", "message": "must be an emoji" }],
            })
        );
    }

    #[test]
    fn an_internal_error_tells_nothing() {
        let problem = Problem::from(Error::internal("disk 3 is full"));
        assert_eq!((problem.status, problem.detail.as_str()), (500, "The server failed."));
    }
}
