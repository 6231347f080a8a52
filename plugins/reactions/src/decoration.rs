//! The counts that appear in messages.
//!
//! Owns: the JSON of `extensions.reactions`. Must not: fetch anything.

use patchbay_sdk::{Decoration, MessageId, json, reactions::Count};

/// A list of `{emoji, count, me}` for every message that was asked for, empty where there are none.
pub fn per_message(messages: &[MessageId], counts: &[Count]) -> Vec<Decoration> {
    let decorate = |&message: &MessageId| {
        let of_this = counts.iter().filter(|count| count.message == message);
        let list: Vec<_> = of_this
            .map(|count| json!({ "emoji": count.emoji, "count": count.count, "me": count.me }))
            .collect();
        Decoration { message, json: json!(list).to_string() }
    };
    messages.iter().map(decorate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_gets_a_list() {
        let count = |message, emoji: &str, count, me| Count { message, emoji: emoji.to_owned(), count, me };
        let counts = [count(2, "👍", 3, true), count(1, "🎉", 1, false), count(2, "🎉", 1, false)];
        let decorations = per_message(&[1, 2, 3], &counts);
        let texts: Vec<_> = decorations.iter().map(|d| (d.message, d.json.as_str())).collect();
        assert_eq!(
            texts,
            [
                (1, r#"[{"count":1,"emoji":"🎉","me":false}]"#),
                (2, r#"[{"count":3,"emoji":"👍","me":true},{"count":1,"emoji":"🎉","me":false}]"#),
                (3, "[]"),
            ]
        );
    }
}
