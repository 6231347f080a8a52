//! Secrets: hashing passwords, making and checking tokens.
//!
//! Owns: cryptography and its parameters. Must not: read or write the database, or decide who may do what.

pub mod passwords;
pub mod seal;
pub mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `bytes` random bytes from the operating system, in URL-safe base64.
///
/// # Errors
/// If the operating system has no randomness to give.
pub fn random_text(bytes: usize) -> Result<String, getrandom::Error> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer)?;
    Ok(URL_SAFE_NO_PAD.encode(buffer))
}
