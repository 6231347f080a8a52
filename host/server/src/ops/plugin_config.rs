//! What operators set for plugins: values in the clear, secrets sealed with the master key and bound to their plugin
//! and key. What a manifest allows is for `ops::plugins::settings` to say.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use patchbay_store::{PluginSecretRow, Tx};
use serde_json::{Map, Value};
use sha2::Sha256;
use tokio::sync::OwnedMutexGuard;

use super::{Error, Ops, Result, Thing};
use crate::auth::{random_text, seal::MasterKey};

/// The secret that a plugin's keys are derived from. No key of a manifest can have this name.
const OWN_KEY: &str = "$own";

/// A change of one secret: its key, and what is to be kept; none removes it.
pub(super) type SecretChange = (String, Option<String>);

/// Secrets that are sealed and not written yet. As long as they wait the master key stays the same: one that is sealed
/// with it and written after a change would be lost.
pub(super) struct SealedSecrets {
    changes: Vec<SecretChange>,
    _turn: OwnedMutexGuard<()>,
}

impl SealedSecrets {
    /// Which they are.
    pub fn keys(&self) -> Vec<&str> {
        self.changes.iter().map(|(key, _)| key.as_str()).collect()
    }
}

impl Ops {
    /// What is set for a plugin's key that is no secret.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn plugin_value(&self, plugin: &str, key: &str) -> Result<Option<Value>> {
        let json = self.0.store.read().await?.plugin_config(plugin).await?;
        Ok(json.map(|json| values_of(&json)).transpose()?.and_then(|mut values| values.remove(key)))
    }

    /// The secret that is set for a plugin's key.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the master key changes.
    pub async fn plugin_secret(&self, plugin: &str, key: &str) -> Result<Option<String>> {
        let sealed = self.0.store.read().await?.plugin_secret(plugin, key).await?;
        let master = self.0.keys.master();
        match sealed {
            Some(sealed) if sealed_by(&sealed) == Some(master.id()) => {
                open(&master, plugin, key, &sealed).map(Some)
            }
            Some(_) => Err(Error::Unavailable("the master key is being changed".into())),
            None => Ok(None),
        }
    }

    /// 32 bytes that only this plugin can ask for, always the same for a label.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the plugin isn't installed; [`Error::Unavailable`] while the master key changes.
    pub async fn derive_key(&self, plugin: &str, label: &str) -> Result<Vec<u8>> {
        let secret = match self.plugin_secret(plugin, OWN_KEY).await? {
            Some(secret) => secret,
            None => self.make_own_key(plugin).await?,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .map_err(|error| Error::Internal(error.to_string()))?;
        mac.update(label.as_bytes());
        Ok(mac.finalize().into_bytes().to_vec())
    }

    /// Two calls that both find none agree on the one that was written first.
    async fn make_own_key(&self, plugin: &str) -> Result<String> {
        let new = vec![(OWN_KEY.to_owned(), Some(random_text(32)?))];
        if let Some(sealed) = self.seal_secrets(plugin, new).await? {
            let owner = plugin.to_owned();
            self.0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        tx.plugin(&owner).await?.ok_or(Error::NotFound(Thing::Plugin))?;
                        if tx.plugin_secret(&owner, OWN_KEY).await?.is_none() {
                            write_secrets(tx, &owner, &sealed).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
        }
        let made = self.plugin_secret(plugin, OWN_KEY).await?;
        made.ok_or_else(|| Error::Internal("a plugin's own key is gone".into()))
    }

    /// Seals secrets so that they can be written; those that are kept already are left out. None if none is left.
    pub(super) async fn seal_secrets(
        &self,
        plugin: &str,
        secrets: Vec<SecretChange>,
    ) -> Result<Option<SealedSecrets>> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let turn = self.0.keys.turn().await;
        let master = self.0.keys.master();
        let mut sealed = Vec::new();
        for (key, secret) in secrets {
            if self.plugin_secret(plugin, &key).await? == secret {
                continue;
            }
            let secret = secret.map(|secret| seal(&master, plugin, &key, &secret)).transpose()?;
            sealed.push((key, secret));
        }
        Ok((!sealed.is_empty()).then_some(SealedSecrets { changes: sealed, _turn: turn }))
    }
}

/// Writes secrets that [`Ops::seal_secrets`] has sealed.
pub(super) async fn write_secrets(tx: &mut Tx, plugin: &str, secrets: &SealedSecrets) -> Result<()> {
    for (key, sealed) in &secrets.changes {
        match sealed {
            Some(sealed) => tx.put_plugin_secret(plugin, key, sealed).await?,
            None => tx.delete_plugin_secret(plugin, key).await?,
        }
    }
    Ok(())
}

/// What is set, as the database has it.
pub(super) fn values_of(json: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(json).map_err(|error| Error::Internal(format!("the config of a plugin: {error}")))
}

fn purpose(plugin: &str, key: &str) -> String {
    // Names of plugins and keys hold no colon.
    format!("plugin_secret:{plugin}:{key}")
}

fn seal(master: &MasterKey, plugin: &str, key: &str, secret: &str) -> Result<String> {
    let sealed = master.seal(&purpose(plugin, key), secret.as_bytes())?;
    Ok(format!("{}:{}", master.id(), BASE64.encode(sealed)))
}

fn open(master: &MasterKey, plugin: &str, key: &str, sealed: &str) -> Result<String> {
    let damaged = || Error::Internal(format!("the secret {key:?} of {plugin} is damaged"));
    let (_, text) = sealed.split_once(':').ok_or_else(damaged)?;
    let bytes = BASE64.decode(text).map_err(|_| damaged())?;
    String::from_utf8(master.open(&purpose(plugin, key), &bytes)?).map_err(|_| damaged())
}

/// The id of the master key that a secret is sealed with.
pub(super) fn sealed_by(sealed: &str) -> Option<&str> {
    sealed.split_once(':').map(|(id, _)| id)
}

/// Seals all secrets with another master key.
pub(super) async fn reseal(tx: &mut Tx, old: &MasterKey, new: &MasterKey) -> Result<()> {
    for PluginSecretRow { plugin, key, sealed } in tx.plugin_secrets().await? {
        let secret = open(old, &plugin, &key, &sealed)?;
        tx.put_plugin_secret(&plugin, &key, &seal(new, &plugin, &key, &secret)?).await?;
    }
    Ok(())
}

/// Removes the secrets that another key than this one has sealed; how many.
pub(super) async fn drop_sealed_by_others(tx: &mut Tx, master: &MasterKey) -> Result<u64> {
    let mut gone = 0;
    for row in tx.plugin_secrets().await? {
        if sealed_by(&row.sealed) != Some(master.id()) {
            tx.delete_plugin_secret(&row.plugin, &row.key).await?;
            gone += 1;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_plugin_and_key_only() {
        let master = MasterKey::generate().unwrap();
        let sealed = seal(&master, "poll", "token", "hush").unwrap();
        assert!(!sealed.contains("hush"));
        assert_eq!(sealed_by(&sealed), Some(master.id()));
        assert_eq!(open(&master, "poll", "token", &sealed).unwrap(), "hush");
        for (plugin, key) in [("poll2", "token"), ("poll", "other"), ("pol", "l:token")] {
            assert!(open(&master, plugin, key, &sealed).is_err(), "{plugin} {key}");
        }
        assert!(open(&MasterKey::generate().unwrap(), "poll", "token", &sealed).is_err());
    }
}
