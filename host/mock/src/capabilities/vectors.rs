//! Vectors, all of which are looked at.

use async_trait::async_trait;
use patchbay_runtime::{
    HostErrorKind,
    capabilities::vectors::{Neighbor, VectorCondition, VectorItem, VectorMetadata, VectorValue, Vectors},
};
use serde_json::{Map, Value, json};

use crate::world::{Answer, World, error};

pub(crate) fn metadata_shown(metadata: &VectorMetadata) -> Value {
    let value = |value: &VectorValue| match value {
        VectorValue::Text(text) => json!(text),
        VectorValue::Integer(integer) => json!(integer),
        VectorValue::Flag(flag) => json!(flag),
    };
    metadata.iter().map(|(name, of_it)| (name.clone(), value(of_it))).collect::<Map<_, _>>().into()
}

fn conditions_shown(conditions: &[VectorCondition]) -> Vec<String> {
    conditions.iter().map(|condition| format!("{condition:?}")).collect()
}

fn hold(conditions: &[VectorCondition], metadata: &VectorMetadata) -> bool {
    conditions.iter().all(|condition| condition.holds(metadata))
}

#[async_trait]
impl Vectors for World {
    async fn upsert(&self, _: &str, collection: &str, items: Vec<VectorItem>) -> Answer<()> {
        let ids: Vec<_> = items.iter().map(|item| &item.id).collect();
        let arguments = json!({ "collection": collection, "ids": ids });
        self.call(("vectors", "upsert"), arguments, |state| {
            let kept = state.vectors.entry(collection.to_owned()).or_default();
            let dimensions = |item: &VectorItem| item.vector.len();
            if let (Some(old), Some(new)) =
                (kept.values().next().map(dimensions), items.first().map(dimensions))
                && old != new
            {
                let detail = format!("vectors of {collection:?} have {old} numbers, not {new}");
                return Err(error(HostErrorKind::Conflict, "dimensions_differ", detail));
            }
            kept.extend(items.into_iter().map(|item| (item.id.clone(), item)));
            Ok(())
        })
    }

    async fn delete(&self, _: &str, collection: &str, ids: &[String]) -> Answer<()> {
        self.call(("vectors", "delete"), json!({ "collection": collection, "ids": ids }), |state| {
            if let Some(kept) = state.vectors.get_mut(collection) {
                kept.retain(|id, _| !ids.contains(id));
            }
            Ok(())
        })
    }

    async fn delete_where(&self, _: &str, collection: &str, conditions: &[VectorCondition]) -> Answer<()> {
        let arguments = json!({ "collection": collection, "conditions": conditions_shown(conditions) });
        self.call(("vectors", "delete-where"), arguments, |state| {
            if let Some(kept) = state.vectors.get_mut(collection) {
                kept.retain(|_, item| !hold(conditions, &item.metadata));
            }
            Ok(())
        })
    }

    async fn clear(&self, _: &str, collection: &str) -> Answer<()> {
        self.call(("vectors", "clear"), json!({ "collection": collection }), |state| {
            state.vectors.remove(collection);
            Ok(())
        })
    }

    async fn query(
        &self,
        _: &str,
        collection: &str,
        vector: Vec<f32>,
        conditions: Vec<VectorCondition>,
        limit: u32,
    ) -> Answer<Vec<Neighbor>> {
        let arguments =
            json!({ "collection": collection, "conditions": conditions_shown(&conditions), "limit": limit });
        self.call(("vectors", "query"), arguments, |state| {
            let kept = state.vectors.get(collection).into_iter().flat_map(|kept| kept.values());
            let mut found = Vec::new();
            for item in kept.filter(|item| hold(&conditions, &item.metadata)) {
                if item.vector.len() != vector.len() {
                    let detail = format!("vectors of {collection:?} have {} numbers", item.vector.len());
                    return Err(error(HostErrorKind::Conflict, "dimensions_differ", detail));
                }
                let score = item.vector.iter().zip(&vector).map(|(a, b)| a * b).sum();
                found.push(Neighbor { id: item.id.clone(), score, metadata: item.metadata.clone() });
            }
            found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
            found.truncate(limit as usize);
            Ok(found)
        })
    }

    async fn count(&self, _: &str, collection: &str) -> Answer<u64> {
        self.call(("vectors", "count"), json!({ "collection": collection }), |state| {
            Ok(state.vectors.get(collection).map_or(0, |kept| kept.len() as u64))
        })
    }
}
