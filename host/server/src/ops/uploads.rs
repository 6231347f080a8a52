//! How files come in.
//!
//! Three things must not come apart: the row, the bytes, and the count of what a user has. The row comes first, is
//! seen by nobody until the bytes are there, and names them for removal if it goes. An upload runs to its end in a task
//! of its own, which also sees to what is left when the client hangs up.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use patchbay_core::{Actor, File, FileId, Image, Timestamp, UserId};
use patchbay_store::{Arrived, Document, Index};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Error, Ops, Result, Thing, access::user_of, files::thumbnail_path};
use crate::{
    files::{FilesError, Received},
    picture,
};

/// Most characters of a name.
const MAX_NAME_CHARS: usize = 255;
/// What nothing is known of.
const NO_TYPE: &str = "application/octet-stream";
/// Uploads that run at the same time, with up to 15 MiB each; further ones wait.
const UPLOADS: usize = 64;
/// Of one user, so that nobody takes the places of all.
const UPLOADS_OF_ONE: usize = 8;
/// How long an upload waits for its place.
const PLACE_WAIT: Duration = Duration::from_secs(30);

/// The places of uploads under way.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    of: Mutex<HashMap<UserId, Weak<Semaphore>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(UPLOADS)), of: Mutex::default() }
    }
}

impl Places {
    /// A place for one upload, for as long as the permits are held.
    async fn take(&self, user: UserId) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            match of.get(&user).and_then(Weak::upgrade) {
                Some(own) => own,
                None => {
                    of.retain(|_, places| places.strong_count() > 0);
                    let own = Arc::new(Semaphore::new(UPLOADS_OF_ONE));
                    of.insert(user, Arc::downgrade(&own));
                    own
                }
            }
        };
        let both = async { Ok((own.acquire_owned().await?, Arc::clone(&self.all).acquire_owned().await?)) };
        match tokio::time::timeout(PLACE_WAIT, both).await {
            Ok(Ok::<_, tokio::sync::AcquireError>(places)) => Ok(places),
            _ => Err(Error::Unavailable("too many uploads at once".into())),
        }
    }
}

/// What the client's side of an upload hands to the task that keeps it. A client that hangs up hands over nothing.
enum Piece {
    Bytes(Bytes),
    End,
    CutOff(String),
}

/// An upload of which a row exists.
struct Begun {
    id: FileId,
    owner: UserId,
    path: String,
    said_type: Option<String>,
    /// Most bytes, by the size of files or by what is left of the owner's quota.
    limit: u64,
}

impl Ops {
    /// Keeps a file of the actor's. `name` loses its folders and control characters.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::TooLarge`], [`Error::QuotaExceeded`], [`Error::Unavailable`] if the file store
    /// fails or too many uploads wait.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn upload<E: fmt::Display>(
        &self,
        actor: &Actor,
        name: &str,
        kind: Option<&str>,
        mut content: impl Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    ) -> Result<File> {
        let owner = user_of(actor)?;
        let name = clean_name(name)?;
        let places = self.0.uploads.take(owner).await?;
        let begun = self.begin_upload(owner, name, kind).await?;
        let (pieces, taken) = mpsc::channel(1);
        let this = self.clone();
        let kept = tokio::spawn(async move {
            let _places = places;
            this.keep_upload(begun, taken).await
        });
        loop {
            let piece = match content.next().await {
                Some(Ok(bytes)) => Piece::Bytes(bytes),
                Some(Err(error)) => Piece::CutOff(error.to_string()),
                None => Piece::End,
            };
            let is_last = !matches!(piece, Piece::Bytes(_));
            // Whoever no longer takes pieces has an answer ready.
            if pieces.send(piece).await.is_err() || is_last {
                break;
            }
        }
        kept.await.map_err(|error| Error::Internal(format!("an upload failed: {error}")))?
    }

    async fn begin_upload(&self, owner: UserId, name: String, kind: Option<&str>) -> Result<Begun> {
        let (path, said_type) = (self.0.files.new_path()?, kind.map(str::to_owned));
        let (kept, said) = (path.clone(), clean_type(kind));
        let (max, quota) = (self.0.file_limits.max_size.0, self.0.file_limits.quota.0);
        let (id, limit) = self
            .0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    let left = match quota {
                        Some(quota) => quota.saturating_sub(tx.bytes_of(owner).await?.unsigned_abs()),
                        None => u64::MAX,
                    };
                    if left == 0 {
                        return Err(quota_exceeded(quota));
                    }
                    // The row comes first: bytes without a row would never be removed.
                    let id = tx.insert_file(&name, &kept, &said, owner, Timestamp::now()).await?;
                    Ok((id, left.min(max)))
                })
            })
            .await?;
        Ok(Begun { id, owner, path, said_type, limit })
    }

    async fn keep_upload(self, begun: Begun, mut pieces: mpsc::Receiver<Piece>) -> Result<File> {
        let received = self.receive_upload(&begun, &mut pieces).await;
        // The client need not go on sending what nobody takes.
        drop(pieces);
        let kept = match received {
            Ok(received) => self.finish_upload(&begun, received).await,
            Err(error) => Err(error),
        };
        if kept.is_err() {
            let id = begun.id;
            let forgotten = self
                .0
                .store
                .write::<_, Error, _>(move |tx| Box::pin(async move { Ok(tx.delete_file(id).await?) }))
                .await;
            match forgotten {
                Ok(()) => self.0.removals.notify_one(),
                Err(error) => tracing::warn!(%error, "an upload that failed is removed at the next start"),
            }
        }
        kept
    }

    async fn receive_upload(&self, begun: &Begun, pieces: &mut mpsc::Receiver<Piece>) -> Result<Received> {
        let mut incoming = self.0.files.incoming(&begun.path, begun.limit);
        let mut told = false;
        let failed: Error = loop {
            let bytes = match pieces.recv().await {
                Some(Piece::Bytes(bytes)) => bytes,
                Some(Piece::End) => return Ok(incoming.finish().await?),
                Some(Piece::CutOff(why)) => break FilesError::CutOff(why).into(),
                None => break FilesError::CutOff("the client hung up".into()).into(),
            };
            match incoming.push(&bytes).await {
                Ok(()) => {}
                Err(FilesError::TooLarge(limit)) if limit < self.0.file_limits.max_size.0 => {
                    break quota_exceeded(self.0.file_limits.quota.0);
                }
                Err(error) => break error.into(),
            }
            if !told && let Some(id) = incoming.upload_id() {
                told = true;
                if let Err(error) = self.note_upload_id(begun.id, id.to_owned()).await {
                    break error;
                }
            }
        };
        incoming.abort().await;
        Err(failed)
    }

    /// What would be left of a bucket's upload if this server were killed can be called off by this id only.
    async fn note_upload_id(&self, file: FileId, id: String) -> Result<()> {
        let store = &self.0.store;
        store.write(move |tx| Box::pin(async move { Ok(tx.set_upload_id(file, &id).await?) })).await
    }

    async fn finish_upload(&self, begun: &Begun, received: Received) -> Result<File> {
        let file_type = told_type(begun.said_type.as_deref(), &received.head);
        let image = match picture::is_shown(&file_type) {
            true => self.make_thumbnail(&begun.path, received.size).await,
            false => None,
        };
        let size = i64::try_from(received.size).unwrap_or(i64::MAX);
        let arrived = Arrived { size, sha256: received.sha256, file_type, image };
        let (id, owner, path, quota) =
            (begun.id, begun.owner, begun.path.clone(), self.0.file_limits.quota.0);
        let kept = self
            .0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    // Other uploads may have ended since this one began.
                    let total = tx.bytes_of(owner).await?.unsigned_abs().saturating_add(size.unsigned_abs());
                    if quota.is_some_and(|quota| total > quota) {
                        return Ok(Err(quota_exceeded(quota)));
                    }
                    if !tx.finish_file(id, &arrived, Timestamp::now()).await? {
                        tx.remove_later(&path, Timestamp(0)).await?;
                        return Ok(Err(Error::NotFound(Thing::File)));
                    }
                    let Some(file) = tx.file(id).await? else { return Ok(Err(Error::NotFound(Thing::File))) };
                    let document = Document::file(&file.filename, &file.file_type, "");
                    tx.index(Index::Files, id.0, document);
                    tx.read_later(id, &file.filename, &file.file_type, Timestamp::now()).await?;
                    Ok(Ok(file))
                })
            })
            .await?;
        self.text_arrived();
        kept
    }

    /// A small picture of an image, beside it in the file store. A file is kept without one, too.
    async fn make_thumbnail(&self, path: &str, size: u64) -> Option<Image> {
        if size > picture::MAX_IMAGE_BYTES {
            return None;
        }
        let made = async {
            let _place = self.decoding_place().await?;
            let mut content = self.0.files.content(path, None).await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = content.next().await {
                bytes.extend_from_slice(&chunk.map_err(FilesError::from)?);
            }
            let decoded = tokio::task::spawn_blocking(move || picture::thumbnail(&bytes)).await;
            let Ok(thumbnail) = decoded.map_err(|error| Error::Internal(error.to_string()))? else {
                return Ok(None);
            };
            let bytes = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(thumbnail.bytes)]);
            self.0.files.receive(&thumbnail_path(path), bytes).await?;
            Ok::<_, Error>(Some(Image {
                width: thumbnail.width,
                height: thumbnail.height,
                thumbnail_type: thumbnail.kind.to_owned(),
            }))
        };
        made.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "an image was kept without a thumbnail");
            None
        })
    }
}

fn quota_exceeded(quota: Option<u64>) -> Error {
    Error::QuotaExceeded(format!("all files of a user may have {} bytes together", quota.unwrap_or(0)))
}

fn clean_name(name: &str) -> Result<String> {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = base.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    let clean = clean.trim();
    if clean.is_empty() || clean.chars().all(|c| c == '.') {
        return Err(Error::invalid("file", "filename", "needs a file name"));
    }
    Ok(clean.to_owned())
}

/// The type of an image is what its content says, whatever was said; any other is what was said.
fn told_type(said: Option<&str>, head: &[u8]) -> String {
    let kind = clean_type(said);
    let is = picture::format_of(head);
    match is {
        Some(is) if said.is_none() || picture::is_shown(&kind) => is.to_owned(),
        None if picture::is_shown(&kind) => NO_TYPE.to_owned(),
        _ => kind,
    }
}

/// `type/subtype` in lower case without parameters; what isn't that is bytes.
fn clean_type(kind: Option<&str>) -> String {
    let essence =
        kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    match essence.split_once('/') {
        Some((top, sub)) if token(top) && token(sub) && essence.len() <= 127 => essence,
        _ => NO_TYPE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_folders() {
        assert_eq!(clean_name("C:\\temp\\a b.txt").unwrap(), "a b.txt");
        assert_eq!(clean_name("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(clean_name("résumé\r\n.pdf").unwrap(), "résumé.pdf");
        for bad in ["", "..", "/", " ", "a/.."] {
            assert!(clean_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn types_are_types() {
        assert_eq!(clean_type(Some("Text/HTML; charset=utf-8")), "text/html");
        let png = b"\x89PNG\r\n\x1a\n";
        for (said, head, told) in [
            (Some("image/png"), &png[..], "image/png"),
            (Some("image/gif"), png, "image/png"),
            (None, png, "image/png"),
            (Some("text/plain"), png, "text/plain"),
            (Some("image/png"), b"<html>", NO_TYPE),
            (Some("image/svg+xml"), b"<svg>", "image/svg+xml"),
            (None, b"hello", NO_TYPE),
        ] {
            assert_eq!(told_type(said, head), told, "{said:?}");
        }
        for odd in [None, Some(""), Some("html"), Some("a/b/c"), Some("text/\u{e9}"), Some("te xt/html")] {
            assert_eq!(clean_type(odd), "application/octet-stream", "{odd:?}");
        }
    }
}
