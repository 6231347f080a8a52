//! Users.

use patchbay_core::{Status, Timestamp, User as CoreUser, text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Time, absent_is_not_null, double_option};

/// A user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct User {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub username: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// Inactive users can't log in.
    pub is_active: bool,
    /// May administer the deployment.
    pub is_superuser: bool,
    /// A bot account.
    pub is_bot: bool,
    /// Where to get the profile picture.
    pub profile_picture_url: Option<String>,
    /// What the reader may see of the user's presence; absent in events, which would soon be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "StatusName")]
    pub status: Option<StatusName>,
    /// When a socket of the user was last open; absent in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Option<Time>>,
    /// When the account was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// For oneself and superusers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub email: Option<String>,
}

impl User {
    /// The user without presence and address: what everyone may know at any time.
    pub fn public(user: &CoreUser) -> Self {
        Self {
            id: user.id.0,
            username: user.username.clone(),
            full_name: user.full_name.clone(),
            is_active: user.is_active,
            is_superuser: user.is_superuser,
            is_bot: user.is_bot,
            profile_picture_url: user
                .profile_picture
                .as_ref()
                .map(|_| format!("/api/users/{}/profile-picture", user.id)),
            status: None,
            last_seen: None,
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
            email: None,
        }
    }

    /// The user as seen by the user.
    pub fn own(user: &CoreUser) -> Self {
        Self::seen(user, user.status, user.last_seen, true)
    }

    /// The user as somebody sees it who is to see this status, and perhaps the address.
    pub fn seen(user: &CoreUser, status: Status, last_seen: Option<Timestamp>, with_email: bool) -> Self {
        Self {
            status: Some(status.into()),
            last_seen: Some(last_seen.map(Time)),
            email: with_email.then(|| user.email.clone()),
            ..Self::public(user)
        }
    }
}

/// A presence status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatusName {
    /// Here.
    Online,
    /// Not at the keyboard.
    Away,
    /// Not to be disturbed.
    Busy,
    /// Not here, or invisible by choice.
    Offline,
}

impl From<Status> for StatusName {
    fn from(status: Status) -> Self {
        match status {
            Status::Online => Self::Online,
            Status::Away => Self::Away,
            Status::Busy => Self::Busy,
            Status::Offline => Self::Offline,
        }
    }
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Online => Self::Online,
            StatusName::Away => Self::Away,
            StatusName::Busy => Self::Busy,
            StatusName::Offline => Self::Offline,
        }
    }
}

/// `GET` and `PUT /api/users/me/status`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetStatus {
    /// What to show.
    pub status: StatusName,
}

/// `PATCH /api/users/me`. Absent fields stay as they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateMe {
    /// A new name.
    #[schemars(length(min = 2, max = 32), regex(pattern = text::USERNAME_PATTERN))]
    pub username: Option<String>,
    /// A new address.
    #[schemars(length(max = text::MAX_EMAIL_BYTES), regex(pattern = text::EMAIL_PATTERN))]
    pub email: Option<String>,
    /// A new name to show; null removes it.
    #[serde(default, deserialize_with = "double_option")]
    #[schemars(length(max = text::MAX_FULL_NAME_CHARS), regex(pattern = text::TEXT_PATTERN), transform = absent_is_not_null)]
    pub full_name: Option<Option<String>>,
    /// A new password.
    pub password: Option<ChangePassword>,
}

/// The present password and the one to replace it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The present one.
    pub current: String,
    /// 8 to 256 characters.
    #[schemars(length(min = 8, max = 256), extend("format" = "password"))]
    pub new: String,
}

impl std::fmt::Debug for ChangePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChangePassword")
    }
}
