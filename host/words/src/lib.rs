//! What the words of a text are, the same for the index, for what is looked for in it, and for highlights.
//!
//! Owns: where words begin and end, and which spellings are the same word. Must not: know a database or a query
//! language; it is compiled into plugins too.
//!
//! A text is a row of *words*: runs of letters and digits, folded (case, diacritics, compatibility forms). Whatever is
//! written with something in between (`192.168.0.1`, `a@b.org`, `snake_case`, `e-mail`) is its parts, one after the other,
//! so it is found by each part, and whole as words that follow each other. Scripts written without spaces are rows of
//! pairs of characters, closed by the last character alone: two characters are a word, and one is the beginning of one.
//!
//! Beside that row stand the *parts* that a word has in it, which are found by themselves but break no phrase: the humps
//! of `camelCase`, the `c` of `C++`, and `#tag` and `@name` with their sign.

mod chars;
pub mod lexical;
mod sought;

pub use sought::{Sought, found_in, sought};

use chars::{Class, class, fold, is_continued, units};

/// A change of it makes a different index of the same text, which then has to be made anew.
pub const VERSION: i64 = 1;
/// Most characters of a word that are looked at; what comes after makes no difference.
pub const MAX_WORD_CHARS: usize = 64;
/// Most words of a text, and as many parts; the rest is not found.
pub const MAX_WORDS: usize = 50_000;
/// A word of more humps than that is a random string, and its humps are nothing that anybody looks for.
const MAX_HUMPS: usize = 8;

/// A word, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Folded: letters, digits, marks, symbols; `#` or `@` before them, `#` or `++` behind. Never white space, quotes,
    /// colons.
    pub text: String,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
}

/// What a text consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// In order.
    pub words: Vec<Token>,
    /// What can be found apart from them.
    pub parts: Vec<Token>,
    /// Whether there is a link to a web page.
    pub has_link: bool,
}

/// Takes a text apart.
pub fn words(text: &str) -> Words {
    let mut reader = Reader { text, found: Words::default() };
    let mut at = 0;
    while let Some(c) = reader.char_at(at) {
        at = match class(c) {
            Class::Word => reader.word(at),
            Class::Dense => reader.dense(at),
            Class::Symbol => {
                let end = at + c.len_utf8();
                reader.push(c.to_string(), at, end);
                end
            }
            Class::Other => at + c.len_utf8(),
        };
    }
    reader.found.has_link = has_link(text);
    reader.found
}

struct Reader<'a> {
    text: &'a str,
    found: Words,
}

impl Reader<'_> {
    fn char_at(&self, at: usize) -> Option<char> {
        self.text.get(at..)?.chars().next()
    }

    fn push(&mut self, text: String, start: usize, end: usize) {
        if self.found.words.len() < MAX_WORDS && !text.is_empty() {
            self.found.words.push(Token { text, start, end });
        }
    }

    fn push_part(&mut self, text: String, start: usize, end: usize) {
        if self.found.parts.len() < MAX_WORDS && !text.is_empty() {
            self.found.parts.push(Token { text, start, end });
        }
    }

    /// Where the characters that belong to what begins at `start` end.
    fn end_of(&self, start: usize, class_of_run: Class) -> usize {
        let rest = self.text.get(start..).unwrap_or_default();
        let is_in = |c: char| class(c) == class_of_run || is_continued(c);
        start + rest.char_indices().find(|(_, c)| !is_in(*c)).map_or(rest.len(), |(at, _)| at)
    }

    fn word(&mut self, start: usize) -> usize {
        let end = self.end_of(start, Class::Word);
        let run = self.text.get(start..end).unwrap_or_default();
        let folded = fold(run, MAX_WORD_CHARS);
        self.signed(&folded, start, end);
        self.humps(run, start);
        let rest = self.text.get(end..).unwrap_or_default();
        for sign in ["++", "#"] {
            let is_sign = rest.strip_prefix(sign).is_some_and(|rest| !rest.starts_with(is_word_char));
            if is_sign {
                self.push_part(folded.clone(), start, end);
                self.push(folded + sign, start, end + sign.len());
                return end + sign.len();
            }
        }
        self.push(folded, start, end);
        end
    }

    /// `#tag` and `@name`, where the sign stands by itself.
    fn signed(&mut self, folded: &str, start: usize, end: usize) {
        let mut before = self.text.get(..start).unwrap_or_default().chars().rev();
        if let Some(sign @ ('#' | '@')) = before.next()
            && !before.next().is_some_and(is_word_char)
        {
            self.push_part(format!("{sign}{folded}"), start - sign.len_utf8(), end);
        }
    }

    /// The humps of `camelCase`, and letters and digits apart.
    fn humps(&mut self, run: &str, start: usize) {
        let mut humps: Vec<(usize, usize)> = Vec::new();
        let chars: Vec<(usize, char)> = run.char_indices().collect();
        let mut from = 0;
        for pair in 1..chars.len() {
            let (Some((_, before)), Some((at, c))) = (chars.get(pair - 1), chars.get(pair)) else { continue };
            let next_is_lower = chars.get(pair + 1).is_some_and(|(_, next)| next.is_lowercase());
            let breaks = (before.is_lowercase() && c.is_uppercase())
                || (before.is_uppercase() && c.is_uppercase() && next_is_lower)
                || (before.is_numeric() != c.is_numeric() && !is_continued(*c) && !is_continued(*before));
            if breaks {
                humps.push((from, *at));
                from = *at;
            }
        }
        humps.push((from, run.len()));
        if (2..=MAX_HUMPS).contains(&humps.len()) {
            for (from, to) in humps {
                let hump = fold(run.get(from..to).unwrap_or_default(), MAX_WORD_CHARS);
                self.push_part(hump, start + from, start + to);
            }
        }
    }

    /// Characters of a script that is written without spaces, in pairs that overlap, and the last one alone.
    fn dense(&mut self, start: usize) -> usize {
        let end = self.end_of(start, Class::Dense);
        let run = self.text.get(start..end).unwrap_or_default();
        let units = units(run);
        let whole: String = units.iter().map(|unit| unit.text.as_str()).collect();
        self.signed(&whole.chars().take(MAX_WORD_CHARS).collect::<String>(), start, end);
        for (at, unit) in units.iter().enumerate() {
            let from = start + unit.start;
            match units.get(at + 1) {
                Some(next) => self.push(format!("{}{}", unit.text, next.text), from, start + next.end),
                None => self.push(unit.text.clone(), from, start + unit.end),
            }
        }
        end
    }
}

fn is_word_char(c: char) -> bool {
    matches!(class(c), Class::Word | Class::Dense)
}

/// Whether there is `http://` or `https://` with something behind it.
fn has_link(text: &str) -> bool {
    text.match_indices("://").any(|(at, sign)| {
        let (before, after) = text.split_at_checked(at).unwrap_or_default();
        let ends_in = |scheme: &str| {
            let tail = before.len().checked_sub(scheme.len()).and_then(|from| before.get(from..));
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(scheme))
        };
        (ends_in("http") || ends_in("https"))
            && after
                .get(sign.len()..)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '['))
    })
}

#[cfg(test)]
mod tests;
