//! Answering where the assistant's bot is mentioned.
//!
//! Everybody who reads a channel reads the answer. So it is made from messages of that channel alone, whatever else the bot or who asks
//! may read. It answers people, never bots, so that no two assistants talk for ever, and each mention once, however often it hears of it.
//!
//! Owns: which mentions are answered, and that it is once. Must not: find messages or ask models by other means than everybody's.

use patchbay_sdk::{
    Actor, ChannelId, DueJob, Entry, Error, Event, MessageId, channels, deployment, from_slice, identity,
    json, kv, messages, messages::Message, scheduler, state,
};
use serde::{Deserialize, Serialize};

use crate::{
    ask::{self, Turn},
    own_bot,
    policy::Policy,
    prompt::{Source, calling_nobody, cited, numbers},
    retrieve::still_readable,
};

/// What was said last in the conversation, which a question may be about.
const RECENT: usize = 10;
/// Messages that are looked through for them.
const LOOK_BACK: u32 = 60;
/// Most characters of a message, less than the host's bound.
const MAX_ANSWER: usize = 7_000;
/// Most attempts to get an answer; then it is said that there is none.
const ATTEMPTS: u32 = 3;

/// What became of a mention.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// The answer is about to be posted; it may have been.
    Posting,
    /// This is it; none: there was nothing to say.
    Done(Option<MessageId>),
}

/// What a job needs.
#[derive(Serialize, Deserialize)]
struct Mention {
    channel: ChannelId,
}

fn key(id: MessageId) -> String {
    format!("mention/{id:020}")
}

/// Puts down who is to be answered.
pub fn note(entries: &[Entry], policy: &Policy) -> Result<(), Error> {
    let bot = own_bot(policy)?;
    for entry in entries.iter().filter(|entry| entry.depth == 0 && !entry.history) {
        let Event::MessageCreated(message) = entry.event() else { continue };
        let is_for_us = bot.is_some_and(|bot| message.mentions.contains(&bot));
        if message.is_bot || !is_for_us || kv::get(&key(message.id))?.is_some() {
            continue;
        }
        scheduler::schedule(&scheduler::Scheduled {
            id: format!("mention/{}", message.id),
            payload: json!(Mention { channel: message.channel_id }).to_string(),
            due: deployment::now(),
        })?;
    }
    Ok(())
}

/// Answers one.
pub fn answer(job: &DueJob, policy: &Policy) -> Result<(), Error> {
    let wrong = || Error::internal(format!("no mention: {:?}", job.id));
    let id: MessageId = job.id.strip_prefix("mention/").and_then(|id| id.parse().ok()).ok_or_else(wrong)?;
    let mention: Mention = from_slice(job.payload.as_bytes()).map_err(|_| wrong())?;
    let bot = identity::bot()?;
    let done = match respond(&bot, policy, id, &mention, job.attempt) {
        // It was deleted, or the bot was sent away, meanwhile; or the answer is none that may be posted.
        Err(Error::NotFound(_) | Error::Forbidden(_) | Error::Conflict(_) | Error::Invalid(_)) => None,
        done => done?,
    };
    settle(&bot, id, &Fate::Done(done))
}

/// Puts down what became of a mention; it goes when that goes.
fn settle(bot: &Actor, id: MessageId, fate: &Fate) -> Result<(), Error> {
    match kv::commit(Some(bot), &[state::put(&key(id), fate, Some(id))?], &[]) {
        Err(Error::NotFound(_)) => Ok(()),
        done => done,
    }
}

fn respond(
    bot: &Actor,
    policy: &Policy,
    id: MessageId,
    mention: &Mention,
    attempt: u32,
) -> Result<Option<MessageId>, Error> {
    match state::get::<Fate>(&key(id))? {
        Some(Fate::Done(done)) => return Ok(done),
        Some(Fate::Posting) => {
            // It was interrupted just there.
            if let Some(posted) = posted(bot, id, mention.channel)? {
                return Ok(Some(posted));
            }
        }
        None => {}
    }
    let asked = messages::get(bot, id)?;
    let channel = channels::get(bot, mention.channel)?;
    let text = if !policy.permits(&channel) {
        Some("I am turned off for this channel, and have not read what you wrote.".to_owned())
    } else if !ask::is_configured(policy) {
        Some("I can't answer: no model is set up here.".to_owned())
    } else {
        // A mention is one question, however often it is tried.
        let turn = if attempt > 1 { Turn::Granted } else { ask::count(policy, asked.sender)? };
        match turn {
            Turn::Granted => Some(said(bot, policy, &asked, attempt)?),
            Turn::Refused { is_first: true, .. } => {
                Some("That were many questions; wait a minute.".to_owned())
            }
            Turn::Refused { .. } => None,
        }
    };
    let Some(text) = text else { return Ok(None) };
    settle(bot, id, &Fate::Posting)?;
    let root = asked.parent.unwrap_or(asked.id);
    Ok(Some(messages::post(bot, asked.channel, &text, Some(root), &[])?.id))
}

/// The answer of a model, with what it rests upon.
fn said(bot: &Actor, policy: &Policy, asked: &Message, attempt: u32) -> Result<String, Error> {
    let question = asked.content.trim();
    let unaddressed: Vec<_> = question.split_whitespace().filter(|word| !word.starts_with('@')).collect();
    let sought = if unaddressed.is_empty() { question.to_owned() } else { unaddressed.join(" ") };
    let mut sources = ask::sources(bot, policy, &sought, Some(asked.channel))?;
    sources.retain(|source| source.id != asked.id);
    for recent in recent(bot, asked)? {
        if !sources.iter().any(|source| source.id == recent.id) {
            sources.push(recent);
        }
    }
    let said = match ask::answer(policy, question, &sources) {
        Ok(said) => said,
        Err(error) if attempt < ATTEMPTS => return Err(error),
        Err(error) => {
            patchbay_sdk::warn!("a mention stays without an answer: {}", error.reason().detail);
            return Ok("I could not get an answer from the model; try again later.".to_owned());
        }
    };
    let text: String = calling_nobody(said.text.trim()).chars().take(MAX_ANSWER).collect();
    Ok(format!("{text}{}", footnotes(bot, &text, &sources)?))
}

/// What was said just before, in the thread or, of a message that began one, in the channel.
fn recent(bot: &Actor, asked: &Message) -> Result<Vec<Source>, Error> {
    let own = bot.user_id();
    let before = messages::list(bot, asked.channel, Some(asked.id), LOOK_BACK)?;
    let is_near = |message: &&Message| {
        let same = message.parent == asked.parent || Some(message.id) == asked.parent;
        same && Some(message.sender) != own && !message.content.trim().is_empty()
    };
    let mut ids: Vec<MessageId> =
        before.iter().filter(is_near).map(|message| message.id).take(RECENT).collect();
    ids.extend(asked.parent.filter(|root| !ids.contains(root)));
    ids.sort_unstable();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let shown = messages::show(bot, &ids)?;
    let hits = shown.iter().filter_map(|(_, json)| {
        Some(crate::retrieve::Hit { message: from_slice(json.as_bytes()).ok()?, score: 0.0 })
    });
    let sources = hits.filter_map(|hit| crate::retrieve::source(&hit));
    Ok(sources.filter(|source| source.channel == asked.channel && Some(source.sender) != own).collect())
}

/// The messages that an answer refers to, by the numbers that it has for them.
fn footnotes(bot: &Actor, answer: &str, sources: &[Source]) -> Result<String, Error> {
    if numbers(answer).is_empty() {
        return Ok(String::new());
    }
    let cited = still_readable(bot, cited(answer, sources))?;
    let number = |of: &Source| sources.iter().position(|source| source.id == of.id).map_or(0, |at| at + 1);
    let line = |source: &&Source| {
        let snippet: String = source.snippet().chars().take(80).collect();
        format!("\n[{}] {}: {}", number(source), source.name, calling_nobody(&snippet))
    };
    let lines: String = cited.iter().map(line).collect();
    Ok(if lines.is_empty() { lines } else { format!("\n{lines}") })
}

/// The answer to a mention, if it was posted before the server was killed: the bot's first reply after it that is no other
/// mention's answer.
fn posted(bot: &Actor, id: MessageId, channel: ChannelId) -> Result<Option<MessageId>, Error> {
    let asked = messages::get(bot, id)?;
    let root = asked.parent.unwrap_or(asked.id);
    let others = kv::scan("mention/", Some(&key(root.saturating_sub(1))), 1_000)?;
    let others: Vec<Fate> = others.iter().filter_map(|other| from_slice(&other.value).ok()).collect();
    let is_others =
        |reply: MessageId| others.iter().any(|fate| matches!(fate, Fate::Done(Some(of)) if *of == reply));
    let newest = messages::list(bot, channel, None, 200)?;
    let replies = newest.iter().rev().filter(|message| message.parent == Some(root) && message.id > id);
    Ok(replies
        .filter(|reply| Some(reply.sender) == bot.user_id())
        .map(|reply| reply.id)
        .find(|id| !is_others(*id)))
}
