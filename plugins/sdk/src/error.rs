//! Making and reading the contract's errors.

use crate::bindings::imports::patchbay::plugin::types::{Error, Reason};

fn reason(code: &str, detail: impl Into<String>) -> Reason {
    Reason { code: code.to_owned(), detail: detail.into() }
}

impl Error {
    /// It does not exist, or the caller may not know that it does.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::NotFound(reason("not_found", detail))
    }

    /// The caller may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::Forbidden(reason("forbidden", detail))
    }

    /// What was asked for is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid(reason("validation_failed", detail))
    }

    /// It contradicts what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict(reason("conflict", detail))
    }

    /// It can't be done now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable(reason("unavailable", detail))
    }

    /// The plugin failed. Clients are not told why.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::Internal(reason("internal", detail))
    }

    /// The same with a code that says more: 1 to 64 of `a-z 0-9 _`. It is what clients branch on.
    ///
    /// ```
    /// use patchbay_sdk::Error;
    ///
    /// let error = Error::not_found("there is no such poll").with_code("poll_not_found");
    /// assert_eq!(error.reason().code, "poll_not_found");
    /// ```
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        self.reason_mut().code = code.to_owned();
        self
    }

    fn reason_mut(&mut self) -> &mut Reason {
        match self {
            Self::NotFound(reason)
            | Self::Forbidden(reason)
            | Self::Invalid(reason)
            | Self::Conflict(reason)
            | Self::LimitExceeded(reason)
            | Self::Unavailable(reason)
            | Self::Internal(reason)
            | Self::Other(reason) => reason,
        }
    }

    /// The code and the sentence, whatever the case.
    pub fn reason(&self) -> &Reason {
        match self {
            Self::NotFound(reason)
            | Self::Forbidden(reason)
            | Self::Invalid(reason)
            | Self::Conflict(reason)
            | Self::LimitExceeded(reason)
            | Self::Unavailable(reason)
            | Self::Internal(reason)
            | Self::Other(reason) => reason,
        }
    }
}
