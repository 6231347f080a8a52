//! Plugins, as operators see them.

use std::collections::BTreeMap;

use patchbay_core::text;
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
    /// `active`, `disabled`, `pending_grants`, `quarantined` (it failed too often) or `failed` (it can't be loaded).
    #[schemars(extend("enum" = ["active", "disabled", "pending_grants", "quarantined", "failed"]))]
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
    /// Its hooks; none if it has none.
    pub hooks: Option<PluginHooks>,
    /// The slash commands that it answers.
    pub commands: Vec<String>,
    /// What it wants to hear of: kinds of events, `kind.*` or `*`.
    pub events: Vec<String>,
    /// How far it has followed the journal; none if it follows no events.
    pub cursor: Option<PluginCursor>,
    /// History that is being told to it, or was; none if it never was.
    pub backfill: Option<PluginBackfill>,
    /// Events and jobs that it could not handle.
    pub dead_letters: i64,
    /// What was counted since the server started, of each export that was called.
    pub calls: Vec<PluginCalls>,
    /// Calls that wait for their turn at this moment.
    pub waiting_calls: u32,
    /// Calls that ended by a trap or a limit.
    pub traps: u64,
    /// Time spent in it, in milliseconds.
    pub cpu_ms: u64,
    /// Most memory that a call of it had, in bytes.
    pub peak_memory_bytes: u64,
    /// Tokens of language models that it has used today (UTC), in prompts, answers and embeddings; its limit is
    /// `llm_tokens_per_day`.
    pub llm_tokens_today: i64,
    /// The version that `rollback` goes back to.
    pub previous_digest: Option<String>,
    /// What is set, by key; secrets are never shown.
    pub config: Map<String, Value>,
    /// What its manifest lets an operator set.
    pub config_keys: Vec<PluginConfigKey>,
    /// The limits that its calls run under, by name.
    pub limits: BTreeMap<&'static str, u64>,
    /// Every version that is kept, newest first.
    pub versions: Vec<PluginVersion>,
    /// When it was first installed.
    pub created_at: Time,
    /// When anything about it last changed.
    pub updated_at: Time,
}

/// A plugin's hooks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PluginHooks {
    /// When they are called: `message.create`, `message.edit`.
    pub moments: Vec<&'static str>,
    /// Their place among those of others: lower ones first.
    pub order: i64,
    /// Whether a failure lets the message pass (`open`) or keeps it out (`closed`).
    #[schemars(extend("enum" = ["open", "closed"]))]
    pub on_failure: &'static str,
}

/// How far a plugin has followed the journal.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PluginCursor {
    /// Everything up to here is done with.
    pub seq: i64,
    /// How many entries of the journal come after it; not all of them concern the plugin.
    pub lag: i64,
    /// Failures of what comes next.
    pub attempts: i64,
    /// When it is tried again.
    pub retry_at: Option<Time>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// History that is told to a plugin.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PluginBackfill {
    /// How many messages there were when it began.
    pub total: i64,
    /// How many have been told of.
    pub done: i64,
    /// Whether it goes on.
    pub running: bool,
}

/// What was counted of one export.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PluginCalls {
    /// `http`, `decorator`, `events`, `hooks`, `commands`, `jobs` or `lifecycle`.
    pub export: &'static str,
    /// Calls that ran.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that found no place or were given up.
    pub unserved: u64,
    /// Half took no longer than this, in milliseconds, rounded up by at most 42 %.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer than this, likewise.
    pub p99_ms: f64,
}

/// A line of a plugin's log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PluginLogLine {
    /// To page by; rises by the time, and begins anew with each start of the server.
    pub id: i64,
    /// When.
    pub at: Time,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    #[schemars(extend("enum" = ["trace", "debug", "info", "warn", "error"]))]
    pub level: &'static str,
    /// What it says.
    pub message: String,
}

/// Something that a plugin could not handle.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeadLetter {
    /// Its id.
    pub id: i64,
    /// The event's kind, or `job`.
    pub kind: String,
    /// The event's place in the journal; null for a job, 0 in history.
    pub seq: Option<i64>,
    /// Where it happened.
    pub channel_id: Option<i64>,
    /// Who did it.
    pub actor_id: Option<i64>,
    /// The message that it is about.
    pub message_id: Option<i64>,
    /// Of a job, its `id`, `payload` and `due`. An event's data is for those who may see the event, so it is null here.
    pub payload: Option<Box<serde_json::value::RawValue>>,
    /// Why the last attempt failed.
    pub error: String,
    /// How many there were.
    pub attempts: i64,
    /// When it happened, or came due.
    pub at: Time,
    /// When it was given up.
    pub created_at: Time,
}

/// `POST /api/admin/plugins/{name}/redeliver`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeliver {
    /// Which dead letters; all of the plugin if absent.
    #[schemars(length(min = 1, max = 200))]
    pub ids: Option<Vec<i64>>,
}

/// What became of dead letters that were delivered again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Redelivered {
    /// Handled at last.
    pub redelivered: u32,
    /// Failed again; they are still there.
    pub failed: u32,
    /// Not tried: at most 100 are, for 20 seconds.
    pub left: u32,
}

/// A slash command.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Command {
    /// Its name, without the slash.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How to type what comes after it.
    pub usage: String,
    /// The plugin that answers it.
    pub plugin: String,
}

/// `POST /api/commands`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunCommand {
    /// Where; the caller must be able to write there.
    pub channel_id: i64,
    /// `/command` and what it needs.
    #[schemars(length(min = 2, max = text::MAX_CONTENT_CHARS))]
    pub text: String,
}

/// The answer to a command.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CommandAnswer {
    /// The command's name.
    pub command: String,
    /// The plugin that answered.
    pub plugin: String,
    /// A text for the caller alone; null if there is none.
    pub text: Option<String>,
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
    /// What to set, by key of the manifest; `null` unsets. Other keys stay. Secrets are kept sealed.
    pub config: Option<Map<String, Value>>,
    /// Its hooks.
    pub hooks: Option<UpdateHooks>,
}

/// What to change of a plugin's hooks. Absent fields stay as they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateHooks {
    /// Their place among those of others: lower ones first.
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub order: Option<i64>,
    /// Whether a failure lets the message pass or keeps it out.
    pub on_failure: Option<OnFailure>,
}

/// What a failure of a hook does.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The message passes.
    Open,
    /// The message is kept out.
    Closed,
}
