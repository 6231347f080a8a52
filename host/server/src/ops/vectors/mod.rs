//! Plugins' vectors, wherever the operator keeps them: here, in a PostgreSQL with pgvector, or in an index of Pinecone.
//!
//! Owns: which of these it is, and that a collection's vectors have one length. Must not: look at permissions; what is found
//! is read again by whoever asked.

mod embedded;
mod memory;
mod outside;

use patchbay_runtime::{
    HostError, HostErrorKind,
    capabilities::vectors::{Neighbor, VectorCondition, VectorItem},
};
use patchbay_store::{Store, StoreError};

use super::{Error, Ops};
use crate::config::{self, VectorsUrl};

use embedded::Embedded;
use outside::{Pg, Pinecone};

/// Why something could not be done with vectors.
#[derive(Debug, thiserror::Error)]
pub enum VectorError {
    /// The vectors of the collection have another length.
    #[error("{0}")]
    Dimensions(String),
    /// The plugin keeps as much as it may.
    #[error("the plugin may keep {0} bytes of vectors")]
    Full(usize),
    /// They can't be reached where they are kept.
    #[error("{0}")]
    Unavailable(String),
    /// What an operation says.
    #[error(transparent)]
    Ops(#[from] Error),
}

impl From<StoreError> for VectorError {
    fn from(error: StoreError) -> Self {
        Self::Ops(error.into())
    }
}

type Result<T> = std::result::Result<T, VectorError>;

fn different(collection: &str, old: usize, new: usize) -> VectorError {
    VectorError::Dimensions(format!("vectors of {collection:?} have {old} numbers, not {new}"))
}

/// What a plugin is told, with the codes of `wit/vectors.wit`.
pub fn host_error(error: VectorError) -> HostError {
    let detail = error.to_string();
    match error {
        VectorError::Dimensions(_) => {
            HostError::new(HostErrorKind::Conflict, detail).with_code("dimensions_differ")
        }
        VectorError::Full(_) => {
            HostError::new(HostErrorKind::LimitExceeded, detail).with_code("vectors_full")
        }
        VectorError::Unavailable(_) => {
            HostError::new(HostErrorKind::Unavailable, detail).with_code("vectors_unavailable")
        }
        VectorError::Ops(error) => crate::plugin_host::host_error(error),
    }
}

/// Where vectors are kept.
#[derive(Debug)]
pub(super) enum Vectors {
    Here(Embedded),
    Postgres(Pg),
    Pinecone(Pinecone),
}

impl Vectors {
    pub(super) fn open(config: &config::Vectors, store: Store) -> super::Result<Self> {
        Ok(match &config.url {
            None => Self::Here(Embedded::new(store, usize::try_from(config.memory.0).unwrap_or(usize::MAX))),
            Some(VectorsUrl::Postgres(url)) => Self::Postgres(Pg::at(url)?),
            Some(VectorsUrl::Pinecone(url)) => {
                let key = config.api_key.as_ref().map_or("", |key| key.0.as_str());
                Self::Pinecone(Pinecone::at(url, key)?)
            }
        })
    }
}

impl Ops {
    /// Puts items into a plugin's collection.
    ///
    /// # Errors
    /// See [`VectorError`].
    pub async fn vectors_upsert(&self, of: (&str, &str), items: Vec<VectorItem>) -> Result<()> {
        match &self.0.vectors {
            Vectors::Here(here) => here.upsert(of, items).await,
            Vectors::Postgres(postgres) => postgres.upsert(of, items).await,
            Vectors::Pinecone(pinecone) => pinecone.upsert(of, items).await,
        }
    }

    /// Takes items out.
    ///
    /// # Errors
    /// See [`VectorError`].
    pub async fn vectors_delete(&self, of: (&str, &str), ids: &[String]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        match &self.0.vectors {
            Vectors::Here(here) => here.delete(of, ids.to_vec()).await,
            Vectors::Postgres(postgres) => postgres.delete(of, ids).await,
            Vectors::Pinecone(pinecone) => pinecone.delete(of, ids).await,
        }
    }

    /// Takes out those for which all conditions hold.
    ///
    /// # Errors
    /// See [`VectorError`].
    pub async fn vectors_delete_where(&self, of: (&str, &str), conditions: &[VectorCondition]) -> Result<()> {
        match &self.0.vectors {
            Vectors::Here(here) => here.delete_where(of, conditions).await,
            Vectors::Postgres(postgres) => postgres.delete_where(of, conditions).await,
            Vectors::Pinecone(pinecone) => pinecone.delete_where(of, conditions).await,
        }
    }

    /// Takes out all.
    ///
    /// # Errors
    /// See [`VectorError`].
    pub async fn vectors_clear(&self, of: (&str, &str)) -> Result<()> {
        match &self.0.vectors {
            Vectors::Here(here) => here.clear(of).await,
            Vectors::Postgres(postgres) => postgres.delete_where(of, &[]).await,
            Vectors::Pinecone(pinecone) => pinecone.clear(of).await,
        }
    }

    /// The nearest items of a plugin's collection.
    ///
    /// # Errors
    /// See [`VectorError`].
    pub async fn vectors_query(
        &self,
        of: (&str, &str),
        vector: Vec<f32>,
        conditions: Vec<VectorCondition>,
        limit: u32,
    ) -> Result<Vec<Neighbor>> {
        match &self.0.vectors {
            Vectors::Here(here) => here.query(of, vector, conditions, limit as usize).await,
            Vectors::Postgres(postgres) => postgres.query(of, &vector, &conditions, limit).await,
            Vectors::Pinecone(pinecone) => pinecone.query(of, &vector, &conditions, limit).await,
        }
    }

    /// How many items a collection has.
    ///
    /// # Errors
    /// See [`VectorError`].
    pub async fn vectors_count(&self, of: (&str, &str)) -> Result<u64> {
        match &self.0.vectors {
            Vectors::Here(here) => here.count(of).await,
            Vectors::Postgres(postgres) => postgres.count(of).await,
            Vectors::Pinecone(pinecone) => pinecone.count(of).await,
        }
    }

    /// A plugin has been removed. What is kept here went with its state; outside it goes now, or stays if it can't be
    /// reached, which the log says.
    pub(super) async fn forget_vectors(&self, plugin: &str) {
        let done = match &self.0.vectors {
            Vectors::Here(here) => {
                here.forget(plugin);
                return;
            }
            Vectors::Postgres(postgres) => postgres.forget(plugin).await,
            Vectors::Pinecone(pinecone) => pinecone.forget(plugin).await,
        };
        if let Err(error) = done {
            tracing::warn!(plugin, %error, "the vectors of a removed plugin are still there");
        }
    }
}
