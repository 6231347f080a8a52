//! Tokens: access tokens are JWTs (RFC 7519) signed with HMAC-SHA-256; refresh tokens are 256 random bits of
//! which only the SHA-256 is kept.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use patchbay_core::{SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const ISSUER: &str = "patchbay";

/// A key that signs access tokens.
#[derive(Clone)]
pub struct SigningKey {
    /// Its id, the `kid` of the tokens.
    pub kid: String,
    /// 32 bytes.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    sub: String,
    sid: i64,
    /// The refresh token that was handed out together with this one: using either uses the pair.
    pair: i64,
    iat: i64,
    exp: i64,
    iss: String,
}

/// What a good access token proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whose it is.
    pub user_id: UserId,
    /// Its session, which may have ended since.
    pub session_id: SessionId,
    /// The refresh token it was handed out with.
    pub pair: i64,
}

/// Makes and checks access tokens.
pub struct AccessTokens {
    signing: (String, EncodingKey),
    verifying: Vec<(String, DecodingKey)>,
    validation: Validation,
    /// For how long a token is good.
    pub ttl: Duration,
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessTokens({})", self.signing.0)
    }
}

/// No key to sign with.
#[derive(Debug, thiserror::Error)]
#[error("there is no signing key")]
pub struct NoKey;

impl AccessTokens {
    /// The first key signs, all verify.
    ///
    /// # Errors
    /// If there is no key.
    pub fn new(keys: &[SigningKey], ttl: Duration) -> Result<Self, NoKey> {
        let first = keys.first().ok_or(NoKey)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "sub", "iss"]);
        let decoding = |key: &SigningKey| (key.kid.clone(), DecodingKey::from_secret(&key.secret));
        Ok(Self {
            signing: (first.kid.clone(), EncodingKey::from_secret(&first.secret)),
            verifying: keys.iter().map(decoding).collect(),
            validation,
            ttl,
        })
    }

    /// A new token.
    ///
    /// # Errors
    /// What the library says.
    pub fn issue(&self, proof: Proof, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Claims {
            sub: proof.user_id.to_string(),
            sid: proof.session_id.0,
            pair: proof.pair,
            iat: now.0 / 1000,
            exp: now.plus(self.ttl).0.div_euclid(1000),
            iss: ISSUER.to_owned(),
        };
        let header = Header { kid: Some(self.signing.0.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &self.signing.1)
    }

    /// What a token proves; none if it isn't ours, has been altered or has expired.
    pub fn verify(&self, token: &str) -> Option<Proof> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let (_, key) = self.verifying.iter().find(|(known, _)| *known == kid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok()?.claims;
        Some(Proof {
            user_id: UserId(claims.sub.parse().ok()?),
            session_id: SessionId(claims.sid),
            pair: claims.pair,
        })
    }
}

/// A new signing key.
///
/// # Errors
/// If the operating system has no randomness to give.
pub fn new_signing_key() -> Result<SigningKey, getrandom::Error> {
    let mut secret = vec![0; 32];
    getrandom::fill(&mut secret)?;
    Ok(SigningKey { kid: super::random_text(9)?, secret })
}

/// A new opaque token and its hash.
///
/// # Errors
/// If the operating system has no randomness to give.
pub fn new_token() -> Result<(String, Vec<u8>), getrandom::Error> {
    let token = super::random_text(32)?;
    let hash = hash_token(&token);
    Ok((token, hash))
}

/// What is kept of a token. A plain hash will do: there is nothing to guess in 256 random bits.
pub fn hash_token(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> Proof {
        Proof { user_id: UserId(7), session_id: SessionId(3), pair: 11 }
    }

    #[test]
    fn a_token_proves_what_was_put_in_until_it_expires() {
        let key = new_signing_key().unwrap();
        let tokens = AccessTokens::new(&[key], Duration::from_secs(60)).unwrap();
        let token = tokens.issue(proof(), Timestamp::now()).unwrap();
        assert_eq!(tokens.verify(&token), Some(proof()));
        let old = tokens.issue(proof(), Timestamp::now().minus(Duration::from_secs(62))).unwrap();
        assert_eq!(tokens.verify(&old), None);
    }

    #[test]
    fn altered_and_foreign_tokens_prove_nothing() {
        let now = Timestamp::now();
        let ours = AccessTokens::new(&[new_signing_key().unwrap()], Duration::from_secs(60)).unwrap();
        let theirs = AccessTokens::new(&[new_signing_key().unwrap()], Duration::from_secs(60)).unwrap();
        let token = ours.issue(proof(), now).unwrap();
        assert_eq!(theirs.verify(&token), None);
        let (head, tail) = token.rsplit_once('.').unwrap();
        assert_eq!(ours.verify(&format!("{head}.{}", tail.chars().rev().collect::<String>())), None);
        assert_eq!(ours.verify(""), None);
        assert_eq!(ours.verify("a.b.c"), None);
    }

    #[test]
    fn a_retired_key_still_verifies() {
        let now = Timestamp::now();
        let (old, new) = (new_signing_key().unwrap(), new_signing_key().unwrap());
        let before = AccessTokens::new(std::slice::from_ref(&old), Duration::from_secs(60)).unwrap();
        let token = before.issue(proof(), now).unwrap();
        let after = AccessTokens::new(&[new, old], Duration::from_secs(60)).unwrap();
        assert_eq!(after.verify(&token), Some(proof()));
    }
}
