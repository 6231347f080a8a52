//! Uploaded files: their rows. Where the bytes are is only a path here.

use patchbay_core::{File, FileId, Image, MessageId, Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on, query::Query};

macro_rules! select_files {
    ($rest:literal) => {
        concat!(
            "SELECT id, filename, file_path, file_type, file_size, sha256, width, height, thumbnail_type,
                    uploaded_by_id, message_id, created_at, updated_at
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
    width: Option<i64>,
    height: Option<i64>,
    thumbnail_type: Option<String>,
    uploaded_by_id: i64,
    message_id: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl From<FileRow> for File {
    fn from(row: FileRow) -> Self {
        let pixels = |side: Option<i64>| side.and_then(|side| u32::try_from(side).ok());
        let image = match (pixels(row.width), pixels(row.height), row.thumbnail_type) {
            (Some(width), Some(height), Some(thumbnail_type)) => {
                Some(Image { width, height, thumbnail_type })
            }
            _ => None,
        };
        Self {
            id: FileId(row.id),
            filename: row.filename,
            file_path: row.file_path,
            file_type: row.file_type,
            file_size: row.file_size,
            sha256: row.sha256,
            image,
            uploaded_by_id: UserId(row.uploaded_by_id),
            message_id: row.message_id.map(MessageId),
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        }
    }
}

/// What is known of a file once its bytes are there.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Bytes.
    pub size: i64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
    /// Its MIME type, which replaces the one that was said first.
    pub file_type: String,
    /// What is known of it if it is an image.
    pub image: Option<Image>,
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

    /// Takes note of the object store's id of an upload that is under way.
    pub async fn set_upload_id(&mut self, id: FileId, upload_id: &str) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE files SET upload_id = ");
        query.bind(upload_id).push(" WHERE id = ").bind(id.0);
        self.run(query).await.map(|_| ())
    }

    /// The bytes are there: from now on the file is seen. False if it has been removed meanwhile.
    pub async fn finish_file(
        &mut self,
        id: FileId,
        arrived: &Arrived,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let image = arrived.image.as_ref();
        let changed = on!(self, |c| {
            sqlx::query(
                "UPDATE files SET file_size = $2, sha256 = $3, file_type = $4, width = $5, height = $6,
                                  thumbnail_type = $7, updated_at = $8, upload_id = NULL WHERE id = $1",
            )
            .bind(id.0)
            .bind(arrived.size)
            .bind(&arrived.sha256)
            .bind(&arrived.file_type)
            .bind(image.map(|image| i64::from(image.width)))
            .bind(image.map(|image| i64::from(image.height)))
            .bind(image.map(|image| image.thumbnail_type.as_str()))
            .bind(now.0)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(changed > 0)
    }

    /// The bytes of all files of a user's, those under way not among them.
    pub async fn bytes_of(&mut self, owner: UserId) -> Result<i64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "SELECT CAST(coalesce(sum(file_size), 0) AS BIGINT) FROM files WHERE uploaded_by_id = $1",
            )
            .bind(owner.0)
            .fetch_one(c)
            .await?
        }))
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

    /// The files for which this holds, in no particular order.
    pub(crate) async fn files_where(
        &mut self,
        condition: impl FnOnce(&mut Query),
    ) -> Result<Vec<File>, StoreError> {
        let mut query = Query::new(select_files!(""));
        condition(&mut query);
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

    /// Forgets a file. Its bytes go to the removals, as whenever a row of a file goes.
    pub async fn delete_file(&mut self, id: FileId) -> Result<(), StoreError> {
        on!(self, |c| sqlx::query("DELETE FROM files WHERE id = $1")
            .bind(id.0)
            .execute(c)
            .await?
            .rows_affected());
        Ok(())
    }

    /// Forgets up to `limit` files that hang on no message and were uploaded before `before`, uploads that
    /// never ended among them; how many there were.
    pub async fn delete_unattached_files(
        &mut self,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        let mut query = Query::new(
            "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE message_id IS NULL AND created_at < ",
        );
        query.bind(before.0).push(" ORDER BY created_at LIMIT ").bind(limit).push(")");
        self.run(query).await
    }

    /// Forgets every upload that has not ended; how many there were.
    pub async fn delete_unfinished_files(&mut self) -> Result<u64, StoreError> {
        self.run(Query::new("DELETE FROM files WHERE sha256 IS NULL")).await
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
