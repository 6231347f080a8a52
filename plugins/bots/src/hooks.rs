//! What incoming and outgoing webhooks have in common: whose they are, and where they are kept.
//!
//! Owns: who may see and end one. Must not: know what one does.

use patchbay_sdk::{
    Error,
    answer::{Answer, Problem},
    json, kv,
    routes::Call,
    state,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{caller_id, not_found};

/// A kind of webhook.
pub trait Owned: DeserializeOwned {
    /// Under which they are kept, by their numbers.
    const PREFIX: &str;

    /// Whose it is.
    fn owner(&self) -> u64;
    /// As the API shows it, without its secret.
    fn shown(&self) -> Value;
}

/// Where one is kept.
pub fn key<T: Owned>(id: u64) -> String {
    format!("{}{id:020}", T::PREFIX)
}

/// The webhook of the request, if it is the caller's; a superuser's are all.
pub fn own<T: Owned>(call: &Call) -> Result<T, Problem> {
    let (caller, id) = (call.caller()?, call.id("hook_id")?);
    let found: Option<T> = state::get(&key::<T>(id))?;
    let owner = caller_id(caller)?;
    found.filter(|hook| hook.owner() == owner || caller.is_superuser()).ok_or_else(|| not_found("hook"))
}

/// A page of those that [`own`] would find.
pub fn list<T: Owned>(call: &Call) -> Result<Answer, Problem> {
    let (caller, page) = (call.caller()?, call.page()?);
    let owner = caller_id(caller)?;
    let is_shown = |hook: &T| hook.owner() == owner || caller.is_superuser();
    let (items, has_more) = all(page.after, page.limit, is_shown)?;
    let items: Vec<_> = items.iter().map(T::shown).collect();
    Ok(Answer::json(200, &json!({ "items": items, "has_more": has_more })))
}

/// Up to `limit` of those that are wanted with numbers after `after`, and whether there are more.
pub fn all<T: Owned>(
    after: Option<u64>,
    limit: u32,
    is_wanted: impl Fn(&T) -> bool,
) -> Result<(Vec<T>, bool), Error> {
    let mut after = after.map(key::<T>);
    let mut found = Vec::new();
    loop {
        let entries = kv::scan(T::PREFIX, after.as_deref(), 200)?;
        let is_last = entries.len() < 200;
        after = entries.last().map(|entry| entry.key.clone());
        for entry in entries {
            let item = serde_json::from_slice(&entry.value)
                .map_err(|error| Error::internal(format!("{}: {error}", entry.key)))?;
            if is_wanted(&item) {
                if found.len() == limit as usize {
                    return Ok((found, true));
                }
                found.push(item);
            }
        }
        if is_last {
            return Ok((found, false));
        }
    }
}
