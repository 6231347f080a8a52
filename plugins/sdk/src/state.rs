//! The plugin's own state as values with types, kept as JSON in [`kv`].
//!
//! ```no_run
//! use patchbay_sdk::{Error, kv, state};
//!
//! #[derive(Default, serde::Serialize, serde::Deserialize)]
//! struct Score {
//!     points: u32,
//! }
//!
//! fn point(user: u64) -> Result<Score, Error> {
//!     // Two calls at once: the one that comes second sees what the first one wrote, and counts on.
//!     state::update(&format!("score/{user}"), |score: Option<Score>| {
//!         let mut score = score.unwrap_or_default();
//!         score.points += 1;
//!         Ok(score)
//!     })
//! }
//! ```
//!
//! Owns: the JSON. Must not: choose keys.

use serde::{Serialize, de::DeserializeOwned};

use crate::{ChannelId, Error, MessageId, kv};

/// How often [`update`] tries while others write the same key.
const ATTEMPTS: usize = 32;

fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::internal(format!("the value of {key:?}: {error}")))
}

fn written<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::internal(format!("the value of {key:?}: {error}")))
}

/// The value of a key.
///
/// # Errors
/// The host's; `internal` if there is something else than a `T`.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    kv::get(key)?.map(|bytes| read(key, &bytes)).transpose()
}

/// The values of the keys that begin with `prefix`, up to `limit` (1 to 1,000), in the order of the keys.
///
/// # Errors
/// As [`get`].
pub fn list<T: DeserializeOwned>(prefix: &str, limit: u32) -> Result<Vec<(String, T)>, Error> {
    let entries = kv::scan(prefix, None, limit)?;
    entries.into_iter().map(|entry| Ok((entry.key.clone(), read(&entry.key, &entry.value)?))).collect()
}

/// Writes a value.
///
/// # Errors
/// The host's: `limit-exceeded` for more than 64 KiB, or when the plugin's share is full.
pub fn set<T: Serialize>(key: &str, value: &T) -> Result<(), Error> {
    kv::set(key, &written(key, value)?)
}

/// Changes a value by what it is, however many calls do so at once; the new value. `change` may be called several times.
///
/// # Errors
/// What `change` says; the host's; `conflict` if others kept writing.
pub fn update<T, E>(key: &str, mut change: impl FnMut(Option<T>) -> Result<T, E>) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<Error>,
{
    for _ in 0..ATTEMPTS {
        let before = kv::get(key)?;
        let value = before.as_deref().map(|bytes| read(key, bytes)).transpose()?;
        let value = change(value)?;
        if kv::compare_and_swap(key, before.as_deref(), Some(&written(key, &value)?))? {
            return Ok(value);
        }
    }
    Err(Error::conflict(format!("{key:?} is written by too many at once")).into())
}

/// A step of [`kv::commit`] that writes a value; with `message`, the entry goes when that message goes.
///
/// # Errors
/// `internal` if the value can't be JSON.
pub fn put<T: Serialize>(key: &str, value: &T, message: Option<MessageId>) -> Result<kv::Change, Error> {
    Ok(kv::Change::Put(kv::Put { key: key.to_owned(), value: written(key, value)?, message }))
}

/// An event for [`kv::commit`]; members of the channel get it as `plugin.{plugin name}.{kind}`.
///
/// # Errors
/// `internal` if the data can't be JSON. The host refuses what is no JSON object.
pub fn event<T: Serialize>(kind: &str, channel: ChannelId, data: &T) -> Result<kv::Event, Error> {
    let json =
        serde_json::to_string(data).map_err(|error| Error::internal(format!("event {kind}: {error}")))?;
    Ok(kv::Event { kind: kind.to_owned(), channel, json })
}
