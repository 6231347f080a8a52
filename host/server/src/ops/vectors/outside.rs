//! Vectors in stores outside: what each of them is told.
//!
//! Owns: the conversions. Must not: keep anything here, but for what an index is like.

use patchbay_runtime::capabilities::vectors::{Neighbor, VectorCondition, VectorItem};
use patchbay_store::{PgCondition, PgVectors, StoreError};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    Result, VectorError, different,
    memory::{from_json, to_json, value_to_json},
};
use crate::{
    ops::Error,
    pinecone::{Index, IndexError},
};

/// PostgreSQL with pgvector.
#[derive(Debug)]
pub(in crate::ops) struct Pg {
    vectors: PgVectors,
    /// Whether extension and table are there.
    is_ready: OnceCell<()>,
}

/// Whatever it is that this server says, it is not the database of everything else that fails.
fn unavailable(error: StoreError) -> VectorError {
    tracing::warn!(%error, "the server of vectors failed");
    VectorError::Unavailable("the server of vectors can't be used".to_owned())
}

fn conditions(all: &[VectorCondition]) -> Vec<PgCondition> {
    let one = |condition: &VectorCondition| match condition {
        VectorCondition::OneOf(name, values) => {
            let values = values.iter().map(|value| value_to_json(value).to_string()).collect();
            PgCondition::OneOf(name.clone(), values)
        }
        VectorCondition::AtLeast(name, least) => PgCondition::AtLeast(name.clone(), *least),
        VectorCondition::Below(name, end) => PgCondition::Below(name.clone(), *end),
    };
    all.iter().map(one).collect()
}

impl Pg {
    pub(super) fn at(url: &str) -> std::result::Result<Self, Error> {
        Ok(Self { vectors: PgVectors::at(url)?, is_ready: OnceCell::new() })
    }

    async fn ready(&self) -> Result<&PgVectors> {
        self.is_ready.get_or_try_init(|| self.vectors.prepare()).await.map_err(unavailable)?;
        Ok(&self.vectors)
    }

    /// As many numbers as the collection has.
    async fn check(&self, of: (&str, &str), new: usize) -> Result<()> {
        let old = self.ready().await?.dimensions(of.0, of.1).await.map_err(unavailable)?;
        match old.and_then(|old| usize::try_from(old).ok()) {
            Some(old) if old != new => Err(different(of.1, old, new)),
            _ => Ok(()),
        }
    }

    pub(super) async fn upsert(&self, of: (&str, &str), items: Vec<VectorItem>) -> Result<()> {
        self.check(of, items.first().map_or(0, |item| item.vector.len())).await?;
        let row = |item: VectorItem| {
            let metadata = Value::Object(to_json(&item.metadata)).to_string();
            (item.id, item.vector, metadata)
        };
        let rows: Vec<_> = items.into_iter().map(row).collect();
        self.ready().await?.upsert(of, &rows).await.map_err(unavailable)
    }

    pub(super) async fn delete(&self, (plugin, collection): (&str, &str), ids: &[String]) -> Result<()> {
        self.ready().await?.delete(plugin, collection, ids).await.map_err(unavailable)
    }

    pub(super) async fn delete_where(&self, of: (&str, &str), all: &[VectorCondition]) -> Result<()> {
        self.ready().await?.delete_where(of, &conditions(all)).await.map_err(unavailable)
    }

    pub(super) async fn forget(&self, plugin: &str) -> Result<()> {
        self.ready().await?.forget(plugin).await.map_err(unavailable)
    }

    pub(super) async fn query(
        &self,
        of: (&str, &str),
        vector: &[f32],
        all: &[VectorCondition],
        limit: u32,
    ) -> Result<Vec<Neighbor>> {
        self.check(of, vector.len()).await?;
        let found = self.ready().await?.query(of, vector, &conditions(all), i64::from(limit)).await;
        let neighbor = |(id, score, metadata): (String, f64, String)| {
            let metadata = from_json(serde_json::from_str(&metadata).unwrap_or_default());
            Neighbor { id, score: score.clamp(-1.0, 1.0) as f32, metadata }
        };
        Ok(found.map_err(unavailable)?.into_iter().map(neighbor).collect())
    }

    pub(super) async fn count(&self, (plugin, collection): (&str, &str)) -> Result<u64> {
        let count = self.ready().await?.count(plugin, collection).await.map_err(unavailable)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }
}

/// An index of Pinecone. Each collection is a namespace of it.
#[derive(Debug)]
pub(in crate::ops) struct Pinecone {
    index: Index,
    /// How many numbers its vectors have: an index has one length for all.
    dimensions: OnceCell<Option<usize>>,
}

impl From<IndexError> for VectorError {
    fn from(error: IndexError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// No name of a plugin or a collection has a dot in it.
fn namespace((plugin, collection): (&str, &str)) -> String {
    format!("patchbay.{plugin}.{collection}")
}

/// In Pinecone's language of filters; null without a condition.
fn filter(all: &[VectorCondition]) -> Value {
    let one = |condition: &VectorCondition| match condition {
        VectorCondition::OneOf(name, values) => {
            json!({ name: { "$in": values.iter().map(value_to_json).collect::<Vec<_>>() } })
        }
        VectorCondition::AtLeast(name, least) => json!({ name: { "$gte": least } }),
        VectorCondition::Below(name, end) => json!({ name: { "$lt": end } }),
    };
    match all {
        [] => Value::Null,
        [condition] => one(condition),
        all => json!({ "$and": all.iter().map(one).collect::<Vec<_>>() }),
    }
}

/// Nothing is one of no values, which Pinecone does not let one ask.
fn is_never(all: &[VectorCondition]) -> bool {
    all.iter().any(|condition| matches!(condition, VectorCondition::OneOf(_, values) if values.is_empty()))
}

impl Pinecone {
    pub(super) fn at(url: &str, key: &str) -> std::result::Result<Self, Error> {
        let index = Index::at(url, key).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { index, dimensions: OnceCell::new() })
    }

    async fn check(&self, collection: &str, new: usize) -> Result<()> {
        let known = async { Ok::<_, VectorError>(self.index.stats().await?.dimension) };
        match *self.dimensions.get_or_try_init(|| known).await? {
            Some(old) if old != new => Err(different(collection, old, new)),
            _ => Ok(()),
        }
    }

    pub(super) async fn upsert(&self, of: (&str, &str), items: Vec<VectorItem>) -> Result<()> {
        self.check(of.1, items.first().map_or(0, |item| item.vector.len())).await?;
        let items = items.into_iter().map(|item| (item.id, item.vector, to_json(&item.metadata))).collect();
        Ok(self.index.upsert(&namespace(of), items).await?)
    }

    pub(super) async fn delete(&self, of: (&str, &str), ids: &[String]) -> Result<()> {
        Ok(self.index.delete(&namespace(of), ids).await?)
    }

    pub(super) async fn delete_where(&self, of: (&str, &str), all: &[VectorCondition]) -> Result<()> {
        if is_never(all) {
            return Ok(());
        }
        Ok(self.index.delete_where(&namespace(of), filter(all)).await?)
    }

    pub(super) async fn clear(&self, of: (&str, &str)) -> Result<()> {
        Ok(self.index.clear(&namespace(of)).await?)
    }

    pub(super) async fn forget(&self, plugin: &str) -> Result<()> {
        let prefix = namespace((plugin, ""));
        for name in self.index.stats().await?.namespaces.keys().filter(|name| name.starts_with(&prefix)) {
            self.index.clear(name).await?;
        }
        Ok(())
    }

    pub(super) async fn query(
        &self,
        of: (&str, &str),
        vector: &[f32],
        all: &[VectorCondition],
        limit: u32,
    ) -> Result<Vec<Neighbor>> {
        self.check(of.1, vector.len()).await?;
        if is_never(all) {
            return Ok(Vec::new());
        }
        let found = self.index.query(&namespace(of), vector, filter(all), limit).await?;
        let neighbor = |(id, score, metadata): (String, f32, _)| Neighbor {
            id,
            score: score.clamp(-1.0, 1.0),
            metadata: from_json(metadata),
        };
        Ok(found.into_iter().map(neighbor).collect())
    }

    pub(super) async fn count(&self, of: (&str, &str)) -> Result<u64> {
        let stats = self.index.stats().await?;
        Ok(stats.namespaces.get(&namespace(of)).map_or(0, |namespace| namespace.vector_count))
    }
}

#[cfg(test)]
mod tests {
    use patchbay_runtime::capabilities::vectors::VectorValue;

    use super::*;

    #[test]
    fn filters() {
        let one = VectorCondition::OneOf("c".to_owned(), [VectorValue::Integer(1)].into());
        assert_eq!(filter(&[]), Value::Null);
        assert_eq!(filter(std::slice::from_ref(&one)), json!({ "c": { "$in": [1] } }));
        let since = VectorCondition::AtLeast("t".to_owned(), 5);
        assert_eq!(
            filter(&[one, since]),
            json!({ "$and": [{ "c": { "$in": [1] } }, { "t": { "$gte": 5 } }] })
        );
        assert!(is_never(&[VectorCondition::OneOf("c".to_owned(), [].into())]));
    }
}
