//! Uploaded files.

use crate::{FileId, MessageId, Timestamp, UserId};

/// A file that was uploaded, attached to a message or waiting to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its id.
    pub id: FileId,
    /// Its original name.
    pub filename: String,
    /// Where the object store keeps it; never shown to clients.
    pub file_path: String,
    /// Its MIME type.
    pub file_type: String,
    /// Bytes.
    pub file_size: i64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
    /// Who uploaded it.
    pub uploaded_by_id: UserId,
    /// The message it is attached to.
    pub message_id: Option<MessageId>,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
}
