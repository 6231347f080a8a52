//! `/api/hooks`: incoming webhooks. Each posts as a bot of its own, in one channel.

use patchbay_sdk::{
    Error, MessageId, Timestamp,
    answer::{Answer, Problem},
    bots, channels, deployment, json, keys, kv, messages,
    routes::Call,
    state,
    text::rfc3339,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    bots::make,
    caller_id, hex,
    hooks::{self, Owned},
    next_id, slack,
};

/// Longest name, in characters.
const MAX_NAME: usize = 64;
/// Most characters of one message; longer texts become several.
const MAX_MESSAGE: usize = 8_000;
/// Most characters of one payload's text.
const MAX_TEXT: usize = 40_000;

/// What is kept of a webhook.
#[derive(Serialize, Deserialize)]
struct Hook {
    id: u64,
    name: String,
    channel: u64,
    bot: u64,
    owner: u64,
    created_at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHook {
    channel_id: u64,
    name: String,
}

impl Owned for Hook {
    const PREFIX: &str = "in/";

    fn owner(&self) -> u64 {
        self.owner
    }

    fn shown(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "channel_id": self.channel, "bot_id": self.bot,
            "owner_id": self.owner, "created_at": rfc3339(self.created_at),
        })
    }
}

impl Hook {
    /// It is kept nowhere: only this plugin can derive it.
    fn secret(&self) -> Result<String, Error> {
        Ok(hex(&keys::derive(&format!("in/{}/{}", self.id, self.created_at))?))
    }
}

pub fn create(call: &Call) -> Result<Answer, Problem> {
    let (caller, new) = (call.caller()?, call.json::<NewHook>()?);
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(Problem::field("name", "length", format!("must be 1 to {MAX_NAME} characters")));
    }
    // Better told before anything is made.
    channels::get(caller, new.channel_id)?;
    let (id, owner) = (next_id()?, caller_id(caller)?);
    let bot = make(caller, name, id, new.channel_id)?.id;
    let hook = Hook {
        id,
        name: name.to_owned(),
        channel: new.channel_id,
        bot,
        owner,
        created_at: deployment::now(),
    };
    state::set(&hooks::key::<Hook>(id), &hook)?;
    let mut shown = hook.shown();
    if let Some(fields) = shown.as_object_mut() {
        let url = format!("{}/api/hooks/{id}/{}", deployment::public_url(), hook.secret()?);
        fields.insert("url".to_owned(), url.into());
    }
    Ok(Answer::json(201, &shown))
}

pub fn get(call: &Call) -> Result<Answer, Problem> {
    Ok(Answer::json(200, &hooks::own::<Hook>(call)?.shown()))
}

pub fn delete(call: &Call) -> Result<Answer, Problem> {
    let hook = hooks::own::<Hook>(call)?;
    kv::delete(&hooks::key::<Hook>(hook.id))?;
    match bots::delete(call.caller()?, hook.bot) {
        // Its owner has taken the bot out before.
        Ok(()) | Err(Error::NotFound(_)) => Ok(Answer::no_content()),
        Err(error) => Err(error.into()),
    }
}

pub fn list(call: &Call) -> Result<Answer, Problem> {
    hooks::list::<Hook>(call)
}

/// What a sender that knows the secret has to say, in Slack's form; answers as Slack does.
pub fn receive(call: &Call) -> Result<Answer, Problem> {
    let no_service = || Problem::new(404, "no_service", "There is no such webhook.");
    let id = call.id("hook_id").map_err(|_| no_service())?;
    let hook: Hook = state::get(&hooks::key::<Hook>(id))?.ok_or_else(no_service)?;
    // Of what is compared only a derived key is secret; how long it takes tells nothing that helps to find it.
    if hex(&sha256(call.param("secret"))) != hex(&sha256(&hook.secret()?)) {
        return Err(no_service());
    }
    let invalid = |why: String| Problem::new(400, "invalid_payload", why);
    let payload = slack::payload(call.request()).map_err(invalid)?;
    let text = slack::text(&payload);
    if text.trim().is_empty() {
        return Err(Problem::new(400, "no_text", "There is no text in the payload."));
    }
    if text.chars().count() > MAX_TEXT {
        return Err(Problem::new(
            413,
            "msg_too_long",
            format!("The text has more than {MAX_TEXT} characters."),
        ));
    }
    let bot = bots::act_as(hook.bot).map_err(|error| match error {
        Error::NotFound(_) | Error::Forbidden(_) => no_service(),
        error => error.into(),
    })?;
    let mut first: Option<MessageId> = None;
    for part in slack::parts(&text, MAX_MESSAGE) {
        // What follows stays with the beginning.
        match messages::post(&bot, hook.channel, part, first, &[]) {
            Ok(posted) => first = first.or(Some(posted.id)),
            Err(Error::NotFound(_) | Error::Forbidden(_)) => {
                return Err(Problem::new(
                    404,
                    "channel_not_found",
                    "The webhook's bot can't post in its channel.",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Answer::text(200, "ok"))
}

fn sha256(text: &str) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes()).to_vec()
}
