//! Plugins, as operators see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// What is set, by key; secrets are never shown.
    pub config: Map<String, Value>,
    /// What its manifest lets an operator set.
    pub config_keys: Vec<PluginConfigKey>,
    /// Every version that is kept, newest first.
    pub versions: Vec<PluginVersion>,
    /// When it was first installed.
    pub created_at: Time,
    /// When anything about it last changed.
    pub updated_at: Time,
}

/// Something that an operator can set for a plugin.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PluginConfigKey {
    /// Its name in `config`.
    pub key: String,
    /// `string`, `integer`, `boolean`, `strings` or `secret`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["string", "integer", "boolean", "strings", "secret"]))]
    pub kind: &'static str,
    /// What it is for.
    pub description: String,
    /// Whether the plugin does not serve without a value.
    pub required: bool,
    /// The value while nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub default: Option<Value>,
    /// Whether a value is set: of a secret this is all that is told.
    pub is_set: bool,
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
    /// What to set, by key of the manifest; `null` unsets. Other keys stay. Secrets are kept sealed.
    pub config: Option<Map<String, Value>>,
}
