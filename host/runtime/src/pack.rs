//! Making a plugin: a component with its manifest in it.
//!
//! Owns: the form of a packed component. Must not: check it against a host; that is done when it is loaded.

use wasmparser::Parser;

use crate::{
    fragment::Fragment,
    inspect::{MANIFEST_SECTION, OPENAPI_SECTION, Outer},
    limits,
    manifest::{Manifest, ManifestError},
};

/// Why a plugin could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The input is no WebAssembly.
    #[error("the input is neither a WebAssembly component nor a module")]
    NotWasm,
    /// The input is a module that can't be made a component.
    #[error("the module can't be made a component: {0}; was it built with wit-bindgen?")]
    Componentize(String),
    /// The input is a component but malformed.
    #[error("{0}")]
    Malformed(crate::LoadError),
    /// It has a manifest.
    #[error("the component has a manifest already; pack the one that the compiler made")]
    AlreadyPacked,
    /// The manifest breaks a rule.
    #[error("the manifest is invalid: {0}")]
    Manifest(#[from] ManifestError),
    /// The manifest is larger than the host accepts.
    #[error("the manifest has more than {} bytes", limits::MANIFEST_BYTES)]
    ManifestTooLarge,
    /// The OpenAPI fragment is larger than the host accepts.
    #[error("the OpenAPI fragment has more than {} bytes", limits::OPENAPI_BYTES)]
    OpenapiTooLarge,
    /// The file that the manifest names under `openapi` can't be read.
    #[error("{0}: {1}")]
    Openapi(String, std::io::Error),
}

/// Puts a manifest, verbatim, at the end of a component. A core module that carries wit-bindgen's metadata is
/// made a component first. `read` gives the text of a file that the manifest names.
///
/// # Errors
/// If the input is neither, is malformed, has a manifest already, or the manifest is invalid.
pub fn pack(
    wasm: &[u8],
    manifest_toml: &str,
    read: impl FnOnce(&str) -> std::io::Result<String>,
) -> Result<Vec<u8>, PackError> {
    let manifest = Manifest::parse(manifest_toml)?;
    if manifest_toml.len() > limits::MANIFEST_BYTES {
        return Err(PackError::ManifestTooLarge);
    }
    let mut component = if Parser::is_component(wasm) {
        wasm.to_vec()
    } else if Parser::is_core_wasm(wasm) {
        componentize(wasm)?
    } else {
        return Err(PackError::NotWasm);
    };
    let outer = Outer::read(&component).map_err(PackError::Malformed)?;
    if !outer.manifests.is_empty() {
        return Err(PackError::AlreadyPacked);
    }
    append_custom_section(&mut component, MANIFEST_SECTION, manifest_toml.as_bytes());
    if let Some(file) = &manifest.openapi {
        let json = read(file).map_err(|error| PackError::Openapi(file.clone(), error))?;
        if json.len() > limits::OPENAPI_BYTES {
            return Err(PackError::OpenapiTooLarge);
        }
        Fragment::parse(&json, &manifest)?;
        append_custom_section(&mut component, OPENAPI_SECTION, json.as_bytes());
    }
    Ok(component)
}

fn componentize(module: &[u8]) -> Result<Vec<u8>, PackError> {
    let mut encoder = wit_component::ComponentEncoder::default();
    let encoded = encoder.validate(true).module(module).and_then(wit_component::ComponentEncoder::encode);
    encoded.map_err(|error| PackError::Componentize(format!("{error:#}")))
}

/// Id 0, size, length of the name, name, contents (WebAssembly core specification, 5.5.3).
fn append_custom_section(wasm: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let mut body = Vec::with_capacity(name.len() + contents.len() + 5);
    leb128(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(contents);
    wasm.push(0);
    leb128(wasm, body.len());
    wasm.append(&mut body);
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadError, inspect::inspect};

    /// An empty component: preamble of the component layer (Component Model, Binary.md).
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    const MANIFEST: &str = "name = \"a\"\nversion = \"1.0.0\"\n";

    fn pack_plain(wasm: &[u8], manifest: &str) -> Result<Vec<u8>, PackError> {
        pack(wasm, manifest, |file| Err(std::io::Error::other(format!("{file} is not there"))))
    }

    #[test]
    fn a_fragment_comes_along() {
        let manifest = format!("{MANIFEST}openapi = \"openapi.json\"\n");
        let with = |text: &str| pack(EMPTY, &manifest, |_| Ok(text.to_owned()));
        let packed = with(r#"{"x-decoration":{"type":"integer"}}"#).unwrap();
        assert!(inspect(&packed).unwrap().openapi.unwrap().decoration().is_some());
        assert!(matches!(with(r#"{"info":{}}"#), Err(PackError::Manifest(_))));
        assert!(matches!(with(&" ".repeat(limits::OPENAPI_BYTES + 1)), Err(PackError::OpenapiTooLarge)));
        let code = |bytes: &[u8]| inspect(bytes).map_err(|error| error.code()).map(|_| ());
        let mut without = EMPTY.to_vec();
        append_custom_section(&mut without, MANIFEST_SECTION, manifest.as_bytes());
        assert_eq!(code(&without), Err("manifest_invalid"));
        let mut unnamed = pack(EMPTY, MANIFEST, |_| Ok(String::new())).unwrap();
        append_custom_section(&mut unnamed, OPENAPI_SECTION, b"{}");
        assert_eq!(code(&unnamed), Err("manifest_invalid"));
    }

    #[test]
    fn what_was_packed_is_read_back() {
        let packed = pack_plain(EMPTY, MANIFEST).unwrap();
        let inspection = inspect(&packed).unwrap();
        assert_eq!(inspection.manifest, Manifest::parse(MANIFEST).unwrap());
        assert_eq!(inspection.digest.len(), 64);
        assert!(inspection.wanted.is_empty() && inspection.exports.is_empty());
    }

    #[test]
    fn a_long_manifest_survives() {
        let manifest = format!("{MANIFEST}# {}\n", "x".repeat(20_000));
        assert_eq!(inspect(&pack_plain(EMPTY, &manifest).unwrap()).unwrap().manifest.name, "a");
    }

    #[test]
    fn refused() {
        let packed = pack_plain(EMPTY, MANIFEST).unwrap();
        assert!(matches!(pack_plain(&packed, MANIFEST), Err(PackError::AlreadyPacked)));
        assert!(matches!(pack_plain(b"hello", MANIFEST), Err(PackError::NotWasm)));
        assert!(matches!(pack_plain(EMPTY, "name = 1"), Err(PackError::Manifest(_))));
        assert!(matches!(pack_plain(b"\0asm\x01\0\0\0", MANIFEST), Ok(_) | Err(PackError::Componentize(_))));
    }

    #[test]
    fn inspection_refuses_with_a_code() {
        let code = |bytes: &[u8]| inspect(bytes).map_err(|error| error.code()).map(|_| ());
        assert_eq!(code(EMPTY), Err("manifest_missing"));
        assert_eq!(code(b"\0asm\x01\0\0\0"), Err("not_a_component"));
        assert_eq!(code(b""), Err("not_a_component"));
        assert_eq!(code(&[EMPTY, &[7]].concat()), Err("malformed_component"));
        let mut twice = pack_plain(EMPTY, MANIFEST).unwrap();
        append_custom_section(&mut twice, MANIFEST_SECTION, b"");
        assert_eq!(code(&twice), Err("manifest_invalid"));
        let mut garbage = EMPTY.to_vec();
        append_custom_section(&mut garbage, MANIFEST_SECTION, b"\xff");
        assert_eq!(code(&garbage), Err("manifest_invalid"));
        let large = vec![0; limits::COMPONENT_BYTES + 1];
        assert!(matches!(inspect(&large), Err(LoadError::TooLarge { .. })));
    }

    #[test]
    fn every_prefix_of_a_component_is_refused_or_read() {
        let packed = pack_plain(EMPTY, MANIFEST).unwrap();
        for length in 0..packed.len() {
            assert!(inspect(&packed[..length]).is_err(), "{length}");
        }
    }
}
