//! `config`: what the operator set for the plugin, and its secrets.
//!
//! Which keys there are is for the manifest of the version that asks to say, and is looked at here; the embedder
//! only keeps values.

use async_trait::async_trait;
use wasmtime::component::Linker;

use crate::{
    HostError, HostErrorKind,
    bindings::wit::{config as wit, types},
    manifest::{ConfigKey, ConfigType},
    state::{CallState, Own, own},
};

/// What the embedder keeps for plugins. Read anew at each call: a change needs no reload.
#[async_trait]
pub trait Config {
    /// What is set for a key that is no secret; none if nothing is.
    async fn value(&self, plugin: &str, key: &str) -> Result<Option<serde_json::Value>, HostError>;
    /// The secret that is set for a key.
    async fn secret(&self, plugin: &str, key: &str) -> Result<Option<String>, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

/// The manifest's key, if it is a secret or isn't, as wanted.
fn find<'a>(keys: &'a [ConfigKey], key: &str, wants_secret: bool) -> Result<&'a ConfigKey, HostError> {
    let invalid = |detail: &str| Err(HostError::new(HostErrorKind::Invalid, detail));
    match keys.iter().find(|known| known.key == key) {
        None => invalid("the manifest has no such config key"),
        Some(known) if (known.kind == ConfigType::Secret) == wants_secret => Ok(known),
        Some(_) if wants_secret => invalid("this config key is no secret"),
        Some(_) => invalid("this config key is a secret"),
    }
}

impl wit::Host for CallState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, types::Error>> {
        self.charge_call(key.len())?;
        let manifest = self.manifest.clone();
        let known = match find(&manifest.config, &key, false) {
            Ok(known) => known,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let value = match self.wait(Config::value(&*host, &plugin, &key)).await {
            Ok(value) => value,
            Err(error) => return Ok(Err(error.into())),
        };
        // What was set for an earlier version may not be of this one's type: then it is as good as not set.
        let value = value.filter(|value| known.kind.accepts(value)).or_else(|| known.default.clone());
        let json = value.map(|value| value.to_string());
        self.charge_bytes(json.as_ref().map_or(0, String::len))?;
        Ok(Ok(json))
    }

    async fn secret(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, types::Error>> {
        self.charge_call(key.len())?;
        if let Err(error) = find(&self.manifest.config, &key, true) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let secret = self.wait(Config::secret(&*host, &plugin, &key)).await;
        self.charge_bytes(secret.iter().flatten().map(String::len).sum())?;
        Ok(secret.map_err(types::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_manifest_and_secrets_only_as_secrets() {
        let key = |key: &str, kind| ConfigKey {
            key: key.to_owned(),
            kind,
            description: String::new(),
            required: false,
            default: None,
        };
        let keys = [key("size", ConfigType::Integer), key("token", ConfigType::Secret)];
        assert!(find(&keys, "size", false).is_ok() && find(&keys, "token", true).is_ok());
        for (name, wants_secret) in [("size", true), ("token", false), ("other", false), ("other", true)] {
            assert_eq!(find(&keys, name, wants_secret).unwrap_err().kind, HostErrorKind::Invalid, "{name}");
        }
    }
}
