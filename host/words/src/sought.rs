//! What is looked for in a text.
//!
//! Owns: what a text that somebody looks for means in the terms of the index. Must not: rank or filter.

use std::ops::Range;

use crate::{Class, Token, Words, class, words};

/// Words that must follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// At least one.
    pub words: Vec<String>,
    /// The last of them may go on.
    pub is_prefix: bool,
}

/// What to look for when somebody looks for this text, one word or several that follow each other; with `is_prefix` the
/// last word may go on. None if there is no word in it.
pub fn sought(text: &str, is_prefix: bool) -> Option<Sought> {
    let Words { mut words, mut parts, .. } = words(text);
    let text = text.trim();
    // `#tag` and `@name` are looked for with their sign.
    if text.starts_with(['#', '@']) && parts.first().is_some_and(|part| is_whole(part, text)) {
        return Some(Sought { words: vec![parts.swap_remove(0).text], is_prefix });
    }
    let last = words.last()?;
    if !is_dense(last) {
        return Some(Sought { words: words.into_iter().map(|word| word.text).collect(), is_prefix });
    }
    // The index has the last character of a run alone. What is looked for may go on: a pair before it says all, and a
    // character alone is looked for as the beginning of a pair too.
    let runs_on = words.len() >= 2 && words.get(words.len() - 2).is_some_and(|before| before.end == last.end);
    if runs_on {
        words.pop();
    }
    let is_prefix = is_prefix || !runs_on;
    Some(Sought { words: words.into_iter().map(|word| word.text).collect(), is_prefix })
}

fn is_dense(token: &Token) -> bool {
    token.text.starts_with(|c| class(c) == Class::Dense)
}

/// Whether a part is all that there is in a text.
fn is_whole(part: &Token, text: &str) -> bool {
    part.text.starts_with(['#', '@']) && part.end - part.start == text.len()
}

/// Where in a text any of these is found: ranges of bytes that rise and don't touch.
pub fn found_in(text: &str, sought: &[Sought]) -> Vec<Range<usize>> {
    let Words { words, parts, .. } = words(text);
    let mut found: Vec<Range<usize>> = Vec::new();
    for sought in sought {
        found.extend(occurrences(text, &words, sought));
        found.extend(occurrences(text, &parts, sought));
    }
    found.sort_unstable_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in found {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

fn occurrences(text: &str, row: &[Token], sought: &Sought) -> impl Iterator<Item = Range<usize>> {
    row.windows(sought.words.len().max(1)).filter_map(move |window| {
        let matches = window.iter().zip(&sought.words).enumerate().all(|(at, (token, word))| {
            let may_go_on = sought.is_prefix && at + 1 == sought.words.len();
            if may_go_on { token.text.starts_with(word.as_str()) } else { token.text == *word }
        });
        let (first, last) = (window.first()?, window.last()?);
        // Of a pair of characters that only begins with the one that is looked for, that one.
        let is_half = is_dense(last) && sought.words.last()?.len() < last.text.len();
        let end = match text.get(last.start..last.end)?.chars().next() {
            Some(half) if is_half => last.start + half.len_utf8(),
            _ => last.end,
        };
        matches.then_some(first.start..end)
    })
}
