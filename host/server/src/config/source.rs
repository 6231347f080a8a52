//! Where settings come from, and who wins.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf};

use patchbay_runtime::{Limit, limits::TABLE};
use toml::de::{DeTable, DeValue};

use super::{plugins::GivenValue, value::Value};

/// A setting that exists.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`.
    pub name: &'static str,
    /// Its default, as an operator would write it.
    pub default: &'static str,
    /// What it is for.
    pub meaning: &'static str,
    /// What it may be.
    pub allowed: &'static str,
}

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The file to read; without it `patchbay.toml` in the working directory, if it is there.
    pub file: Option<PathBuf>,
    /// Settings by name, each with the flag it came by.
    pub values: Vec<(String, String, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file and a line.
    File(String, usize),
    /// A variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{path}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Something wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    origin: Option<Origin>,
    message: String,
}

impl Fault {
    /// Settings that don't go together.
    pub(super) fn clash(message: &str) -> Self {
        Self { origin: None, message: message.to_owned() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The keys that each `plugins.NAME` can have beside the settings that have fixed names.
pub(super) const PLUGIN_KEYS: [&str; 5] = ["source", "enabled", "grants", "routes", "limits.NAME"];
/// What the names of a plugin's own settings begin with: `config.KEY`.
pub(super) const CONFIG_PREFIX: &str = "config.";

/// What has been set, by name.
#[derive(Clone, Debug, Default)]
pub struct Values {
    set: BTreeMap<String, (String, Origin)>,
}

impl Values {
    /// Gathers what is set, the weakest source first, and the faults of unknown names and unreadable files.
    pub(super) fn gather(flags: &Flags, settings: &[Setting]) -> (Self, Vec<Fault>) {
        let mut values = Self::default();
        let mut faults = Vec::new();
        values.read_file(flags, &mut faults);
        #[allow(clippy::disallowed_methods)] // This is the one place that reads the environment.
        for (variable, text) in std::env::vars_os() {
            // What isn't text is no setting of ours.
            let (Ok(variable), Ok(text)) = (variable.into_string(), text.into_string()) else { continue };
            if let Some(name) = setting_of_variable(&variable) {
                values.set.insert(name, (text, Origin::Variable(variable)));
            }
        }
        for (name, text, flag) in &flags.values {
            values.set.insert(name.clone(), (text.clone(), Origin::Flag(flag.clone())));
        }
        for (name, (_, origin)) in &values.set {
            if let Some(message) = unknown(name, settings) {
                faults.push(Fault { origin: Some(origin.clone()), message });
            }
        }
        (values, faults)
    }

    fn read_file(&mut self, flags: &Flags, faults: &mut Vec<Fault>) {
        let path = flags.file.clone().unwrap_or_else(|| "patchbay.toml".into());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if flags.file.is_none() && error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                let message = format!("{}: {error}", path.display());
                faults.push(Fault { origin: None, message });
                return;
            }
        };
        let line = |offset: usize| 1 + text.get(..offset).unwrap_or_default().matches('\n').count();
        let file = path.display().to_string();
        match DeTable::parse(&text) {
            Ok(table) => flatten("", table.get_ref(), &mut |name, text, offset| {
                self.set.insert(name, (text, Origin::File(file.clone(), line(offset))));
            }),
            Err(error) => {
                let at = line(error.span().map_or(0, |span| span.start));
                faults.push(Fault {
                    origin: Some(Origin::File(file, at)),
                    message: error.message().to_owned(),
                });
            }
        }
    }

    /// The value of a setting; a fault and a placeholder if its text is wrong.
    pub(super) fn get<T: Value>(&self, name: &str, default: &str, faults: &mut Vec<Fault>) -> T {
        let (text, origin) = match self.set.get(name) {
            Some((text, origin)) => (text.as_str(), Some(origin.clone())),
            None => (default, None),
        };
        T::parse(text).unwrap_or_else(|wrong| {
            faults.push(Fault { origin, message: format!("{name}: {wrong}") });
            T::placeholder()
        })
    }

    /// A value of a plugin's config. In files it was written with a type, and is kept as JSON.
    pub(super) fn given(&self, name: &str) -> GivenValue {
        match self.set.get(name) {
            Some((json, Origin::File(..))) => {
                GivenValue::Json(serde_json::from_str(json).unwrap_or_default())
            }
            Some((text, _)) => GivenValue::Text(text.clone()),
            None => GivenValue::Json(serde_json::Value::Null),
        }
    }

    /// The whole number that is set, if it is within these bounds; else a fault.
    pub(super) fn number(
        &self,
        name: &str,
        bounds: RangeInclusive<u64>,
        faults: &mut Vec<Fault>,
    ) -> Option<u64> {
        let (text, origin) = self.set.get(name)?;
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            let message =
                format!("{name}: {text:?} is not allowed; expected a whole number from {least} to {most}");
            faults.push(Fault { origin: Some(origin.clone()), message });
        }
        number
    }

    /// What is set for plugins: plugin, key, and the setting's full name.
    pub(super) fn of_plugins(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.set
            .keys()
            .filter_map(|name| plugin_setting(name).map(|(plugin, key)| (plugin, key, name.as_str())))
    }

    /// What is set for named providers of models: provider, key, and the setting's full name.
    pub(super) fn of_providers(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.set
            .keys()
            .filter_map(|name| provider_setting(name).map(|(provider, key)| (provider, key, name.as_str())))
    }

    /// The text of a setting and where it came from, for `patchbay config`.
    pub fn shown(&self, setting: &Setting) -> (String, String) {
        match self.set.get(setting.name) {
            Some((text, origin)) => (text.clone(), origin.to_string()),
            None => (setting.default.to_owned(), "default".to_owned()),
        }
    }

    /// Settings of named providers, for `patchbay config`: name, text, where it came from.
    pub fn shown_providers(&self) -> Vec<(String, String, String)> {
        let shown = |(_, _, name): (&str, &str, &str)| {
            let (text, origin) = self.set.get(name)?;
            Some((name.to_owned(), text.clone(), origin.to_string()))
        };
        self.of_providers().filter_map(shown).collect()
    }

    /// Plugins' settings, for `patchbay config`: name, text, where it came from. Any value of their config may be a
    /// secret.
    pub fn shown_plugins(&self) -> Vec<(String, String, String)> {
        self.of_plugins()
            .filter_map(|(_, _, name)| {
                let (text, origin) = self.set.get(name)?;
                let is_config = plugin_config_key(name).is_some();
                let text = if is_config { "***".to_owned() } else { text.clone() };
                Some((name.to_owned(), text, origin.to_string()))
            })
            .collect()
    }
}

/// `PATCHBAY_SERVER__DATA_DIR` is `server.data_dir`. Variables without the double underscore are not settings:
/// orchestrators make up names like `PATCHBAY_PORT` of their own.
fn setting_of_variable(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("PATCHBAY_").filter(|name| name.contains("__"))?;
    Some(name.to_lowercase().replace("__", "."))
}

/// The keys that each `ai.providers.NAME` can have.
const PROVIDER_KEYS: [&str; 4] = ["base_url", "api_key", "model", "embedding_model"];

/// `api_key` of `local` in `ai.providers.local.api_key`.
fn provider_setting(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("ai.providers.")?.split_once('.')
}

fn plugin_setting(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("plugins.")?.split_once('.')
}

/// `size` of `plugins.poll.config.size`.
fn plugin_config_key(name: &str) -> Option<&str> {
    let key = plugin_setting(name)?.1.strip_prefix(CONFIG_PREFIX)?;
    (!key.is_empty() && !key.contains('.')).then_some(key)
}

/// What is wrong with a name, if it isn't a setting's.
fn unknown(name: &str, settings: &[Setting]) -> Option<String> {
    if settings.iter().any(|s| s.name == name) {
        return None;
    }
    if let Some((_, key)) = plugin_setting(name) {
        if let Some(limit) = key.strip_prefix("limits.") {
            let known = || TABLE.iter().map(|limit| limit.name).collect::<Vec<_>>().join(", ");
            let is_known = Limit::find(limit).is_some();
            return (!is_known).then(|| format!("{name}: there is no such limit; there are {}", known()));
        }
        return if PLUGIN_KEYS.contains(&key) || plugin_config_key(name).is_some() {
            None
        } else {
            Some(format!("{name}: unknown setting; a plugin has {}, config.KEY", PLUGIN_KEYS.join(", ")))
        };
    }
    if let Some((_, key)) = provider_setting(name) {
        let known = PROVIDER_KEYS.join(", ");
        let is_known = PROVIDER_KEYS.contains(&key);
        return (!is_known).then(|| format!("{name}: unknown setting; a provider has {known}"));
    }
    let section = name.split_once('.').map_or(name, |(section, _)| section);
    let siblings: Vec<_> =
        settings.iter().filter_map(|s| s.name.strip_prefix(section)?.strip_prefix('.')).collect();
    if siblings.is_empty() {
        let mut sections: Vec<&str> = Vec::new();
        for section in settings.iter().filter_map(|s| s.name.split('.').next()) {
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        Some(format!("{name}: unknown setting; the sections are {}", sections.join(", ")))
    } else {
        Some(format!("{name}: unknown setting; [{section}] has {}", siblings.join(", ")))
    }
}

/// Calls `found` with the full name, text and offset of every value below a table.
fn flatten(prefix: &str, table: &DeTable<'_>, found: &mut dyn FnMut(String, String, usize)) {
    for (key, value) in table.iter() {
        let name =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&name, inner, found),
            other => {
                let is_config = plugin_config_key(&name).is_some();
                let text = if is_config { json_of(other).to_string() } else { text_of(other) };
                found(name, text, key.span().start);
            }
        }
    }
}

/// What a value of a plugin's config is, with its type.
fn json_of(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().into(), serde_json::Value::from),
        DeValue::Boolean(truth) => (*truth).into(),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| number.as_str().into(), serde_json::Value::from)
        }
        other => text_of(other).into(),
    }
}

fn text_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            items.iter().map(|item| text_of(item.get_ref())).collect::<Vec<_>>().join(",")
        }
        DeValue::Table(_) => "{…}".to_owned(),
    }
}
