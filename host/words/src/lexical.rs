//! Vectors of texts by their words alone: for deployments without a model that embeds.
//!
//! Feature hashing (Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009): each word, each pair of
//! words that follow each other and each run of three characters of a word is hashed to one of the numbers, with a sign, so
//! that features which meet there cancel out on average. Texts with words in common are near each other, and runs of
//! characters bring inflected and misspelt words together. It knows nothing of meaning, needs nothing but the text, and is the
//! same on every machine.

use std::collections::HashMap;

use crate::words;

/// Numbers of a vector.
pub const DIMENSIONS: usize = 512;
/// Its name, which is another one whenever vectors can't be compared with those made before.
pub const NAME: &str = "lexical";

/// Runs of characters of a word, its edges marked.
const RUN: usize = 3;
/// How much features weigh beside a word. A word has several runs, so each counts less.
const PAIR_WEIGHT: f32 = 0.5;
const RUN_WEIGHT: f32 = 0.35;

/// The vector of a text, of length 1; of zeros if there is no word in it.
pub fn lexical(text: &str) -> Vec<f32> {
    let mut features: HashMap<(u8, String), (f32, f32)> = HashMap::new();
    let mut add = |kind: u8, feature: String, weight: f32| {
        features.entry((kind, feature)).or_insert((0.0, weight)).0 += 1.0;
    };
    let found = words(text).words;
    for word in &found {
        add(b'w', word.text.clone(), 1.0);
        let marked: Vec<char> = std::iter::once(' ').chain(word.text.chars()).chain([' ']).collect();
        for run in marked.windows(RUN) {
            add(b'c', run.iter().collect(), RUN_WEIGHT);
        }
    }
    for pair in found.windows(2) {
        if let [first, second] = pair {
            add(b'p', format!("{} {}", first.text, second.text), PAIR_WEIGHT);
        }
    }
    // Sums of floats depend on their order, which that of a map is not.
    let mut features: Vec<_> = features.into_iter().collect();
    features.sort_by(|a, b| a.0.cmp(&b.0));
    let mut vector = vec![0.0_f32; DIMENSIONS];
    for ((kind, feature), (count, weight)) in features {
        let hash = hash(kind, feature.as_bytes());
        let place = usize::try_from(hash >> 1).unwrap_or(0) % DIMENSIONS;
        let sign = if hash & 1 == 0 { 1.0 } else { -1.0 };
        if let Some(number) = vector.get_mut(place) {
            // A word that comes ten times does not say ten times as much.
            *number += sign * weight * (1.0 + count.ln());
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// FNV-1a (draft-eastlake-fnv), its bits mixed once more: of FNV alone the lowest ones are too regular. 32 bits, so that it
/// is the same in a plugin.
fn hash(kind: u8, bytes: &[u8]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in std::iter::once(&kind).chain(bytes) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearness(a: &str, b: &str) -> f32 {
        lexical(a).iter().zip(lexical(b)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_with_words_in_common_are_near() {
        let text = "The deployment of the billing service failed on Tuesday";
        assert!((nearness(text, text) - 1.0).abs() < 1e-5);
        assert!(nearness(text, "BILLING service deployment failed") > 0.5);
        assert!(
            nearness(text, "why did the deployments fail?") > nearness(text, "who brings cake tomorrow?")
        );
        assert!(nearness("Rechnungsprüfung", "rechnungspruefung Rechnungsprufung") > 0.3);
        assert!(nearness("東京タワーに行く", "東京タワー") > nearness("東京タワーに行く", "大阪城公園"));
        assert!(nearness("cat", "zebra").abs() < 0.2);
    }

    #[test]
    fn a_vector_is_the_same_each_time_and_of_length_one() {
        assert_eq!(lexical("hello hello world"), lexical("hello hello world"));
        assert_eq!(lexical("  … "), vec![0.0; DIMENSIONS]);
        let length = lexical("a b c d").iter().map(|x| x * x).sum::<f32>();
        assert!((length - 1.0).abs() < 1e-5);
        // What is kept in a database must be what another build makes.
        let first: Vec<usize> = (0..DIMENSIONS).filter(|at| lexical("a")[*at] != 0.0).collect();
        assert_eq!(first, [158, 460]);
    }
}
