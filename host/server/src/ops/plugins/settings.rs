//! What operators set for a plugin, against what its manifest declares. Pure but for what is read to begin with.

use std::collections::BTreeMap;

use patchbay_runtime::{ConfigKey, ConfigType, Manifest};
use patchbay_store::{Conn, PluginRow};
use serde_json::{Map, Value};

use super::{Error, Result};
use crate::{
    config::GivenValue,
    ops::{
        error::Faults,
        plugin_config::{SecretChange, values_of},
    },
};

/// What is set for a plugin.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Values that are no secrets.
    pub values: Map<String, Value>,
    /// The keys for which there is a secret.
    pub secrets: Vec<String>,
}

impl Settings {
    pub async fn read(conn: &mut Conn, row: &PluginRow) -> Result<Self> {
        let secrets = conn.plugin_secret_keys(&row.name).await?;
        Ok(Self { values: values_of(&row.config)?, secrets })
    }

    /// Whether there is a value for a key, that of the manifest not counted.
    pub fn has(&self, key: &ConfigKey) -> bool {
        match key.kind {
            ConfigType::Secret => self.secrets.contains(&key.key),
            kind => self.values.get(&key.key).is_some_and(|value| kind.accepts(value)),
        }
    }

    /// What the manifest can't do without and nobody has set; a sentence.
    pub fn unmet(&self, manifest: &Manifest) -> Option<String> {
        let unmet =
            manifest.config.iter().filter(|key| key.required && key.default.is_none() && !self.has(key));
        let names: Vec<_> = unmet.map(|key| key.key.as_str()).collect();
        (!names.is_empty()).then(|| format!("the plugin needs values for its config: {}", names.join(", ")))
    }

    /// Takes changes in, `null` unsetting a key; what is to become of secrets comes out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for keys that the manifest doesn't have and values that are not of their type.
    pub fn change(&mut self, manifest: &Manifest, changes: Map<String, Value>) -> Result<Vec<SecretChange>> {
        let mut faults = Faults::default();
        let mut secrets = Vec::new();
        for (name, value) in changes {
            let field = format!("config.{name}");
            let Some(key) = manifest.config.iter().find(|key| key.key == name) else {
                faults.push(&field, "unknown", "is not in the plugin's manifest");
                continue;
            };
            // A version before may have kept it the other way.
            if key.kind == ConfigType::Secret {
                self.values.remove(&name);
            } else if self.secrets.contains(&name) {
                self.secrets.retain(|set| *set != name);
                secrets.push((name.clone(), None));
            }
            match value {
                value if !value.is_null() && !key.kind.accepts(&value) => {
                    faults.push(&field, "wrong_type", format!("must be {}", described(key.kind)));
                }
                Value::Null if key.kind == ConfigType::Secret => {
                    self.secrets.retain(|set| *set != name);
                    secrets.push((name, None));
                }
                Value::Null => {
                    self.values.remove(&name);
                }
                Value::String(secret) if key.kind == ConfigType::Secret => {
                    self.secrets.push(name.clone());
                    secrets.push((name, Some(secret)));
                }
                value => {
                    self.values.insert(name, value);
                }
            }
        }
        faults.into_result()?;
        Ok(secrets)
    }

    /// As the database has it.
    pub fn to_json(&self) -> String {
        Value::Object(self.values.clone()).to_string()
    }
}

fn described(kind: ConfigType) -> &'static str {
    match kind {
        ConfigType::String | ConfigType::Secret => "a text of up to 8,192 bytes",
        ConfigType::Integer => "a whole number",
        ConfigType::Boolean => "true or false",
        ConfigType::Strings => "a list of up to 256 texts of up to 8,192 bytes",
    }
}

/// What a file, a variable or a flag says, as the manifest wants it: variables and flags are texts whatever they mean.
pub(super) fn declared(manifest: &Manifest, given: &BTreeMap<String, GivenValue>) -> Map<String, Value> {
    let value = |(name, given): (&String, &GivenValue)| {
        let kind = manifest.config.iter().find(|key| key.key == *name).map(|key| key.kind);
        let value = match given {
            GivenValue::Json(value) => value.clone(),
            GivenValue::Text(text) => from_text(text, kind),
        };
        (name.clone(), value)
    };
    given.iter().map(value).collect()
}

/// What is not of the type stays a text, which the check of the type then refuses.
fn from_text(text: &str, kind: Option<ConfigType>) -> Value {
    let as_text = || Value::String(text.to_owned());
    match kind {
        Some(ConfigType::Integer) => text.parse::<i64>().map_or_else(|_| as_text(), Value::from),
        Some(ConfigType::Boolean) => text.parse::<bool>().map_or_else(|_| as_text(), Value::from),
        Some(ConfigType::Strings) => {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
        }
        Some(ConfigType::String | ConfigType::Secret) | None => as_text(),
    }
}

pub(super) fn config_required(why: String) -> Error {
    Error::Refused("config_required".into(), why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse(
            r#"
            name = "a"
            version = "1.0.0"
            config = [
                { key = "size", type = "integer", required = true },
                { key = "token", type = "secret", required = true },
                { key = "mode", type = "string", required = true, default = "fast" },
                { key = "tags", type = "strings" },
                { key = "loud", type = "boolean" },
            ]
            "#,
        )
        .unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn changes_are_checked_against_the_manifest() {
        let (manifest, mut settings) = (manifest(), Settings::default());
        assert!(settings.unmet(&manifest).unwrap().ends_with("size, token"));
        let all = object(json!({ "size": 3, "token": "hush", "tags": ["a"], "loud": true }));
        let secrets = settings.change(&manifest, all).unwrap();
        assert_eq!(secrets, [("token".to_owned(), Some("hush".to_owned()))]);
        assert_eq!(settings.unmet(&manifest), None);
        assert!(!settings.to_json().contains("hush"));
        let none = settings.change(&manifest, object(json!({ "size": null, "token": null }))).unwrap();
        assert_eq!(none, [("token".to_owned(), None)]);
        assert!(settings.unmet(&manifest).unwrap().ends_with("size, token"));
        let wrong = object(json!({ "size": "3", "token": 1, "other": 1, "tags": [1], "loud": null }));
        let Err(Error::Invalid(faults)) = settings.change(&manifest, wrong) else {
            panic!("it must be refused")
        };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["config.other", "config.size", "config.tags", "config.token"]);
    }

    #[test]
    fn texts_become_what_the_manifest_wants() {
        let text = |text: &str| GivenValue::Text(text.to_owned());
        let given = BTreeMap::from([
            ("size".to_owned(), text("3")),
            ("loud".to_owned(), text("true")),
            ("tags".to_owned(), text("a, b")),
            ("mode".to_owned(), text("7")),
            ("other".to_owned(), GivenValue::Json(json!(1))),
        ]);
        let expected = json!({ "size": 3, "loud": true, "tags": ["a", "b"], "mode": "7", "other": 1 });
        assert_eq!(Value::Object(declared(&manifest(), &given)), expected);
        assert_eq!(from_text("x", Some(ConfigType::Integer)), json!("x"), "the check refuses it");
    }
}
