//! `/api/hooks/outgoing`: who is told by HTTP of what happens, and of what.

use patchbay_sdk::{
    Actor, Error, Timestamp,
    answer::{Answer, Problem},
    channels, deployment, json, keys, kv,
    routes::Call,
    scheduler, state,
    text::rfc3339,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    caller_id, hex,
    hooks::{self, Owned},
    next_id,
};

/// Most webhooks of one owner.
const MAX_HOOKS: usize = 50;
/// Most kinds and most channels of one.
const MAX_LIST: usize = 100;
const MAX_URL: usize = 2_000;

/// What is kept of a webhook.
#[derive(Clone, Serialize, Deserialize)]
pub struct Hook {
    pub id: u64,
    pub url: String,
    /// `message.created`, `message.*`, `*`.
    pub events: Vec<String>,
    /// None: every channel that the owner can read.
    pub channels: Option<Vec<u64>>,
    pub owner: u64,
    pub is_active: bool,
    pub created_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHook {
    url: String,
    events: Vec<String>,
    channel_ids: Option<Vec<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    url: Option<String>,
    events: Option<Vec<String>>,
    channel_ids: Option<Vec<u64>>,
    is_active: Option<bool>,
}

/// Under which the bodies wait that are still to be sent.
pub fn bodies(id: u64) -> String {
    format!("body/{id:020}/")
}

impl Owned for Hook {
    const PREFIX: &str = "out/";

    fn owner(&self) -> u64 {
        self.owner
    }

    fn shown(&self) -> Value {
        json!({
            "id": self.id, "url": self.url, "events": self.events, "channel_ids": self.channels,
            "owner_id": self.owner, "is_active": self.is_active, "created_at": rfc3339(self.created_at),
        })
    }
}

impl Hook {
    /// What its deliveries are signed with. It is kept nowhere: only this plugin can derive it.
    pub fn secret(&self) -> Result<String, Error> {
        Ok(hex(&keys::derive(&format!("out/{}/{}", self.id, self.created_at))?))
    }
    /// Whether it is for events of this kind and channel, as far as its owner asked.
    pub fn wants(&self, kind: &str, channel: u64) -> bool {
        let covers = |wanted: &String| match wanted.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == wanted,
        };
        self.is_active
            && self.events.iter().any(covers)
            && self.channels.as_ref().is_none_or(|channels| channels.contains(&channel))
    }
}

pub fn check_url(url: &str) -> Result<(), Problem> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_url = host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && url.len() <= MAX_URL
        && !url.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_url {
        Ok(())
    } else {
        Err(Problem::field("url", "format", "must be a URL, https://… or http://…"))
    }
}

fn check_events(events: &[String]) -> Result<(), Problem> {
    let is_kind = |kind: &str| {
        let name = kind.strip_suffix(".*").unwrap_or(kind);
        let of_a_name =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
        kind == "*" || (!name.is_empty() && name.len() <= 96 && name.chars().all(of_a_name))
    };
    if !(1..=MAX_LIST).contains(&events.len()) || !events.iter().all(|kind| is_kind(kind)) {
        let why = "must be kinds of events like message.created, message.* or *";
        return Err(Problem::field("events", "format", why));
    }
    Ok(())
}

/// Each is one that the caller can read.
fn check_channels(caller: &Actor, ids: &[u64]) -> Result<(), Problem> {
    if !(1..=MAX_LIST).contains(&ids.len()) {
        return Err(Problem::field("channel_ids", "length", format!("must be 1 to {MAX_LIST} channels")));
    }
    ids.iter().try_for_each(|id| channels::get(caller, *id).map(drop).map_err(Problem::from))
}

pub fn create(call: &Call) -> Result<Answer, Problem> {
    let (caller, new) = (call.caller()?, call.json::<NewHook>()?);
    let owner = caller_id(caller)?;
    check_url(&new.url)?;
    check_events(&new.events)?;
    if let Some(ids) = &new.channel_ids {
        check_channels(caller, ids)?;
    }
    let (owned, _) = hooks::all(None, u32::MAX, |hook: &Hook| hook.owner == owner)?;
    if owned.len() >= MAX_HOOKS {
        let why = format!("Nobody can own more than {MAX_HOOKS} outgoing webhooks.");
        return Err(Problem::new(409, "too_many_hooks", why));
    }
    let hook = Hook {
        id: next_id()?,
        url: new.url,
        events: new.events,
        channels: new.channel_ids,
        owner,
        is_active: true,
        created_at: deployment::now(),
    };
    state::set(&hooks::key::<Hook>(hook.id), &hook)?;
    let mut shown = hook.shown();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("secret".to_owned(), hook.secret()?.into());
    }
    Ok(Answer::json(201, &shown))
}

pub fn get(call: &Call) -> Result<Answer, Problem> {
    Ok(Answer::json(200, &hooks::own::<Hook>(call)?.shown()))
}

pub fn update(call: &Call) -> Result<Answer, Problem> {
    let (hook, changes) = (hooks::own::<Hook>(call)?, call.json::<Changes>()?);
    let redirects = changes.url.is_some() || changes.events.is_some() || changes.channel_ids.is_some();
    if redirects && hook.owner != caller_id(call.caller()?)? {
        // What comes is what its owner may read, and that is not for whoever administers.
        return Err(Problem::new(
            403,
            "forbidden",
            "Only its owner can change where it leads and what it hears.",
        ));
    }
    changes.url.as_deref().map_or(Ok(()), check_url)?;
    changes.events.as_deref().map_or(Ok(()), check_events)?;
    changes.channel_ids.as_deref().map_or(Ok(()), |ids| check_channels(call.caller()?, ids))?;
    let changed = Hook {
        url: changes.url.unwrap_or(hook.url),
        events: changes.events.unwrap_or(hook.events),
        channels: changes.channel_ids.or(hook.channels),
        is_active: changes.is_active.unwrap_or(hook.is_active),
        ..hook
    };
    state::set(&hooks::key::<Hook>(changed.id), &changed)?;
    // What was wrong with it may be right now.
    kv::delete(&crate::delivery::trouble_of(changed.id))?;
    Ok(Answer::json(200, &changed.shown()))
}

pub fn delete(call: &Call) -> Result<Answer, Problem> {
    let hook = hooks::own::<Hook>(call)?;
    kv::delete(&hooks::key::<Hook>(hook.id))?;
    kv::delete(&crate::delivery::trouble_of(hook.id))?;
    // What still waits finds no webhook and goes by itself; this is only sooner.
    for entry in kv::scan(&bodies(hook.id), None, 200)? {
        if let Some(seq) = entry.key.rsplit('/').next() {
            scheduler::cancel(&format!("out/{}/{seq}", hook.id))?;
        }
        kv::delete(&entry.key)?;
    }
    Ok(Answer::no_content())
}

pub fn list(call: &Call) -> Result<Answer, Problem> {
    hooks::list::<Hook>(call)
}
