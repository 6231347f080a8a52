//! What is written down of a plugin at once, and what the audit log says of it.

use bytes::Bytes;
use patchbay_runtime::Inspection;
use patchbay_store::PluginRow;
use serde_json::{Map, Value, json};

/// A plugin's row as it was and as it is to be, and a version that is new.
pub(super) struct Change {
    /// None for a plugin that is new.
    pub before: Option<PluginRow>,
    /// What is to be kept.
    pub row: PluginRow,
    /// A version's description and bytes.
    pub version: Option<(Inspection, Bytes)>,
}

impl Change {
    /// The act and what changed; none if nothing did.
    pub fn act(&self) -> Option<(&'static str, Value)> {
        let mut detail = Map::new();
        let uploaded = self.version.as_ref().filter(|(inspection, _)| {
            self.before
                .as_ref()
                .is_none_or(|before| before.active_digest.as_ref() != Some(&inspection.digest))
        });
        if let Some((inspection, _)) = uploaded {
            detail.insert("version".into(), inspection.manifest.version.to_string().into());
            detail.insert("digest".into(), inspection.digest.clone().into());
        }
        let list = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let facts = |row: &PluginRow| {
            [
                ("active_digest", json!(row.active_digest)),
                ("enabled", json!(row.enabled)),
                ("grants", list(&row.capabilities)),
                ("routes", list(&row.routes)),
            ]
        };
        let before = self.before.as_ref().map(facts);
        for (at, (name, value)) in facts(&self.row).into_iter().enumerate() {
            let was = before.as_ref().and_then(|facts| facts.get(at)).map(|(_, value)| value);
            if was != Some(&value) {
                detail.insert(name.into(), value);
            }
        }
        let action = if uploaded.is_some() { "plugin.installed" } else { "plugin.updated" };
        (!detail.is_empty()).then_some((action, Value::Object(detail)))
    }
}
