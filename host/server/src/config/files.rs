//! `files.*`

use super::{declare, value::Value};

declare! {
    /// Uploaded files.
    "files" => Files {
        /// Where files are kept; empty: `files` in the data directory.
        url: Option<FilesUrl> = "",
        /// Largest file, in bytes.
        max_size: i64 = "104857600",
    }
}

/// `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesUrl(pub std::path::PathBuf);

impl Value for FilesUrl {
    const ALLOWED: &'static str = "file:PATH";
    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(Self(path.trim_start_matches("//").into())),
            _ => Err(format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self(std::path::PathBuf::new())
    }
}
