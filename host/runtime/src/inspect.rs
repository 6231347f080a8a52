//! What can be known of a component without compiling or running it.
//!
//! Owns: reading the outermost level of a component. Must not: descend into it, or trust what it says beyond
//! finding it well-formed.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::{error::LoadError, fragment::Fragment, limits, manifest::Manifest};

/// The custom section that holds the manifest as TOML.
pub const MANIFEST_SECTION: &str = "patchbay:manifest";
/// The custom section that holds the plugin's part of the OpenAPI document as JSON.
pub const OPENAPI_SECTION: &str = "patchbay:openapi";

/// The package that plugins are written against, and the versions of it that this host speaks.
pub(crate) const PACKAGE: &str = "patchbay:plugin/";
pub(crate) const PACKAGE_VERSIONS: &str = "0.1";

/// Interfaces that carry types only and need no grant.
const FREE_INTERFACES: [&str; 3] = ["types", "http-types", "event-types"];

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest as its author wrote it; [`Manifest::parse`] reads it again.
    pub manifest_toml: String,
    /// What it says of its routes.
    pub openapi: Option<Fragment>,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub digest: String,
    /// The capabilities that it really imports.
    pub wanted: BTreeSet<String>,
    /// The interfaces of the contract that it exports, e.g. `http`.
    pub exports: BTreeSet<String>,
}

/// Reads a component's manifest and imports. Runs nothing; costs one pass over its outermost sections and a
/// hash.
///
/// # Errors
/// `too_large`, `not_a_component`, `malformed_component`, `manifest_missing`, `manifest_invalid`,
/// `import_unknown`, `capability_undeclared`.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadError> {
    if bytes.len() > limits::COMPONENT_BYTES {
        return Err(LoadError::TooLarge { limit: limits::COMPONENT_BYTES });
    }
    let outer = Outer::read(bytes)?;
    let toml = match outer.manifests.as_slice() {
        [] => return Err(LoadError::ManifestMissing),
        [one] => *one,
        _ => return Err(LoadError::ManifestInvalid("the component carries two manifests".to_owned())),
    };
    if toml.len() > limits::MANIFEST_BYTES {
        return Err(LoadError::ManifestInvalid(format!("it has more than {} bytes", limits::MANIFEST_BYTES)));
    }
    let toml = std::str::from_utf8(toml)
        .map_err(|_| LoadError::ManifestInvalid("it is not UTF-8 text".to_owned()))?;
    let manifest = Manifest::parse(toml).map_err(|error| LoadError::ManifestInvalid(error.to_string()))?;
    let openapi = openapi(&outer.fragments, &manifest)?;
    let wanted = wanted_capabilities(&outer.imports)?;
    if let Some(missing) = wanted.iter().find(|name| !manifest.capabilities.contains(*name)) {
        return Err(LoadError::CapabilityUndeclared(missing.clone()));
    }
    let digest = hex(&Sha256::digest(bytes));
    // One of another version would look like one that was forgotten.
    if let Some(other) =
        outer.exports.iter().find(|name| name.starts_with(PACKAGE) && interface(name).is_none())
    {
        return Err(LoadError::ExportMismatch(format!(
            "it exports {other}, and this host speaks version {PACKAGE_VERSIONS}.x of the contract; build it against the host's \
             wit/, which `patchbay plugin new` writes"
        )));
    }
    let exports = outer.exports.iter().filter_map(|name| interface(name)).map(str::to_owned).collect();
    Ok(Inspection { manifest, manifest_toml: toml.to_owned(), openapi, digest, wanted, exports })
}

fn openapi(sections: &[&[u8]], manifest: &Manifest) -> Result<Option<Fragment>, LoadError> {
    let invalid = |what: String| LoadError::ManifestInvalid(format!("openapi: {what}"));
    let json = match (sections, &manifest.openapi) {
        ([], None) => return Ok(None),
        ([one], Some(_)) => *one,
        ([], Some(file)) => return Err(invalid(format!("{file} is not in the component; pack it again"))),
        _ => return Err(invalid("the component carries what its manifest does not name".to_owned())),
    };
    if json.len() > limits::OPENAPI_BYTES {
        return Err(invalid(format!("it has more than {} bytes", limits::OPENAPI_BYTES)));
    }
    let json = std::str::from_utf8(json).map_err(|_| invalid("it is not UTF-8 text".to_owned()))?;
    let fragment = Fragment::parse(json, manifest);
    fragment.map(Some).map_err(|error| LoadError::ManifestInvalid(error.to_string()))
}

/// The outermost level of a component.
#[derive(Default)]
pub(crate) struct Outer<'a> {
    pub(crate) manifests: Vec<&'a [u8]>,
    fragments: Vec<&'a [u8]>,
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

impl<'a> Outer<'a> {
    /// # Errors
    /// `not_a_component` or `malformed_component`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, LoadError> {
        if !Parser::is_component(bytes) {
            return Err(LoadError::NotAComponent);
        }
        let mut outer = Self::default();
        let (mut offset, mut parser) = (0usize, Parser::new(0));
        loop {
            let rest = bytes.get(offset..).unwrap_or_default();
            let (consumed, payload) = match parser.parse(rest, true).map_err(malformed)? {
                wasmparser::Chunk::Parsed { consumed, payload } => (consumed, payload),
                wasmparser::Chunk::NeedMoreData(_) => {
                    return Err(LoadError::Malformed("it ends in the middle".to_owned()));
                }
            };
            offset = offset.saturating_add(consumed);
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } => return Err(LoadError::NotAComponent),
                Payload::ModuleSection { unchecked_range, .. }
                | Payload::ComponentSection { unchecked_range, .. } => {
                    // Step over it: what is inside is not this component's to say.
                    let inner = unchecked_range.end.saturating_sub(unchecked_range.start);
                    let inner = usize::try_from(inner).unwrap_or(usize::MAX);
                    if inner > bytes.len().saturating_sub(offset) {
                        return Err(LoadError::Malformed("a section is longer than the file".to_owned()));
                    }
                    offset = offset.saturating_add(inner);
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        outer.imports.push(import.map_err(malformed)?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        outer.exports.push(export.map_err(malformed)?.name.name);
                    }
                }
                Payload::CustomSection(section) if section.name() == MANIFEST_SECTION => {
                    outer.manifests.push(section.data());
                }
                Payload::CustomSection(section) if section.name() == OPENAPI_SECTION => {
                    outer.fragments.push(section.data());
                }
                Payload::End(_) => return Ok(outer),
                _ => {}
            }
        }
    }
}

fn malformed(error: wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Malformed(error.to_string())
}

/// `kv` for `patchbay:plugin/kv@0.1.0`; none for anything that is not of a version of the contract that this
/// host speaks.
fn interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
    let compatible = version.strip_prefix(PACKAGE_VERSIONS)?;
    (compatible.is_empty() || compatible.starts_with('.')).then_some(interface)
}

fn wanted_capabilities(imports: &[&str]) -> Result<BTreeSet<String>, LoadError> {
    let mut wanted = BTreeSet::new();
    for import in imports {
        match interface(import) {
            Some(free) if FREE_INTERFACES.contains(&free) => {}
            Some(name) if crate::capabilities::find(name).is_some() => {
                wanted.insert(name.to_owned());
            }
            None if crate::wasi::is_free(import) => {}
            _ => return Err(LoadError::ImportUnknown((*import).to_owned())),
        }
    }
    Ok(wanted)
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
