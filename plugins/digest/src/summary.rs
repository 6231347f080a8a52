//! What a digest says.
//!
//! Owns: what of a day is worth telling, and its wording. Must not: call the host.

use std::collections::{BTreeMap, BTreeSet};

use patchbay_sdk::{MessageId, UserId};

/// How many threads and messages are named.
const NAMED: usize = 3;
/// Most characters of a message that is named.
const EXCERPT: usize = 80;

/// A message that somebody wrote.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its id.
    pub id: MessageId,
    /// By whom.
    pub sender: UserId,
    /// The root of its thread.
    pub parent: Option<MessageId>,
    /// Its text.
    pub text: String,
    /// How often somebody reacted to it.
    pub reactions: u32,
}

/// The digest of these messages; none if there are none.
pub fn of(said: &[Said]) -> Option<String> {
    let people: BTreeSet<_> = said.iter().map(|said| said.sender).collect();
    if said.is_empty() {
        return None;
    }
    let mut text = format!(
        "{} by {} since the last digest.",
        counted(said.len(), "message", "messages"),
        counted(people.len(), "person", "people")
    );
    let mut replies: BTreeMap<MessageId, usize> = BTreeMap::new();
    for parent in said.iter().filter_map(|said| said.parent) {
        *replies.entry(parent).or_default() += 1;
    }
    let roots = said.iter().filter_map(|said| Some((said, *replies.get(&said.id)?)));
    list(&mut text, "Most discussed", roots, |n| counted(n, "reply", "replies"));
    let liked = said.iter().filter(|said| said.reactions > 0).map(|said| (said, said.reactions as usize));
    list(&mut text, "Most reactions", liked, |n| n.to_string());
    Some(text)
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The first of them, the highest number first, the oldest of equals.
fn list<'a>(
    text: &mut String,
    title: &str,
    ranked: impl Iterator<Item = (&'a Said, usize)>,
    told: impl Fn(usize) -> String,
) {
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|(said, number)| (usize::MAX - number, said.id));
    if !ranked.is_empty() {
        text.push_str(&format!("\n\n{title}:"));
    }
    for (said, number) in ranked.into_iter().take(NAMED) {
        text.push_str(&format!("\n- {} ({})", excerpt(&said.text), told(number)));
    }
}

/// The beginning of a text on one line, which mentions nobody: people are not called by a digest.
fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace('@', "@\u{200b}");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("“{}…”", line.get(..end).unwrap_or_default().trim_end()),
        None => format!("“{line}”"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(id: MessageId, sender: UserId, parent: Option<MessageId>, text: &str, reactions: u32) -> Said {
        Said { id, sender, parent, text: text.to_owned(), reactions }
    }

    #[test]
    fn a_day_in_a_few_lines() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[said(1, 1, None, "a", 0)]).unwrap(), "1 message by 1 person since the last digest.");
        let day = [
            said(1, 1, None, "Shall we?", 2),
            said(2, 2, Some(1), "yes", 0),
            said(3, 3, Some(1), "no", 5),
            said(4, 1, None, "@bob\n  what do you say", 0),
            said(5, 2, Some(4), "hm", 2),
            // The root is older than that.
            said(6, 2, Some(99), "late", 0),
            said(7, 2, None, &"é".repeat(81), 1),
        ];
        let digest = of(&day).unwrap();
        assert_eq!(
            digest,
            format!(
                "7 messages by 3 people since the last digest.\n\nMost discussed:\n- “Shall we?” (2 replies)\n\
                 - “@\u{200b}bob what do you say” (1 reply)\n\nMost reactions:\n- “no” (5)\n- “Shall we?” (2)\n- “hm” (2)"
            )
        );
        assert!(of(&day[6..]).unwrap().ends_with(&format!("“{}…” (1)", "é".repeat(80))));
    }
}
