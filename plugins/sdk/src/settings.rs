//! What the operator set, as values with types (the manifest's `[[config]]`).
//!
//! ```no_run
//! use patchbay_sdk::{Error, settings};
//!
//! fn words() -> Result<Vec<String>, Error> {
//!     Ok(settings::get("words")?.unwrap_or_default())
//! }
//! ```
//!
//! Owns: the conversion. Must not: keep anything; a setting is read anew at each call.

use serde::de::DeserializeOwned;

use crate::{Error, config};

/// The value of a key, or the manifest's default; none if it has neither.
///
/// # Errors
/// `invalid` for a key that the manifest does not name or that is a secret; `internal` if the value is no `T`.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    let Some(json) = config::get(key)? else { return Ok(None) };
    let value = serde_json::from_str(&json);
    value.map(Some).map_err(|error| Error::internal(format!("the setting {key:?}: {error}")))
}

/// A secret that has to be set.
///
/// # Errors
/// `unavailable` if it isn't; `invalid` for a key that the manifest does not name as a secret.
pub fn secret(key: &str) -> Result<String, Error> {
    let missing = || {
        Error::unavailable(format!(
            "the secret {key:?} is not set; an operator sets it by `patchbay plugin config`"
        ))
    };
    config::secret(key)?.ok_or_else(missing)
}
