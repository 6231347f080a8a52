//! The bytes of files, in an object store.
//!
//! Owns: where bytes are and how they stream in and out; nothing is held whole. Must not: know who may see what.

use std::{fmt, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, WriteMultipart, local::LocalFileSystem,
    path::Path as Key,
};
use sha2::{Digest, Sha256};

use crate::auth;

/// Parts of an upload that are written at the same time.
const PARTS_UNDER_WAY: usize = 4;

/// Why bytes could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// More bytes came than are allowed.
    #[error("the file has more than {0} bytes")]
    TooLarge(u64),
    /// The sender stopped in the middle.
    #[error("the upload was cut off: {0}")]
    CutOff(String),
    /// The store failed.
    #[error("the file store failed: {0}")]
    Store(#[from] object_store::Error),
    /// No randomness for a name.
    #[error("the file store failed: {0}")]
    Random(#[from] getrandom::Error),
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A file's content as it is sent.
pub type Content = BoxStream<'static, Result<Bytes, object_store::Error>>;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// Largest file, in bytes.
    max_size: u64,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.store)
    }
}

impl Files {
    /// A store in a directory, which is made if it isn't there. What it says it has written is on the disk.
    ///
    /// # Errors
    /// If the directory can't be made.
    pub fn in_directory(path: &Path, max_size: u64) -> Result<Self, FilesError> {
        let failed = |source: std::io::Error| object_store::Error::Generic {
            store: "directory",
            source: format!("{}: {source}", path.display()).into(),
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        let store = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), max_size })
    }

    /// A name that nothing has yet, spread over folders.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn new_path(&self) -> Result<String, FilesError> {
        let name = auth::random_text(18)?.replace('-', "0");
        Ok(format!("{}/{name}", name.get(..2).unwrap_or("00")))
    }

    /// Keeps what comes. After an error nothing is left.
    ///
    /// # Errors
    /// [`FilesError::TooLarge`], [`FilesError::CutOff`], [`FilesError::Store`].
    pub async fn receive<E: fmt::Display>(
        &self,
        path: &str,
        mut content: impl futures_util::Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Received, FilesError> {
        let upload = self.store.put_multipart(&Key::from(path)).await?;
        let mut writer = WriteMultipart::new(upload);
        let (mut hash, mut size) = (Sha256::new(), 0u64);
        let broken = loop {
            let chunk = match content.next().await {
                None => break None,
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => break Some(FilesError::CutOff(error.to_string())),
            };
            size += chunk.len() as u64;
            if size > self.max_size {
                break Some(FilesError::TooLarge(self.max_size));
            }
            hash.update(&chunk);
            if let Err(error) = writer.wait_for_capacity(PARTS_UNDER_WAY).await {
                break Some(error.into());
            }
            writer.put(chunk);
        };
        if let Some(error) = broken {
            if let Err(error) = writer.abort().await {
                tracing::warn!(%error, "an upload that failed was not cleaned up");
            }
            return Err(error);
        }
        writer.finish().await?;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Received { size, sha256 })
    }

    /// How many bytes there are; none if there is no such object.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn size(&self, path: &str) -> Result<Option<u64>, FilesError> {
        match self.store.head(&Key::from(path)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of a range (whole: none) as a stream.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn content(&self, path: &str, range: Option<Range<u64>>) -> Result<Content, FilesError> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        Ok(self.store.get_opts(&Key::from(path), options).await?.into_stream())
    }

    /// Removes the bytes; that they are gone already is fine.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn delete(&self, path: &str) -> Result<(), FilesError> {
        match self.store.delete(&Key::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
