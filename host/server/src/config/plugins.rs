//! `plugins.*`: where the bundled ones are, and what the file declares of any.

use std::{collections::BTreeMap, path::PathBuf};

use super::source::{CONFIG_PREFIX, Fault, PLUGIN_KEYS, Setting, Values};
use super::value::Value;

/// Plugins.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// The directory of the bundled ones; empty: `plugins` beside the program or one level above it.
    pub bundled_dir: Option<PathBuf>,
    /// What is declared, by plugin.
    pub declared: BTreeMap<String, Declared>,
}

/// What the settings say of one plugin; what they say, they manage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// The component to install.
    pub source: Option<PathBuf>,
    /// Whether it serves.
    pub enabled: Option<bool>,
    /// The capabilities it may import.
    pub grants: Option<Vec<String>>,
    /// The path templates beyond its own prefix that it may serve.
    pub routes: Option<Vec<String>>,
    /// What is set for it, by key of its manifest.
    pub config: BTreeMap<String, GivenValue>,
}

/// A value of a plugin's config, of which only the plugin's manifest says what it should be.
#[derive(Clone, PartialEq, Eq)]
pub enum GivenValue {
    /// From a file, where it has a type.
    Json(serde_json::Value),
    /// From a variable or a flag.
    Text(String),
}

/// It may be a secret.
impl std::fmt::Debug for GivenValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Plugins {
    pub(super) const SETTINGS: &'static [Setting] = &[Setting {
        name: "plugins.bundled_dir",
        default: "",
        meaning: " Directory of the plugins that come with the server; empty: `plugins` beside the program or one level above it.",
        allowed: <PathBuf as Value>::ALLOWED,
    }];

    pub(super) fn from_values(values: &Values, faults: &mut Vec<Fault>) -> Self {
        let mut declared: BTreeMap<String, Declared> = BTreeMap::new();
        for (plugin, key, name) in values.of_plugins() {
            let entry = declared.entry(plugin.to_owned()).or_default();
            match key {
                "source" => entry.source = Some(values.get(name, "", faults)),
                "enabled" => entry.enabled = Some(values.get(name, "", faults)),
                "grants" => entry.grants = Some(values.get(name, "", faults)),
                "routes" => entry.routes = Some(values.get(name, "", faults)),
                key if let Some(key) = key.strip_prefix(CONFIG_PREFIX) => {
                    entry.config.insert(key.to_owned(), values.given(name));
                }
                _ => debug_assert!(!PLUGIN_KEYS.contains(&key), "a key without a field"),
            }
        }
        Self { bundled_dir: values.get("plugins.bundled_dir", "", faults), declared }
    }
}
