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
    /// What is known of it if it is an image.
    pub image: Option<Image>,
    /// Who uploaded it.
    pub uploaded_by_id: UserId,
    /// The message it is attached to.
    pub message_id: Option<MessageId>,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
}

/// What is known of an image that could be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels, the right way up.
    pub width: u32,
    /// Pixels, the right way up.
    pub height: u32,
    /// The MIME type of its thumbnail.
    pub thumbnail_type: String,
}
