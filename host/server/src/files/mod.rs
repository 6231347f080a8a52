//! The bytes of files, in an object store.
//!
//! Owns: where bytes are and how they stream in and out; nothing is held whole. Must not: know who may see what.

mod incoming;
mod open;

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt, multipart::MultipartStore,
    path::Path as Key,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::auth;

pub use incoming::{Incoming, Received};
pub use open::OpenError;

/// Bytes that are read from a directory at a time.
const READ: usize = 128 * 1024;

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

/// A file's content as it is sent.
pub type Content = BoxStream<'static, Result<Bytes, object_store::Error>>;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    place: Place,
    /// What every key begins with.
    prefix: String,
}

/// What distinguishes the stores.
#[derive(Clone)]
enum Place {
    Directory(PathBuf),
    Bucket(Arc<dyn MultipartStore>),
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.store)
    }
}

impl Files {
    /// A name that nothing has yet, spread over folders.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn new_path(&self) -> Result<String, FilesError> {
        let name = auth::random_text(18)?.replace('-', "0");
        Ok(format!("{}/{name}", name.get(..2).unwrap_or("00")))
    }

    fn key(&self, path: &str) -> Key {
        if self.prefix.is_empty() { Key::from(path) } else { Key::from(format!("{}/{path}", self.prefix)) }
    }

    /// Begins to keep up to `limit` bytes at `path`, where they are seen once [`Incoming::finish`] has succeeded.
    pub fn incoming(&self, path: &str, limit: u64) -> Incoming {
        Incoming::new(self, self.key(path), limit)
    }

    /// Keeps what comes, however much. After an error nothing is left.
    ///
    /// # Errors
    /// [`FilesError::CutOff`], [`FilesError::Store`].
    pub async fn receive<E: fmt::Display>(
        &self,
        path: &str,
        mut content: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Received, FilesError> {
        let mut incoming = self.incoming(path, u64::MAX);
        while let Some(chunk) = content.next().await {
            let pushed = match chunk {
                Ok(chunk) => incoming.push(&chunk).await,
                Err(error) => Err(FilesError::CutOff(error.to_string())),
            };
            if let Err(error) = pushed {
                incoming.abort().await;
                return Err(error);
            }
        }
        incoming.finish().await
    }

    /// How many bytes there are; none if there is no such object.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn size(&self, path: &str) -> Result<Option<u64>, FilesError> {
        match self.store.head(&self.key(path)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of a range (none: of everything) as a stream.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn content(&self, path: &str, range: Option<Range<u64>>) -> Result<Content, FilesError> {
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.store.get_opts(&self.key(path), options).await?;
        let range = found.range.clone();
        let GetResultPayload::File(file, _) = found.payload else { return Ok(found.into_stream()) };
        // The store's own stream reads 8 KiB at a time.
        let mut file = tokio::fs::File::from_std(file);
        file.seek(std::io::SeekFrom::Start(range.start)).await.map_err(unreadable)?;
        let part = file.take(range.end - range.start);
        Ok(ReaderStream::with_capacity(part, READ).map(|read| read.map_err(unreadable)).boxed())
    }

    /// Removes the bytes; that they are gone already is fine.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn delete(&self, path: &str) -> Result<(), FilesError> {
        gone(self.store.delete(&self.key(path)).await)
    }

    /// Removes what is left of an upload that never ended, `upload_id` being what [`Incoming::upload_id`] said.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn delete_unfinished(&self, path: &str, upload_id: Option<&str>) -> Result<(), FilesError> {
        match (&self.place, upload_id) {
            (Place::Bucket(bucket), Some(id)) => {
                gone(bucket.abort_multipart(&self.key(path), &id.to_owned()).await)
            }
            (Place::Bucket(_), None) => Ok(()),
            (Place::Directory(root), _) => {
                let path = root.join(self.key(path).as_ref());
                let swept = tokio::task::spawn_blocking(move || sweep(&path)).await;
                swept.unwrap_or_else(|panic| Err(std::io::Error::other(panic))).map_err(unreadable)?;
                Ok(())
            }
        }
    }
}

/// Removes the files in which the store gathers what is not whole yet: they are called like the whole one with
/// `#` and a number behind it.
fn sweep(path: &std::path::Path) -> std::io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let is_rest = entry
            .file_name()
            .to_str()
            .is_some_and(|found| found.strip_prefix(name).is_some_and(|rest| rest.starts_with('#')));
        if is_rest {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn gone(result: Result<(), object_store::Error>) -> Result<(), FilesError> {
    match result {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn unreadable(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "directory", source: error.into() }
}
