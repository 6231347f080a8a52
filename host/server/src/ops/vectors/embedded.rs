//! Vectors in the host's own database, searched in memory, or piece by piece where they don't fit there.
//!
//! Owns: which collections are in memory, and that they are what the database says. Must not: search; `memory` does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use patchbay_runtime::capabilities::vectors::{Neighbor, VectorCondition, VectorItem};
use patchbay_store::{Store, VectorRow};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::{
    Result, VectorError, different,
    memory::{Collection, from_json, merged, to_json},
};
use crate::ops::{
    Error, Thing,
    llm::{bytes, floats},
    plugins::limits::limits_of,
};

/// Vectors that are read at once: 16 MiB at worst.
const STEP: i64 = 1_000;

/// One collection's place in memory: empty until it is asked for, and whenever it may differ from the database. Who
/// changes the collection holds it alone, from before the change until memory follows.
type Slot = Arc<RwLock<Option<Collection>>>;

#[derive(Debug)]
pub(in crate::ops) struct Embedded {
    store: Store,
    /// Most bytes of all collections in memory.
    most: usize,
    slots: Mutex<HashMap<(String, String), Slot>>,
}

impl Embedded {
    pub(in crate::ops) fn new(store: Store, most: usize) -> Self {
        Self { store, most, slots: Mutex::default() }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, (plugin, collection): (&str, &str)) -> Slot {
        Arc::clone(self.slots().entry((plugin.to_owned(), collection.to_owned())).or_default())
    }

    /// A plugin's collections leave memory.
    pub(in crate::ops) fn forget(&self, plugin: &str) {
        self.slots().retain(|(of, _), _| of != plugin);
    }

    /// Makes room for a collection of that size; false if it is larger than all of it. Collections that are in use stay.
    fn make_room(&self, bytes: usize) -> bool {
        let mut slots = self.slots();
        let mut used = 0;
        slots.retain(|_, slot| match slot.try_read() {
            Ok(collection) => {
                let size = collection.as_ref().map_or(0, Collection::bytes);
                let is_idle = Arc::strong_count(slot) == 1;
                let stays = !is_idle || (size > 0 && used + size + bytes <= self.most);
                used += if stays { size } else { 0 };
                stays
            }
            Err(_) => true,
        });
        bytes <= self.most
    }

    /// Changes the database, then memory. If it is cut off in between, memory is empty and is read anew.
    async fn change(
        &self,
        of: (&str, &str),
        write: impl Future<Output = Result<()>>,
        follow: impl FnOnce(&mut Collection),
    ) -> Result<()> {
        let slot = self.slot(of);
        let mut held = slot.write().await;
        let before = held.take();
        write.await?;
        *held = before.map(|mut collection| {
            follow(&mut collection);
            collection
        });
        // It may have outgrown its room.
        if held.as_ref().is_some_and(|collection| collection.bytes() > self.most) {
            *held = None;
        }
        Ok(())
    }

    pub(super) async fn upsert(&self, of: (&str, &str), items: Vec<VectorItem>) -> Result<()> {
        let (plugin, collection) = (of.0.to_owned(), of.1.to_owned());
        let rows: Vec<_> = items
            .iter()
            .map(|item| {
                let metadata = serde_json::Value::Object(to_json(&item.metadata)).to_string();
                (item.id.clone(), bytes(&item.vector), metadata)
            })
            .collect();
        let written = self.store.write(move |tx| {
            Box::pin(async move {
                // A call that outlives its plugin leaves nothing for the next one of that name.
                let row = tx.plugin(&plugin).await?.ok_or(Error::NotFound(Thing::Plugin))?;
                let new = rows.first().map_or(0, |(_, vector, _)| vector.len());
                let old = tx.vector_bytes(&plugin, &collection).await?;
                if let Some(old) = old.and_then(|old| usize::try_from(old).ok()).filter(|old| *old != new) {
                    return Err(different(&collection, old / 4, new / 4));
                }
                for (id, vector, metadata) in &rows {
                    tx.put_vector((&plugin, &collection), (id, vector, metadata)).await?;
                }
                let most = limits_of(&row.limits).vector_bytes;
                if usize::try_from(tx.vector_usage(&plugin).await?).unwrap_or_default() > most {
                    return Err(VectorError::Full(most));
                }
                Ok(())
            })
        });
        self.change(of, written, |collection| items.into_iter().for_each(|item| collection.put(item))).await
    }

    pub(super) async fn delete(&self, of: (&str, &str), ids: Vec<String>) -> Result<()> {
        let (plugin, collection, gone) = (of.0.to_owned(), of.1.to_owned(), ids.clone());
        let written = self.store.write::<_, VectorError, _>(move |tx| {
            Box::pin(async move { Ok(tx.delete_vectors((&plugin, &collection), &ids).await.map(|_| ())?) })
        });
        self.change(of, written, |collection| gone.iter().for_each(|id| collection.remove(id))).await
    }

    pub(super) async fn delete_where(&self, of: (&str, &str), conditions: &[VectorCondition]) -> Result<()> {
        let ids = match self.loaded(of).await? {
            Some(held) => held.as_ref().map_or_else(Vec::new, |collection| collection.ids_where(conditions)),
            None => {
                let mut ids = Vec::new();
                self.each_part(of, |part| ids.extend(part.ids_where(conditions))).await?;
                ids
            }
        };
        for some in ids.chunks(500) {
            self.delete(of, some.to_vec()).await?;
        }
        Ok(())
    }

    pub(super) async fn clear(&self, of: (&str, &str)) -> Result<()> {
        let slot = self.slot(of);
        let mut held = slot.write().await;
        *held = None;
        loop {
            let (plugin, collection) = (of.0.to_owned(), of.1.to_owned());
            let gone = self.store.write::<_, VectorError, _>(move |tx| {
                Box::pin(async move { Ok(tx.clear_vectors((&plugin, &collection), STEP).await?) })
            });
            if gone.await? < STEP.unsigned_abs() {
                return Ok(());
            }
        }
    }

    pub(super) async fn count(&self, of: (&str, &str)) -> Result<u64> {
        let (count, _) = self.store.read().await?.vectors_count(of.0, of.1).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    pub(super) async fn query(
        &self,
        of: (&str, &str),
        vector: Vec<f32>,
        conditions: Vec<VectorCondition>,
        limit: usize,
    ) -> Result<Vec<Neighbor>> {
        let name = of.1.to_owned();
        let check = move |collection: &Collection, vector: &[f32]| match collection.dimensions() {
            0 => Ok(()),
            dimensions if dimensions == vector.len() => Ok(()),
            dimensions => Err(different(&name, dimensions, vector.len())),
        };
        if let Some(held) = self.loaded(of).await? {
            // It computes for milliseconds: others go on meanwhile.
            let searched = tokio::task::spawn_blocking(move || {
                let Some(collection) = held.as_ref() else { return Ok(Vec::new()) };
                check(collection, &vector)?;
                Ok(collection.nearest(&vector, &conditions, limit))
            });
            return searched.await.map_err(|error| Error::Internal(format!("searching vectors: {error}")))?;
        }
        let (mut found, mut checked) = (Vec::new(), Ok(()));
        self.each_part(of, |part| {
            if checked.is_ok() {
                checked = check(&part, &vector);
                found.extend(part.nearest(&vector, &conditions, limit));
                found = merged(std::mem::take(&mut found), limit);
            }
        })
        .await?;
        checked.map(|()| found)
    }

    /// The collection in memory; none if it doesn't fit there.
    async fn loaded(&self, of: (&str, &str)) -> Result<Option<OwnedRwLockReadGuard<Option<Collection>>>> {
        let slot = self.slot(of);
        let held = Arc::clone(&slot).read_owned().await;
        if held.is_some() {
            return Ok(Some(held));
        }
        drop(held);
        let (count, bytes) = self.store.read().await?.vectors_count(of.0, of.1).await?;
        let size = |n: i64| usize::try_from(n).unwrap_or(usize::MAX);
        // What is beside the numbers is about as much again as it is in the database.
        if !self.make_room(size(bytes).saturating_add(size(count).saturating_mul(512))) {
            return Ok(None);
        }
        let mut held = Arc::clone(&slot).write_owned().await;
        if held.is_none() {
            let mut all = Collection::default();
            self.each_row(of, |item| all.put(item)).await?;
            *held = Some(all);
        }
        Ok(Some(held.downgrade()))
    }

    /// Shows the collection in parts, as the database has it.
    async fn each_part(&self, of: (&str, &str), mut see: impl FnMut(Collection)) -> Result<()> {
        let mut part = Collection::default();
        let mut held = 0;
        self.each_row(of, |item| {
            part.put(item);
            held += 1;
            if held == STEP {
                see(std::mem::take(&mut part));
                held = 0;
            }
        })
        .await?;
        see(part);
        Ok(())
    }

    async fn each_row(&self, of: (&str, &str), mut see: impl FnMut(VectorItem)) -> Result<()> {
        let mut after = String::new();
        loop {
            // A connection is held for one step only: others read too.
            let rows = self.store.read().await?.vectors_after(of, &after, STEP).await?;
            let Some((last, ..)) = rows.last() else { return Ok(()) };
            after = last.clone();
            for row in rows {
                see(item(row)?);
            }
        }
    }
}

fn item((id, vector, metadata): VectorRow) -> Result<VectorItem> {
    let metadata = serde_json::from_str(&metadata)
        .map_err(|error| Error::Internal(format!("metadata of the vector {id}: {error}")))?;
    Ok(VectorItem { id, vector: floats(&vector), metadata: from_json(metadata) })
}
