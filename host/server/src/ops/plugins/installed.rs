//! An installed plugin, as an operator sees it.
//!
//! Owns: what is gathered for that. Must not: change anything.

use patchbay_runtime::{ConfigKey, ConfigType, Counted, Grants, Manifest};
use patchbay_store::{CursorRow, PluginRow, PluginVersionRow};
use serde_json::{Map, Value};

use super::{Deployment, Result, current, grants_of, missing, routes_beyond_prefix};

/// Whether a plugin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Active,
    /// The operator does not want it to.
    Disabled,
    /// It waits until everything it needs is granted.
    PendingGrants(String),
    /// It can't.
    Failed(String),
    /// It failed too often.
    Quarantined(String),
}

/// An installed plugin, as an operator sees it.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its row.
    pub row: PluginRow,
    /// The manifest of the version that serves, or of the newest one.
    pub manifest: Manifest,
    /// That version's digest.
    pub digest: String,
    /// What it has.
    pub grants: Grants,
    /// The path templates beyond its own prefix that it wants.
    pub routes_wanted: Vec<String>,
    /// What is set for it, without secrets.
    pub config: Map<String, Value>,
    /// What can be set, and whether it is.
    pub config_keys: Vec<(ConfigKey, bool)>,
    /// All versions, newest first.
    pub versions: Vec<PluginVersionRow>,
    /// Whether it serves.
    pub state: State,
    /// What was counted of it since the server started; none if it did not serve since.
    pub counted: Option<Counted>,
    /// Calls that wait for their turn.
    pub waiting_calls: u32,
    /// How far it has followed the journal and history; none if it follows neither.
    pub cursor: Option<CursorRow>,
    /// The newest entry of the journal.
    pub head: i64,
    /// How many dead letters it has.
    pub dead_letters: i64,
    /// Tokens of models that it has used today.
    pub llm_tokens_today: i64,
}

impl Deployment {
    /// A plugin with everything about it.
    pub(super) async fn describe(&self, row: PluginRow) -> Result<Installed> {
        let versions = self.versions(&row.name).await?;
        let (manifest, digest) = current(&row, &versions)?;
        let grants = grants_of(&row)?;
        let failure = self.failures().get(&row.name).cloned();
        let missing = missing(&manifest, &grants);
        let settings = self.settings(&row).await?;
        let unmet = settings.unmet(&manifest);
        let state = match failure {
            _ if !row.enabled => State::Disabled,
            Some(reason) => State::Failed(reason),
            None if row.quarantine.is_some() => {
                State::Quarantined(row.quarantine.clone().unwrap_or_default())
            }
            None if row.active_digest.is_none() && !missing.is_empty() => {
                State::PendingGrants(format!("not granted: {}", missing.join(", ")))
            }
            None if unmet.is_some() => {
                State::Failed(format!("config_required: {}", unmet.unwrap_or_default()))
            }
            None if row.active_digest.is_none() => {
                State::Failed("it was never started; enable it".to_owned())
            }
            None => State::Active,
        };
        let routes_wanted = routes_beyond_prefix(&manifest);
        let serving = self.0.runtime.get(&row.name);
        let counted = serving.as_ref().map(|plugin| plugin.stats().read());
        let waiting_calls = serving.map_or(0, |plugin| plugin.waiting_calls());
        let mut conn = self.0.ops.store().read().await?;
        let (cursor, head) = (conn.cursor(&row.name).await?, conn.journal_head().await?.0);
        let counts = conn.dead_letter_counts().await?;
        let dead_letters = counts.into_iter().find(|(plugin, _)| *plugin == row.name).map_or(0, |(_, n)| n);
        let llm_tokens_today = self.0.ops.llm_usages().await?.get(&row.name).copied().unwrap_or(0);
        // What a version before kept in the open and this one calls a secret is shown to nobody.
        let is_open = |name: &String| {
            manifest.config.iter().all(|key| key.key != *name || key.kind != ConfigType::Secret)
        };
        let config = settings.values.clone().into_iter().filter(|(name, _)| is_open(name)).collect();
        let config_keys: Vec<_> =
            manifest.config.iter().map(|key| (key.clone(), settings.has(key))).collect();
        Ok(Installed {
            row,
            manifest,
            digest,
            grants,
            routes_wanted,
            config,
            config_keys,
            versions,
            state,
            counted,
            waiting_calls,
            cursor,
            head,
            dead_letters,
            llm_tokens_today,
        })
    }
}
