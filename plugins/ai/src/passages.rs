//! What of a message is embedded: a long one in pieces, a short one with what was said just before it.
//!
//! "Yes, do that" says nothing by itself. So a short message is embedded with the short ones shortly before it in the same
//! conversation: the channel, or the thread and what it began with. Each passage stands for one message all the same, so that what is
//! found is a message, and one that goes takes its passages along.
//!
//! Owns: the texts. Must not: call the host.

use patchbay_sdk::{MessageId, messages::Message};

/// A change of what a message becomes; it makes another collection.
pub const VERSION: u32 = 1;
/// Messages of so many characters and fewer are embedded with those before them.
const SHORT: usize = 280;
/// Most messages that one is embedded with, beside the beginning of its thread.
const NEIGHBORS: usize = 3;
/// How long before it they were written at most, in ms.
const NEAR: u64 = 10 * 60 * 1_000;
/// Most characters of how a thread began.
const BEGINNING: usize = 200;
/// Most characters of a piece: some paragraphs, well below what any model takes.
const PIECE: usize = 1_200;
/// Characters that a piece shares with the one before it.
const OVERLAP: usize = 150;
/// How many messages before one have to be looked at to find its neighbors, in a channel where several conversations go on.
pub const LOOK_BACK: usize = 20;

/// A text to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Which of its message, from 0.
    pub nth: u32,
    /// The first message that is part of it: its own, or one before.
    pub first: MessageId,
    /// The text; never empty.
    pub text: String,
}

/// What a message is embedded as; nothing if it says nothing. `before` are messages of its channel before it, the newest first, and
/// `root` is what its thread began with.
pub fn passages<'a>(
    message: &Message,
    before: impl IntoIterator<Item = &'a Message>,
    root: Option<&'a Message>,
) -> Vec<Passage> {
    let own = message.content.trim();
    if own.is_empty() {
        return Vec::new();
    }
    if !is_short(own) {
        let pieces = (0..).zip(pieces(own));
        return pieces.map(|(nth, text)| Passage { nth, first: message.id, text: text.to_owned() }).collect();
    }
    let is_near = |other: &&Message| {
        other.parent == message.parent
            && other.id < message.id
            && other.created_at.saturating_add(NEAR) >= message.created_at
            && is_short(&other.content)
    };
    let mut with: Vec<(MessageId, &str)> =
        before.into_iter().filter(is_near).take(NEIGHBORS).map(|other| (other.id, &*other.content)).collect();
    with.extend(root.map(|root| (root.id, beginning(&root.content))));
    with.retain(|(_, text)| !text.trim().is_empty());
    with.reverse();
    let first = with.iter().map(|(id, _)| *id).min().unwrap_or(message.id);
    let texts = with.iter().map(|(_, text)| text.trim()).chain([own]);
    vec![Passage { nth: 0, first, text: texts.collect::<Vec<_>>().join("\n") }]
}

/// Whether those before a message make a difference to it.
pub fn is_short(text: &str) -> bool {
    text.trim().chars().count() <= SHORT
}

fn beginning(text: &str) -> &str {
    text.get(..end_of(text, BEGINNING)).unwrap_or(text)
}

/// Where the first so many characters end, in bytes.
fn end_of(text: &str, characters: usize) -> usize {
    text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at)
}

/// Takes a text apart, at the ends of paragraphs, sentences or words where there are any. Together they are all of it.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
        let most = end_of(rest, PIECE);
        let end = if most == rest.len() { most } else { good_end(rest.get(..most).unwrap_or(rest)) };
        pieces.push(rest.get(..end).unwrap_or(rest));
        if from + end >= text.len() {
            break;
        }
        from += next_start(rest, end);
    }
    pieces
}

/// Where in its second half a text is best cut.
fn good_end(text: &str) -> usize {
    let half = end_of(text, PIECE / 2);
    let after = |pattern: &str| {
        let found = text.rfind(pattern).map(|at| at + pattern.len());
        found.filter(|end| *end > half)
    };
    let sentence = [". ", "! ", "? ", "。", "\n"].into_iter().filter_map(after).max();
    after("\n\n").or(sentence).or_else(|| after(" ")).unwrap_or(text.len())
}

/// Where the next piece begins, some words before this one's end.
fn next_start(text: &str, end: usize) -> usize {
    let piece = text.get(..end).unwrap_or(text);
    let back = piece.char_indices().rev().nth(OVERLAP).map_or(end, |(at, _)| at);
    let shared = piece.get(back..).unwrap_or_default();
    let word = shared.find(char::is_whitespace).map_or(end, |at| back + at);
    // It has to go on, whatever the text is.
    if word > 0 { word } else { end }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(id: MessageId, parent: Option<MessageId>, minute: u64, content: &str) -> Message {
        Message {
            id,
            channel: 1,
            sender: 1,
            is_bot: false,
            parent,
            content: content.to_owned(),
            created_at: minute * 60_000,
            edited_at: None,
        }
    }

    fn of(message: &Message, before: &[Message], root: Option<&Message>) -> Vec<(MessageId, String)> {
        passages(message, before, root).into_iter().map(|passage| (passage.first, passage.text)).collect()
    }

    #[test]
    fn a_short_message_comes_with_those_before_it() {
        let before = [
            said(8, Some(2), 10, "in a thread"),
            said(7, None, 10, "the blue one"),
            said(6, None, 9, &"long ".repeat(100)),
            said(5, None, 8, " which one? "),
            said(4, None, 8, ""),
            said(3, None, 1, "an hour ago"),
        ];
        let message = said(9, None, 12, "Yes, do that");
        assert_eq!(of(&message, &before, None), [(5, "which one?\nthe blue one\nYes, do that".to_owned())]);
        let reply = said(10, Some(2), 500, "yes");
        let root = said(2, None, 0, &"Shall we? ".repeat(50));
        let text = format!("{}\nyes", "Shall we? ".repeat(20).trim());
        assert_eq!(of(&reply, &before, Some(&root)), [(2, text)], "how a thread began matters for ever");
        assert_eq!(of(&said(1, None, 0, " \n"), &before, None), []);
    }

    #[test]
    fn a_long_one_stands_for_itself() {
        let long = "A sentence of some words. ".repeat(100);
        let found = passages(&said(9, None, 12, &long), &[said(8, None, 12, "short")], None);
        assert!(found.len() > 2);
        assert_eq!(
            found.iter().map(|p| p.nth).collect::<Vec<_>>(),
            (0..found.len() as u32).collect::<Vec<_>>()
        );
        assert!(found.iter().all(|p| p.first == 9 && p.text.ends_with(['.', ' '])), "{found:#?}");
    }

    proptest! {
        #[test]
        fn nothing_of_a_text_is_lost(text in "([a-zé漢]{0,9}[ .\n]{0,2}){0,700}|\\PC{0,3000}") {
            let text = text.trim();
            let mut covered = 0;
            for piece in pieces(text) {
                let start = piece.as_ptr() as usize - text.as_ptr() as usize;
                prop_assert!(start <= covered, "a gap");
                prop_assert!(start + piece.len() > covered, "it goes on");
                prop_assert!(piece.chars().count() <= PIECE);
                covered = start + piece.len();
            }
            prop_assert_eq!(covered, text.len());
        }
    }
}
