//! What is the plugin's own: state, config, jobs, bot, log.

use async_trait::async_trait;
use patchbay_core::{Actor, Event, permission::Action};
use patchbay_runtime::{
    HostErrorKind,
    capabilities::{
        config::Config,
        identity::Identity,
        kv::{Kv, KvChange, KvEntry, PluginEvent},
        log::{Log, LogLevel},
        scheduler::{ScheduledJob, Scheduler},
    },
};
use serde_json::{Value, json};

use super::name_of;
use crate::world::{Answer, Kept, State, Waiting, World, error, forbidden, not_found};

/// Most jobs that wait, as in the server.
const MAX_JOBS: usize = 10_000;

/// Bytes as a test wants to see them: as text, if they are one.
pub(crate) fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!(bytes),
    }
}

impl Log for World {
    fn write(&self, _: &str, level: LogLevel, line: &str) {
        self.state().log.push((level, line.to_owned()));
    }
}

#[async_trait]
impl Kv for World {
    async fn get(&self, _: &str, key: &str) -> Answer<Option<Vec<u8>>> {
        self.call(("kv", "get"), json!({ "key": key }), |state| {
            Ok(state.kv.get(key).map(|kept| kept.value.clone()))
        })
    }

    async fn get_many(&self, _: &str, keys: &[String]) -> Answer<Vec<Option<Vec<u8>>>> {
        self.call(("kv", "get-many"), json!({ "keys": keys }), |state| {
            Ok(keys.iter().map(|key| state.kv.get(key).map(|kept| kept.value.clone())).collect())
        })
    }

    async fn scan(&self, _: &str, prefix: &str, after: Option<&str>, limit: u32) -> Answer<Vec<KvEntry>> {
        let arguments = json!({ "prefix": prefix, "after": after, "limit": limit });
        self.call(("kv", "scan"), arguments, |state| {
            let of_it = state.kv.iter().filter(|(key, _)| key.starts_with(prefix));
            let of_it = of_it.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
            Ok(of_it.take(limit as usize).map(|(key, kept)| (key.clone(), kept.value.clone())).collect())
        })
    }

    async fn set(&self, _: &str, key: &str, value: Vec<u8>) -> Answer<()> {
        let arguments = json!({ "key": key, "value": shown(&value) });
        self.call(("kv", "set"), arguments, |state| {
            let put = KvChange::Put { key: key.to_owned(), value, message: None };
            commit(state, None, vec![put], Vec::new()).map(|_| ())
        })
    }

    async fn delete(&self, _: &str, key: &str) -> Answer<bool> {
        self.call(("kv", "delete"), json!({ "key": key }), |state| Ok(state.kv.remove(key).is_some()))
    }

    async fn compare_and_swap(
        &self,
        _: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Answer<bool> {
        let seen = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| shown(bytes));
        let arguments = json!({ "key": key, "expected": seen(&expected), "value": seen(&value) });
        self.call(("kv", "compare-and-swap"), arguments, |state| {
            if state.kv.get(key).map(|kept| &kept.value) != expected.as_ref() {
                return Ok(false);
            }
            let key = key.to_owned();
            let change = match value {
                Some(value) => KvChange::Put { key, value, message: None },
                None => KvChange::Delete { key },
            };
            commit(state, None, vec![change], Vec::new()).map(|()| true)
        })
    }

    async fn commit(
        &self,
        _: &str,
        actor: Option<&Actor>,
        changes: Vec<KvChange>,
        events: Vec<PluginEvent>,
    ) -> Answer<()> {
        let arguments = json!({
            "actor": actor.map(|actor| name_of(self, actor)),
            "changes": changes.iter().map(change_shown).collect::<Vec<_>>(),
            "events": events.iter().map(event_shown).collect::<Vec<_>>(),
        });
        self.call(("kv", "commit"), arguments, |state| commit(state, actor, changes, events))
    }
}

fn change_shown(change: &KvChange) -> Value {
    match change {
        KvChange::Put { key, value, message } => {
            json!({ "put": key, "value": shown(value), "message": message.map(|id| id.0) })
        }
        KvChange::Delete { key } => json!({ "delete": key }),
        KvChange::Expect { key, value } => {
            json!({ "expect": key, "value": value.as_ref().map(|value| shown(value)) })
        }
    }
}

fn event_shown(event: &PluginEvent) -> Value {
    let data: Value = serde_json::from_str(&event.json).unwrap_or_default();
    json!({ "kind": event.kind, "channel": event.channel.0, "data": data })
}

/// All or nothing: everything is checked before the first change.
fn commit(
    state: &mut State,
    actor: Option<&Actor>,
    changes: Vec<KvChange>,
    events: Vec<PluginEvent>,
) -> Answer<()> {
    let ties = changes.iter().any(|change| matches!(change, KvChange::Put { message: Some(_), .. }));
    let actor = match actor {
        Some(actor) => actor,
        None if events.is_empty() && !ties => &Actor::SYSTEM,
        None => return Err(forbidden("events and entries tied to a message need an actor")),
    };
    let mut bytes: usize = state.kv.iter().map(|(key, kept)| key.len() + kept.value.len()).sum();
    for change in &changes {
        match change {
            KvChange::Put { key, value, message } => {
                if let Some(message) = message {
                    state.message(actor, *message)?;
                }
                bytes += key.len() + value.len();
            }
            KvChange::Delete { .. } => {}
            KvChange::Expect { key, value } => {
                if state.kv.get(key).map(|kept| &kept.value) != value.as_ref() {
                    let detail = format!("{key:?} has changed");
                    return Err(error(HostErrorKind::Conflict, "expectation_failed", detail));
                }
            }
        }
    }
    if bytes > state.kv_bytes {
        let detail = format!("the plugin may keep {} bytes", state.kv_bytes);
        return Err(patchbay_runtime::HostError::new(HostErrorKind::LimitExceeded, detail));
    }
    for event in &events {
        state.enter(actor, event.channel, Action::Write)?;
    }
    for event in events {
        let kind = format!("plugin.{}.{}", state.plugin, event.kind);
        state.tick();
        state.emit(actor, Event::Plugin { kind, channel_id: event.channel, data: event.json })?;
    }
    for change in changes {
        match change {
            KvChange::Put { key, value, message } => {
                state.kv.insert(key, Kept { value, message });
            }
            KvChange::Delete { key } => {
                state.kv.remove(&key);
            }
            KvChange::Expect { .. } => {}
        }
    }
    Ok(())
}

#[async_trait]
impl Config for World {
    async fn value(&self, _: &str, key: &str) -> Answer<Option<Value>> {
        self.call(("config", "get"), json!({ "key": key }), |state| Ok(state.config.get(key).cloned()))
    }

    async fn secret(&self, _: &str, key: &str) -> Answer<Option<String>> {
        self.call(("config", "secret"), json!({ "key": key }), |state| Ok(state.secrets.get(key).cloned()))
    }
}

#[async_trait]
impl Identity for World {
    async fn bot(&self, _: &str) -> Answer<Actor> {
        self.call(("identity", "bot"), json!({}), |state| {
            let bot = state.users.get(&state.bot).ok_or_else(|| not_found("user"))?;
            Ok(state.actor(bot))
        })
    }
}

#[async_trait]
impl Scheduler for World {
    async fn schedule(&self, _: &str, job: ScheduledJob) -> Answer<()> {
        let arguments = json!({ "id": job.id, "payload": job.payload, "due": job.due.0 });
        self.call(("scheduler", "schedule"), arguments, |state| {
            if !state.jobs.contains_key(&job.id) && state.jobs.len() >= MAX_JOBS {
                let detail = format!("{MAX_JOBS} jobs wait already");
                return Err(patchbay_runtime::HostError::new(HostErrorKind::LimitExceeded, detail));
            }
            state.jobs.insert(job.id.clone(), Waiting { job, every: None, failures: 0 });
            Ok(())
        })
    }

    async fn cancel(&self, _: &str, id: &str) -> Answer<bool> {
        self.call(("scheduler", "cancel"), json!({ "id": id }), |state| {
            let is_own = state.jobs.get(id).is_some_and(|waiting| waiting.every.is_none());
            Ok(is_own && state.jobs.remove(id).is_some())
        })
    }

    async fn list(&self, _: &str, after: Option<&str>, limit: u32) -> Answer<Vec<ScheduledJob>> {
        let arguments = json!({ "after": after, "limit": limit });
        self.call(("scheduler", "list"), arguments, |state| {
            let own = state.jobs.iter().filter(|(_, waiting)| waiting.every.is_none());
            let own = own.filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
            Ok(own.take(limit as usize).map(|(_, waiting)| waiting.job.clone()).collect())
        })
    }
}
