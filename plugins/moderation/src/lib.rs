//! Moderation: what the operator doesn't want to be said is refused or masked before it is stored.
//!
//! Owns: when messages are looked at, and what is told of it. Must not: know how text is compared (`rules`), or keep
//! anything that somebody wrote.

mod fold;
mod rules;

use patchbay_sdk::{Draft, Error, Hooks, Refusal, Verdict, identity, messages, settings, users};
use rules::{Judgement, OnWord, Rules};

struct Moderation;

impl Hooks for Moderation {
    fn before_message(draft: Draft) -> Result<Verdict, Error> {
        let (code, detail) = match rules()?.judge(&draft.content) {
            Judgement::Allow => return Ok(Verdict::Allow),
            Judgement::Mask(text) => return Ok(Verdict::Replace(text)),
            Judgement::Refuse { code, detail } => (code, detail),
        };
        if let Err(error) = report(&draft, &detail) {
            // The message is refused all the same.
            patchbay_sdk::warn!("the report could not be posted: {error}");
        }
        Ok(Verdict::Refuse(Refusal { code: code.to_owned(), detail }))
    }
}

/// Tells the moderators who tried to say something, where and what was wrong with it; not what it was, since that is
/// nobody's but the author's.
fn report(draft: &Draft, why: &str) -> Result<(), Error> {
    let channel = settings::get("report_channel")?.unwrap_or_default();
    if channel == 0 {
        return Ok(());
    }
    let bot = identity::bot()?;
    let author = users::get(&bot, draft.author)?.username;
    let text = format!("A message by {author} in channel {} was refused: {why}", draft.channel);
    messages::post(&bot, channel, &text, None, &[]).map(drop)
}

fn rules() -> Result<Rules, Error> {
    let texts = |key| Ok::<Vec<String>, Error>(settings::get(key)?.unwrap_or_default());
    let on_word = match settings::get::<String>("on_word")?.as_deref() {
        Some("mask") => OnWord::Mask,
        // A word that nobody knows must not let everything through.
        _ => OnWord::Refuse,
    };
    let most = settings::get("max_mentions")?.unwrap_or_default();
    Ok(Rules::new(&texts("words")?, on_word, &texts("link_hosts")?, most))
}

patchbay_sdk::register!(Moderation: hooks);
