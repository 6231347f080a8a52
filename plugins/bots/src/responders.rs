//! What the plugin's own bot says by itself, in channels in which it is a member: welcomes, and replies to keywords.
//!
//! It answers people only, so that bots don't answer each other.

use patchbay_sdk::{Actor, Entry, Error, event::Event, identity, messages, settings};

use crate::remind::is_member;

/// Answers what calls for it.
pub fn answer(entries: &[Entry]) -> Result<(), Error> {
    let welcome = settings::get::<String>("welcome")?.unwrap_or_default();
    let keywords: Vec<String> = settings::get("keywords")?.unwrap_or_default();
    if welcome.is_empty() && keywords.is_empty() {
        return Ok(());
    }
    let bot = identity::bot()?;
    for entry in entries.iter().filter(|entry| entry.depth == 0 && !entry.history) {
        let Some(channel) = entry.channel else { continue };
        let said = match entry.event() {
            Event::MemberAdded(member) if !welcome.is_empty() => {
                let user = member.user;
                (!user.is_bot).then(|| (welcome.replace("{user}", &format!("@{}", user.username)), None))
            }
            Event::MessageCreated(message) if !message.is_bot => {
                let root = message.parent_id.unwrap_or(message.id);
                reply(&keywords, &message.content).map(|reply| (reply.to_owned(), Some(root)))
            }
            _ => None,
        };
        let Some((text, parent)) = said else { continue };
        if is_member_itself(&bot, channel)? {
            match messages::post(&bot, channel, &text, parent, &[]) {
                // The channel or the message has gone meanwhile, or the text is none that can be posted.
                Err(Error::NotFound(_) | Error::Forbidden(_) | Error::Invalid(_) | Error::Conflict(_))
                | Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn is_member_itself(bot: &Actor, channel: u64) -> Result<bool, Error> {
    bot.user_id().map_or(Ok(false), |own| is_member(bot, channel, own))
}

/// What is said to the first keyword that is a word of the text.
fn reply<'a>(keywords: &'a [String], text: &str) -> Option<&'a str> {
    let text = text.to_lowercase();
    let is_word = |word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|part| part == word);
    let pairs = keywords.iter().filter_map(|pair| pair.split_once('='));
    let found = pairs.map(|(word, reply)| (word.trim().to_lowercase(), reply.trim()));
    found.into_iter().find(|(word, reply)| !reply.is_empty() && is_word(word)).map(|(_, reply)| reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_whole_words() {
        let keywords =
            ["VPN = see https://example.org/vpn".to_owned(), "lunch=".to_owned(), "nonsense".to_owned()];
        assert_eq!(reply(&keywords, "How does the vpn work?"), Some("see https://example.org/vpn"));
        for text in ["vpns", "lunch", "nonsense", ""] {
            assert_eq!(reply(&keywords, text), None, "{text}");
        }
    }
}
