//! What may be said.
//!
//! Owns: the rules and how they are applied to a text. Must not: know where they come from, or what becomes of a message.

use std::{collections::BTreeSet, ops::Range};

use crate::fold::{Folded, fold, is_unspaced};

/// What stands for each character that is masked; nothing that Markdown could take for markup.
const MASK: char = '█';

/// What becomes of a text with a word that is to be kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWord {
    /// It is not stored.
    Refuse,
    /// It is stored without the word.
    Mask,
}

/// What the operator wants.
#[derive(Debug)]
pub struct Rules {
    words: Vec<Words>,
    on_word: OnWord,
    link_hosts: Vec<String>,
    max_mentions: usize,
}

/// A word or phrase.
#[derive(Debug)]
struct Words {
    /// What is looked for, folded.
    words: Vec<Vec<char>>,
    /// The last word may go on.
    is_prefix: bool,
    /// It is found within words too.
    is_unspaced: bool,
}

/// What is to become of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is as it should be.
    Allow,
    /// It may be stored like this.
    Mask(String),
    /// It may not be stored.
    Refuse {
        /// For programs.
        code: &'static str,
        /// For the author.
        detail: String,
    },
}

impl Rules {
    /// Rules for these words and phrases; links to these hosts, any if there are none; so many mentions, any number if
    /// that is 0.
    pub fn new(words: &[String], on_word: OnWord, link_hosts: &[String], max_mentions: usize) -> Self {
        let words = words.iter().filter_map(|text| Words::new(text)).collect();
        let link_hosts = link_hosts.iter().map(|host| host.trim().trim_matches('.').to_lowercase());
        Self { words, on_word, link_hosts: link_hosts.filter(|h| !h.is_empty()).collect(), max_mentions }
    }

    /// What is to become of a text.
    pub fn judge(&self, text: &str) -> Judgement {
        if self.max_mentions > 0 && mentions(text).len() > self.max_mentions {
            let detail = format!("A message may mention at most {} people here.", self.max_mentions);
            return Judgement::Refuse { code: "too_many_mentions", detail };
        }
        if let Some(host) = hosts(text).into_iter().find(|host| !self.permits(host)) {
            let detail = format!("Links to {host} are not allowed here.");
            return Judgement::Refuse { code: "link_not_allowed", detail };
        }
        let folded = fold(text);
        let runs = runs(&folded);
        let found: Vec<_> = self.words.iter().flat_map(|words| words.find(&folded, &runs)).collect();
        match self.on_word {
            _ if found.is_empty() => Judgement::Allow,
            OnWord::Mask => Judgement::Mask(mask(text, found)),
            OnWord::Refuse => Judgement::Refuse {
                code: "word_not_allowed",
                detail: "There is a word in it that is not allowed here.".to_owned(),
            },
        }
    }

    fn permits(&self, host: &str) -> bool {
        let is_below = |allowed: &str| host.strip_suffix(allowed).is_some_and(|rest| rest.ends_with('.'));
        self.link_hosts.is_empty()
            || self.link_hosts.iter().any(|allowed| host == allowed || is_below(allowed))
    }
}

impl Words {
    /// None if there is nothing to look for.
    fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let (text, is_prefix) = text.strip_suffix('*').map_or((text, false), |text| (text, true));
        let folded = fold(text);
        let words: Vec<Vec<char>> =
            runs(&folded).into_iter().map(|run| characters(folded.get(run)).collect()).collect();
        let is_unspaced = words.iter().flatten().any(|character| is_unspaced(*character));
        (!words.is_empty()).then_some(Self { words, is_prefix, is_unspaced })
    }

    /// The bytes of the text at which it was found.
    fn find(&self, text: &[Folded], runs: &[Range<usize>]) -> Vec<Range<usize>> {
        if let ([word], true) = (self.words.as_slice(), self.is_unspaced) {
            let windows = text.windows(word.len());
            let found = windows.filter(|window| characters(Some(window)).eq(word.iter().copied()));
            return found.filter_map(bytes).collect();
        }
        let fits = |(at, (run, word)): (usize, (&Range<usize>, &Vec<char>))| {
            let mut rest = characters(text.get(run.clone()));
            let starts = word.iter().all(|character| rest.next() == Some(*character));
            starts && (rest.next().is_none() || (self.is_prefix && at + 1 == self.words.len()))
        };
        let found =
            runs.windows(self.words.len()).filter(|w| w.iter().zip(&self.words).enumerate().all(fits));
        let whole = |window: &[Range<usize>]| Some(window.first()?.start..window.last()?.end);
        found.filter_map(|window| bytes(text.get(whole(window)?)?)).collect()
    }
}

fn characters(folded: Option<&[Folded]>) -> impl Iterator<Item = char> {
    folded.unwrap_or_default().iter().map(|folded| folded.character)
}

fn bytes(folded: &[Folded]) -> Option<Range<usize>> {
    Some(folded.first()?.bytes.start..folded.last()?.bytes.end)
}

/// The words, by their places among the folded characters.
fn runs(folded: &[Folded]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, Folded { character, .. }) in folded.iter().enumerate() {
        match runs.last_mut() {
            _ if !character.is_alphanumeric() => {}
            Some(run) if run.end == at => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

fn mask(text: &str, mut found: Vec<Range<usize>>) -> String {
    found.sort_by_key(|range| range.start);
    let mut masked = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let is_hidden = found.iter().any(|range| range.contains(&at)) && !character.is_whitespace();
        masked.push(if is_hidden { MASK } else { character });
    }
    masked
}

/// The names that are mentioned, each once.
fn mentions(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character == '@' && !before.is_alphanumeric() {
            let mut name = String::new();
            while let Some(next) = rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
            {
                name.push(next.to_ascii_lowercase());
            }
            if !name.is_empty() {
                names.insert(name);
            }
        }
        before = character;
    }
    names
}

/// The hosts that links lead to, in lower case.
fn hosts(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let after = |marker: &'static str| lower.match_indices(marker).map(move |(at, _)| (at, marker));
    let authority = |(at, marker): (usize, &str)| {
        // A host that is only written as one counts where a word begins.
        let begins = lower.get(..at).and_then(|before| before.chars().next_back());
        if marker == "www."
            && begins.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '/' | '@' | '-'))
        {
            return None;
        }
        let rest = lower.get(at + if marker == "www." { 0 } else { marker.len() }..)?;
        let ends = |c: char| {
            c.is_whitespace() || matches!(c, '/' | '?' | '#' | '\\' | '<' | '>' | '"' | ')' | ']' | '`')
        };
        // The brackets of an IPv6 address are its own.
        let end = match rest.rfind('@').map_or(rest, |at| rest.get(at + 1..).unwrap_or(rest)).starts_with('[')
        {
            true => rest.find(']').map_or(rest.len(), |at| at + 1),
            false => rest.find(ends).unwrap_or(rest.len()),
        };
        let authority = rest.get(..end)?;
        let host = authority.rsplit('@').next()?;
        let host = if host.starts_with('[') { host } else { host.split(':').next()? };
        let host = host.trim_end_matches(['.', ',', ';', '!', '\'']);
        (!host.is_empty()).then(|| host.to_owned())
    };
    after("://").chain(after("www.")).filter_map(authority).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(words: &[&str], on_word: OnWord, text: &str) -> Judgement {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        Rules::new(&words, on_word, &[], 0).judge(text)
    }

    fn is_refused(words: &[&str], text: &str) -> bool {
        judge(words, OnWord::Refuse, text) != Judgement::Allow
    }

    #[test]
    fn words_are_found_whole_and_however_they_are_written() {
        for text in ["bad", "so BAD!", "b\u{200b}ad", "ｂａｄ", "Bäd", "a (bad) b", "bad-word"] {
            assert!(is_refused(&["bad"], text), "{text}");
        }
        for text in ["badge", "not so baad", "ba d", "", "sinbad"] {
            assert!(!is_refused(&["bad"], text), "{text}");
        }
        assert!(is_refused(&["bad*"], "badge") && !is_refused(&["bad*"], "sinbad"));
        assert!(
            is_refused(&["very bad"], "a very,  BAD idea") && !is_refused(&["very bad"], "very good, bad")
        );
        assert!(is_refused(&["馬鹿"], "この馬鹿者") && !is_refused(&["馬鹿"], "馬と鹿"));
        assert!(!is_refused(&["", " ", "*", "…"], "anything … at * all"));
    }

    #[test]
    fn masks_hide_the_word_and_nothing_else() {
        let mask = |words: &[&str], text| match judge(words, OnWord::Mask, text) {
            Judgement::Mask(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(mask(&["bad"], "Bad, badge, b\u{e4}d!"), "███, badge, ███!");
        assert_eq!(mask(&["very bad", "bad"], "very bad"), "████ ███");
        assert_eq!(mask(&["bad*"], "badges 馬"), "██████ 馬");
    }

    #[test]
    fn links_lead_only_where_they_may() {
        let rules = Rules::new(&[], OnWord::Refuse, &["Example.org".to_owned(), " ".to_owned()], 0);
        for text in [
            "see https://example.org/a",
            "http://www.example.org",
            "www.example.org.",
            "HTTPS://EXAMPLE.ORG:8080",
            "(https://docs.example.org)",
            "example.com is no link",
            "https://a:b@example.org/?x=http",
            "a://",
        ] {
            assert_eq!(rules.judge(text), Judgement::Allow, "{text}");
        }
        for text in [
            "https://example.com",
            "https://example.org.evil.com",
            "https://example.org@evil.com/",
            "www.evil.com",
            "https://notexample.org",
            "https://[::1]/",
            "https://example.org https://evil.com",
            "ftp://evil.com",
            "https://evil.com\\@example.org",
        ] {
            assert!(
                matches!(rules.judge(text), Judgement::Refuse { code: "link_not_allowed", .. }),
                "{text}"
            );
        }
    }

    #[test]
    fn mentions_are_counted_once_a_person() {
        let rules = Rules::new(&[], OnWord::Refuse, &[], 2);
        assert_eq!(rules.judge("@ann @Ann @bob mail@cid.org"), Judgement::Allow);
        assert!(matches!(rules.judge("@ann,@bob/@cid"), Judgement::Refuse { code: "too_many_mentions", .. }));
    }
}
