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

/// How the text in a file is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// As it is: plain text, Markdown and the like.
    Plain,
    /// In PDF.
    Pdf,
}

/// Types of plain text, beside those of which the name says it.
const PLAIN_TYPES: [&str; 5] = ["text/plain", "text/markdown", "text/x-markdown", "text/csv", "text/x-log"];
/// Endings of the names of plain texts, for clients that say no type.
const PLAIN_ENDINGS: [&str; 6] = ["txt", "text", "md", "markdown", "csv", "log"];

impl TextKind {
    /// By type, or by name where the type says nothing; none for a file that holds no text to be read.
    pub fn of(name: &str, kind: &str) -> Option<Self> {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
        let says_nothing = kind == "application/octet-stream";
        if kind == "application/pdf" || says_nothing && ending == "pdf" {
            return Some(Self::Pdf);
        }
        let is_plain =
            PLAIN_TYPES.contains(&kind) || says_nothing && PLAIN_ENDINGS.contains(&ending.as_str());
        is_plain.then_some(Self::Plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_files_hold_text() {
        const NO_TYPE: &str = "application/octet-stream";
        for (name, kind, text) in [
            ("a.pdf", "application/pdf", Some(TextKind::Pdf)),
            ("a", "application/pdf", Some(TextKind::Pdf)),
            ("A.PDF", NO_TYPE, Some(TextKind::Pdf)),
            ("README.md", "text/markdown", Some(TextKind::Plain)),
            ("README.md", NO_TYPE, Some(TextKind::Plain)),
            ("notes", "text/plain", Some(TextKind::Plain)),
            ("a.txt", "image/png", None),
            ("page.html", "text/html", None),
            ("pdf", NO_TYPE, None),
        ] {
            assert_eq!(TextKind::of(name, kind), text, "{name} {kind}");
        }
    }
}
