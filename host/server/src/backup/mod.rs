//! A deployment in one file: its tables, the bytes of its files, the key that seals its secrets. The file is the
//! same whichever database it came from, so that it moves a deployment from one kind to the other.
//!
//! Owns: the format. Must not: know tables by name; what is copied is what the database's catalogue lists.
//!
//! The format, version 1, is a tar archive:
//! - `manifest.json`: [`Manifest`], first.
//! - `tables/NAME/000001.jsonl` and so on: rows, a JSON array each, its values in the order of the manifest's
//!   columns, bytes in base64. A table comes after those that it refers to.
//! - `objects/PATH`: the bytes of files and pictures.
//! - `secret.key`: the key that seals secrets in the database, if the data directory has one.
//! - `end.json`: [`End`], last. An archive without it is not whole.

mod restore;
mod write;

use std::{collections::BTreeMap, io, path::PathBuf};

use patchbay_store::{Column, Kind, StoreError, Table};
use serde::{Deserialize, Serialize};

use crate::files::FilesError;

pub use restore::restore;
pub use write::write;

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const TABLES: &str = "tables/";
const OBJECTS: &str = "objects/";
/// Its name in the archive and in the data directory.
const KEY: &str = "secret.key";
const END: &str = "end.json";

/// What the archive says before all else.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// The version of the program that wrote it.
    patchbay: String,
    /// The last migration of the database.
    schema: i64,
    /// The moment, RFC 3339.
    created_at: String,
    tables: Vec<TableEntry>,
    /// The largest id that each table has ever given.
    counters: BTreeMap<String, i64>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct TableEntry {
    name: String,
    /// Name and kind of each.
    columns: Vec<(String, String)>,
}

impl From<&Table> for TableEntry {
    fn from(table: &Table) -> Self {
        let column = |column: &Column| {
            let kind = match column.kind {
                Kind::Integer => "integer",
                Kind::Boolean => "boolean",
                Kind::Text => "text",
                Kind::Bytes => "bytes",
            };
            (column.name.clone(), kind.to_owned())
        };
        Self { name: table.name.clone(), columns: table.columns.iter().map(column).collect() }
    }
}

/// What the archive says last.
#[derive(Debug, Serialize, Deserialize)]
struct End {
    /// SHA-256 of every byte of the archive before this entry, hexadecimal.
    sha256: String,
    /// Rows of each table.
    rows: BTreeMap<String, u64>,
    /// Objects.
    objects: u64,
    /// Objects that rows refer to and that were not there: files that were removed while the copy was made.
    missing: Vec<String>,
}

/// What was copied.
#[derive(Debug)]
pub struct Summary {
    /// Rows of all tables.
    pub rows: u64,
    /// Files and pictures.
    pub objects: u64,
    /// Objects that rows refer to and that were not there.
    pub missing: Vec<String>,
}

impl From<End> for Summary {
    fn from(end: End) -> Self {
        Self { rows: end.rows.values().sum(), objects: end.objects, missing: end.missing }
    }
}

/// Why there is no copy, or nothing was restored from it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes of files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A file here.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// The archive could not be written or read.
    #[error("the archive: {0}")]
    Archive(#[from] io::Error),
    /// The archive can't be what a backup has written.
    #[error("the archive can't be restored: {0}")]
    Broken(String),
}

impl From<serde_json::Error> for BackupError {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken(error.to_string())
    }
}
