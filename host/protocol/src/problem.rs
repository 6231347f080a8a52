//! Errors: `application/problem+json` (RFC 9457).

use schemars::JsonSchema;
use serde::Serialize;

/// The body of every error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` is what programs look at.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "about:blank"))]
    pub kind: &'static str,
    /// The status's phrase.
    pub title: String,
    /// The HTTP status.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// Stable snake_case.
    #[schemars(regex(pattern = "^[a-z0-9_]+$"))]
    pub code: String,
    /// A sentence for people.
    pub detail: String,
    /// The same as the `X-Request-Id` header.
    pub request_id: String,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// Its path, e.g. `member_ids[2]` or `password.new`; a query parameter's name.
    pub field: String,
    /// Stable snake_case.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Where in the field's text it is, if it is a text with a grammar: Unicode characters before the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    pub offset: Option<usize>,
    /// How many characters the place has; there whenever `offset` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize")]
    pub length: Option<usize>,
}

impl FieldError {
    /// Of a whole field.
    pub fn new(field: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, code, message) = (field.into(), code.into(), message.into());
        Self { field, code, message, offset: None, length: None }
    }
}
