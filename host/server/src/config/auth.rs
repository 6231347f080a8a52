//! `auth.*`

use std::{path::PathBuf, time::Duration};

use super::{declare, value::Value};
use crate::auth::seal::MasterKey;

declare! {
    /// Accounts and logins.
    "auth" => Auth {
        /// Who may make an account: everyone (open), who has an invitation (invite), or nobody (closed). The first
        /// superuser may in each case.
        registration: Registration = "open",
        /// For how long an access token is good.
        access_ttl: Duration = "15m",
        /// After how long without a refresh a login ends.
        session_ttl: Duration = "30d",
        /// The key that seals the secrets in the database; without it and master_key_file the server makes one and
        /// keeps it in secret.key in the data directory.
        master_key: GivenKey = "",
        /// A file with that key, which the server only reads.
        master_key_file: Option<PathBuf> = "",
    }
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Everyone.
    Open,
    /// Who has an invitation.
    Invite,
    /// Nobody, except for the first superuser.
    Closed,
}

impl Value for Registration {
    const ALLOWED: &'static str = "open, invite or closed";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(Self::Open),
            "invite" => Ok(Self::Invite),
            "closed" => Ok(Self::Closed),
            _ => Err(format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self::Closed
    }
}

/// A master key, if the settings give one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenKey(pub Option<MasterKey>);

impl Value for GivenKey {
    const ALLOWED: &'static str = "32 random bytes in base64";
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        // The text is not repeated: it may be most of the secret.
        let key = MasterKey::parse(text).ok_or(format!("this is not allowed; expected {}", Self::ALLOWED))?;
        Ok(Self(Some(key)))
    }
    fn placeholder() -> Self {
        Self(None)
    }
}
