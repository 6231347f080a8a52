//! Characters: which belong to words, and which are the same.
//!
//! Owns: classes and folding. Must not: know more than one run of characters.

use unicode_normalization::{
    UnicodeNormalization as _,
    char::{canonical_combining_class, decompose_compatible},
};

/// What a character is to words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A letter or digit of a script that separates words.
    Word,
    /// One of a script that does not.
    Dense,
    /// A pictograph, which is a word by itself.
    Symbol,
    /// What stands between words.
    Other,
}

/// Scripts that are written without spaces, or with spaces that separate more than words: Thai, Lao, Myanmar, Khmer, the
/// letters of Korean, and what Chinese and Japanese are written in.
const DENSE: [(char, char); 20] = [
    ('\u{e01}', '\u{e4e}'),
    ('\u{e81}', '\u{ecd}'),
    ('\u{1000}', '\u{109f}'),
    ('\u{1100}', '\u{11ff}'),
    ('\u{1780}', '\u{17d3}'),
    ('\u{2e80}', '\u{2fdf}'),
    ('\u{3005}', '\u{3007}'),
    ('\u{3021}', '\u{3029}'),
    ('\u{3031}', '\u{303c}'),
    ('\u{3041}', '\u{30ff}'),
    ('\u{3105}', '\u{31bf}'),
    ('\u{31f0}', '\u{31ff}'),
    ('\u{3300}', '\u{4dbf}'),
    ('\u{4e00}', '\u{9fff}'),
    ('\u{a960}', '\u{a97f}'),
    ('\u{ac00}', '\u{d7ff}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{ff66}', '\u{ffdc}'),
    ('\u{1b000}', '\u{1b16f}'),
    ('\u{20000}', '\u{323af}'),
];

/// Arrows, signs, dingbats, emoji; not the modifiers of their colour.
const SYMBOLS: [(char, char); 5] = [
    ('\u{2190}', '\u{21ff}'),
    ('\u{2300}', '\u{23ff}'),
    ('\u{2600}', '\u{27bf}'),
    ('\u{2b00}', '\u{2bff}'),
    ('\u{1f000}', '\u{1faff}'),
];
const SKIN_TONES: std::ops::RangeInclusive<char> = '\u{1f3fb}'..='\u{1f3ff}';

fn is_among(c: char, ranges: &[(char, char)]) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

pub(crate) fn class(c: char) -> Class {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { Class::Word } else { Class::Other };
    }
    if c.is_alphanumeric() {
        return if is_among(c, &DENSE) { Class::Dense } else { Class::Word };
    }
    if is_among(c, &SYMBOLS) && !SKIN_TONES.contains(&c) { Class::Symbol } else { Class::Other }
}

/// Whether it belongs to the character before it.
pub(crate) fn is_continued(c: char) -> bool {
    !c.is_ascii()
        && (canonical_combining_class(c) != 0
            || matches!(c, '\u{ff9e}' | '\u{ff9f}' | '\u{1160}'..='\u{11ff}'))
}

/// Marks that change no word: diacritics of Latin, Greek and Cyrillic, the points of Hebrew and Arabic.
fn is_diacritic(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{487}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}'
        | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6ed}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// A run of words' characters in the spelling under which it is found, at most `max` characters.
pub(crate) fn fold(run: &str, max: usize) -> String {
    if run.is_ascii() {
        return run.get(..max).unwrap_or(run).to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(run.len());
    for c in run.chars() {
        decompose_compatible(c, |plain| fold_char(plain, &mut folded));
    }
    folded.chars().take(max).collect()
}

fn fold_char(c: char, into: &mut String) {
    if is_diacritic(c) {
        return;
    }
    for c in c.to_lowercase() {
        match c {
            // Letters that no decomposition takes apart.
            'ß' => into.push_str("ss"),
            'æ' => into.push_str("ae"),
            'œ' => into.push_str("oe"),
            'ø' => into.push('o'),
            'đ' | 'ð' => into.push('d'),
            'ħ' => into.push('h'),
            'ı' => into.push('i'),
            'ł' => into.push('l'),
            'ŧ' => into.push('t'),
            'þ' => into.push_str("th"),
            'ς' => into.push('σ'),
            // Lower case of a Turkish capital.
            c if is_diacritic(c) => {}
            // A compatibility form may decompose into punctuation.
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => {}
            c => into.push(c),
        }
    }
}

/// A character of a script without spaces, with what belongs to it.
pub(crate) struct Unit {
    pub text: String,
    pub start: usize,
    pub end: usize,
}

/// Takes a run of such characters apart.
pub(crate) fn units(run: &str) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (start, c) in run.char_indices() {
        let end = start + c.len_utf8();
        match units.last_mut() {
            Some(last) if is_continued(c) => last.end = end,
            _ => units.push(Unit { text: String::new(), start, end }),
        }
    }
    for unit in &mut units {
        let composed = run.get(unit.start..unit.end).unwrap_or_default().nfkc();
        unit.text = composed.filter(|c| c.is_alphanumeric() || is_continued(*c)).take(8).collect();
    }
    units.retain(|unit| !unit.text.is_empty());
    units
}
