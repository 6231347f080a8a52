//! The keys of a connection's sound, taken where the core derives its own from them.
//!
//! The core would carry each packet through eight layers, which costs several times what its encryption does: it is made for
//! connections of their own, not for a packet that goes to hundreds. So sound and its reports go around it (`media.rs`); ICE, DTLS
//! and SDP stay there. The core has no call that hands out what DTLS agreed upon, but it lets its host provide every cryptographic
//! operation, and does one of them, the encryption of a single block, only to derive keys from a master key. The first block under
//! a master key is its salt (RFC 3711, 4.3.1, label 0); what the host sends with comes first, what it receives with second.
//!
//! Owns: the master keys, until they are taken. Must not: do cryptography itself.

use std::sync::{Arc, Mutex, PoisonError};

use rtc::{
    crypto::{
        ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
        CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey,
        RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec, SignatureScheme, SigningKey, StreamCipher,
        StreamCipherAlgorithm,
    },
    shared::error::Error,
    srtp::{context::Context, option::ContextOption, protection_profile::ProtectionProfile},
};

/// What a direction's keys are derived from.
pub(super) struct Master {
    key: SecretVec,
    /// At least as long as a salt; what is longer is not part of it.
    salt: SecretVec,
}

impl Master {
    /// A context for this direction.
    ///
    /// # Errors
    /// If the profile does not fit.
    pub fn context(
        &self,
        profile: ProtectionProfile,
        rtp: Option<ContextOption>,
        rtcp: Option<ContextOption>,
        crypto: &dyn RTCCrypto,
    ) -> Result<Context, Error> {
        let salt = self.salt.as_ref();
        let salt =
            salt.get(..profile.salt_len()).ok_or(Error::SrtpSaltLength(profile.salt_len(), salt.len()))?;
        Context::new(self.key.as_ref(), salt, profile, rtp, rtcp, crypto)
    }
}

/// Provides the core of one connection with cryptography, and keeps the two master keys that it comes to know.
pub(super) struct Escrow {
    inner: Arc<dyn RTCCryptoProvider>,
    masters: Mutex<Vec<Master>>,
}

impl Escrow {
    pub fn new(inner: Arc<dyn RTCCryptoProvider>) -> Self {
        Self { inner, masters: Mutex::default() }
    }

    /// What the host sends with and what it receives with, once DTLS has agreed upon them. They are kept no longer.
    pub fn take(&self) -> Option<(Master, Master)> {
        let mut masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        let (second, first) = (masters.pop()?, masters.pop()?);
        Some((first, second))
    }

    fn note(&self, key: &[u8], block: &[u8]) {
        let mut masters = self.masters.lock().unwrap_or_else(PoisonError::into_inner);
        if masters.len() < 2 && masters.iter().all(|known| known.key.as_ref() != key) {
            masters.push(Master { key: key.to_vec().into(), salt: block.to_vec().into() });
        }
    }
}

impl RTCCryptoProvider for Escrow {
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }
    fn random(&self) -> &dyn RTCRandom {
        self.inner.random()
    }
}

impl RTCCrypto for Escrow {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }
    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }
    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.note(key, block);
        self.inner.crypto().block_encrypt(algorithm, key, block)
    }
    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }
    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.inner.crypto().new_stream_cipher(algorithm, key)
    }
    fn new_aead(&self, algorithm: AeadAlgorithm, key: &[u8]) -> Result<Box<dyn AeadCipher>, CryptoError> {
        self.inner.crypto().new_aead(algorithm, key)
    }
    fn new_cbc(&self, algorithm: CbcAlgorithm, key: &[u8]) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.inner.crypto().new_cbc(algorithm, key)
    }
    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }
    fn generate_signing_key(&self, scheme: SignatureScheme) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().generate_signing_key(scheme)
    }
    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8_der: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.inner.crypto().import_signing_key(scheme, pkcs8_der)
    }
    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.crypto().verify_signature(scheme, public_key, message, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the core does when DTLS is done, for each profile that it may agree upon.
    #[test]
    fn keys_in_escrow_are_those_of_the_core() {
        for profile in [
            ProtectionProfile::AeadAes128Gcm,
            ProtectionProfile::AeadAes256Gcm,
            ProtectionProfile::Aes128CmHmacSha1_80,
            ProtectionProfile::Aes128CmHmacSha1_32,
        ] {
            let escrow = Escrow::new(rtc::crypto::default_provider().unwrap());
            let keys: Vec<Vec<u8>> = (1..=2).map(|byte| vec![byte; profile.key_len()]).collect();
            let salts: Vec<Vec<u8>> = (3..=4).map(|byte| vec![byte; profile.salt_len()]).collect();
            assert!(escrow.take().is_none());
            let context =
                |at: usize| Context::new(&keys[at], &salts[at], profile, None, None, &escrow).unwrap();
            let (mut local, mut remote) = (context(0), context(1));
            let (first, second) = escrow.take().unwrap();
            let plain = [0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 7, 7, 7, 7];
            for (master, core) in [(first, &mut local), (second, &mut remote)] {
                let crypto = rtc::crypto::default_provider().unwrap();
                let mut ours = master.context(profile, None, None, crypto.crypto()).unwrap();
                assert_eq!(ours.encrypt_rtp(&plain).unwrap(), core.encrypt_rtp(&plain).unwrap());
            }
            assert!(escrow.take().is_none(), "kept no longer");
        }
    }
}
