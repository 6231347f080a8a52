//! Finding messages for a question, by what it means and by its words.
//!
//! What an actor may read is asked of the host three times over: the vectors are looked for in its channels only, the words are looked
//! for with its permissions, and everything is read again as the actor before it leaves this module. Whatever the index holds, nothing else
//! is returned.
//!
//! Owns: both ways of looking, and what is left out. Must not: keep anything.

use std::collections::{BTreeMap, BTreeSet};

use patchbay_sdk::{
    Actor, ChannelId, Error, MessageId, Value, channels, from_slice, llm, messages,
    search::{self, Filter, Order, Query, Term, Traits},
    vectors,
};

use crate::{
    backfill::collection_of,
    fusion::{self, Found},
    index::{message_of, one_of},
    own_bot,
    policy::Policy,
    prompt::Source,
};

/// Nearest passages that are looked at.
const NEAREST: u32 = 100;
/// Messages that are looked at for each word.
const PER_WORD: u32 = 50;
/// Channels that a condition can name, and most of somebody's that are looked in: above it words still find everything.
const CHANNELS: usize = 10_000;
/// Channels that a query of words can leave out.
const LEFT_OUT: usize = 50;
/// Messages that are read at once, and as many as anybody can ask for.
const PAGE: u32 = 200;

/// A message that was found.
pub struct Hit {
    /// As the API shows it.
    pub message: Value,
    /// 0 to 1.
    pub score: f64,
}

/// What was found.
pub struct Answer {
    /// The best first.
    pub hits: Vec<Hit>,
    /// There were more.
    pub has_more: bool,
    /// What made the vectors; none if they could not be asked.
    pub embedder: Option<String>,
}

/// Which ways of looking are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Both.
    Both,
    /// Only vectors.
    Vectors,
    /// Only words.
    Words,
}

/// The messages that fit a question, of those that the actor can read at this moment: in one channel, or anywhere.
///
/// # Errors
/// `not-found` for a channel that the actor can't read. `unavailable` if neither way of looking works.
pub fn retrieve(
    actor: &Actor,
    policy: &Policy,
    question: &str,
    channel: Option<ChannelId>,
    (limit, by): (u32, By),
) -> Result<Answer, Error> {
    let scope = scope(actor, policy, channel)?;
    let bot = own_bot(policy)?;
    let (mut rankings, mut embedder, mut failed) = (Vec::new(), None, None);
    if by != By::Words {
        match nearest(policy, question, &scope) {
            Ok((made_by, ranking)) => {
                embedder = Some(made_by);
                rankings.push(ranking);
            }
            Err(error) => {
                patchbay_sdk::warn!("vectors are left out of an answer: {}", error.reason().detail);
                failed = Some(error);
            }
        }
    }
    if by != By::Vectors {
        match with_words(actor, policy, question, channel) {
            Ok(ranking) => rankings.push(ranking),
            Err(error) if embedder.is_some() => {
                patchbay_sdk::warn!("words are left out of an answer: {}", error.reason().detail);
            }
            Err(error) => return Err(error),
        }
    }
    if rankings.is_empty()
        && let Some(error) = failed
    {
        return Err(error);
    }
    let fused = fusion::fuse(&rankings);
    let (hits, has_more) = read(actor, &fused, &scope, bot, limit as usize)?;
    Ok(Answer { hits, has_more, embedder })
}

/// The channels that the actor can read and that are not left out.
fn scope(actor: &Actor, policy: &Policy, channel: Option<ChannelId>) -> Result<BTreeSet<ChannelId>, Error> {
    if let Some(channel) = channel {
        let found = channels::get(actor, channel)?;
        return Ok(policy.permits(&found).then_some(channel).into_iter().collect());
    }
    let (mut scope, mut after) = (BTreeSet::new(), None);
    loop {
        let page = channels::list(actor, after, PAGE)?;
        after = page.last().map(|channel| channel.id);
        let is_last = page.len() < PAGE as usize;
        scope.extend(page.into_iter().filter(|channel| policy.permits(channel)).map(|channel| channel.id));
        if is_last || scope.len() >= CHANNELS {
            return Ok(scope);
        }
    }
}

/// The messages with the nearest passages in these channels, and what made the vectors.
fn nearest(
    policy: &Policy,
    question: &str,
    scope: &BTreeSet<ChannelId>,
) -> Result<(String, Vec<MessageId>), Error> {
    let made = llm::embed(policy.embedding.as_deref(), &[question.to_owned()])?;
    let vector = made.vectors.into_iter().next().unwrap_or_default();
    if scope.is_empty() || vector.iter().all(|number| *number == 0.0) {
        return Ok((made.embedder, Vec::new()));
    }
    let within = one_of("channel", scope.iter().copied().take(CHANNELS));
    let found = vectors::query(&collection_of(&made.embedder), &vector, &[within], NEAREST)?;
    let mut ranking = Vec::new();
    for id in found.iter().filter(|found| found.score > 0.0).filter_map(message_of) {
        if !ranking.contains(&id) {
            ranking.push(id);
        }
    }
    Ok((made.embedder, ranking))
}

/// The messages that have some of the words. All words of a query of the host's have to be there, so there is a query for each.
fn with_words(
    actor: &Actor,
    policy: &Policy,
    question: &str,
    channel: Option<ChannelId>,
) -> Result<Vec<MessageId>, Error> {
    let nothing = || Filter { channels: Vec::new(), senders: Vec::new(), has: Traits::empty() };
    let found = fusion::keywords(question).into_iter().map(|word| {
        let page = search::messages(
            actor,
            &Query {
                terms: vec![Term { text: word.clone(), prefix: false, negated: false }],
                wanted: Filter { channels: channel.into_iter().collect(), ..nothing() },
                unwanted: Filter { channels: policy.excluded_ids(LEFT_OUT), ..nothing() },
                since: None,
                until: None,
                order: Order::Relevance,
                limit: PER_WORD,
                cursor: None,
            },
        )?;
        let text = |json: &str| -> Option<String> {
            let message: Value = from_slice(json.as_bytes()).ok()?;
            message.get("content").and_then(Value::as_str).map(str::to_owned)
        };
        let messages = page.hits.iter().filter_map(|hit| Some((hit.id, text(&hit.json)?))).collect();
        Ok(Found { word, messages, has_more: page.next.is_some() })
    });
    Ok(fusion::rank(&found.collect::<Result<Vec<_>, Error>>()?))
}

/// Reads what was found as the actor, and leaves out what it can't read now, what is left out, and what the assistant said itself.
fn read(
    actor: &Actor,
    fused: &[(MessageId, f64)],
    scope: &BTreeSet<ChannelId>,
    bot: Option<u64>,
    limit: usize,
) -> Result<(Vec<Hit>, bool), Error> {
    let mut hits = Vec::new();
    for some in fused.chunks(PAGE as usize) {
        let ids: Vec<_> = some.iter().map(|(id, _)| *id).collect();
        let mut shown: BTreeMap<MessageId, Value> = messages::show(actor, &ids)?
            .into_iter()
            .filter_map(|(id, json)| Some((id, from_slice(json.as_bytes()).ok()?)))
            .collect();
        for (id, score) in some {
            let Some(message) = shown.remove(id) else { continue };
            let number = |field: &str| message.get(field).and_then(Value::as_u64);
            let is_within = number("channel_id").is_some_and(|channel| scope.contains(&channel));
            if !is_within || number("sender_id") == bot {
                continue;
            }
            if hits.len() == limit {
                return Ok((hits, true));
            }
            hits.push(Hit { message, score: *score });
        }
    }
    Ok((hits, false))
}

/// What an answer can rest upon of what was found.
pub fn source(hit: &Hit) -> Option<Source> {
    let message = &hit.message;
    let text = |path: &str| message.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Source {
        id: message.get("id")?.as_u64()?,
        channel: message.get("channel_id")?.as_u64()?,
        sender: message.get("sender_id")?.as_u64()?,
        name: text("/sender/username"),
        at: text("/created_at"),
        content: text("/content"),
        score: hit.score,
    })
    .filter(|source| !source.content.trim().is_empty())
}

/// Those of these that the actor can read now: a message may have been deleted, or a membership ended, while a model wrote.
pub fn still_readable<'a>(actor: &Actor, sources: Vec<&'a Source>) -> Result<Vec<&'a Source>, Error> {
    if sources.is_empty() {
        return Ok(sources);
    }
    let ids: Vec<_> = sources.iter().map(|source| source.id).collect();
    let seen: BTreeSet<_> = messages::show(actor, &ids)?.into_iter().map(|(id, _)| id).collect();
    Ok(sources.into_iter().filter(|source| seen.contains(&source.id)).collect())
}
