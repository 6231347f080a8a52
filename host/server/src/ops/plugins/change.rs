//! What is written down of a plugin at once, and what the audit log says of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use patchbay_core::Timestamp;
use patchbay_runtime::{Grants, Inspection};
use patchbay_store::PluginRow;
use serde_json::{Map, Value, json};

use super::{
    Result,
    grants::{grants_of, set_grants},
    limits::LimitChanges,
};
use crate::ops::plugin_config::SealedSecrets;

/// What to change of a plugin; absent parts stay.
#[derive(Clone, Debug, Default)]
pub struct PluginChanges {
    /// Whether it is to serve.
    pub enabled: Option<bool>,
    /// Its capabilities, in place of those it has.
    pub grants: Option<Vec<String>>,
    /// Its routes beyond its own prefix, in place of those it has.
    pub routes: Option<Vec<String>>,
    /// Its hooks.
    pub hooks: Option<HookChanges>,
    /// What to set of its config; `null` unsets, other keys stay.
    pub config: Option<Map<String, Value>>,
    /// Its limits.
    pub limits: Option<LimitChanges>,
}

/// What to change of a plugin's hooks; absent parts stay.
#[derive(Clone, Copy, Debug, Default)]
pub struct HookChanges {
    /// Their place among those of others: lower ones first.
    pub order: Option<i64>,
    /// Whether a failure keeps messages out.
    pub fail_closed: Option<bool>,
}

impl PluginChanges {
    pub(super) fn is_config_only(&self) -> bool {
        self.enabled.is_none()
            && self.grants.is_none()
            && self.routes.is_none()
            && self.hooks.is_none()
            && self.limits.is_none()
    }
}

/// A plugin's row as it was and as it is to be, and a version that is new.
pub(super) struct Change {
    /// None for a plugin that is new.
    pub before: Option<PluginRow>,
    /// What is to be kept.
    pub row: PluginRow,
    /// A version's description and bytes.
    pub version: Option<NewVersion>,
    /// Why the host did it by itself.
    pub why: Option<String>,
    /// Secrets that are written with it, sealed.
    pub secrets: Option<SealedSecrets>,
}

/// A version that is taken in.
#[derive(Clone)]
pub(super) struct NewVersion {
    /// What it says of itself.
    pub inspection: Inspection,
    /// The component.
    pub bytes: Bytes,
    /// The id of the trusted key that signed it.
    pub signed_by: Option<String>,
}

impl Change {
    /// The act and what changed; none if nothing did.
    pub fn act(&self) -> Option<(&'static str, Value)> {
        let mut detail = Map::new();
        let uploaded = self.version.as_ref().filter(|version| {
            self.before
                .as_ref()
                .is_none_or(|before| before.active_digest.as_ref() != Some(&version.inspection.digest))
        });
        if let Some(NewVersion { inspection, signed_by, .. }) = uploaded {
            detail.insert("version".into(), inspection.manifest.version.to_string().into());
            detail.insert("digest".into(), inspection.digest.clone().into());
            if let Some(key) = signed_by {
                detail.insert("signed_by".into(), key.clone().into());
            }
        }
        let list = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let facts = |row: &PluginRow| {
            [
                ("active_digest", json!(row.active_digest)),
                ("enabled", json!(row.enabled)),
                ("grants", list(&row.capabilities)),
                ("routes", list(&row.routes)),
                ("hook_order", json!(row.hook_order)),
                ("hooks_fail_closed", json!(row.hooks_fail_closed)),
                ("quarantine", json!(row.quarantine)),
                ("config", list(&row.config)),
                ("limits", list(&row.limits)),
            ]
        };
        let before = self.before.as_ref().map(facts);
        for (at, (name, value)) in facts(&self.row).into_iter().enumerate() {
            let was = before.as_ref().and_then(|facts| facts.get(at)).map(|(_, value)| value);
            if was != Some(&value) {
                detail.insert(name.into(), value);
            }
        }
        if let Some(why) = &self.why {
            detail.insert("why".into(), why.clone().into());
        }
        if let Some(secrets) = &self.secrets {
            // Which, and never what.
            detail.insert("secrets".into(), json!(secrets.keys()));
        }
        let action = if uploaded.is_some() { "plugin.installed" } else { "plugin.updated" };
        (!detail.is_empty()).then_some((action, Value::Object(detail)))
    }
}

/// The row of a plugin that is new.
pub(super) fn new_row(name: &str, active_digest: Option<String>, grants: &Grants) -> PluginRow {
    let now = Timestamp::now().0;
    let mut row = PluginRow {
        name: name.to_owned(),
        active_digest,
        enabled: true,
        capabilities: String::new(),
        routes: String::new(),
        config: "{}".to_owned(),
        limits: "{}".to_owned(),
        bundled_digest: None,
        previous_digest: None,
        hook_order: 0,
        hooks_fail_closed: false,
        quarantine: None,
        created_at: now,
        updated_at: now,
    };
    set_grants(&mut row, grants);
    row
}

/// The row with what an operator wants.
pub(super) fn apply(row: &mut PluginRow, changes: &PluginChanges) -> Result<()> {
    let mut grants = grants_of(row)?;
    if let Some(capabilities) = &changes.grants {
        grants.capabilities = capabilities.iter().cloned().collect::<BTreeSet<_>>();
    }
    if let Some(routes) = &changes.routes {
        grants.routes.clone_from(routes);
    }
    set_grants(row, &grants);
    if let Some(limits) = &changes.limits {
        row.limits = super::limits::changed(&row.limits, limits);
    }
    row.enabled = changes.enabled.unwrap_or(row.enabled);
    if changes.enabled == Some(true) {
        // An operator has looked at it and lets it serve again.
        row.quarantine = None;
    }
    if let Some(hooks) = &changes.hooks {
        row.hook_order = hooks.order.unwrap_or(row.hook_order);
        row.hooks_fail_closed = hooks.fail_closed.unwrap_or(row.hooks_fail_closed);
    }
    row.updated_at = Timestamp::now().0;
    Ok(())
}
