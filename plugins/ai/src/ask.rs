//! Asking a model.
//!
//! Owns: who may ask how often, what a model is asked, and how its answer comes. Must not: know what becomes of it.

use patchbay_sdk::{Actor, ChannelId, Error, UserId, deployment, llm, llm::Prompt, state};

use crate::{
    policy::Policy,
    prompt::{Source, turns},
    retrieve::{By, retrieve, source},
};

/// Messages that an answer is made from.
const SOURCES: u32 = 12;
/// Most tokens of an answer.
const MAX_TOKENS: u32 = 1_000;
/// Hardly any: an answer is to say what the messages say.
const TEMPERATURE: f32 = 0.1;
/// The length of a window of questions, in ms.
const MINUTE: u64 = 60_000;

/// An answer.
pub struct Said {
    /// What the model says.
    pub text: String,
    /// Which it was.
    pub model: String,
}

/// Whether somebody would answer.
pub fn is_configured(policy: &Policy) -> bool {
    let providers = llm::providers();
    let chosen = match &policy.chat {
        Some(name) => providers.iter().find(|provider| provider.name == *name),
        None => providers.first(),
    };
    chosen.is_some_and(|provider| provider.model.is_some())
}

/// What a question of this actor's may be answered from.
pub fn sources(
    actor: &Actor,
    policy: &Policy,
    question: &str,
    channel: Option<ChannelId>,
) -> Result<Vec<Source>, Error> {
    let found = retrieve(actor, policy, question, channel, (SOURCES, By::Both))?;
    Ok(found.hits.iter().filter_map(source).collect())
}

fn prompt(policy: &Policy, question: &str, sources: &[Source]) -> Prompt {
    Prompt {
        provider: policy.chat.clone(),
        model: None,
        turns: turns(question, sources),
        max_tokens: Some(MAX_TOKENS),
        temperature: Some(TEMPERATURE),
    }
}

/// The whole answer.
pub fn answer(policy: &Policy, question: &str, sources: &[Source]) -> Result<Said, Error> {
    let said = llm::complete(&prompt(policy, question, sources))?;
    Ok(Said { text: said.content, model: said.summary.model })
}

/// The answer as it comes. If what is told of it fails, nothing more is asked for.
pub fn stream(
    policy: &Policy,
    question: &str,
    sources: &[Source],
    mut told: impl FnMut(&str) -> Result<(), Error>,
) -> Result<Said, Error> {
    let coming = llm::stream(&prompt(policy, question, sources))?;
    let mut text = String::new();
    while let Some(piece) = coming.next()? {
        told(&piece)?;
        text.push_str(&piece);
    }
    Ok(Said { text, model: coming.summary().map(|summary| summary.model).unwrap_or_default() })
}

/// The questions of somebody in a minute.
#[derive(serde::Serialize, serde::Deserialize)]
struct Asked {
    minute: u64,
    number: u64,
}

/// Counts a question.
pub enum Turn {
    /// It may be asked.
    Granted,
    /// There were too many; from then on there may be more again.
    Refused {
        /// Seconds, at least 1.
        retry_after: u64,
        /// The first that is refused in this minute.
        is_first: bool,
    },
}

/// Counts a question of somebody's.
pub fn count(policy: &Policy, user: UserId) -> Result<Turn, Error> {
    if policy.questions == 0 {
        return Ok(Turn::Granted);
    }
    let now = deployment::now();
    let minute = now / MINUTE;
    let asked = state::update(&format!("asked/{user}"), |asked: Option<Asked>| {
        let number = asked.filter(|asked| asked.minute == minute).map_or(0, |asked| asked.number);
        Ok::<_, Error>(Asked { minute, number: number.saturating_add(1) })
    })?;
    if asked.number <= policy.questions {
        return Ok(Turn::Granted);
    }
    let retry_after = ((minute + 1) * MINUTE).saturating_sub(now).div_ceil(1_000).max(1);
    Ok(Turn::Refused { retry_after, is_first: asked.number == policy.questions + 1 })
}
