//! What is in a backup, for tests that look inside.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use serde_json::Value;
use sha2::Digest as _;

/// An archive, read whole.
#[derive(Debug)]
pub struct Backup {
    /// `manifest.json`.
    pub manifest: Value,
    /// `end.json`.
    pub end: Value,
    /// The bytes of files, by path.
    pub objects: BTreeMap<String, Vec<u8>>,
    entries: Vec<(String, Vec<u8>)>,
}

impl Backup {
    /// Reads an archive.
    pub fn read(path: &Path) -> Self {
        let mut entries = Vec::new();
        for entry in tar::Archive::new(File::open(path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            entries.push((name, bytes));
        }
        let json = |name: &str| {
            let found = entries.iter().find(|(entry, _)| entry == name).unwrap();
            serde_json::from_slice(&found.1).unwrap()
        };
        let objects = entries
            .iter()
            .filter_map(|(name, bytes)| Some((name.strip_prefix("objects/")?.to_owned(), bytes.clone())));
        Self { manifest: json("manifest.json"), end: json("end.json"), objects: objects.collect(), entries }
    }

    /// The rows of a table, as objects.
    pub fn rows(&self, table: &str) -> Vec<Value> {
        let tables = self.manifest["tables"].as_array().unwrap();
        let columns = &tables.iter().find(|entry| entry["name"] == table).unwrap()["columns"];
        let names: Vec<_> =
            columns.as_array().unwrap().iter().map(|column| column[0].as_str().unwrap().to_owned()).collect();
        let prefix = format!("tables/{table}/");
        let chunks = self.entries.iter().filter(|(name, _)| name.starts_with(&prefix));
        chunks
            .flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().lines())
            .map(|line| {
                let values: Vec<Value> = serde_json::from_str(line).unwrap();
                assert_eq!(values.len(), names.len());
                names.iter().cloned().zip(values).collect::<serde_json::Map<_, _>>().into()
            })
            .collect()
    }

    /// Each table with the number of its rows.
    pub fn tables(&self) -> Vec<(String, usize)> {
        let tables = self.manifest["tables"].as_array().unwrap().iter();
        tables
            .map(|table| table["name"].as_str().unwrap().to_owned())
            .map(|name| (name.clone(), self.rows(&name).len()))
            .collect()
    }

    /// Writes it again without the rows of one table.
    pub fn write_without_table(mut self, path: &Path, table: &str) {
        let prefix = format!("tables/{table}/");
        self.entries.retain(|(name, _)| !name.starts_with(&prefix));
        self.end["rows"][table] = 0.into();
        self.write(path);
    }

    /// Writes it again, manifest and end as they are now, and with a digest that is right.
    pub fn write(mut self, path: &Path) {
        let mut tar = tar::Builder::new(Vec::new());
        let add = |tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        add(&mut tar, "manifest.json", self.manifest.to_string().as_bytes());
        for (name, bytes) in self.entries.iter().filter(|(name, _)| !name.ends_with(".json")) {
            add(&mut tar, name, bytes);
        }
        let digest = sha2::Sha256::digest(tar.get_ref());
        self.end["sha256"] = digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
        add(&mut tar, "end.json", self.end.to_string().as_bytes());
        std::fs::write(path, tar.into_inner().unwrap()).unwrap();
    }
}
