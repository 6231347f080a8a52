//! The text in files: read behind the upload, one file at a time. What waits is in the database, so it survives the server.

use std::{path::PathBuf, time::Duration};

use futures_util::StreamExt as _;
use patchbay_core::{FileId, TextKind, Timestamp};
use patchbay_store::WaitingText;
use tokio::io::AsyncWriteExt as _;

use super::super::{Error, Ops, Result};
use crate::{
    files::FilesError,
    text::{self, NoText, Scratch},
};

/// How often a file is tried that can't be read for the moment.
const ATTEMPTS: i64 = 5;
/// How long it waits after the first time; twice as long after each one that follows.
const RETRY: Duration = Duration::from_secs(30);
/// How often is looked for what nobody has announced.
const PAUSE: Duration = Duration::from_secs(30);

/// What PDFs are read with.
#[derive(Clone, Debug)]
pub struct PdfReader {
    /// This program, if it can be found.
    pub program: Option<PathBuf>,
    /// A directory for files that are soon gone.
    pub scratch: PathBuf,
}

impl Ops {
    /// Reads the text of files that wait, until the task is dropped.
    pub async fn keep_reading(self, reader: PdfReader) {
        loop {
            match self.read_next(&reader).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the text of files waits to be read"),
            }
            let _ = tokio::time::timeout(PAUSE, self.0.searches.unread.notified()).await;
        }
    }

    /// There may be a file to read.
    pub(in crate::ops) fn text_arrived(&self) {
        self.0.searches.unread.notify_one();
    }

    /// Whether there was one.
    async fn read_next(&self, reader: &PdfReader) -> Result<bool> {
        let now = Timestamp::now();
        let Some(file) = self.0.store.read().await?.waiting_text(now).await? else { return Ok(false) };
        let id = FileId(file.file_id);
        let doublings = u32::try_from(file.attempts.clamp(0, ATTEMPTS)).unwrap_or(0);
        let retry = now.plus(RETRY.saturating_mul(1 << doublings));
        self.0
            .store
            .write::<_, Error, _>(move |tx| Box::pin(async move { Ok(tx.begin_text(id, retry).await?) }))
            .await?;
        // One that has taken the server down with it every time is not tried for ever.
        let read = match file.attempts < ATTEMPTS {
            true => self.read_text(&file, reader).await,
            false => Err(NoText::Unreadable("it was begun too often".into())),
        };
        let last = file.attempts + 1 >= ATTEMPTS;
        self.0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move {
                    match read {
                        Ok(text) => tx.finish_text(id, &text).await?,
                        Err(NoText::NotNow(why)) if !last => {
                            tracing::warn!(file = id.0, why, "the text of a file can't be read now");
                        }
                        Err(error) => {
                            tracing::info!(file = id.0, why = %error, "a file is found by its name only");
                            tx.fail_text(id, &error.to_string()).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await?;
        Ok(true)
    }

    async fn read_text(&self, file: &WaitingText, reader: &PdfReader) -> std::result::Result<String, NoText> {
        let not_now = |error: FilesError| NoText::NotNow(error.to_string());
        let broken = |error: std::io::Error| NoText::NotNow(error.to_string());
        let size = file.file_size.unsigned_abs();
        match TextKind::of(&file.filename, &file.file_type) {
            _ if size == 0 => Ok(String::new()),
            None => Err(NoText::Unreadable("it holds no text".into())),
            Some(TextKind::Plain) => {
                let range = 0..size.min(text::MAX_PLAIN);
                let mut content =
                    self.0.files.content(&file.file_path, Some(range)).await.map_err(not_now)?;
                let mut bytes = Vec::new();
                while let Some(chunk) = content.next().await {
                    bytes.extend_from_slice(&chunk.map_err(|error| not_now(error.into()))?);
                }
                text::plain(&bytes)
            }
            Some(TextKind::Pdf) if size > text::MAX_PDF => Err(NoText::Unreadable("it is too large".into())),
            Some(TextKind::Pdf) => {
                let Some(program) = &reader.program else {
                    return Err(NoText::Unreadable("there is no program that reads it".into()));
                };
                let scratch = Scratch::below(&reader.scratch).map_err(broken)?;
                let mut content = self.0.files.content(&file.file_path, None).await.map_err(not_now)?;
                let mut input = tokio::fs::File::create(&scratch.input).await.map_err(broken)?;
                while let Some(chunk) = content.next().await {
                    let chunk = chunk.map_err(|error| not_now(error.into()))?;
                    input.write_all(&chunk).await.map_err(broken)?;
                }
                input.flush().await.map_err(broken)?;
                drop(input);
                text::pdf(program, &scratch.input, &scratch.output).await
            }
        }
    }
}
