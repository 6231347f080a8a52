//! What an emoji is.
//!
//! Owns: the one spelling under which an emoji is counted. Must not: know requests.

include!(concat!(env!("OUT_DIR"), "/table.rs"));

const VARIATION_SELECTOR_16: char = '\u{fe0f}';

/// The text between two of the table's ends.
fn entry(index: usize) -> &'static str {
    let start = match index.checked_sub(1) {
        None => 0,
        Some(before) => ENDS.get(before).copied().unwrap_or_default(),
    };
    let end = ENDS.get(index).copied().unwrap_or_default();
    TEXT.get(start as usize..end as usize).unwrap_or_default()
}

fn bare(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| *c != VARIATION_SELECTOR_16)
}

/// The fully qualified spelling (Unicode Technical Standard 51, ED-18) of the one emoji that `text` is, with
/// or without its emoji variation selectors; none if it is anything else.
pub fn normalise(text: &str) -> Option<&'static str> {
    let (mut low, mut high) = (0, ENDS.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match bare(entry(middle)).cmp(bare(text)) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Some(entry(middle)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_emoji_is_found_under_both_spellings() {
        assert!(ENDS.len() > 3_700, "{} emoji", ENDS.len());
        for index in 0..ENDS.len() {
            let emoji = entry(index);
            assert_eq!(normalise(emoji), Some(emoji));
            assert_eq!(normalise(&bare(emoji).collect::<String>()), Some(emoji));
            assert!(emoji.len() <= 64, "{emoji}");
        }
    }

    #[test]
    fn one_spelling_per_emoji() {
        assert_eq!(normalise("❤"), Some("❤️"));
        assert_eq!(normalise("❤️"), Some("❤️"));
        assert_eq!(normalise("👍🏽"), Some("👍🏽"));
        assert_eq!(normalise("👩‍👩‍👧‍👦"), Some("👩‍👩‍👧‍👦"));
        assert_eq!(normalise("🏳‍🌈"), Some("🏳️‍🌈"));
        assert_eq!(normalise("🇩🇪"), Some("🇩🇪"));
    }

    #[test]
    fn nothing_else_is_an_emoji() {
        for text in
            ["", "\u{fe0f}", "a", "1", "👍👍", "👍 ", " 👍", ":+1:", "❤\u{fe0e}", "🇩", "\u{200d}", "👍x"]
        {
            assert_eq!(normalise(text), None, "{text:?}");
        }
    }
}
