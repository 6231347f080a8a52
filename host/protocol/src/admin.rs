//! Administering a deployment.

use patchbay_core::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Time;

/// `PATCH /api/admin/users/{id}`. Absent fields stay as they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// Whether the account may be used. Deactivation ends its sessions.
    pub is_active: Option<bool>,
    /// Whether it administers the deployment.
    pub is_superuser: Option<bool>,
}

/// `POST /api/admin/invites`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvite {
    /// In how many seconds it expires, at most 366 days; 7 days if neither this nor `expires_at` is there.
    #[schemars(range(min = 1, max = 31_622_400))]
    pub expires_in: Option<i64>,
    /// When it expires, as in RFC 3339.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Time>,
    /// How many accounts may be made with it, 1 to 10,000; one if absent.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_uses: Option<i64>,
    /// The only address that it is good for.
    #[schemars(length(max = text::MAX_EMAIL_BYTES), regex(pattern = text::EMAIL_PATTERN))]
    pub email: Option<String>,
}

/// An invitation to make an account.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Invite {
    /// Its id.
    pub id: i64,
    /// What to give as `invite_token`; only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub token: Option<String>,
    /// The only address that it is good for.
    pub email: Option<String>,
    /// How many accounts may be made with it.
    pub max_uses: i64,
    /// How many have been.
    pub uses: i64,
    /// Who made it; null for the operator at the machine.
    pub created_by_id: Option<i64>,
    /// When.
    pub created_at: Time,
    /// Until when it is good.
    pub expires_at: Time,
}

/// An administrative act.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AuditEntry {
    /// Rises with time.
    pub id: i64,
    /// What was done, e.g. `user.deactivated`.
    pub action: String,
    /// Who did it; null for the operator at the machine.
    pub actor: Option<AuditActor>,
    /// What it was done to, `KIND:ID`.
    pub target: String,
    /// What else there is to know.
    #[schemars(with = "Map<String, Value>")]
    pub detail: Value,
    /// From which address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub ip: Option<String>,
    /// When.
    pub created_at: Time,
}

/// Who acted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AuditActor {
    /// The user's id.
    pub id: i64,
    /// What they were called at the time.
    pub username: String,
}

/// How far the search index is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SearchIndex {
    /// Of messages and of files.
    pub indexes: Vec<IndexProgress>,
    /// Files whose text is still to be read; they are found by their names.
    pub files_waiting: i64,
    /// Files whose text could not be read.
    pub files_failed: i64,
}

/// How far one index is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IndexProgress {
    /// `messages` or `files`.
    pub name: String,
    /// Whether everything is indexed.
    pub is_complete: bool,
    /// The last id that has been indexed anew.
    pub at: i64,
    /// The last id that is to be; what came later was indexed when it came.
    pub until: i64,
}

/// `POST /control/users`, on the control socket.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// 2 to 32 of letters, digits, `_ . -`.
    pub username: String,
    /// An e-mail address.
    pub email: String,
    /// 8 to 256 characters.
    pub password: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// Whether it administers the deployment.
    #[serde(default)]
    pub is_superuser: bool,
}

/// `PUT /control/users/{id}/password`, on the control socket.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// 8 to 256 characters.
    pub password: String,
}

/// `POST /control/keys/rekey`, on the control socket.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rekey {
    /// The new master key; one is made if it is absent.
    pub new_key: Option<String>,
}
