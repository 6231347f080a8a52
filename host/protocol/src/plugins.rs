//! Plugins, as operators see them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Time;

/// An installed plugin.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// The version that serves; the newest installed one while none does.
    pub version: String,
    /// SHA-256 of that version's component, hexadecimal.
    pub digest: String,
    /// What it is for.
    pub description: String,
    /// `active`, `disabled`, `pending_grants` or `failed`.
    #[schemars(extend("enum" = ["active", "disabled", "pending_grants", "failed"]))]
    pub state: &'static str,
    /// Why it is not active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub reason: Option<String>,
    /// Whether the operator wants it to serve.
    pub enabled: bool,
    /// Came with the host.
    pub bundled: bool,
    /// What its manifest asks for.
    pub capabilities_wanted: Vec<String>,
    /// What it has.
    pub capabilities_granted: Vec<String>,
    /// The path templates beyond its own prefix that its manifest asks for.
    pub routes_wanted: Vec<String>,
    /// Those it has.
    pub routes_granted: Vec<String>,
    /// The limits that its calls run under, by name.
    pub limits: BTreeMap<&'static str, u64>,
    /// Every version that is kept, newest first.
    pub versions: Vec<PluginVersion>,
    /// When it was first installed.
    pub created_at: Time,
    /// When anything about it last changed.
    pub updated_at: Time,
}

/// A kept version.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PluginVersion {
    /// What its manifest calls it.
    pub version: String,
    /// SHA-256 of the component, hexadecimal.
    pub digest: String,
    /// When it was installed.
    pub installed_at: Time,
    /// By whom; none for the host itself.
    pub installed_by_id: Option<i64>,
    /// The id of the trusted minisign key that signed it; none if it came without a signature that could be checked.
    pub signed_by: Option<String>,
}

/// `PATCH /api/admin/plugins/{name}`. Absent fields stay as they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePlugin {
    /// Whether it is to serve.
    pub enabled: Option<bool>,
    /// The capabilities that it may import, in place of those it has.
    pub grants: Option<Vec<String>>,
    /// The path templates beyond its own prefix that it may serve, in place of those it has.
    pub routes: Option<Vec<String>>,
    /// Limits by name, within their bounds; null takes the default again. Those that are left out stay as they are.
    pub limits: Option<BTreeMap<String, Option<u64>>>,
}
