//! Uploaded files: their rows. Where the bytes are is only a path here.

use patchbay_core::{File, FileId, MessageId, Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on, query::Query};

macro_rules! select_files {
    ($rest:literal) => {
        concat!(
            "SELECT id, filename, file_path, file_type, file_size, sha256, uploaded_by_id, message_id,
                    created_at, updated_at
             FROM files WHERE sha256 IS NOT NULL AND ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct FileRow {
    id: i64,
    filename: String,
    file_path: String,
    file_type: String,
    file_size: i64,
    sha256: String,
    uploaded_by_id: i64,
    message_id: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl From<FileRow> for File {
    fn from(row: FileRow) -> Self {
        Self {
            id: FileId(row.id),
            filename: row.filename,
            file_path: row.file_path,
            file_type: row.file_type,
            file_size: row.file_size,
            sha256: row.sha256,
            uploaded_by_id: UserId(row.uploaded_by_id),
            message_id: row.message_id.map(MessageId),
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        }
    }
}

impl Conn {
    /// Takes note of an upload that begins; its id. The file is not seen before [`Conn::finish_file`].
    pub async fn insert_file(
        &mut self,
        filename: &str,
        file_path: &str,
        file_type: &str,
        owner: UserId,
        now: Timestamp,
    ) -> Result<FileId, StoreError> {
        let id = on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "INSERT INTO files (filename, file_path, file_type, file_size, uploaded_by_id, created_at,
                                    updated_at)
                 VALUES ($1, $2, $3, 0, $4, $5, $5) RETURNING id",
            )
            .bind(filename)
            .bind(file_path)
            .bind(file_type)
            .bind(owner.0)
            .bind(now.0)
            .fetch_one(c)
            .await?
        });
        Ok(FileId(id))
    }

    /// The bytes are there: from now on the file is seen.
    pub async fn finish_file(
        &mut self,
        id: FileId,
        size: i64,
        sha256: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE files SET file_size = $2, sha256 = $3, updated_at = $4 WHERE id = $1")
                .bind(id.0)
                .bind(size)
                .bind(sha256)
                .bind(now.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// One file.
    pub async fn file(&mut self, id: FileId) -> Result<Option<File>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, FileRow>(select_files!("id = $1")).bind(id.0).fetch_optional(c).await?
        });
        Ok(row.map(File::from))
    }

    /// The files of these messages, oldest first.
    pub(crate) async fn files_of(&mut self, messages: &[i64]) -> Result<Vec<File>, StoreError> {
        let mut query = Query::new(select_files!("message_id IN ("));
        query.ids(messages.iter().copied()).push(") ORDER BY id");
        Ok(self.all::<FileRow>(query).await?.into_iter().map(File::from).collect())
    }

    /// Attaches those of these files that `owner` uploaded and that hang on no message; how many there were.
    pub async fn attach_files(
        &mut self,
        message: MessageId,
        owner: UserId,
        files: &[FileId],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut query = Query::new("UPDATE files SET message_id = ");
        query.bind(message.0).push(", updated_at = ").bind(now.0);
        query.push(" WHERE uploaded_by_id = ").bind(owner.0);
        query.push(" AND message_id IS NULL AND sha256 IS NOT NULL AND id IN (");
        query.ids(files.iter().map(|id| id.0)).push(")");
        self.run(query).await
    }

    /// Forgets a file.
    pub async fn delete_file(&mut self, id: FileId) -> Result<(), StoreError> {
        on!(self, |c| sqlx::query("DELETE FROM files WHERE id = $1")
            .bind(id.0)
            .execute(c)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Forgets up to `limit` files that hang on no message and were uploaded before `before`, uploads that
    /// never ended among them; the paths of their bytes.
    pub async fn delete_unattached_files(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, String>(
                "DELETE FROM files WHERE id IN (
                     SELECT id FROM files WHERE message_id IS NULL AND created_at < $1 ORDER BY id LIMIT $2)
                 RETURNING file_path",
            )
            .bind(before.0)
            .bind(limit)
            .fetch_all(c)
            .await?
        }))
    }

    /// Sets whether a message has attachments by whether it has.
    pub async fn recount_attachments(
        &mut self,
        message: MessageId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "UPDATE messages SET updated_at = $2, has_attachments =
                     EXISTS (SELECT 1 FROM files f WHERE f.message_id = messages.id) WHERE id = $1",
            )
            .bind(message.0)
            .bind(now.0)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }
}
