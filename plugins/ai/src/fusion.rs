//! Making one ranking of several.
//!
//! Owns: which words of a question are looked for, how messages that have some of them are ranked, and reciprocal rank fusion (Cormack,
//! Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods", 2009). Must not: call the
//! host.

use std::collections::{BTreeMap, HashMap};

use patchbay_sdk::MessageId;
use patchbay_words::words;

/// Most words of a question that are looked for: each is a query.
const MOST_KEYWORDS: usize = 8;
/// The constant of the fusion: how little the first places differ. Its authors have 60, for many rankings of a thousand each. With two of
/// a hundred that lets what is middling in both push out what is best in one, such as an answer that repeats no word of its
/// question (`cargo xtask bench retrieval`: about half of the facts are among the first ten with 60, three quarters with this).
const K: f64 = 5.0;
/// In how many messages a word is taken to be of which more were found than were asked for.
const COMMON: f64 = 1_000.0;
/// How many messages there are taken to be; only the relation to [`COMMON`] matters.
const ALL: f64 = 10_000.0;
/// How many words a message usually has.
const USUAL: f64 = 20.0;

/// What was found for one word.
#[derive(Clone, Debug)]
pub struct Found {
    /// The word.
    pub word: String,
    /// The messages, with their texts.
    pub messages: Vec<(MessageId, String)>,
    /// There are more.
    pub has_more: bool,
}

/// The words of a question to look for, the longest ones, which say most.
pub fn keywords(question: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for token in words(question).words {
        if !found.contains(&token.text) {
            found.push(token.text);
        }
    }
    if found.iter().any(|word| word.chars().count() > 1) {
        found.retain(|word| word.chars().count() > 1);
    }
    found.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
    found.truncate(MOST_KEYWORDS);
    found
}

/// Ranks messages by how many of the words they have and how rare those are (as BM25 does); the best first.
pub fn rank(found: &[Found]) -> Vec<MessageId> {
    let weight = |of: &Found| {
        let number = if of.has_more { COMMON } else { of.messages.len() as f64 };
        (1.0 + ALL / number.max(1.0)).ln()
    };
    let weights: HashMap<&str, f64> = found.iter().map(|of| (&*of.word, weight(of))).collect();
    let texts: BTreeMap<MessageId, &str> =
        found.iter().flat_map(|of| of.messages.iter().map(|(id, text)| (*id, &**text))).collect();
    let mut ranked: Vec<(f64, MessageId)> =
        texts.into_iter().map(|(id, text)| (fit(text, &weights), id)).collect();
    // Of equals the newer one.
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    ranked.into_iter().map(|(_, id)| id).collect()
}

fn fit(text: &str, weights: &HashMap<&str, f64>) -> f64 {
    let words = words(text).words;
    let length = 0.25 + 0.75 * words.len() as f64 / USUAL;
    let mut times: BTreeMap<&str, f64> = BTreeMap::new();
    for word in &words {
        if let Some((word, _)) = weights.get_key_value(&*word.text) {
            *times.entry(word).or_default() += 1.0;
        }
    }
    times.iter().filter_map(|(word, n)| Some(weights.get(word)? * n / (n + 1.2 * length))).sum()
}

/// One ranking of several, with scores from 0 to 1: 1 is first in all of them.
pub fn fuse(rankings: &[Vec<MessageId>]) -> Vec<(MessageId, f64)> {
    let best = rankings.len().max(1) as f64 / (K + 1.0);
    let mut scores: BTreeMap<MessageId, f64> = BTreeMap::new();
    for ranking in rankings {
        for (place, id) in (1_u32..).zip(ranking) {
            *scores.entry(*id).or_default() += 1.0 / (K + f64::from(place)) / best;
        }
    }
    let mut fused: Vec<_> = scores.into_iter().collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
    fused
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_words_that_say_most() {
        assert_eq!(
            keywords("Is the deploy key in the vault?"),
            ["deploy", "vault", "the", "key", "is", "in"]
        );
        assert_eq!(keywords("a"), ["a"], "better than nothing");
        assert_eq!(keywords("?!"), [] as [&str; 0]);
        assert_eq!(keywords(&("a".repeat(9) + " bb ").repeat(9)).len(), 2);
    }

    #[test]
    fn rare_words_and_many_words_come_first() {
        let found = |word: &str, has_more, messages: &[(u64, &str)]| Found {
            word: word.to_owned(),
            messages: messages.iter().map(|(id, text)| (*id, (*text).to_owned())).collect(),
            has_more,
        };
        let (both, common, rare) =
            ("the budget of zanzibar", "the budget of this year", "zanzibar has no such thing");
        let found = [
            found("budget", true, &[(1, common), (2, both)]),
            found("zanzibar", false, &[(2, both), (3, rare)]),
        ];
        assert_eq!(rank(&found), [2, 3, 1]);
    }

    #[test]
    fn what_several_rankings_agree_on_comes_first() {
        let fused = fuse(&[vec![1, 2, 3], vec![3, 4]]);
        assert_eq!(fused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 1, 4, 2]);
        assert!((fuse(&[vec![7], vec![7]]).first().unwrap().1 - 1.0).abs() < 1e-9);
        assert_eq!(fuse(&[]), []);
    }

    proptest! {
        #[test]
        fn scores_fall_and_lie_within_bounds(rankings in prop::collection::vec(
            prop::collection::btree_set(1_u64..50, 0..20), 0..4)) {
            let rankings: Vec<Vec<u64>> = rankings.into_iter().map(|set| set.into_iter().collect()).collect();
            let fused = fuse(&rankings);
            prop_assert!(fused.iter().all(|(_, score)| *score > 0.0 && *score <= 1.0 + 1e-9));
            prop_assert!(fused.windows(2).all(|pair| pair[0].1 >= pair[1].1));
            let all: std::collections::BTreeSet<_> = rankings.iter().flatten().collect();
            prop_assert_eq!(fused.len(), all.len());
        }
    }
}
