//! The text in files: what has been read, and what waits to be.

use patchbay_core::{FileId, TextKind, Timestamp};
use sqlx::FromRow;

use crate::{Conn, Document, Index, StoreError, Tx, query::Query};

/// A file whose text is to be read.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct WaitingText {
    /// Which.
    pub file_id: i64,
    /// Its name.
    pub filename: String,
    /// Its MIME type.
    pub file_type: String,
    /// Where its bytes are.
    pub file_path: String,
    /// Bytes.
    pub file_size: i64,
    /// How often that was begun.
    pub attempts: i64,
}

impl Conn {
    /// Puts a file down to be read, if it may hold text and has not been put down before; whether it may.
    pub async fn read_later(
        &mut self,
        file: FileId,
        name: &str,
        kind: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if TextKind::of(name, kind).is_none() {
            return Ok(false);
        }
        let mut query = Query::new("INSERT INTO file_texts (file_id, state, due_at) VALUES (");
        query.bind(file.0).push(", 'waiting', ").bind(now.0).push(") ON CONFLICT (file_id) DO NOTHING");
        self.run(query).await?;
        Ok(true)
    }

    /// The file that has waited longest to be read, if one is due.
    pub async fn waiting_text(&mut self, now: Timestamp) -> Result<Option<WaitingText>, StoreError> {
        let mut query = Query::new(
            "SELECT t.file_id, f.filename, f.file_type, f.file_path, f.file_size, t.attempts
             FROM file_texts t JOIN files f ON f.id = t.file_id WHERE t.state = 'waiting' AND t.due_at <= ",
        );
        query.bind(now.0).push(" ORDER BY t.due_at LIMIT 1");
        self.optional(query).await
    }

    /// How many files wait to be read, and how many could not be.
    pub async fn text_counts(&mut self) -> Result<(i64, i64), StoreError> {
        let query = Query::new(
            "SELECT coalesce(sum(CASE WHEN state = 'waiting' THEN 1 ELSE 0 END), 0),
                    coalesce(sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), 0) FROM file_texts",
        );
        Ok(self.optional(query).await?.unwrap_or_default())
    }

    /// The texts that were read in these files.
    pub async fn texts_of(&mut self, files: &[i64]) -> Result<Vec<(i64, String)>, StoreError> {
        let mut query =
            Query::new("SELECT file_id, text FROM file_texts WHERE text IS NOT NULL AND file_id IN (");
        query.ids(files.iter().copied()).push(")");
        self.all(query).await
    }

    /// Counts an attempt to read a file, before it is made: one that takes the server down is counted too. If nothing
    /// comes of it, it is due again at `retry`.
    pub async fn begin_text(&mut self, file: FileId, retry: Timestamp) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE file_texts SET attempts = attempts + 1, due_at = ");
        query.bind(retry.0).push(" WHERE file_id = ").bind(file.0);
        self.run(query).await.map(|_| ())
    }

    /// Gives a file up.
    pub async fn fail_text(&mut self, file: FileId, error: &str) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE file_texts SET state = 'failed', error = ");
        query.bind(error).push(" WHERE file_id = ").bind(file.0);
        self.run(query).await.map(|_| ())
    }
}

impl Tx {
    /// Keeps the text that was read in a file, and indexes it, if the file is still there.
    pub async fn finish_text(&mut self, file: FileId, text: &str) -> Result<(), StoreError> {
        let Some(found) = self.file(file).await? else { return Ok(()) };
        let mut query = Query::new("UPDATE file_texts SET state = 'read', error = NULL, text = ");
        query.bind(text).push(" WHERE file_id = ").bind(file.0);
        self.run(query).await?;
        self.index(Index::Files, file.0, Document::file(&found.filename, &found.file_type, text));
        Ok(())
    }
}
