//! `vectors`: vectors with metadata in collections of the plugin's own. Where they are kept is the embedder's.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use wasmtime::component::Linker;

use super::check_limit;
use crate::{
    HostError, HostErrorKind,
    bindings::wit::{types, vectors as wit},
    state::{CallState, Own, own},
};

const MAX_COLLECTION_BYTES: usize = 64;
const MAX_ITEMS: usize = 100;
const MAX_ID_BYTES: usize = 128;
const MAX_DIMENSIONS: usize = 4_096;
const MAX_METADATA: usize = 16;
const MAX_NAME_BYTES: usize = 64;
const MAX_TEXT_BYTES: usize = 512;
const MAX_INTEGER: i64 = 1 << 53;
const MAX_IDS: usize = 1_000;
const MAX_CONDITIONS: usize = 8;
const MAX_VALUES: usize = 10_000;
const MAX_NEIGHBORS: u32 = 200;

/// What metadata can say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VectorValue {
    /// Up to 512 bytes.
    Text(String),
    /// −2⁵³ to 2⁵³.
    Integer(i64),
    /// Yes or no.
    Flag(bool),
}

/// Metadata, by name.
pub type VectorMetadata = BTreeMap<String, VectorValue>;

/// A vector; checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorItem {
    /// 1 to 128 bytes.
    pub id: String,
    /// 1 to 4,096 numbers, of length 1: it was scaled.
    pub vector: Vec<f32>,
    /// Up to 16.
    pub metadata: VectorMetadata,
}

/// What metadata must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VectorCondition {
    /// One of up to 10,000.
    OneOf(String, HashSet<VectorValue>),
    /// An integer of at least that.
    AtLeast(String, i64),
    /// An integer below that.
    Below(String, i64),
}

impl VectorCondition {
    /// Whether it does.
    pub fn holds(&self, metadata: &VectorMetadata) -> bool {
        match self {
            Self::OneOf(name, values) => metadata.get(name).is_some_and(|value| values.contains(value)),
            Self::AtLeast(name, least) => {
                matches!(metadata.get(name), Some(VectorValue::Integer(value)) if value >= least)
            }
            Self::Below(name, end) => {
                matches!(metadata.get(name), Some(VectorValue::Integer(value)) if value < end)
            }
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbor {
    /// Its id.
    pub id: String,
    /// The cosine: −1 to 1.
    pub score: f32,
    /// Its metadata.
    pub metadata: VectorMetadata,
}

/// The embedder's store, one set of collections per plugin. Sizes and numbers have been checked against
/// `wit/vectors.wit`, and vectors are of length 1.
#[async_trait]
pub trait Vectors {
    /// Puts items in.
    async fn upsert(&self, plugin: &str, collection: &str, items: Vec<VectorItem>) -> Result<(), HostError>;
    /// Takes items out.
    async fn delete(&self, plugin: &str, collection: &str, ids: &[String]) -> Result<(), HostError>;
    /// Takes out those for which all conditions hold; there is one at least.
    async fn delete_where(
        &self,
        plugin: &str,
        collection: &str,
        conditions: &[VectorCondition],
    ) -> Result<(), HostError>;
    /// Takes out all.
    async fn clear(&self, plugin: &str, collection: &str) -> Result<(), HostError>;
    /// The nearest.
    async fn query(
        &self,
        plugin: &str,
        collection: &str,
        vector: Vec<f32>,
        conditions: Vec<VectorCondition>,
        limit: u32,
    ) -> Result<Vec<Neighbor>, HostError>;
    /// How many there are.
    async fn count(&self, plugin: &str, collection: &str) -> Result<u64, HostError>;
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Own>(linker, own)
}

fn invalid(detail: impl Into<String>) -> HostError {
    HostError::new(HostErrorKind::Invalid, detail)
}

fn check_collection(name: &str) -> Result<(), HostError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if (1..=MAX_COLLECTION_BYTES).contains(&name.len()) && name.chars().all(valid) {
        Ok(())
    } else {
        Err(invalid(format!("a collection is 1 to {MAX_COLLECTION_BYTES} of a-z 0-9 - _")))
    }
}

fn check_name(name: &str) -> Result<(), HostError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(valid) {
        Ok(())
    } else {
        Err(invalid(format!("a name of metadata is 1 to {MAX_NAME_BYTES} of a-z 0-9 _")))
    }
}

fn check_ids<'a>(ids: impl Iterator<Item = &'a str>) -> Result<(), HostError> {
    for id in ids {
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || id.contains('\0') {
            return Err(invalid(format!("an id has 1 to {MAX_ID_BYTES} bytes, none of them zero")));
        }
    }
    Ok(())
}

fn integer(value: i64) -> Result<i64, HostError> {
    if (-MAX_INTEGER..=MAX_INTEGER).contains(&value) {
        Ok(value)
    } else {
        Err(invalid("an integer of metadata is −2⁵³ to 2⁵³"))
    }
}

fn value_in(value: wit::Value) -> Result<VectorValue, HostError> {
    Ok(match value {
        wit::Value::Text(text) if text.len() > MAX_TEXT_BYTES || text.contains('\0') => {
            return Err(invalid(format!(
                "a text of metadata has at most {MAX_TEXT_BYTES} bytes, none of them zero"
            )));
        }
        wit::Value::Text(text) => VectorValue::Text(text),
        wit::Value::Integer(value) => VectorValue::Integer(integer(value)?),
        wit::Value::Flag(flag) => VectorValue::Flag(flag),
    })
}

/// The vector, scaled to length 1.
fn vector_in(mut vector: Vec<f32>) -> Result<Vec<f32>, HostError> {
    if !(1..=MAX_DIMENSIONS).contains(&vector.len()) {
        return Err(invalid(format!("a vector has 1 to {MAX_DIMENSIONS} numbers")));
    }
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return Err(invalid("a vector has finite numbers, not all of them 0"));
    }
    for x in &mut vector {
        *x = (f64::from(*x) / length) as f32;
    }
    Ok(vector)
}

fn metadata_in(list: Vec<(String, wit::Value)>) -> Result<VectorMetadata, HostError> {
    if list.len() > MAX_METADATA {
        return Err(invalid(format!("at most {MAX_METADATA} names of metadata")));
    }
    let mut metadata = VectorMetadata::new();
    for (name, value) in list {
        check_name(&name)?;
        let twice = format!("{name} twice");
        if metadata.insert(name, value_in(value)?).is_some() {
            return Err(invalid(twice));
        }
    }
    Ok(metadata)
}

fn items_in(items: Vec<wit::Item>) -> Result<Vec<VectorItem>, HostError> {
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        return Err(invalid(format!("1 to {MAX_ITEMS} items")));
    }
    check_ids(items.iter().map(|item| item.id.as_str()))?;
    let ids: HashSet<&str> = items.iter().map(|item| item.id.as_str()).collect();
    if ids.len() < items.len() {
        return Err(invalid("an id twice"));
    }
    let item = |item: wit::Item| {
        Ok(VectorItem { id: item.id, vector: vector_in(item.vector)?, metadata: metadata_in(item.metadata)? })
    };
    let items: Vec<VectorItem> = items.into_iter().map(item).collect::<Result<_, HostError>>()?;
    let dimensions = items.first().map(|item| item.vector.len());
    if items.iter().any(|item| Some(item.vector.len()) != dimensions) {
        return Err(invalid("vectors of different lengths"));
    }
    Ok(items)
}

fn conditions_in(conditions: Vec<wit::Condition>) -> Result<Vec<VectorCondition>, HostError> {
    if conditions.len() > MAX_CONDITIONS {
        return Err(invalid(format!("at most {MAX_CONDITIONS} conditions")));
    }
    let condition = |condition| match condition {
        wit::Condition::OneOf((name, values)) => {
            check_name(&name)?;
            if values.len() > MAX_VALUES {
                return Err(invalid(format!("at most {MAX_VALUES} values of a condition")));
            }
            let values = values.into_iter().map(value_in).collect::<Result<_, _>>()?;
            Ok(VectorCondition::OneOf(name, values))
        }
        wit::Condition::AtLeast((name, least)) => {
            check_name(&name)?;
            Ok(VectorCondition::AtLeast(name, integer(least)?))
        }
        wit::Condition::Below((name, end)) => {
            check_name(&name)?;
            Ok(VectorCondition::Below(name, integer(end)?))
        }
    };
    conditions.into_iter().map(condition).collect()
}

fn size_of_value(value: &wit::Value) -> usize {
    match value {
        wit::Value::Text(text) => text.len(),
        wit::Value::Integer(_) | wit::Value::Flag(_) => size_of::<i64>(),
    }
}

fn size_of_item(item: &wit::Item) -> usize {
    let metadata: usize = item.metadata.iter().map(|(name, value)| name.len() + size_of_value(value)).sum();
    item.id.len() + item.vector.len() * size_of::<f32>() + metadata
}

fn size_of_condition(condition: &wit::Condition) -> usize {
    match condition {
        wit::Condition::OneOf((name, values)) => {
            name.len()
                + values.iter().map(|value| size_of::<wit::Value>() + size_of_value(value)).sum::<usize>()
        }
        wit::Condition::AtLeast((name, _)) | wit::Condition::Below((name, _)) => {
            name.len() + size_of::<i64>()
        }
    }
}

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl wit::Host for CallState {
    async fn upsert(&mut self, collection: String, items: Vec<wit::Item>) -> Answer<()> {
        self.charge_call(collection.len() + items.iter().map(size_of_item).sum::<usize>())?;
        let items = match check_collection(&collection).and_then(|()| items_in(items)) {
            Ok(items) => items,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Vectors::upsert(&*host, &plugin, &collection, items)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn delete(&mut self, collection: String, ids: Vec<String>) -> Answer<()> {
        self.charge_call(collection.len() + ids.iter().map(String::len).sum::<usize>())?;
        let checked = check_collection(&collection).and_then(|()| {
            if ids.len() > MAX_IDS {
                return Err(invalid(format!("at most {MAX_IDS} ids")));
            }
            check_ids(ids.iter().map(String::as_str))
        });
        if let Err(error) = checked {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Vectors::delete(&*host, &plugin, &collection, &ids)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn delete_where(&mut self, collection: String, conditions: Vec<wit::Condition>) -> Answer<()> {
        self.charge_call(collection.len() + conditions.iter().map(size_of_condition).sum::<usize>())?;
        let checked = check_collection(&collection).and_then(|()| conditions_in(conditions));
        let conditions = match checked {
            Ok(conditions) if conditions.is_empty() => {
                return Ok(Err(invalid("1 condition at least; `clear` takes out all").into()));
            }
            Ok(conditions) => conditions,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Vectors::delete_where(&*host, &plugin, &collection, &conditions)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn clear(&mut self, collection: String) -> Answer<()> {
        self.charge_call(collection.len())?;
        if let Err(error) = check_collection(&collection) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let done = self.wait(Vectors::clear(&*host, &plugin, &collection)).await;
        Ok(done.map_err(types::Error::from))
    }

    async fn query(
        &mut self,
        collection: String,
        vector: Vec<f32>,
        conditions: Vec<wit::Condition>,
        limit: u32,
    ) -> Answer<Vec<wit::Neighbor>> {
        let of_conditions: usize = conditions.iter().map(size_of_condition).sum();
        self.charge_call(collection.len() + vector.len() * size_of::<f32>() + of_conditions)?;
        let checked = check_collection(&collection)
            .and_then(|()| Ok((vector_in(vector)?, conditions_in(conditions)?)))
            .and_then(|checked| check_limit(limit, MAX_NEIGHBORS).map(|_| checked));
        let (vector, conditions) = match checked {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error.into())),
        };
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let found = self.wait(Vectors::query(&*host, &plugin, &collection, vector, conditions, limit)).await;
        let found: Result<Vec<wit::Neighbor>, _> =
            found.map(|found| found.into_iter().map(wit::Neighbor::from).collect());
        if let Ok(found) = &found {
            let metadata = |found: &wit::Neighbor| -> usize {
                found.metadata.iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
            };
            let size = |found: &wit::Neighbor| size_of::<wit::Neighbor>() + found.id.len() + metadata(found);
            self.charge_bytes(found.iter().map(size).sum())?;
        }
        Ok(found.map_err(types::Error::from))
    }

    async fn count(&mut self, collection: String) -> Answer<u64> {
        self.charge_call(collection.len())?;
        if let Err(error) = check_collection(&collection) {
            return Ok(Err(error.into()));
        }
        let (host, plugin) = (self.host.clone(), self.plugin.clone());
        let counted = self.wait(Vectors::count(&*host, &plugin, &collection)).await;
        Ok(counted.map_err(types::Error::from))
    }
}

impl From<Neighbor> for wit::Neighbor {
    fn from(Neighbor { id, score, metadata }: Neighbor) -> Self {
        let value = |(name, value)| {
            let value = match value {
                VectorValue::Text(text) => wit::Value::Text(text),
                VectorValue::Integer(value) => wit::Value::Integer(value),
                VectorValue::Flag(flag) => wit::Value::Flag(flag),
            };
            (name, value)
        };
        Self { id, score, metadata: metadata.into_iter().map(value).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, vector: Vec<f32>, metadata: &[(&str, wit::Value)]) -> wit::Item {
        let metadata = metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        wit::Item { id: id.to_owned(), vector, metadata }
    }

    #[test]
    fn items_are_checked_and_scaled() {
        let good = items_in(vec![item("a", vec![3.0, 4.0], &[("n", wit::Value::Integer(MAX_INTEGER))])]);
        assert_eq!(good.unwrap().first().unwrap().vector, [0.6, 0.8]);
        let text = wit::Value::Text("a".repeat(MAX_TEXT_BYTES + 1));
        for wrong in [
            vec![],
            vec![item("", vec![1.0], &[])],
            vec![item("a", vec![], &[])],
            vec![item("a", vec![0.0, 0.0], &[])],
            vec![item("a", vec![f32::NAN], &[])],
            vec![item("a", vec![f32::INFINITY], &[])],
            vec![item("a", vec![1.0; MAX_DIMENSIONS + 1], &[])],
            vec![item("a", vec![1.0], &[]), item("a", vec![1.0], &[])],
            vec![item("a", vec![1.0], &[]), item("b", vec![1.0, 1.0], &[])],
            vec![item("a", vec![1.0], &[("N", wit::Value::Flag(true))])],
            vec![item("a", vec![1.0], &[("n", wit::Value::Flag(true)), ("n", wit::Value::Flag(true))])],
            vec![item("a", vec![1.0], &[("n", wit::Value::Integer(MAX_INTEGER + 1))])],
            vec![item("a", vec![1.0], &[("n", text)])],
        ] {
            assert_eq!(items_in(wrong).map_err(|error| error.kind), Err(HostErrorKind::Invalid));
        }
        assert!(check_collection("a-b_1").is_ok() && check_collection("A").is_err());
    }

    #[test]
    fn conditions_hold_for_values_of_their_type() {
        let metadata = VectorMetadata::from([
            ("n".to_owned(), VectorValue::Integer(5)),
            ("t".to_owned(), VectorValue::Text("5".to_owned())),
        ]);
        let one_of = |name: &str, value| VectorCondition::OneOf(name.to_owned(), HashSet::from([value]));
        assert!(one_of("n", VectorValue::Integer(5)).holds(&metadata));
        assert!(!one_of("n", VectorValue::Text("5".to_owned())).holds(&metadata));
        assert!(!one_of("missing", VectorValue::Integer(5)).holds(&metadata));
        assert!(!VectorCondition::OneOf("n".to_owned(), HashSet::new()).holds(&metadata));
        assert!(VectorCondition::AtLeast("n".to_owned(), 5).holds(&metadata));
        assert!(!VectorCondition::Below("n".to_owned(), 5).holds(&metadata));
        assert!(!VectorCondition::AtLeast("t".to_owned(), 0).holds(&metadata));
    }
}
