//! A collection in memory: what makes a search fast.
//!
//! Owns: the order of its vectors and the search. Must not: be the truth; that is in the database.

use std::collections::HashMap;

use patchbay_runtime::capabilities::vectors::{
    Neighbor, VectorCondition, VectorItem, VectorMetadata, VectorValue,
};
use serde_json::{Map, Value};

/// What an entry takes beside its numbers and texts: maps, pointers, the allocator's share.
const OVERHEAD: usize = 160;

/// A collection, its vectors in one piece, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Collection {
    dimensions: usize,
    vectors: Vec<f32>,
    ids: Vec<String>,
    metadata: Vec<VectorMetadata>,
    places: HashMap<String, usize>,
    bytes: usize,
}

fn size_of_metadata(metadata: &VectorMetadata) -> usize {
    let size = |(name, value): (&String, &VectorValue)| match value {
        VectorValue::Text(text) => name.len() + text.len() + 80,
        VectorValue::Integer(_) | VectorValue::Flag(_) => name.len() + 56,
    };
    metadata.iter().map(size).sum()
}

fn size_of(item: &VectorItem) -> usize {
    OVERHEAD + 2 * item.id.len() + 4 * item.vector.len() + size_of_metadata(&item.metadata)
}

/// The cosine of vectors of length 1. In eight sums, which a processor adds at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

impl Collection {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many numbers its vectors have; 0 if there are none.
    pub(super) fn dimensions(&self) -> usize {
        if self.ids.is_empty() { 0 } else { self.dimensions }
    }

    pub(super) fn put(&mut self, item: VectorItem) {
        self.remove(&item.id);
        self.bytes += size_of(&item);
        self.dimensions = item.vector.len();
        self.places.insert(item.id.clone(), self.ids.len());
        self.ids.push(item.id);
        self.vectors.extend_from_slice(&item.vector);
        self.metadata.push(item.metadata);
    }

    /// The last one takes the place of one that goes.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(place) = self.places.remove(id) else { return };
        let (id, metadata) = (self.ids.swap_remove(place), self.metadata.swap_remove(place));
        if let Some(moved) = self.ids.get(place) {
            self.places.insert(moved.clone(), place);
        }
        let (from, to) = (self.ids.len() * self.dimensions, place * self.dimensions);
        if from != to {
            self.vectors.copy_within(from..from + self.dimensions, to);
        }
        self.vectors.truncate(from);
        let vector = vec![0.0; self.dimensions];
        self.bytes = self.bytes.saturating_sub(size_of(&VectorItem { id, vector, metadata }));
    }

    /// Ids of those for which all conditions hold.
    pub(super) fn ids_where(&self, conditions: &[VectorCondition]) -> Vec<String> {
        let holds = |metadata: &VectorMetadata| conditions.iter().all(|condition| condition.holds(metadata));
        let all = self.ids.iter().zip(&self.metadata);
        all.filter(|(_, metadata)| holds(metadata)).map(|(id, _)| id.clone()).collect()
    }

    /// The nearest, the nearest first: what doesn't fit is left out before, not after.
    pub(super) fn nearest(
        &self,
        vector: &[f32],
        conditions: &[VectorCondition],
        limit: usize,
    ) -> Vec<Neighbor> {
        let holds = |metadata: &VectorMetadata| conditions.iter().all(|condition| condition.holds(metadata));
        let each = self.vectors.chunks_exact(self.dimensions.max(1)).zip(self.ids.iter().zip(&self.metadata));
        let fitting = each.filter(|(_, (_, metadata))| holds(metadata));
        let mut scored: Vec<_> = fitting.map(|(of, at)| (dot(of, vector), at)).collect();
        let order = |a: &(f32, (&String, _)), b: &(f32, (&String, _))| {
            b.0.total_cmp(&a.0).then_with(|| a.1.0.cmp(b.1.0))
        };
        if limit < scored.len() {
            scored.select_nth_unstable_by(limit, order);
            scored.truncate(limit);
        }
        scored.sort_by(order);
        let found = |(score, (id, metadata)): (f32, (&String, &VectorMetadata))| Neighbor {
            id: id.clone(),
            score: score.clamp(-1.0, 1.0),
            metadata: metadata.clone(),
        };
        scored.into_iter().map(found).collect()
    }
}

/// The same of parts of a collection that came one after the other.
pub(super) fn merged(mut found: Vec<Neighbor>, limit: usize) -> Vec<Neighbor> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    found.truncate(limit);
    found
}

/// Metadata as a JSON object.
pub(super) fn to_json(metadata: &VectorMetadata) -> Map<String, Value> {
    metadata.iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect()
}

pub(super) fn value_to_json(value: &VectorValue) -> Value {
    match value {
        VectorValue::Text(text) => text.as_str().into(),
        VectorValue::Integer(number) => (*number).into(),
        VectorValue::Flag(flag) => (*flag).into(),
    }
}

/// Metadata from a JSON object; what no plugin can have put in is left out.
pub(super) fn from_json(object: Map<String, Value>) -> VectorMetadata {
    let value = |(name, value)| {
        let value = match value {
            Value::String(text) => VectorValue::Text(text),
            Value::Bool(flag) => VectorValue::Flag(flag),
            // Stores outside have no integers, but 2⁵³ is one of theirs.
            Value::Number(number) => {
                VectorValue::Integer(number.as_i64().or_else(|| number.as_f64().map(|x| x as i64))?)
            }
            _ => return None,
        };
        Some((name, value))
    };
    object.into_iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, vector: &[f32], n: i64) -> VectorItem {
        let metadata = VectorMetadata::from([("n".to_owned(), VectorValue::Integer(n))]);
        VectorItem { id: id.to_owned(), vector: vector.to_vec(), metadata }
    }

    fn ids(found: &[Neighbor]) -> Vec<&str> {
        found.iter().map(|found| found.id.as_str()).collect()
    }

    #[test]
    fn the_nearest_of_those_that_fit_are_found() {
        let mut all = Collection::default();
        for (id, vector, n) in
            [("a", [1.0, 0.0], 1), ("b", [0.8, 0.6], 2), ("c", [0.0, 1.0], 3), ("d", [-1.0, 0.0], 4)]
        {
            all.put(item(id, &vector, n));
        }
        let query = [1.0, 0.0];
        assert_eq!(ids(&all.nearest(&query, &[], 2)), ["a", "b"]);
        let later = [VectorCondition::AtLeast("n".to_owned(), 3)];
        let found = all.nearest(&query, &later, 10);
        assert_eq!((ids(&found), found.last().unwrap().score), (vec!["c", "d"], -1.0));
        assert_eq!(all.ids_where(&later), ["c", "d"]);
        assert!(all.nearest(&query, &[], 0).is_empty());
    }

    #[test]
    fn what_goes_leaves_no_trace() {
        let mut all = Collection::default();
        assert_eq!((all.dimensions(), all.bytes()), (0, 0));
        for (id, vector) in [("a", [1.0, 0.0]), ("b", [0.0, 1.0]), ("c", [0.6, 0.8])] {
            all.put(item(id, &vector, 1));
        }
        let before = all.bytes();
        all.put(item("a", &[0.0, 1.0], 2));
        assert_eq!(all.bytes(), before, "in place of the one before");
        all.remove("b");
        all.remove("missing");
        assert_eq!(ids(&all.nearest(&[0.0, 1.0], &[], 10)), ["a", "c"]);
        assert_eq!(all.nearest(&[0.0, 1.0], &[], 1).first().unwrap().score, 1.0);
        all.remove("a");
        all.remove("c");
        assert_eq!((all.dimensions(), all.bytes(), all.vectors.len()), (0, 0, 0));
        all.put(item("a", &[1.0, 0.0, 0.0], 1));
        assert_eq!(all.dimensions(), 3, "an empty collection takes what comes");
    }

    #[test]
    fn sums_are_those_of_all_numbers() {
        let a: Vec<f32> = (0..19_i16).map(f32::from).collect();
        assert_eq!(dot(&a, &[1.0; 19]), 171.0);
    }

    #[test]
    fn metadata_survives_json() {
        let metadata = VectorMetadata::from([
            ("t".to_owned(), VectorValue::Text("5".to_owned())),
            ("n".to_owned(), VectorValue::Integer(-5)),
            ("f".to_owned(), VectorValue::Flag(true)),
        ]);
        assert_eq!(from_json(to_json(&metadata)), metadata);
        let outside = serde_json::json!({ "n": 5.0, "list": [] });
        let Value::Object(outside) = outside else { panic!() };
        assert_eq!(from_json(outside), VectorMetadata::from([("n".to_owned(), VectorValue::Integer(5))]));
    }
}
