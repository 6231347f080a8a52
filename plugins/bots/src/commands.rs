//! `/api/bots/{bot_id}/commands`: slash commands that bots answer at a URL, in Slack's form.
//!
//! A bot's command is there in channels in which the bot is a member, and nowhere else: whoever runs the bot learns of a
//! channel only what its members type for it.

use patchbay_sdk::{
    Actor, ChannelId, Command, Error, Invocation, Reason, Suggestion, Timestamp,
    answer::{Answer, Problem},
    bots, channels, deployment, http_client, json, keys, kv, messages,
    routes::Call,
    state,
    text::rfc3339,
    users,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{caller_id, delivery::signature, hex, not_found, outgoing::check_url, slack};

/// Under which they are kept, by name.
const PREFIX: &str = "command/";
/// Most of one bot, and of all.
const MAX_OF_BOT: usize = 50;
const MAX: u32 = 1_000;
/// Most that are offered in one channel, as the host takes.
const MAX_OFFERED: usize = 200;
/// Most suggestions that a bot can register for one, and that one answer has.
const MAX_SUGGESTIONS: usize = 100;
const SHOWN_SUGGESTIONS: usize = 20;
/// Longest line, in characters: a description, a usage, a suggestion.
const MAX_LINE: usize = 200;
/// How long a bot may take, in ms: what Slack's do.
const PATIENCE: u32 = 3_000;
/// Most characters of an answer, and of a message.
const MAX_TEXT: usize = 8_000;
/// Names that the host and this plugin answer.
const TAKEN: [&str; 2] = ["help", "remind"];

/// What is kept of one.
#[derive(Clone, Serialize, Deserialize)]
struct Registered {
    name: String,
    bot: u64,
    url: String,
    description: String,
    usage: String,
    suggestions: Vec<Offer>,
    created_at: Timestamp,
}

/// Something that can stand after a command's name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    text: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCommand {
    name: String,
    url: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    usage: String,
    #[serde(default)]
    suggestions: Vec<Offer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    url: Option<String>,
    description: Option<String>,
    usage: Option<String>,
    suggestions: Option<Vec<Offer>>,
}

impl Registered {
    fn shown(&self) -> Value {
        json!({
            "name": self.name, "bot_id": self.bot, "url": self.url, "description": self.description,
            "usage": self.usage, "suggestions": self.suggestions, "created_at": rfc3339(self.created_at),
        })
    }

    /// What its requests are signed with. It is kept nowhere: only this plugin can derive it.
    fn secret(&self) -> Result<String, Error> {
        Ok(hex(&keys::derive(&format!("{PREFIX}{}/{}/{}", self.name, self.bot, self.created_at))?))
    }

    /// The right to act as its bot, if that is a member of the channel and may act at all.
    fn bot_in(&self, channel: ChannelId) -> Result<Option<Actor>, Error> {
        let found = bots::act_as(self.bot).and_then(|bot| {
            let first = channels::members(&bot, channel, self.bot.checked_sub(1), 1)?;
            Ok((first.first() == Some(&self.bot)).then_some(bot))
        });
        match found {
            Err(Error::NotFound(_) | Error::Forbidden(_)) => Ok(None),
            found => found,
        }
    }
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn all() -> Result<Vec<Registered>, Error> {
    Ok(state::list(PREFIX, MAX)?.into_iter().map(|(_, command)| command).collect())
}

/// The bot of the request: the caller itself, or one of the caller's; a superuser's are all.
fn bot_of(call: &Call) -> Result<u64, Problem> {
    let (caller, id) = (call.caller()?, call.id("bot_id")?);
    if caller_id(caller)? == id {
        // Other users that are bots have no commands here.
        bots::act_as(id).map(drop).map_err(|_| not_found("bot"))?;
    } else {
        bots::get(caller, id)?;
    }
    Ok(id)
}

/// As [`bot_of`], but nobody's but the owner's and the bot's own: what comes to the URL is written for the bot.
fn bot_to_lead(call: &Call) -> Result<u64, Problem> {
    let (id, caller) = (bot_of(call)?, caller_id(call.caller()?)?);
    if id != caller && bots::get(call.caller()?, id)?.owner != Some(caller) {
        return Err(Problem::new(403, "forbidden", "Only the bot's owner can say where its commands lead."));
    }
    Ok(id)
}

fn command_of(call: &Call, bot: u64) -> Result<Registered, Problem> {
    let found: Option<Registered> = state::get(&key(call.param("name")))?;
    found.filter(|command| command.bot == bot).ok_or_else(|| not_found("command"))
}

fn check_name(name: &str) -> Result<(), Problem> {
    let of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if (1..=32).contains(&name.len()) && name.chars().all(of_a_name) {
        Ok(())
    } else {
        Err(Problem::field("name", "format", "must be 1 to 32 of a-z 0-9 _ -, without the slash"))
    }
}

fn check_line(field: &str, line: &str) -> Result<(), Problem> {
    if line.chars().count() <= MAX_LINE && !line.contains(['\n', '\r']) {
        Ok(())
    } else {
        Err(Problem::field(field, "format", format!("must be one line of at most {MAX_LINE} characters")))
    }
}

fn check_suggestions(suggestions: &[Offer]) -> Result<(), Problem> {
    if suggestions.len() > MAX_SUGGESTIONS {
        let why = format!("must be at most {MAX_SUGGESTIONS}");
        return Err(Problem::field("suggestions", "length", why));
    }
    suggestions.iter().try_for_each(|offer| {
        check_line("suggestions", &offer.text)?;
        check_line("suggestions", &offer.description)
    })
}

pub fn create(call: &Call) -> Result<Answer, Problem> {
    let bot = bot_to_lead(call)?;
    let new = call.json::<NewCommand>()?;
    check_name(&new.name)?;
    check_url(&new.url)?;
    check_line("description", &new.description)?;
    check_line("usage", &new.usage)?;
    check_suggestions(&new.suggestions)?;
    let registered = all()?;
    if registered.iter().filter(|command| command.bot == bot).count() >= MAX_OF_BOT {
        let why = format!("A bot can't have more than {MAX_OF_BOT} commands.");
        return Err(Problem::new(409, "too_many_commands", why));
    }
    if registered.len() >= MAX as usize {
        let why = format!("There are {MAX} commands of bots already.");
        return Err(Problem::new(409, "too_many_commands", why));
    }
    let command = Registered {
        name: new.name,
        bot,
        url: new.url,
        description: new.description,
        usage: new.usage,
        suggestions: new.suggestions,
        created_at: deployment::now(),
    };
    let taken = || Problem::new(409, "command_taken", format!("There is a command /{}.", command.name));
    let value = serde_json::to_vec(&command).map_err(|error| Error::internal(error.to_string()))?;
    if TAKEN.contains(&command.name.as_str())
        || !kv::compare_and_swap(&key(&command.name), None, Some(&value))?
    {
        return Err(taken());
    }
    let mut shown = command.shown();
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("secret".to_owned(), command.secret()?.into());
    }
    Ok(Answer::json(201, &shown))
}

pub fn list(call: &Call) -> Result<Answer, Problem> {
    let bot = bot_of(call)?;
    let items: Vec<_> = all()?.iter().filter(|command| command.bot == bot).map(Registered::shown).collect();
    Ok(Answer::json(200, &json!({ "items": items, "has_more": false })))
}

pub fn get(call: &Call) -> Result<Answer, Problem> {
    Ok(Answer::json(200, &command_of(call, bot_of(call)?)?.shown()))
}

pub fn update(call: &Call) -> Result<Answer, Problem> {
    let mut command = command_of(call, bot_to_lead(call)?)?;
    let changes = call.json::<Changes>()?;
    changes.url.as_deref().map_or(Ok(()), check_url)?;
    changes.description.as_deref().map_or(Ok(()), |line| check_line("description", line))?;
    changes.usage.as_deref().map_or(Ok(()), |line| check_line("usage", line))?;
    changes.suggestions.as_deref().map_or(Ok(()), check_suggestions)?;
    command.url = changes.url.unwrap_or(command.url);
    command.description = changes.description.unwrap_or(command.description);
    command.usage = changes.usage.unwrap_or(command.usage);
    command.suggestions = changes.suggestions.unwrap_or(command.suggestions);
    state::set(&key(&command.name), &command)?;
    Ok(Answer::json(200, &command.shown()))
}

pub fn delete(call: &Call) -> Result<Answer, Problem> {
    kv::delete(&key(&command_of(call, bot_of(call)?)?.name))?;
    Ok(Answer::no_content())
}

/// Takes out what a bot has registered.
pub fn forget(bot: u64) -> Result<(), Error> {
    let of_it = all()?.into_iter().filter(|command| command.bot == bot);
    of_it.map(|command| key(&command.name)).try_for_each(|key| kv::delete(&key).map(drop))
}

/// Those that can be typed in a channel.
pub fn offered(channel: ChannelId) -> Result<Vec<Command>, Error> {
    // Commands of one bot stand together or not at all, so each bot is looked at once.
    let mut members = std::collections::HashMap::new();
    let mut offered = Vec::new();
    for command in all()? {
        let is_member = match members.get(&command.bot) {
            Some(known) => *known,
            None => *members.entry(command.bot).or_insert(command.bot_in(channel)?.is_some()),
        };
        if is_member && offered.len() < MAX_OFFERED {
            let Registered { name, description, usage, .. } = command;
            offered.push(Command { name, description, usage });
        }
    }
    Ok(offered)
}

/// What a bot has registered for what comes after its command.
pub fn complete(name: &str, text: &str, channel: ChannelId) -> Result<Vec<Suggestion>, Error> {
    let (command, _) = there(name, channel)?;
    let start = text.to_lowercase();
    let found = command.suggestions.into_iter().filter(|of| of.text.to_lowercase().starts_with(&start));
    let suggestion = |of: Offer| Suggestion { text: of.text, description: of.description };
    Ok(found.map(suggestion).take(SHOWN_SUGGESTIONS).collect())
}

/// Asks the bot, and says what it says: to the caller alone, or to everybody if it wants that.
pub fn run(caller: &Actor, invocation: &Invocation) -> Result<Option<String>, Error> {
    let (command, bot) = there(&invocation.command, invocation.channel)?;
    let user = caller.user_id().ok_or_else(|| Error::forbidden("this needs a user"))?;
    let body = form(caller, user, invocation)?;
    let timestamp = deployment::now() / 1000;
    let signed = format!("v0={}", hex(&signature(&command.secret()?, timestamp, body.as_bytes())?));
    let headers = [
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("x-patchbay-signature", signed.clone()),
        ("x-patchbay-request-timestamp", timestamp.to_string()),
        // Of the same form, so that what was made for Slack can check it.
        ("x-slack-signature", signed),
        ("x-slack-request-timestamp", timestamp.to_string()),
    ];
    let failed = |why: String| {
        patchbay_sdk::warn!("/{} of bot {}: {why}", command.name, command.bot);
        Error::conflict(format!("the bot that answers /{} can't be reached or failed", command.name))
    };
    let answer = http_client::send(&http_client::Outgoing {
        method: "POST".to_owned(),
        url: command.url.clone(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body: body.into_bytes(),
        timeout_ms: PATIENCE,
    })
    .map_err(|error| failed(format!("{error:?}")))?;
    if !(200..300).contains(&answer.status) {
        return Err(failed(format!("it answered {}", answer.status)));
    }
    let said = Said::of(&answer.body).map_err(failed)?;
    if said.is_for_all {
        for part in slack::parts(&said.text, MAX_TEXT) {
            messages::post(&bot, invocation.channel, part, None, &[])?;
        }
        return Ok(None);
    }
    Ok(Some(said.text.chars().take(MAX_TEXT).collect()).filter(|text: &String| !text.is_empty()))
}

/// A command of that name, with its bot, if it is there in the channel.
fn there(name: &str, channel: ChannelId) -> Result<(Registered, Actor), Error> {
    let command: Option<Registered> = state::get(&key(name))?;
    let bot = match &command {
        Some(command) => command.bot_in(channel)?,
        None => None,
    };
    command.zip(bot).ok_or_else(|| {
        let detail = format!("there is no command /{name} here");
        Error::NotFound(Reason { code: "command_not_found".to_owned(), detail })
    })
}

/// What Slack's servers send.
fn form(caller: &Actor, user: u64, invocation: &Invocation) -> Result<String, Error> {
    let channel = channels::get(caller, invocation.channel)?;
    let name = users::get(caller, user)?.username;
    let team = deployment::public_url();
    let team = team.split_once("://").map_or(team.as_str(), |(_, host)| host);
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("command", &format!("/{}", invocation.command))
        .append_pair("text", &invocation.text)
        .append_pair("user_id", &user.to_string())
        .append_pair("user_name", &name)
        .append_pair("channel_id", &invocation.channel.to_string())
        .append_pair("channel_name", &channel.name)
        .append_pair("team_id", team)
        .append_pair("team_domain", team);
    Ok(form.finish())
}

/// What a bot has answered.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    text: String,
    is_for_all: bool,
}

impl Said {
    /// Nothing, a text, or Slack's payload.
    fn of(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|_| "its answer is no UTF-8".to_owned())?.trim();
        if !text.starts_with('{') {
            return Ok(Self { text: text.to_owned(), is_for_all: false });
        }
        let payload: Value =
            serde_json::from_str(text).map_err(|error| format!("its answer is no JSON: {error}"))?;
        let is_for_all = payload.get("response_type").and_then(Value::as_str) == Some("in_channel");
        Ok(Self { text: slack::text(&payload).trim().to_owned(), is_for_all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_texts_or_payloads() {
        let said = |text: &str, is_for_all| Ok(Said { text: text.to_owned(), is_for_all });
        assert_eq!(Said::of(b""), said("", false));
        assert_eq!(Said::of(b" done \n"), said("done", false));
        assert_eq!(Said::of(br#"{"text": "*done*"}"#), said("**done**", false));
        assert_eq!(Said::of(br#"{"response_type": "in_channel", "text": "hi"}"#), said("hi", true));
        assert_eq!(Said::of(br#"{"response_type": "ephemeral", "text": "hi"}"#), said("hi", false));
        assert!(Said::of(b"{\"text\"").is_err());
        assert!(Said::of(b"\xff").is_err());
    }

    #[test]
    fn names_are_words() {
        for name in ["deploy", "a", "on-call_2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "/deploy", "De", "a b", "é", &"x".repeat(33)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
