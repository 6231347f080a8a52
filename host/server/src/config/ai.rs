//! `ai.*` and `ai.providers.NAME.*`: the servers of language models.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Secret,
    source::{Fault, Setting, Values},
    value::Value,
};

/// The default provider's name.
pub const DEFAULT_PROVIDER: &str = "default";
const TIMEOUT: &str = "2m";
/// Where a provider is that has a key or a model and no address.
const OPENAI: &str = "https://api.openai.com/v1";

/// Language models.
#[derive(Clone, Debug)]
pub struct Ai {
    /// How long a provider may say nothing.
    pub timeout: Duration,
    /// The providers, the default one first, if it is set up.
    pub providers: Vec<Provider>,
}

/// A server that speaks OpenAI's API.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Its address, without a slash at the end.
    pub base_url: String,
    /// Its key, if it wants one.
    pub api_key: Option<Secret>,
    /// The model that answers.
    pub model: Option<String>,
    /// The model that embeds.
    pub embedding_model: Option<String>,
}

/// The address of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(pub String);

impl Value for BaseUrl {
    const ALLOWED: &'static str = "http:// or https://, a host and a path, e.g. https://api.openai.com/v1";
    fn parse(text: &str) -> Result<Self, String> {
        // The text is not repeated: it may hold a password.
        let wrong = || format!("this URL is not allowed; expected {}", Self::ALLOWED);
        let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_bare = url.query().is_none() && url.fragment().is_none();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain && is_bare {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(wrong())
        }
    }
    fn placeholder() -> Self {
        Self(String::new())
    }
}

const fn setting(name: &'static str, meaning: &'static str, allowed: &'static str) -> Setting {
    Setting { name, default: "", meaning, allowed }
}

impl Ai {
    pub(super) const SETTINGS: &'static [Setting] = &[
        setting(
            "ai.base_url",
            " The OpenAI-compatible server; empty: OpenAI's, if there is a key, and none otherwise. What plugins send to models leaves this machine for there.",
            BaseUrl::ALLOWED,
        ),
        setting("ai.api_key", " Its key.", "text"),
        setting("ai.model", " The model that answers.", "text"),
        setting(
            "ai.embedding_model",
            " The model that embeds; empty: texts are embedded here, by their words.",
            "text",
        ),
        Setting {
            name: "ai.timeout",
            default: TIMEOUT,
            meaning: " How long a provider may say nothing: before it answers, and between the pieces of an answer.",
            allowed: <Duration as Value>::ALLOWED,
        },
    ];

    pub(super) fn from_values(values: &Values, faults: &mut Vec<Fault>) -> Self {
        let mut names: BTreeMap<&str, ()> = BTreeMap::new();
        for (name, _, _) in values.of_providers() {
            names.insert(name, ());
        }
        let mut providers: Vec<Provider> =
            provider(values, DEFAULT_PROVIDER, "ai", faults).into_iter().collect();
        for name in names.into_keys() {
            let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
            if name == DEFAULT_PROVIDER || name.len() > 64 || !name.chars().all(valid) {
                faults.push(Fault::clash(&format!(
                    "ai.providers.{name}: a name is 1 to 64 of a-z 0-9 - _, and not {DEFAULT_PROVIDER}, whose settings are ai.base_url and so on"
                )));
                continue;
            }
            let prefix = format!("ai.providers.{name}");
            match provider(values, name, &prefix, faults) {
                Some(provider) => providers.push(provider),
                None => faults.push(Fault::clash(&format!("{prefix}: base_url is missing"))),
            }
        }
        Self { timeout: values.get("ai.timeout", TIMEOUT, faults), providers }
    }
}

/// The provider with settings of this prefix; none if it has neither an address nor a key.
fn provider(values: &Values, name: &str, prefix: &str, faults: &mut Vec<Fault>) -> Option<Provider> {
    let key = |key: &str| format!("{prefix}.{key}");
    let base_url: Option<BaseUrl> = values.get(&key("base_url"), "", faults);
    let api_key: Option<Secret> = values.get(&key("api_key"), "", faults);
    let base_url = match (base_url, &api_key) {
        (Some(url), _) => url.0,
        (None, Some(_)) => OPENAI.to_owned(),
        (None, None) => return None,
    };
    if api_key.as_ref().is_some_and(|key| http::HeaderValue::from_str(&key.0).is_err()) {
        faults.push(Fault::clash(&format!("{prefix}.api_key: a key is one line of ASCII")));
    }
    Some(Provider {
        name: name.to_owned(),
        base_url,
        api_key,
        model: values.get(&key("model"), "", faults),
        embedding_model: values.get(&key("embedding_model"), "", faults),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parsed = |text| BaseUrl::parse(text).map(|url| url.0);
        assert_eq!(parsed("http://localhost:11434/v1/"), Ok("http://localhost:11434/v1".to_owned()));
        for text in ["", "localhost", "ftp://h/", "https://u:secret@h/", "https://h/?key=secret", "http://"] {
            let error = parsed(text).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
