//! Writing the archive.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::Path,
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::TryStreamExt;
use patchbay_core::Timestamp;
use patchbay_store::{Location, Object, Snapshot, Table, Value};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, Header};
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{BackupError, END, End, FORMAT, KEY, MANIFEST, Manifest, OBJECTS, Summary, TABLES, TableEntry};
use crate::files::{Files, FilesError};

/// Rows are gathered until they are this many bytes.
const CHUNK: usize = 1 << 20;
/// Objects that are asked for at once.
const PAGE: i64 = 500;

/// Copies a deployment, which a server may be using, into `target`, a file that must not be there yet; `-` is
/// standard output. The file appears when it is whole and on the disk, for its owner's eyes only. Blocks.
///
/// # Errors
/// If anything can't be read or written; then there is no file.
pub fn write(
    runtime: &Handle,
    location: &Location,
    files: Files,
    data_dir: &Path,
    target: &Path,
) -> Result<Summary, BackupError> {
    let failed = |error| BackupError::File(target.to_owned(), error);
    if target == Path::new("-") {
        let mut output = BufWriter::new(io::stdout().lock());
        let summary = archive(runtime, location, files, data_dir, &mut output)?;
        output.flush()?;
        return Ok(summary);
    }
    if target.exists() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let folder = target.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It is readable by its owner alone from the start, and goes if anything fails.
    let partial = tempfile::Builder::new().prefix(".patchbay-backup-").tempfile_in(folder).map_err(failed)?;
    let mut output = BufWriter::new(partial.as_file());
    let summary = archive(runtime, location, files, data_dir, &mut output)?;
    output.flush()?;
    drop(output);
    partial.as_file().sync_all()?;
    partial.persist_noclobber(target).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(summary)
}

fn archive(
    runtime: &Handle,
    location: &Location,
    files: Files,
    data_dir: &Path,
    output: impl Write,
) -> Result<Summary, BackupError> {
    let mut snapshot = runtime.block_on(Snapshot::open(location))?;
    let mut archive = Archive { tar: Builder::new(Digesting { inner: output, hash: Sha256::new() }) };
    archive.json(
        MANIFEST,
        &Manifest {
            format: FORMAT,
            patchbay: env!("CARGO_PKG_VERSION").to_owned(),
            schema: snapshot.schema,
            created_at: patchbay_protocol::Time(Timestamp::now()).to_string(),
            tables: snapshot.tables.iter().map(TableEntry::from).collect(),
            counters: snapshot.counters.clone(),
        },
    )?;
    let key = data_dir.join(KEY);
    match std::fs::read(&key) {
        Ok(bytes) => archive.add(KEY, bytes.len() as u64, bytes.as_slice())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(BackupError::File(key, error)),
    }
    let mut end = End { sha256: String::new(), rows: BTreeMap::new(), objects: 0, missing: Vec::new() };
    for table in snapshot.tables.clone() {
        let rows = archive.table(runtime, &mut snapshot, &table)?;
        end.rows.insert(table.name, rows);
    }
    for kind in 0..Snapshot::OBJECT_KINDS {
        let mut after = 0;
        loop {
            let objects = runtime.block_on(snapshot.objects(kind, after, PAGE))?;
            let Some(last) = objects.last() else { break };
            after = last.id;
            for object in objects {
                match archive.object(runtime, &files, &object)? {
                    true => end.objects += 1,
                    false => end.missing.push(object.path),
                }
            }
        }
    }
    end.sha256 = hex(archive.tar.get_ref().hash.clone());
    archive.json(END, &end)?;
    archive.tar.into_inner()?;
    Ok(end.into())
}

struct Archive<W: Write> {
    tar: Builder<Digesting<W>>,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, name: &str, size: u64, content: impl Read) -> Result<(), BackupError> {
        let mut header = Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        header.set_mtime(now.map_or(0, |since| since.as_secs()));
        let mut content = Counting { inner: content.take(size), size: 0 };
        self.tar.append_data(&mut header, name, &mut content)?;
        if content.size != size {
            // The archive goes on where the next entry is expected, which isn't where this one has ended.
            return Err(BackupError::Broken(format!("{name} ended after {} of {size} bytes", content.size)));
        }
        Ok(())
    }

    fn json(&mut self, name: &str, value: &impl serde::Serialize) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(value)?;
        self.add(name, text.len() as u64, text.as_slice())
    }

    /// Adds a table; how many rows it has.
    fn table(&mut self, runtime: &Handle, from: &mut Snapshot, table: &Table) -> Result<u64, BackupError> {
        let (mut chunk, mut chunks, mut rows) = (Vec::new(), 0, 0);
        let mut flush = |chunk: &mut Vec<u8>| {
            chunks += 1;
            let name = format!("{TABLES}{}/{chunks:06}.jsonl", table.name);
            let added = self.add(&name, chunk.len() as u64, chunk.as_slice());
            chunk.clear();
            added
        };
        runtime.block_on(from.rows(table, |row| {
            let row: Vec<_> = row.into_iter().map(json).collect();
            serde_json::to_writer(&mut chunk, &row)?;
            chunk.push(b'\n');
            rows += 1;
            if chunk.len() >= CHUNK { flush(&mut chunk) } else { Ok(()) }
        }))?;
        if !chunk.is_empty() {
            flush(&mut chunk)?;
        }
        Ok(rows)
    }

    /// Adds the bytes of an object; false if they are gone.
    fn object(&mut self, runtime: &Handle, files: &Files, object: &Object) -> Result<bool, BackupError> {
        let Some(size) = runtime.block_on(files.size(&object.path))? else { return Ok(false) };
        let content = match runtime.block_on(files.content(&object.path, None)) {
            Ok(content) => content,
            Err(FilesError::Store(object_store::Error::NotFound { .. })) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let reader = StreamReader::new(content.map_err(io::Error::other));
        let mut reader =
            Digesting { inner: SyncIoBridge::new_with_handle(reader, runtime.clone()), hash: Sha256::new() };
        self.add(&format!("{OBJECTS}{}", object.path), size, &mut reader)?;
        if object.sha256.as_ref().is_some_and(|expected| *expected != hex(reader.hash.clone())) {
            tracing::warn!(path = %object.path, "a file is not what was uploaded; it is copied as it is");
        }
        Ok(true)
    }
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Integer(value) => json!(value),
        Value::Boolean(value) => json!(value),
        Value::Text(value) => json!(value),
        Value::Bytes(value) => json!(value.map(|bytes| STANDARD.encode(bytes))),
    }
}

pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Passes bytes on and keeps their digest.
struct Digesting<T> {
    inner: T,
    hash: Sha256,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

struct Counting<R> {
    inner: R,
    size: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.size += read as u64;
        Ok(read)
    }
}
