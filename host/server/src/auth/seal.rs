//! The master key: sealing what the database keeps but must not be able to tell.
//!
//! A sealed value is a random nonce of 24 bytes and the XChaCha20-Poly1305 ciphertext
//! (<https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha-03>). The nonce is long enough to be drawn at
//! random for ever. What the value is for is part of what is authenticated, so that a row can't be put in
//! another's place.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Why a sealed value was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with another key or for another purpose, or has been altered.
    #[error("a sealed value does not open with this master key")]
    Wrong,
    /// The operating system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

/// The key that seals all others.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    key: [u8; KEY_BYTES],
    id: String,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl MasterKey {
    /// A new key.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Self::of(key))
    }

    /// The key that [`MasterKey::to_text`] gave out; none if the text isn't one. White space around it doesn't
    /// matter, and neither does which of the two alphabets of base64 it uses.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self::of(bytes.try_into().ok()?))
    }

    /// 43 characters of URL-safe base64.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key)
    }

    fn of(key: [u8; KEY_BYTES]) -> Self {
        let mut this = Self { key, id: String::new() };
        this.id = this.derive("id", 6);
        this
    }

    /// Names the key without telling it: what it sealed is marked with this.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A secret text that follows from the key and a purpose, made of `bytes` bytes, at most 32.
    pub fn derive(&self, purpose: &str, bytes: usize) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&self.key) else {
            return String::new();
        };
        mac.update(purpose.as_bytes());
        let whole = mac.finalize().into_bytes();
        URL_SAFE_NO_PAD.encode(whole.get(..bytes).unwrap_or(&whole))
    }

    /// Seals a value for a purpose.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn seal(&self, purpose: &str, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: value, aad: purpose.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Wrong)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens a value that was sealed for this purpose.
    ///
    /// # Errors
    /// [`SealError::Wrong`].
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Wrong)?;
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::Wrong)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_purpose_open() {
        let (key, other) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let sealed = key.seal("a", b"secret").unwrap();
        assert_ne!(sealed, key.seal("a", b"secret").unwrap(), "a nonce is never used twice");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(key.open("a", &sealed).unwrap(), b"secret");
        assert_eq!(key.open("b", &sealed), Err(SealError::Wrong));
        assert_eq!(other.open("a", &sealed), Err(SealError::Wrong));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(key.open("a", &altered), Err(SealError::Wrong));
            assert_eq!(key.open("a", &sealed[..at]), Err(SealError::Wrong));
        }
    }

    #[test]
    fn a_key_is_the_same_after_writing_and_reading() {
        let key = MasterKey::generate().unwrap();
        let text = key.to_text();
        assert_eq!(MasterKey::parse(&format!(" {text}=\n")), Some(key.clone()));
        assert_eq!(MasterKey::parse(&text.replace('-', "+").replace('_', "/")), Some(key.clone()));
        for wrong in ["", "x", &text[1..], &format!("{text}AAAA"), "ä"] {
            assert_eq!(MasterKey::parse(wrong), None, "{wrong}");
        }
        assert!(!text.contains(key.id()));
        assert_ne!(key.derive("x", 18), key.derive("y", 18));
        assert_eq!(key.derive("x", 18).len(), 24);
    }
}
