//! `auth.*`

use std::time::Duration;

use super::{declare, value::Value};

declare! {
    /// Accounts and logins.
    "auth" => Auth {
        /// Who may make an account: everyone (open), or nobody once the first exists (closed).
        registration: Registration = "open",
        /// For how long an access token is good.
        access_ttl: Duration = "15m",
        /// After how long without a refresh a login ends.
        session_ttl: Duration = "30d",
    }
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Everyone.
    Open,
    /// Nobody, except for the first account.
    Closed,
}

impl Value for Registration {
    const ALLOWED: &'static str = "open or closed";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            _ => Err(format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self::Closed
    }
}
