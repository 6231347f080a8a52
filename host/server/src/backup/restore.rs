//! Reading the archive back, into a deployment that is empty.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use patchbay_store::{Kind, Location, Restore, StoreError, Table, Value};
use sha2::{Digest, Sha256};
use tar::Archive;
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;

use super::{
    BackupError, END, End, FORMAT, KEY, MANIFEST, Manifest, OBJECTS, Summary, TABLES, TableEntry, write::hex,
};
use crate::files::Files;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;
/// Most bytes of `manifest.json`, `end.json` and `secret.key`.
const MAX_SMALL: u64 = 64 << 20;

/// Restores what [`super::write`] wrote. The whole archive is checked before anything is touched; the rows are one
/// transaction, and the bytes of files are removed again if it fails. Blocks.
///
/// # Errors
/// If the archive is broken or newer than this program, or the database has tables; then nothing has changed.
pub fn restore(
    runtime: &Handle,
    location: &Location,
    files: Files,
    data_dir: &Path,
    source: &Path,
) -> Result<Summary, BackupError> {
    let mut file = File::open(source).map_err(|error| BackupError::File(source.to_owned(), error))?;
    let (manifest, end) = check(&mut file)?;
    let restore = runtime.block_on(Restore::begin(location, manifest.schema))?;
    let mut known: Vec<_> = restore.tables.iter().map(|table| sorted(&table.into())).collect();
    let mut given: Vec<_> = manifest.tables.iter().map(sorted).collect();
    known.sort();
    given.sort();
    if known != given {
        return Err(broken("its tables are not those of its schema"));
    }
    file.rewind()?;
    let mut taking =
        Taking { runtime, files, objects: Vec::new(), count: 0, key: None, rows: BTreeMap::new(), restore };
    let taken = taking.all(&mut file, &manifest, &end);
    let Taking { files, objects, key, restore, .. } = taking;
    let key_file = data_dir.join(KEY);
    let old_key = std::fs::read(&key_file).ok();
    let done = taken.and_then(|()| {
        if let Some(key) = &key {
            put(&key_file, key)?;
        }
        Ok(runtime.block_on(restore.finish(&manifest.counters))?)
    });
    // Where nobody knows whether the rows are there, what they need stays.
    let is_certain = !matches!(&done, Err(BackupError::Store(StoreError::Unknown(_))));
    if done.is_err() && is_certain {
        for path in objects {
            if let Err(error) = runtime.block_on(files.delete(&path)) {
                tracing::warn!(%error, path, "bytes of a restore that failed were not removed");
            }
        }
        let undone = match (&key, old_key) {
            (None, _) => Ok(()),
            (Some(_), Some(old)) => put(&key_file, &old),
            (Some(_), None) => gone(&key_file),
        };
        if let Err(error) = undone {
            tracing::warn!(%error, "the key is that of a restore that failed");
        }
    }
    done.map(|()| end.into())
}

fn gone(path: &Path) -> Result<(), BackupError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::File(path.into(), error)),
        _ => Ok(()),
    }
}

/// A key that is on the disk and for its owner's eyes only.
fn put(path: &PathBuf, bytes: &[u8]) -> Result<(), BackupError> {
    let failed = |error| BackupError::File(path.clone(), error);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn broken(why: impl Into<String>) -> BackupError {
    BackupError::Broken(why.into())
}

/// Columns in the order of their names: a migration may have added them in another one elsewhere.
fn sorted(table: &TableEntry) -> TableEntry {
    let mut columns = table.columns.clone();
    columns.sort();
    TableEntry { name: table.name.clone(), columns }
}

/// Reads an archive through, without believing anything of it before its digest is right.
fn check(file: &mut File) -> Result<(Manifest, End), BackupError> {
    let (mut manifest, mut end, mut last) = (None, None, 0);
    let mut archive = Archive::new(BufReader::new(&*file));
    for entry in archive.entries_with_seek().map_err(|error| broken(error.to_string()))? {
        let mut entry = entry.map_err(|error| broken(error.to_string()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if end.is_some() {
            return Err(broken("something comes after its end"));
        }
        last = entry.raw_header_position();
        match name.as_str() {
            MANIFEST if manifest.is_none() => manifest = Some(small(&mut entry)?),
            _ if manifest.is_none() => return Err(broken("this is no backup of Patchbay")),
            END => end = Some(small(&mut entry)?),
            _ => {}
        }
    }
    let manifest = manifest.ok_or_else(|| broken("this is no backup of Patchbay"))?;
    let manifest: Manifest = serde_json::from_slice(&manifest)?;
    if manifest.format != FORMAT {
        return Err(broken(format!("its format is {}, and this program knows {FORMAT}", manifest.format)));
    }
    let end = end.ok_or_else(|| broken("it is cut off"))?;
    let end: End = serde_json::from_slice(&end)?;
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut before = (&*file).take(last);
    loop {
        let read = before.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
    if hex(hash) != end.sha256 {
        return Err(broken("it is damaged: its digest is wrong"));
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((manifest, end))
}

fn small(entry: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    entry.take(MAX_SMALL).read_to_end(&mut bytes).map_err(|error| broken(error.to_string()))?;
    Ok(bytes)
}

struct Taking<'a> {
    runtime: &'a Handle,
    files: Files,
    /// Those written so far that were not there before.
    objects: Vec<String>,
    /// How many have been written.
    count: u64,
    key: Option<Vec<u8>>,
    rows: BTreeMap<String, u64>,
    restore: Restore,
}

impl Taking<'_> {
    fn all(&mut self, file: &mut File, manifest: &Manifest, end: &End) -> Result<(), BackupError> {
        // The rows' values are in the order of the archive's columns.
        let tables: HashMap<String, Table> = manifest
            .tables
            .iter()
            .filter_map(|given| {
                let known = self.restore.tables.iter().find(|table| table.name == given.name)?;
                let column =
                    |(name, _): &(String, String)| known.columns.iter().find(|c| c.name == *name).cloned();
                let columns = given.columns.iter().filter_map(column).collect();
                Some((given.name.clone(), Table { columns, ..known.clone() }))
            })
            .collect();
        for entry in Archive::new(BufReader::with_capacity(BUFFER, file)).entries()? {
            let mut entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if let Some(path) = name.strip_prefix(OBJECTS) {
                self.object(path, &mut entry)?;
            } else if let Some((table, _)) = name.strip_prefix(TABLES).and_then(|rest| rest.split_once('/')) {
                let table = tables.get(table).ok_or_else(|| broken(format!("there is no table {table}")))?;
                self.rows(table, entry)?;
            } else if name == KEY {
                self.key = Some(small(&mut entry)?);
            }
        }
        let counted = manifest.tables.iter().all(|table| {
            self.rows.get(&table.name).copied().unwrap_or(0)
                == end.rows.get(&table.name).copied().unwrap_or(0)
        });
        if !counted || self.count != end.objects {
            return Err(broken("it doesn't hold as many rows and files as it says"));
        }
        Ok(())
    }

    fn rows(&mut self, table: &Table, chunk: impl Read) -> Result<(), BackupError> {
        let mut rows = Vec::new();
        for line in BufReader::new(chunk).lines() {
            let values: Vec<serde_json::Value> = serde_json::from_str(&line?)?;
            if values.len() != table.columns.len() {
                return Err(broken(format!("a row of {} has {} values", table.name, values.len())));
            }
            let row = values.into_iter().zip(&table.columns).map(|(value, column)| {
                read(value, column.kind)
                    .ok_or_else(|| broken(format!("{}.{} holds something else", table.name, column.name)))
            });
            rows.push(row.collect::<Result<Vec<_>, _>>()?);
        }
        *self.rows.entry(table.name.clone()).or_default() += rows.len() as u64;
        Ok(self.runtime.block_on(self.restore.insert(table, rows))?)
    }

    fn object(&mut self, path: &str, content: &mut impl Read) -> Result<(), BackupError> {
        // What a failure undoes: a store that other data lies in keeps it.
        let is_new = self.runtime.block_on(self.files.size(path))?.is_none();
        // A pipe between what is read here and what is written there.
        let (reader, mut writer) = tokio::io::duplex(BUFFER);
        let files = self.files.clone();
        let kept = path.to_owned();
        let receiving = self
            .runtime
            .spawn(async move { files.receive(&kept, ReaderStream::with_capacity(reader, BUFFER)).await });
        self.count += 1;
        if is_new {
            self.objects.push(path.to_owned());
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = content.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            // If the other side has failed, it says why below.
            if self.runtime.block_on(tokio::io::AsyncWriteExt::write_all(&mut writer, bytes)).is_err() {
                break;
            }
        }
        drop(writer);
        let received = self.runtime.block_on(receiving);
        received.map_err(|error| BackupError::Archive(io::Error::other(error)))??;
        Ok(())
    }
}

fn read(value: serde_json::Value, kind: Kind) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match (kind, value) {
        (Kind::Integer, Json::Null) => Value::Integer(None),
        (Kind::Integer, Json::Number(number)) => Value::Integer(Some(number.as_i64()?)),
        (Kind::Boolean, Json::Null) => Value::Boolean(None),
        (Kind::Boolean, Json::Bool(yes)) => Value::Boolean(Some(yes)),
        (Kind::Text, Json::Null) => Value::Text(None),
        (Kind::Text, Json::String(text)) => Value::Text(Some(text)),
        (Kind::Bytes, Json::Null) => Value::Bytes(None),
        (Kind::Bytes, Json::String(text)) => Value::Bytes(Some(STANDARD.decode(text).ok()?)),
        _ => return None,
    })
}
