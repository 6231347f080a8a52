//! Who made a component, as its signature says (minisign).
//!
//! Owns: when a signature is needed and what a bad one means. Must not: decide about anything but components that
//! are being taken in; what is installed stays when trusted keys change.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use minisign_verify::Signature;

use super::{Error, Result};
use crate::config::{self, TrustedKey};

/// What a component must bring.
#[derive(Clone, Debug)]
pub(super) struct Signers {
    is_required: bool,
    trusted: Vec<TrustedKey>,
}

impl Signers {
    pub(super) fn new(config: &config::Plugins) -> Self {
        Self { is_required: config.require_signature, trusted: config.trusted_keys.0.clone() }
    }

    /// The id of the trusted key that signed these bytes; none if they need not be signed and aren't, or if no key is
    /// trusted by which a signature could be checked. `signature` is the text of a `.minisig` file.
    ///
    /// # Errors
    /// [`Error::Refused`] with `signature_missing`, `signature_invalid` or `signature_untrusted`.
    pub(super) async fn check(&self, bytes: &Bytes, signature: Option<&str>) -> Result<Option<String>> {
        let Some(signature) = signature else {
            return if self.is_required { Err(missing()) } else { Ok(None) };
        };
        let signature =
            Signature::decode(signature).map_err(|_| invalid("it is not the text of a .minisig file"))?;
        if self.trusted.is_empty() && !self.is_required {
            return Ok(None);
        }
        let (trusted, bytes) = (self.trusted.clone(), bytes.clone());
        // Hashing a large component takes as long as many requests.
        let verified = tokio::task::spawn_blocking(move || verify(&trusted, &bytes, &signature)).await;
        verified.map_err(|error| Error::Internal(error.to_string()))?.map(Some)
    }
}

fn verify(trusted: &[TrustedKey], bytes: &[u8], signature: &Signature) -> Result<String> {
    for trusted in trusted {
        match trusted.key.verify(bytes, signature, false) {
            Ok(()) => return Ok(trusted.id.clone()),
            Err(minisign_verify::Error::UnexpectedKeyId) => {}
            Err(minisign_verify::Error::UnexpectedAlgorithm) => {
                return Err(invalid("it is of the legacy kind; sign again with a present minisign"));
            }
            Err(_) => return Err(invalid("the component is not what was signed")),
        }
    }
    let why = "the component was signed with a key that is not among plugins.trusted_keys";
    Err(Error::Refused("signature_untrusted".into(), why.into()))
}

/// A signature as it comes in a header: the file in base64.
///
/// # Errors
/// [`Error::Refused`] with `signature_invalid`.
pub fn of_header(value: &[u8]) -> Result<String> {
    let file = STANDARD.decode(value.trim_ascii()).map_err(|_| invalid("the header is not base64"))?;
    String::from_utf8(file).map_err(|_| invalid("it is not text"))
}

fn missing() -> Error {
    let why =
        "only signed components are accepted here; sign it with minisign by one of plugins.trusted_keys";
    Error::Refused("signature_missing".into(), why.into())
}

fn invalid(why: &str) -> Error {
    Error::Refused("signature_invalid".into(), format!("the signature is no good: {why}"))
}
