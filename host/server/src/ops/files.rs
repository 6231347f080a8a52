//! Files: uploading, reading, removing.

use std::{fmt, ops::Range, time::Duration};

use bytes::Bytes;
use patchbay_core::{Actor, Event, File, FileId, Timestamp};

use super::{
    Error, Ops, Result, Thing,
    access::{find_message, user_of},
    journal::emit,
};
use crate::files::{Content, FilesError};

/// For how long a file may hang on no message.
const UNATTACHED: Duration = Duration::from_secs(24 * 3600);
/// Most characters of a name.
const MAX_NAME_CHARS: usize = 255;
/// Files of one step of the clean-up.
const STEP: i64 = 100;

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

impl Ops {
    /// Keeps a file of the actor's. `name` loses its folders and control characters.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::TooLarge`], [`Error::Unavailable`] if the file store fails.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn upload<E: fmt::Display>(
        &self,
        actor: &Actor,
        name: &str,
        kind: Option<&str>,
        content: impl futures_util::Stream<Item = std::result::Result<Bytes, E>> + Unpin,
    ) -> Result<File> {
        let owner = user_of(actor)?;
        let name = clean_name(name)?;
        let kind = clean_type(kind);
        let path = self.0.files.new_path()?;
        let kept = path.clone();
        let now = Timestamp::now();
        // The row comes first: bytes without a row would never be removed.
        let id = self
            .0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move { Ok(tx.insert_file(&name, &kept, &kind, owner, now).await?) })
            })
            .await?;
        let received = match self.0.files.receive(&path, content).await {
            Ok(received) => received,
            Err(error) => {
                self.forget_file(id, &path).await?;
                return Err(error.into());
            }
        };
        let size = i64::try_from(received.size).unwrap_or(i64::MAX);
        self.0
            .store
            .write(move |tx| {
                Box::pin(async move {
                    tx.finish_file(id, size, &received.sha256, Timestamp::now()).await?;
                    tx.file(id).await?.ok_or(Error::NotFound(Thing::File))
                })
            })
            .await
    }

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
                        emit(tx, &actor, &Event::MessageUpdated(message), now);
                    }
                    Ok(())
                })
            })
            .await?;
        Ok(self.0.files.delete(&file.file_path).await?)
    }

    async fn forget_file(&self, id: FileId, path: &str) -> Result<()> {
        self.0
            .store
            .write::<_, Error, _>(move |tx| Box::pin(async move { Ok(tx.delete_file(id).await?) }))
            .await?;
        Ok(self.0.files.delete(path).await?)
    }

    /// Removes files that have hung on no message for a day.
    ///
    /// # Errors
    /// If the database can't be written or the file store fails.
    pub(super) async fn tidy_files(&self) -> Result<()> {
        let before = Timestamp::now().minus(UNATTACHED);
        loop {
            let paths = self
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move { Ok(tx.delete_unattached_files(before, STEP).await?) })
                })
                .await?;
            for path in &paths {
                self.0.files.delete(path).await?;
            }
            if paths.is_empty() {
                return Ok(());
            }
        }
    }
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

/// `type/subtype` in lower case without parameters; what isn't that is bytes.
fn clean_type(kind: Option<&str>) -> String {
    let essence =
        kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    match essence.split_once('/') {
        Some((top, sub)) if token(top) && token(sub) && essence.len() <= 127 => essence,
        _ => "application/octet-stream".into(),
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
        for odd in [None, Some(""), Some("html"), Some("a/b/c"), Some("text/\u{e9}"), Some("te xt/html")] {
            assert_eq!(clean_type(odd), "application/octet-stream", "{odd:?}");
        }
    }
}
