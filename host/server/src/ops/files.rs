//! Files: reading, removing. How they come in is in `uploads`.

use std::{ops::Range, time::Duration};

use futures_util::StreamExt as _;
use patchbay_core::{Actor, Event, File, FileId, Timestamp};
use patchbay_store::Removal;

use super::{Error, Ops, Result, Thing, access::find_message, journal::emit};
use crate::files::{Content, FilesError};

/// For how long a file may hang on no message.
const UNATTACHED: Duration = Duration::from_secs(24 * 3600);
/// Files of one step of the clean-up.
const STEP: i64 = 100;
/// How long a removal that failed waits, and how often is looked for those that nobody has announced.
const REMOVAL_PAUSE: Duration = Duration::from_secs(10);

impl From<FilesError> for Error {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::TooLarge(_) => Self::TooLarge(error.to_string()),
            FilesError::CutOff(_) => Self::invalid("file", "cut_off", error.to_string()),
            FilesError::Store(_) => {
                tracing::warn!(%error, "the file store is unavailable");
                Self::Unavailable("the file store is unavailable".into())
            }
            FilesError::Random(_) => Self::Internal(error.to_string()),
        }
    }
}

/// Where the bytes of a file's thumbnail are, if it has one.
pub(super) fn thumbnail_path(file_path: &str) -> String {
    format!("{file_path}-thumbnail")
}

impl Ops {
    /// One file: its uploader sees it, and whoever can read its message.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn file(&self, actor: &Actor, id: FileId) -> Result<File> {
        let mut conn = self.0.store.read().await?;
        let file = conn.file(id).await?.ok_or(Error::NotFound(Thing::File))?;
        if actor.user_id() == Some(file.uploaded_by_id) {
            return Ok(file);
        }
        let message = file.message_id.ok_or(Error::NotFound(Thing::File))?;
        match find_message(&mut conn, actor, message).await {
            Ok(_) => Ok(file),
            Err(Error::NotFound(_)) => Err(Error::NotFound(Thing::File)),
            Err(error) => Err(error),
        }
    }

    /// The content of a file that [`Ops::file`] has shown.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the file store fails.
    pub async fn file_content(&self, file: &File, range: Option<Range<u64>>) -> Result<Content> {
        Ok(self.0.files.content(&file.file_path, range).await?)
    }

    /// A range of a file's bytes, cut at its end; none beyond it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`] if the file store fails.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn read_file(&self, actor: &Actor, id: FileId, range: Range<u64>) -> Result<Vec<u8>> {
        let file = self.file(actor, id).await?;
        let end = range.end.min(file.file_size.unsigned_abs());
        let mut bytes = Vec::new();
        if range.start >= end {
            return Ok(bytes);
        }
        let mut content = self.file_content(&file, Some(range.start..end)).await?;
        while let Some(chunk) = content.next().await {
            bytes.extend_from_slice(&chunk.map_err(FilesError::from)?);
        }
        Ok(bytes)
    }

    /// The thumbnail of a file that [`Ops::file`] has shown: its MIME type and its bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has none, [`Error::Unavailable`] if the file store fails.
    pub async fn thumbnail(&self, file: &File) -> Result<(String, Content)> {
        let image = file.image.as_ref().ok_or(Error::NotFound(Thing::Thumbnail))?;
        let content = self.0.files.content(&thumbnail_path(&file.file_path), None).await?;
        Ok((image.thumbnail_type.clone(), content))
    }

    /// Removes a file of the actor's, from its message too.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for who didn't upload it.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn delete_file(&self, actor: &Actor, id: FileId) -> Result<()> {
        let file = self.file(actor, id).await?;
        if actor.user_id() != Some(file.uploaded_by_id) {
            return Err(Error::Forbidden("only who uploaded a file may remove it".into()));
        }
        let actor = actor.clone();
        self.0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    // It may have been attached since it was looked at.
                    let file = tx.file(id).await?.ok_or(Error::NotFound(Thing::File))?;
                    tx.delete_file(id).await?;
                    let Some(message) = file.message_id else { return Ok(()) };
                    let now = Timestamp::now();
                    tx.recount_attachments(message, now).await?;
                    if let Some(message) = tx.message(message).await? {
                        emit(tx, &actor, &Event::MessageUpdated(message), now)?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.0.removals.notify_one();
        Ok(())
    }

    /// Removes files that have hung on no message for a day.
    ///
    /// # Errors
    /// If the database can't be written.
    pub(super) async fn tidy_files(&self) -> Result<()> {
        let before = Timestamp::now().minus(UNATTACHED);
        loop {
            let gone = self
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.delete_unattached_files(before, STEP).await?) })
                })
                .await?;
            self.0.removals.notify_one();
            if gone < STEP.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Removes bytes that are nobody's, until the task is dropped. What the file store won't remove now stays put
    /// down and is tried again.
    pub async fn keep_removing(self) {
        loop {
            match self.remove_due_bytes().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the bytes of removed files wait to be removed"),
            }
            let _ = tokio::time::timeout(REMOVAL_PAUSE, self.0.removals.notified()).await;
        }
    }

    /// Whether there may be more.
    async fn remove_due_bytes(&self) -> Result<bool> {
        let due = self.0.store.read().await?.removals_due(Timestamp::now(), STEP).await?;
        self.remove_bytes(&due).await?;
        Ok(i64::try_from(due.len()) == Ok(STEP))
    }

    /// Removes bytes that have been put down for removal, and those of their thumbnails; what fails is put off.
    async fn remove_bytes(&self, removals: &[Removal]) -> Result<()> {
        let (mut gone, mut left) = (Vec::new(), Vec::new());
        let mut why = None;
        for removal in removals {
            match self.remove_one(removal).await {
                Ok(()) => gone.push(removal.path.clone()),
                Err(error) => {
                    left.push(removal.path.clone());
                    why = Some(error);
                }
            }
        }
        if let Some(error) = why {
            tracing::warn!(%error, files = left.len(), "bytes of removed files could not be removed yet");
        }
        if gone.is_empty() && left.is_empty() {
            return Ok(());
        }
        let later = Timestamp::now().plus(REMOVAL_PAUSE);
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    tx.spare(&gone).await?;
                    Ok(tx.put_off(&left, later).await?)
                })
            })
            .await
    }

    async fn remove_one(&self, removal: &Removal) -> std::result::Result<(), FilesError> {
        let files = &self.0.files;
        files.delete_unfinished(&removal.path, removal.upload_id.as_deref()).await?;
        files.delete(&thumbnail_path(&removal.path)).await?;
        files.delete(&removal.path).await
    }
}
