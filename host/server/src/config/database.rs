//! `database.*`

use std::path::PathBuf;

use super::{declare, value::Value};

declare! {
    /// Which database.
    "database" => Database {
        /// The database; empty: `patchbay.db` in the data directory.
        url: Option<SqliteUrl> = "",
    }
}

/// `sqlite:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteUrl(pub PathBuf);

impl Value for SqliteUrl {
    const ALLOWED: &'static str = "sqlite:PATH";
    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self(path.trim_start_matches("//").into())),
            _ => Err(format!("{text:?} is not allowed; expected {}", Self::ALLOWED)),
        }
    }
    fn placeholder() -> Self {
        Self(PathBuf::new())
    }
}
