//! `plugins.*`: where the bundled ones are, and what the file declares of any.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minisign_verify::PublicKey;
use patchbay_runtime::Limit;

use super::source::{CONFIG_PREFIX, Fault, PLUGIN_KEYS, Setting, Values};
use super::value::Value;

const COMPILE_TIME: &str = "5m";

/// Plugins.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// The directory of the bundled ones; empty: `plugins` beside the program or one level above it.
    pub bundled_dir: Option<PathBuf>,
    /// How long a component may wait for the compiler and be compiled.
    pub compile_time: Duration,
    /// Whether only signed components are taken in.
    pub require_signature: bool,
    /// Whose signatures count.
    pub trusted_keys: TrustedKeys,
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
    /// Limits by name, within their bounds.
    pub limits: BTreeMap<String, u64>,
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

/// A public key of minisign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// Its id as minisign shows it, 16 hexadecimal digits.
    pub id: String,
    /// The key.
    pub key: PublicKey,
}

/// The keys whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(pub Vec<TrustedKey>);

impl Value for TrustedKeys {
    const ALLOWED: &'static str =
        "a list of minisign public keys (56 characters each), comma separated outside the file";
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |text: &str| format!("{text:?} is no minisign public key; expected {}", Self::ALLOWED);
        let key = |text: String| {
            let key = PublicKey::from_base64(&text).map_err(|_| wrong(&text))?;
            // Two bytes of algorithm, then the id, the least significant byte first.
            let bytes = STANDARD.decode(&text).map_err(|_| wrong(&text))?;
            let id = bytes.get(2..10).and_then(|id| id.try_into().ok()).ok_or_else(|| wrong(&text))?;
            Ok(TrustedKey { id: format!("{:016X}", u64::from_le_bytes(id)), key })
        };
        Vec::<String>::parse(text)?.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }
    fn placeholder() -> Self {
        Self::default()
    }
}

impl Plugins {
    pub(super) const SETTINGS: &'static [Setting] = &[
        Setting {
            name: "plugins.bundled_dir",
            default: "",
            meaning: " Directory of the plugins that come with the server; empty: `plugins` beside the program or one level above it.",
            allowed: <PathBuf as Value>::ALLOWED,
        },
        Setting {
            name: "plugins.compile_time",
            default: COMPILE_TIME,
            meaning: " How long a component may wait for the compiler and be compiled; then its installation is given up.",
            allowed: <Duration as Value>::ALLOWED,
        },
        Setting {
            name: "plugins.require_signature",
            default: "false",
            meaning: " Whether only components that are signed with a trusted key are installed; those that come with the server need no signature.",
            allowed: <bool as Value>::ALLOWED,
        },
        Setting {
            name: "plugins.trusted_keys",
            default: "",
            meaning: " Whose signatures count: the second lines of the makers' minisign.pub files.",
            allowed: <TrustedKeys as Value>::ALLOWED,
        },
    ];

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
                key if key.starts_with("limits.") => {
                    let limit = key.strip_prefix("limits.").and_then(Limit::find);
                    let value = limit.and_then(|limit| values.number(name, limit.min..=limit.max, faults));
                    entry
                        .limits
                        .extend(limit.zip(value).map(|(limit, value)| (limit.name.to_owned(), value)));
                }
                _ => debug_assert!(!PLUGIN_KEYS.contains(&key), "a key without a field"),
            }
        }
        Self {
            bundled_dir: values.get("plugins.bundled_dir", "", faults),
            compile_time: values.get("plugins.compile_time", COMPILE_TIME, faults),
            require_signature: values.get("plugins.require_signature", "false", faults),
            trusted_keys: values.get("plugins.trusted_keys", "", faults),
            declared,
        }
    }
}
