//! Text as it is compared: without case, accents, and characters that nobody sees.
//!
//! Owns: the folding, and where in the text each folded character came from. Must not: know rules.

use std::ops::Range;

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// A character to compare, and the bytes of the text that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Lower case, without marks.
    pub character: char,
    /// Where in the text.
    pub bytes: Range<usize>,
}

/// Shows nothing, and is there to keep words from being found.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
    )
}

/// The text in compatibility decomposition, lower case, without marks and what can't be seen.
pub fn fold(text: &str) -> Vec<Folded> {
    let mut folded: Vec<Folded> = Vec::new();
    for (start, character) in text.char_indices() {
        let bytes = start..start + character.len_utf8();
        if is_invisible(character) || is_combining_mark(character) {
            // What is masked is masked with what belongs to it.
            if let Some(last) = folded.last_mut() {
                last.bytes.end = bytes.end;
            }
            continue;
        }
        let characters = std::iter::once(character).nfkd().filter(|c| !is_combining_mark(*c));
        let lower = characters.flat_map(char::to_lowercase).filter(|c| !is_combining_mark(*c));
        folded.extend(lower.map(|character| Folded { character, bytes: bytes.clone() }));
    }
    folded
}

/// Scripts that are written without spaces: a word can begin anywhere.
pub fn is_unspaced(character: char) -> bool {
    matches!(
        character,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
            | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        fold(text).into_iter().map(|folded| folded.character).collect()
    }

    #[test]
    fn case_marks_widths_and_what_is_invisible_make_no_difference() {
        assert_eq!(folded("Ärger"), "arger");
        assert_eq!(folded("A\u{308}rger"), "arger");
        assert_eq!(folded("ＢＡＤ"), "bad");
        assert_eq!(folded("b\u{200b}a\u{ad}d"), "bad");
        assert_eq!(folded("İ"), "i");
        assert_eq!(folded("ﬁ"), "fi");
    }

    #[test]
    fn each_character_knows_where_it_came_from() {
        let text = "xa\u{308}\u{200b}ﬁ";
        let of = |n: usize| &text[fold(text)[n].bytes.clone()];
        assert_eq!([of(0), of(1), of(2), of(3)], ["x", "a\u{308}\u{200b}", "ﬁ", "ﬁ"]);
    }
}
