//! `kv`: a plugin's own durable state.

use async_trait::async_trait;
use patchbay_core::{Actor, ChannelId, MessageId};
use wasmtime::component::{Linker, Resource};

use super::check_limit;
use crate::{
    HostError, HostErrorKind,
    bindings::wit::{kv as wit, types},
    state::{CallState, Own, id_in, own},
};

const MAX_KEY_BYTES: usize = 512;
const MAX_VALUE_BYTES: usize = 64 << 10;
const MAX_KEYS: usize = 256;
const MAX_SCAN: u32 = 1_000;
const MAX_PREFIXES: usize = 64;
/// Entries that are read at once: 4 MiB at worst.
const SCAN_STEP: u32 = 64;
const MAX_SCAN_MANY: usize = 10_000;
const MAX_CHANGES: usize = 256;
const MAX_EVENTS: usize = 64;
const MAX_EVENT_BYTES: usize = 16 << 10;
const MAX_KIND_BYTES: usize = 64;

/// A key and its value.
pub type KvEntry = (String, Vec<u8>);

/// One step of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvChange {
    /// Write a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// If set, the entry goes when that message goes.
        message: Option<MessageId>,
    },
    /// Remove a key, if it is there.
    Delete {
        /// The key.
        key: String,
    },
    /// Fail the whole commit with `Conflict` unless the key has this value (none: does not exist).
    Expect {
        /// The key.
        key: String,
        /// The value.
        value: Option<Vec<u8>>,
    },
}

/// A journal entry of the plugin's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEvent {
    /// 1 to 64 of `a-z 0-9 _ .`.
    pub kind: String,
    /// Where.
    pub channel: ChannelId,
    /// A JSON object of up to 16 KiB, checked.
    pub json: String,
}

/// The embedder's store, one key space per plugin. Sizes and numbers have been checked against `wit/kv.wit`.
#[async_trait]
pub trait Kv {
    /// The value of a key.
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, HostError>;
    /// The values of keys, in the order asked.
    async fn get_many(&self, plugin: &str, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, HostError>;
    /// Entries whose keys start with `prefix` and come after `after`, by the bytes of their keys.
    async fn scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<KvEntry>, HostError>;
    /// Writes a value.
    async fn set(&self, plugin: &str, key: &str, value: Vec<u8>) -> Result<(), HostError>;
    /// Removes a key; whether it was there.
    async fn delete(&self, plugin: &str, key: &str) -> Result<bool, HostError>;
    /// Writes `value` (none: removes the key) if the key has `expected` (none: does not exist); whether it did.
    async fn compare_and_swap(
        &self,
        plugin: &str,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Result<bool, HostError>;
    /// All changes and events in one transaction, or none.
    async fn commit(
        &self,
        plugin: &str,
        actor: Option<&Actor>,
        changes: Vec<KvChange>,
        events: Vec<PluginEvent>,
    ) -> Result<(), HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn invalid(detail: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::Invalid, detail)
}

fn check_key(key: &str) -> Result<(), HostError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.contains('\0') {
        Ok(())
    } else {
        Err(invalid(format!("a key has 1 to {MAX_KEY_BYTES} bytes, none of them zero")))
    }
}

fn check_value(value: &[u8]) -> Result<(), HostError> {
    if value.len() <= MAX_VALUE_BYTES {
        Ok(())
    } else {
        let detail = format!("a value has at most {MAX_VALUE_BYTES} bytes");
        Err(HostError::new(HostErrorKind::LimitExceeded, detail))
    }
}

fn check_keys(keys: &[String]) -> Result<(), HostError> {
    if keys.len() > MAX_KEYS {
        return Err(invalid(format!("at most {MAX_KEYS} keys at once")));
    }
    keys.iter().try_for_each(|key| check_key(key))
}

fn check_scan_many(prefixes: &[String], limit: u32) -> Result<u32, HostError> {
    if prefixes.iter().any(|prefix| prefix.contains('\0')) {
        return Err(invalid("a key has no zero byte"));
    }
    if prefixes.len() > MAX_PREFIXES {
        return Err(invalid(format!("at most {MAX_PREFIXES} prefixes at once")));
    }
    check_limit(limit, MAX_SCAN)
}

fn check_event(event: &wit::Event) -> Result<(), HostError> {
    check_announcement("an event", &event.kind, &event.json)
}

/// What clients get as `plugin.{name}.{kind}`, kept or not.
pub(super) fn check_announcement(what: &str, kind: &str, json: &str) -> Result<(), HostError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    if !(1..=MAX_KIND_BYTES).contains(&kind.len()) || !kind.chars().all(valid) {
        return Err(invalid(format!("the kind of {what} is 1 to {MAX_KIND_BYTES} of a-z 0-9 _ .")));
    }
    if json.len() > MAX_EVENT_BYTES {
        let detail = format!("{what} has at most {MAX_EVENT_BYTES} bytes");
        return Err(HostError::new(HostErrorKind::LimitExceeded, detail));
    }
    // As a whole, because that has a limit to its depth: what goes to clients must be such that they can read it.
    let object: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(json);
    object.map(|_| ()).map_err(|_| invalid(format!("{what} is a JSON object")))
}

fn check_commit(changes: &[wit::Change], events: &[wit::Event]) -> Result<(), HostError> {
    if changes.len() > MAX_CHANGES || events.len() > MAX_EVENTS {
        return Err(invalid(format!("at most {MAX_CHANGES} changes and {MAX_EVENTS} events at once")));
    }
    for change in changes {
        match change {
            wit::Change::Put(put) => check_key(&put.key).and_then(|()| check_value(&put.value))?,
            wit::Change::Delete(key) => check_key(key)?,
            wit::Change::Expect(expectation) => {
                check_key(&expectation.key)?;
                check_value(expectation.value.as_deref().unwrap_or_default())?;
            }
        }
    }
    events.iter().try_for_each(check_event)
}

fn change_size(change: &wit::Change) -> usize {
    match change {
        wit::Change::Put(put) => put.key.len() + put.value.len(),
        wit::Change::Delete(key) => key.len(),
        wit::Change::Expect(expected) => expected.key.len() + expected.value.as_ref().map_or(0, Vec::len),
    }
}

impl From<wit::Change> for KvChange {
    fn from(change: wit::Change) -> Self {
        match change {
            wit::Change::Put(wit::Put { key, value, message }) => {
                Self::Put { key, value, message: message.map(|id| MessageId(id_in(id))) }
            }
            wit::Change::Delete(key) => Self::Delete { key },
            wit::Change::Expect(wit::Expectation { key, value }) => Self::Expect { key, value },
        }
    }
}

impl From<wit::Event> for PluginEvent {
    fn from(event: wit::Event) -> Self {
        Self { kind: event.kind, channel: ChannelId(id_in(event.channel)), json: event.json }
    }
}

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl CallState {
    /// Reads in steps, each charged before the next, so that the host never holds much more than the guest may have.
    async fn scan_charged(
        &mut self,
        prefix: &str,
        mut after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::Entry>, HostError>> {
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let (mut entries, mut left) = (Vec::new(), limit);
        while left > 0 {
            let step = left.min(SCAN_STEP);
            let found = match self.wait(Kv::scan(&*host, &plugin, prefix, after.as_deref(), step)).await {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            self.charge_bytes(found.iter().map(|(key, value)| key.len() + value.len()).sum())?;
            let is_last = found.len() < step as usize;
            after = found.last().map(|(key, _)| key.clone());
            left -= step;
            entries.extend(found.into_iter().map(|(key, value)| wit::Entry { key, value }));
            if is_last {
                break;
            }
        }
        Ok(Ok(entries))
    }
}

impl wit::Host for CallState {
    async fn get(&mut self, key: String) -> Answer<Option<Vec<u8>>> {
        self.charge_call(key.len())?;
        if let Err(error) = check_key(&key) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let value = self.wait(Kv::get(&*host, &plugin, &key)).await;
        self.charge_bytes(value.iter().flatten().map(Vec::len).sum())?;
        Ok(value.map_err(types::Error::from))
    }

    async fn get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<Vec<u8>>>> {
        self.charge_call(keys.iter().map(String::len).sum())?;
        if let Err(error) = check_keys(&keys) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let values = self.wait(Kv::get_many(&*host, &plugin, &keys)).await;
        self.charge_bytes(values.iter().flatten().flatten().map(Vec::len).sum())?;
        Ok(values.map_err(types::Error::from))
    }

    async fn scan(&mut self, prefix: String, after: Option<String>, limit: u32) -> Answer<Vec<wit::Entry>> {
        self.charge_call(prefix.len() + after.as_ref().map_or(0, String::len))?;
        let texts = [Some(&prefix), after.as_ref()];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Ok(Err(invalid("a key has no zero byte").into()));
        }
        let limit = match check_limit(limit, MAX_SCAN) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let found = self.scan_charged(&prefix, after, limit).await?;
        Ok(found.map_err(types::Error::from))
    }

    async fn scan_many(&mut self, prefixes: Vec<String>, limit: u32) -> Answer<Vec<Vec<wit::Entry>>> {
        self.charge_call(prefixes.iter().map(String::len).sum())?;
        let limit = match check_scan_many(&prefixes, limit) {
            Ok(limit) => limit,
            Err(error) => return Ok(Err(error.into())),
        };
        let (mut answer, mut left) = (Vec::with_capacity(prefixes.len()), MAX_SCAN_MANY);
        for prefix in prefixes {
            // Each costs what a call of its own would.
            self.charge_call(0)?;
            let share = limit.min(u32::try_from(left).unwrap_or(u32::MAX));
            let found = match self.scan_charged(&prefix, None, share).await? {
                Ok(found) => found,
                Err(error) => return Ok(Err(error.into())),
            };
            left = left.saturating_sub(found.len());
            answer.push(found);
        }
        Ok(Ok(answer))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Answer<()> {
        self.charge_call(key.len() + value.len())?;
        if let Err(error) =
            check_key(&key).and_then(|()| check_value(&value)).and_then(|()| self.charge_commit())
        {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Kv::set(&*host, &plugin, &key, value)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn delete(&mut self, key: String) -> Answer<bool> {
        self.charge_call(key.len())?;
        if let Err(error) = check_key(&key).and_then(|()| self.charge_commit()) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Kv::delete(&*host, &plugin, &key)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn compare_and_swap(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> Answer<bool> {
        let sizes = expected.iter().chain(&value).map(Vec::len).sum::<usize>();
        self.charge_call(key.len() + sizes)?;
        let checked =
            check_key(&key).and_then(|()| expected.iter().chain(&value).try_for_each(|v| check_value(v)));
        if let Err(error) = checked.and_then(|()| self.charge_commit()) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Kv::compare_and_swap(&*host, &plugin, &key, expected, value)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn commit(
        &mut self,
        actor: Option<Resource<Actor>>,
        changes: Vec<wit::Change>,
        events: Vec<wit::Event>,
    ) -> Answer<()> {
        let size = changes.iter().map(change_size).sum::<usize>();
        self.charge_call(
            size + events.iter().map(|event| event.kind.len() + event.json.len()).sum::<usize>(),
        )?;
        if let Err(error) = check_commit(&changes, &events).and_then(|()| self.charge_commit()) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let actor = actor.map(|actor| self.actor(&actor)).transpose()?;
        let changes = changes.into_iter().map(Into::into).collect();
        let events = events.into_iter().map(Into::into).collect();
        let done = self.wait(Kv::commit(&*host, &plugin, actor.as_ref(), changes, events)).await;
        Ok(done.map_err(types::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_checked() {
        let event = |kind: &str, json: &str| {
            check_event(&wit::Event { kind: kind.to_owned(), channel: 1, json: json.to_owned() })
                .map_err(|error| error.kind)
        };
        assert_eq!(event("poll.closed_2", r#"{"a": [1]}"#), Ok(()));
        for (kind, json) in [("", "{}"), ("A", "{}"), ("a b", "{}"), ("a", "[]"), ("a", "{"), ("a", "1")] {
            assert_eq!(event(kind, json), Err(HostErrorKind::Invalid), "{kind} {json}");
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(event("a", &deep), Err(HostErrorKind::Invalid), "too deep to be read");
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_EVENT_BYTES));
        assert_eq!(event("a", &long), Err(HostErrorKind::LimitExceeded));
    }

    #[test]
    fn keys_and_values_are_bounded() {
        assert!(check_key("a\0").is_err());
        assert!(check_key("").is_err() && check_key(&"k".repeat(513)).is_err());
        assert!(check_key(&"k".repeat(512)).is_ok());
        assert!(check_value(&[0; 64 << 10]).is_ok() && check_value(&[0; (64 << 10) + 1]).is_err());
        assert!(check_keys(&vec!["k".to_owned(); 257]).is_err());
    }
}
