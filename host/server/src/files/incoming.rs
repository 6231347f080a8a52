//! Bytes that come in piece by piece. A small file is written at once, a large one in parts, of which few are held
//! at a time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload,
    multipart::{MultipartStore, PartId},
    path::Path as Key,
};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{Files, FilesError, Place};

/// Bytes of a part of a bucket's upload: the least that S3 takes, and the most that is held of one.
const BUCKET_PART: usize = 5 * 1024 * 1024;
/// Bytes that are written to a directory at a time.
const DIRECTORY_PART: usize = 1024 * 1024;
/// Parts on their way to a bucket while the next one comes in: with it 15 MiB per upload.
const PARTS_UNDER_WAY: usize = 2;
/// Bytes from the beginning that are remembered, enough to tell an image by.
const HEAD: usize = 32;

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// The first bytes, as many of 32 as there are.
    pub head: Vec<u8>,
}

/// An upload under way. Whoever drops it without [`Incoming::finish`] or [`Incoming::abort`] leaves parts behind.
pub struct Incoming {
    store: Arc<dyn ObjectStore>,
    place: Place,
    key: Key,
    limit: u64,
    size: u64,
    hash: Sha256,
    head: Vec<u8>,
    part: BytesMut,
    parts: Parts,
}

enum Parts {
    None,
    Directory(Box<dyn MultipartUpload>),
    Bucket(BucketUpload),
}

struct BucketUpload {
    store: Arc<dyn MultipartStore>,
    key: Key,
    id: String,
    begun: usize,
    done: Vec<(usize, PartId)>,
    under_way: JoinSet<Result<(usize, PartId), object_store::Error>>,
}

impl Incoming {
    pub(super) fn new(files: &Files, key: Key, limit: u64) -> Self {
        Self {
            store: Arc::clone(&files.store),
            place: files.place.clone(),
            key,
            limit,
            size: 0,
            hash: Sha256::new(),
            head: Vec::new(),
            part: BytesMut::new(),
            parts: Parts::None,
        }
    }

    /// Takes the next bytes; waits while too many parts are under way.
    ///
    /// # Errors
    /// [`FilesError::TooLarge`], [`FilesError::Store`]. Then the upload must be aborted.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), FilesError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(FilesError::TooLarge(self.limit));
        }
        self.hash.update(bytes);
        let missing = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(bytes.get(..missing).unwrap_or_default());
        let full = match self.place {
            Place::Directory(_) => DIRECTORY_PART,
            Place::Bucket(_) => BUCKET_PART,
        };
        // Copied, since a chunk may be a small piece of a large buffer.
        while let Some((now, later)) = bytes.split_at_checked(full - self.part.len()) {
            self.part.extend_from_slice(now);
            let part = self.part.split().freeze();
            self.put_part(part).await?;
            bytes = later;
        }
        self.part.extend_from_slice(bytes);
        Ok(())
    }

    /// What the store calls the upload, once it is one that the store would keep the parts of for ever.
    pub fn upload_id(&self) -> Option<&str> {
        match &self.parts {
            Parts::Bucket(upload) => Some(&upload.id),
            Parts::None | Parts::Directory(_) => None,
        }
    }

    /// Everything has come: makes it whole and durable. After an error nothing is left, as far as the store could
    /// be told.
    ///
    /// # Errors
    /// [`FilesError::Store`].
    pub async fn finish(mut self) -> Result<Received, FilesError> {
        if let Err(error) = self.complete().await {
            self.abort().await;
            return Err(error);
        }
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Received { size: self.size, sha256, head: self.head })
    }

    async fn complete(&mut self) -> Result<(), FilesError> {
        let last = self.part.split().freeze();
        if matches!(self.parts, Parts::None) {
            self.store.put(&self.key, last.into()).await?;
            return Ok(());
        }
        if !last.is_empty() {
            self.put_part(last).await?;
        }
        match &mut self.parts {
            Parts::None => {}
            Parts::Directory(upload) => {
                upload.complete().await?;
            }
            Parts::Bucket(upload) => upload.complete().await?,
        }
        Ok(())
    }

    /// Forgets what has come.
    pub async fn abort(mut self) {
        let aborted = match &mut self.parts {
            Parts::None => Ok(()),
            Parts::Directory(upload) => upload.abort().await,
            Parts::Bucket(upload) => {
                upload.under_way.shutdown().await;
                upload.store.abort_multipart(&upload.key, &upload.id).await
            }
        };
        // The upload is put down for removal by whoever began it, and is tried again from there.
        if let Err(error) = aborted {
            tracing::debug!(%error, "an upload that failed was not cleaned up at once");
        }
    }

    async fn put_part(&mut self, part: Bytes) -> Result<(), FilesError> {
        if matches!(self.parts, Parts::None) {
            self.parts = match &self.place {
                Place::Directory(_) => Parts::Directory(self.store.put_multipart(&self.key).await?),
                Place::Bucket(store) => Parts::Bucket(BucketUpload {
                    id: store.create_multipart(&self.key).await?,
                    store: Arc::clone(store),
                    key: self.key.clone(),
                    begun: 0,
                    done: Vec::new(),
                    under_way: JoinSet::new(),
                }),
            };
        }
        match &mut self.parts {
            Parts::None => {}
            Parts::Directory(upload) => upload.put_part(part.into()).await?,
            Parts::Bucket(upload) => upload.put_part(part.into()).await?,
        }
        Ok(())
    }
}

impl BucketUpload {
    async fn put_part(&mut self, part: PutPayload) -> Result<(), object_store::Error> {
        while self.under_way.len() >= PARTS_UNDER_WAY {
            self.one_done().await?;
        }
        let (store, key, id, number) =
            (Arc::clone(&self.store), self.key.clone(), self.id.clone(), self.begun);
        self.begun += 1;
        self.under_way.spawn(async move { Ok((number, store.put_part(&key, &id, number, part).await?)) });
        Ok(())
    }

    async fn one_done(&mut self) -> Result<(), object_store::Error> {
        if let Some(done) = self.under_way.join_next().await {
            self.done.push(done??);
        }
        Ok(())
    }

    async fn complete(&mut self) -> Result<(), object_store::Error> {
        while !self.under_way.is_empty() {
            self.one_done().await?;
        }
        self.done.sort_unstable_by_key(|(number, _)| *number);
        let parts = self.done.drain(..).map(|(_, part)| part).collect();
        self.store.complete_multipart(&self.key, &self.id, parts).await?;
        Ok(())
    }
}
