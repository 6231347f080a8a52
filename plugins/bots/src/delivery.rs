//! Deliveries of outgoing webhooks: what is due to whom, and how it is sent, signed and tried again.
//!
//! Deliveries go out one after the other, so a receiver that doesn't answer must not keep up the others: after a failure no new
//! delivery is begun to it for a while, and one that has failed for hours is given up.
//!
//! A delivery is a body in the plugin's state and a job of the host's that sends it, again after pauses that grow, until it is
//! taken or becomes a dead letter. What is deleted before it was sent is not sent any more.

use hmac::{Hmac, KeyInit as _, Mac as _};
use patchbay_sdk::{
    Actor, DueJob, Entry, Error, Timestamp, Value, channels, deployment, from_slice, http_client, json, kv,
    scheduler, state, system, text::rfc3339, users,
};
use sha2::Sha256;

use crate::{
    hex, hooks,
    outgoing::{Hook, bodies},
};

/// How long a receiver may take, in ms.
const PATIENCE: u32 = 5_000;
/// How long nothing new is begun after a failure, in ms; twice as long after each that follows.
const PAUSE: u64 = 10_000;
const LONGEST_PAUSE: u64 = 600_000;
/// After so many failures without a success, some hours with pauses of that length, the webhook is deactivated.
const GIVE_UP: u32 = 50;

/// What is kept of a receiver that fails.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Trouble {
    failures: u32,
    /// Nothing new is begun before.
    until: Timestamp,
}

/// Under which the failures of a webhook are kept.
pub fn trouble_of(hook: u64) -> String {
    format!("trouble/{hook:020}")
}

/// Puts down what is to be sent because of these events.
pub fn plan(entries: &[Entry]) -> Result<(), Error> {
    let live: Vec<_> = entries.iter().filter(|entry| !entry.history).collect();
    if live.is_empty() {
        return Ok(());
    }
    let (hooks, _) = hooks::all(None, u32::MAX, |hook: &Hook| hook.is_active)?;
    if hooks.is_empty() {
        return Ok(());
    }
    let system = system::get()?;
    for entry in live {
        let Some(channel) = entry.channel else { continue };
        for hook in &hooks {
            if hook.wants(&entry.kind, channel) && may_read(&system, hook.owner, channel)? {
                put_down(&system, hook, entry, channel)?;
            }
        }
    }
    Ok(())
}

/// Whether somebody may read a channel at this moment.
fn may_read(system: &Actor, user: u64, channel: u64) -> Result<bool, Error> {
    let found = match channels::get(system, channel) {
        Ok(found) => found,
        // The news is that it is gone; nobody can be shown to have been there.
        Err(Error::NotFound(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    if !users::get(system, user)?.is_active {
        return Ok(false);
    }
    let member = channels::members(system, channel, user.checked_sub(1), 1)?;
    Ok(found.is_public || member.first() == Some(&user))
}

fn put_down(system: &Actor, hook: &Hook, entry: &Entry, channel: u64) -> Result<(), Error> {
    let data: Value = from_slice(entry.payload.as_bytes()).unwrap_or_default();
    let body = json!({
        "type": entry.kind, "seq": entry.seq, "hook_id": hook.id, "channel_id": channel, "actor_id": entry.actor,
        "at": rfc3339(entry.at), "data": data,
    });
    let id = if entry.kind.starts_with("message.") { data.get("id") } else { data.get("message_id") };
    // It goes when its message goes, unless that is the news.
    let message = id.and_then(Value::as_u64).filter(|_| entry.kind != "message.deleted");
    let put = |message| kv::Put {
        key: format!("{}{}", bodies(hook.id), entry.seq),
        value: body.to_string().into_bytes(),
        message,
    };
    match kv::commit(Some(system), &[kv::Change::Put(put(message))], &[]) {
        // The message is gone already, and so is the news of it.
        Err(Error::NotFound(_)) => return Ok(()),
        done => done?,
    }
    scheduler::schedule(&scheduler::Scheduled {
        id: format!("out/{}/{}", hook.id, entry.seq),
        payload: String::new(),
        due: 0,
    })
}

/// Sends one.
pub fn deliver(job: &DueJob) -> Result<(), Error> {
    let mut parts = job.id.split('/').skip(1);
    let (Some(id), Some(seq)) = (parts.next().and_then(|id| id.parse().ok()), parts.next()) else {
        return Err(Error::internal(format!("no delivery: {:?}", job.id)));
    };
    let at = format!("{}{seq}", bodies(id));
    let Some(body) = kv::get(&at)? else { return Ok(()) };
    let Some(hook) = state::get::<Hook>(&hooks::key::<Hook>(id))?.filter(|hook| hook.is_active) else {
        return kv::delete(&at).map(drop);
    };
    let now = deployment::now();
    let trouble: Trouble = state::get(&trouble_of(id))?.unwrap_or_default();
    if job.attempt == 1 && trouble.until > now {
        let (id, due) = (job.id.clone(), trouble.until);
        return scheduler::schedule(&scheduler::Scheduled { id, payload: String::new(), due });
    }
    match send(&hook, job, seq, body, now / 1000) {
        Ok(()) => {
            if trouble.failures > 0 {
                kv::delete(&trouble_of(id))?;
            }
            kv::delete(&at).map(drop)
        }
        Err(error) => {
            failed(hook, trouble, now)?;
            Err(error)
        }
    }
}

fn send(hook: &Hook, job: &DueJob, seq: &str, body: Vec<u8>, timestamp: u64) -> Result<(), Error> {
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("x-patchbay-signature", format!("v0={}", hex(&signature(&hook.secret()?, timestamp, &body)?))),
        ("x-patchbay-request-timestamp", timestamp.to_string()),
        ("x-patchbay-retry-num", job.attempt.saturating_sub(1).to_string()),
        ("x-patchbay-delivery", format!("{}-{seq}", hook.id)),
    ];
    let answer = http_client::send(&http_client::Outgoing {
        method: "POST".to_owned(),
        url: hook.url.clone(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body,
        timeout_ms: PATIENCE,
    })?;
    if (200..300).contains(&answer.status) {
        Ok(())
    } else {
        Err(Error::unavailable(format!("the receiver answered {}", answer.status)))
    }
}

fn failed(hook: Hook, trouble: Trouble, now: Timestamp) -> Result<(), Error> {
    let failures = trouble.failures.saturating_add(1);
    let pause = PAUSE.saturating_mul(1 << trouble.failures.min(10)).min(LONGEST_PAUSE);
    state::set(&trouble_of(hook.id), &Trouble { failures, until: now.saturating_add(pause) })?;
    if failures >= GIVE_UP {
        patchbay_sdk::warn!("outgoing webhook {} has failed {failures} times and is deactivated", hook.id);
        state::set(&hooks::key::<Hook>(hook.id), &Hook { is_active: false, ..hook })?;
    }
    Ok(())
}

pub fn signature(secret: &str, timestamp: u64, body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|error| Error::internal(error.to_string()))?;
    mac.update(format!("v0:{timestamp}:").as_bytes());
    mac.update(body);
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_as_described() {
        // printf 'v0:1700000000:{}' | openssl dgst -sha256 -hmac secret
        let signed = hex(&signature("secret", 1_700_000_000, b"{}").unwrap());
        assert_eq!(signed, "84dd7b277ba946b3a34369b43499bfd9258b410b8894583f1288b1911aa6a6d6");
    }
}
