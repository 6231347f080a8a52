//! Accounts, logins, tokens.

use patchbay_core::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Time, User};

/// `POST /api/auth/register`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// 2 to 32 of letters, digits, `_ . -`.
    #[schemars(length(min = 2, max = 32), regex(pattern = text::USERNAME_PATTERN), example = &"ann")]
    pub username: String,
    /// An e-mail address.
    #[schemars(length(max = text::MAX_EMAIL_BYTES), regex(pattern = text::EMAIL_PATTERN), example = &"ann@example.org")]
    pub email: String,
    /// 8 to 256 characters.
    #[schemars(length(min = 8, max = 256), extend("format" = "password"))]
    pub password: String,
    /// The name to show.
    #[schemars(length(max = text::MAX_FULL_NAME_CHARS), regex(pattern = text::TEXT_PATTERN))]
    pub full_name: Option<String>,
    /// Makes the first account of a deployment superuser from anywhere.
    pub bootstrap_token: Option<String>,
    /// An invitation, where not everyone may register.
    pub invite_token: Option<String>,
}

/// `POST /api/auth/login`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The username or the e-mail address.
    pub username: String,
    /// The password.
    #[schemars(extend("format" = "password"))]
    pub password: String,
}

/// `POST /api/auth/refresh`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The refresh token.
    pub refresh_token: String,
}

/// What logging in and refreshing answer.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Tokens {
    /// A JWT.
    pub access_token: String,
    /// Opaque.
    pub refresh_token: String,
    /// Always `bearer`.
    #[schemars(extend("const" = "bearer"))]
    pub token_type: &'static str,
    /// For how many seconds the access token is good.
    pub expires_in: u64,
    /// Who logged in.
    pub user: User,
}

/// One of the caller's sessions.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Session {
    /// Its id.
    pub id: i64,
    /// Whether it is the one that asks.
    pub current: bool,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// From where it logged in.
    pub ip: Option<String>,
    /// When.
    pub created_at: Time,
    /// When it was last refreshed.
    pub last_used_at: Time,
    /// When it ends if it isn't refreshed.
    pub expires_at: Time,
}
