//! Plugins' own state, and the events that belong to it. Sizes and numbers of one call are the contract's
//! (`wit/kv.wit`) and are checked where the call comes in.

use patchbay_core::{Actor, Event, Timestamp, permission::Action};
use patchbay_runtime::capabilities::kv::{KvChange, PluginEvent};
use patchbay_store::Tx;

use super::{
    Error, Ops, Result, Thing,
    access::{enter_to, find_message},
    journal::emit,
    plugins::limits::limits_of,
};

impl Ops {
    /// The value of a key.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn kv_get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.store.read().await?.kv_get(plugin, key).await?)
    }

    /// The values of keys, in the order asked.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn kv_get_many(&self, plugin: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let found = self.0.store.read().await?.kv_get_many(plugin, keys).await?;
        let mut found: std::collections::HashMap<_, _> = found.into_iter().collect();
        // A key may be asked for twice.
        Ok(keys.iter().map(|key| found.get_mut(key).map(|value| value.clone())).collect())
    }

    /// Up to `limit` entries whose keys start with `prefix` and come after `after`.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn kv_scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.0.store.read().await?.kv_scan(plugin, prefix, after, i64::from(limit)).await?)
    }

    /// Changes and events in one transaction: all or nothing. Returns for each change whether the key was
    /// there before.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `expectation_failed` or `kv_full`;
    /// [`Error::NotFound`] or [`Error::Forbidden`] where the actor may not write.
    pub async fn kv_commit(
        &self,
        plugin: &str,
        actor: Option<&Actor>,
        changes: Vec<KvChange>,
        events: Vec<PluginEvent>,
    ) -> Result<Vec<bool>> {
        let is_tied = |change: &KvChange| matches!(change, KvChange::Put { message: Some(_), .. });
        let needs_one = !events.is_empty() || changes.iter().any(is_tied);
        let actor = match actor {
            Some(actor) => actor.clone(),
            // What is left is the plugin's own.
            None if !needs_one => Actor::SYSTEM,
            None => {
                return Err(Error::Forbidden("events and entries tied to a message need an actor".into()));
            }
        };
        let plugin = plugin.to_owned();
        self.0
            .store
            .write(move |tx| Box::pin(async move { commit(tx, &plugin, &actor, changes, events).await }))
            .await
    }
}

async fn commit(
    tx: &mut Tx,
    plugin: &str,
    actor: &Actor,
    changes: Vec<KvChange>,
    events: Vec<PluginEvent>,
) -> Result<Vec<bool>> {
    // A call that outlives its plugin leaves nothing for the next one of that name.
    let row = tx.plugin(plugin).await?.ok_or(Error::NotFound(Thing::Plugin))?;
    let mut existed = Vec::with_capacity(changes.len());
    let mut grows = false;
    for change in changes {
        existed.push(match change {
            KvChange::Put { key, value, message } => {
                if let Some(message) = message {
                    // Only who can read a message may hang something on it.
                    find_message(tx, actor, message).await?;
                }
                grows = true;
                let before = tx.kv_get(plugin, &key).await?.is_some();
                tx.kv_put(plugin, &key, &value, message).await?;
                before
            }
            KvChange::Delete { key } => tx.kv_delete(plugin, &key).await?,
            KvChange::Expect { key, value } => {
                let present = tx.kv_get(plugin, &key).await?;
                if present != value {
                    return Err(Error::Conflict("expectation_failed", format!("{key:?} has changed")));
                }
                present.is_some()
            }
        });
    }
    if grows {
        let most = limits_of(&row.limits).kv_bytes;
        let kept = usize::try_from(tx.kv_bytes(plugin).await?).unwrap_or_default();
        if kept > most {
            return Err(Error::Conflict("kv_full", format!("the plugin may keep {most} bytes")));
        }
    }
    let now = Timestamp::now();
    for event in events {
        enter_to(tx, actor, event.channel, Action::Write).await?;
        let event = Event::Plugin {
            kind: format!("plugin.{plugin}.{}", event.kind),
            channel_id: event.channel,
            data: event.json,
        };
        emit(tx, actor, &event, now)?;
    }
    Ok(existed)
}
