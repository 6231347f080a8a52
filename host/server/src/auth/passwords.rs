//! Password hashing: Argon2id with the parameters of RFC 9106's memory-constrained recommendation as the crate
//! sets them (19 MiB, 2 passes), on a bounded number of blocking threads.
//!
//! The seed hashed with bcrypt. Such hashes are verified as it did, by the first 72 bytes of a password, and a
//! password that matches one comes with an Argon2id hash to replace it.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use tokio::sync::Semaphore;

/// Calls that wait for a thread; beyond this a call fails at once. At 20 to 50 ms each that is a wait of a few
/// seconds, after which a client has given up anyway.
const QUEUE: usize = 128;

/// The kinds of bcrypt hash that tell the same; `$2x$` is that of a broken implementation.
const BCRYPT: [&str; 3] = ["$2a$", "$2b$", "$2y$"];
/// The highest cost of a bcrypt hash that is verified: 4 s of a core.
const MAX_BCRYPT_COST: u32 = 16;
/// The salt of the decoy.
const DECOY_SALT: [u8; 16] = *b"decoy decoy deco";

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many logins at once")]
    Busy,
    /// The hasher failed, or a stored hash can't be read.
    #[error("password hashing failed: {0}")]
    Failed(String),
}

/// What a look at a password showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is another.
    Wrong,
    /// It is the one.
    Right,
    /// It is the one, and this is to be kept of it from now on.
    Rehashed(String),
}

/// The hasher. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// What an unknown user's password is compared with, so that it takes as long as a known one's.
    decoy: Arc<str>,
    /// While there are bcrypt hashes: what every other password is compared with too, for the same reason.
    bcrypt_decoy: Arc<Mutex<Option<Arc<str>>>>,
}

impl Passwords {
    /// A hasher that uses as many threads as there are cores.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let secret = super::random_text(16).map_err(|e| PasswordError::Failed(e.to_string()))?;
        Ok(Self {
            running: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(cores + QUEUE)),
            decoy: hash(&secret)?.into(),
            bcrypt_decoy: Arc::default(),
        })
    }

    /// From now on every login takes as long as one with this bcrypt hash, so that time doesn't tell who has
    /// not logged in since the takeover; with none, or one that is never verified, as long as one with Argon2id.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] if too many calls wait.
    pub async fn blend_in_with(&self, bcrypt_hash: Option<String>) -> Result<(), PasswordError> {
        let cost = bcrypt_hash.and_then(|hash| bcrypt_cost(&hash).ok());
        let present = self.bcrypt_decoy();
        if cost == present.as_deref().and_then(|decoy| bcrypt_cost(decoy).ok()) {
            return Ok(());
        }
        let decoy: Option<Arc<str>> = match cost {
            None => None,
            Some(cost) => {
                let secret = super::random_text(16).map_err(|e| PasswordError::Failed(e.to_string()))?;
                let made = self.run(move || bcrypt::hash_with_salt(secret, cost, DECOY_SALT)).await?;
                Some(made.map_err(|error| PasswordError::Failed(error.to_string()))?.to_string().into())
            }
        };
        *self.bcrypt_decoy.lock().unwrap_or_else(PoisonError::into_inner) = decoy;
        Ok(())
    }

    fn bcrypt_decoy(&self) -> Option<Arc<str>> {
        self.bcrypt_decoy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A PHC string of the password with a fresh salt.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] if too many calls wait.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password is that of `hashed`. With none it is wrong, which takes as long.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] if too many calls wait; [`PasswordError::Failed`] if the hash can't be read.
    pub async fn verify(&self, password: String, hashed: Option<String>) -> Result<Verdict, PasswordError> {
        let (decoy, bcrypt_decoy) = (self.decoy.clone(), self.bcrypt_decoy());
        self.run(move || match hashed {
            Some(hashed) if is_bcrypt(&hashed) => {
                let matches = verify_bcrypt(&password, &hashed)?;
                // Made in any case: it stands for the comparison that the others go through.
                let rehashed = hash(&password)?;
                Ok(if matches { Verdict::Rehashed(rehashed) } else { Verdict::Wrong })
            }
            hashed => {
                if let Some(decoy) = bcrypt_decoy {
                    verify_bcrypt(&password, &decoy)?;
                }
                let matches = verify(&password, hashed.as_deref().unwrap_or(&decoy))?;
                Ok(if matches && hashed.is_some() { Verdict::Right } else { Verdict::Wrong })
            }
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = self.waiting.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        // The permit moves into the thread: a caller that goes away does not make room for one more.
        let permit = self.running.clone().acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        task.await.map_err(|error| PasswordError::Failed(error.to_string()))
    }
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| PasswordError::Failed(error.to_string()))
}

fn verify(password: &str, hashed: &str) -> Result<bool, PasswordError> {
    let parsed = PasswordHash::new(hashed).map_err(|error| PasswordError::Failed(error.to_string()))?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok())
}

fn is_bcrypt(hashed: &str) -> bool {
    BCRYPT.iter().any(|kind| hashed.starts_with(kind))
}

fn bcrypt_cost(hashed: &str) -> Result<u32, PasswordError> {
    let cost = hashed.split('$').nth(2).and_then(|cost| cost.parse().ok());
    let cost = cost.filter(|cost| is_bcrypt(hashed) && *cost <= MAX_BCRYPT_COST);
    cost.ok_or_else(|| PasswordError::Failed("a bcrypt hash is of an unknown kind or too costly".into()))
}

/// By the first 72 bytes, as bcrypt has always done.
fn verify_bcrypt(password: &str, hashed: &str) -> Result<bool, PasswordError> {
    bcrypt_cost(hashed)?;
    bcrypt::verify(password, hashed).map_err(|error| PasswordError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = Passwords::new().unwrap();
        let hashed = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        let verdict = |password: &str, hashed: Option<&str>| {
            let (passwords, password, hashed) =
                (passwords.clone(), password.to_owned(), hashed.map(str::to_owned));
            async move { passwords.verify(password, hashed).await }
        };
        assert_eq!(verdict("correct horse", Some(&hashed)).await.unwrap(), Verdict::Right);
        assert_eq!(verdict("wrong horse", Some(&hashed)).await.unwrap(), Verdict::Wrong);
        assert_eq!(verdict("correct horse", None).await.unwrap(), Verdict::Wrong);
        assert!(verdict("x", Some("not a hash")).await.is_err());
    }

    /// Made by Python: `passlib.hash.bcrypt` in all three kinds, cost 4.
    const SEEDS: [(&str, &str); 4] = [
        ("correct horse", "$2a$04$.ub2pLKkjkAs9xvBLSWI1.pS2lGbjox4UjNfWD.jg00KBpwz5hKky"),
        ("pässwörd 🔑", "$2b$04$5zFjI10mvPIY/W9V7h3D9ueo5ffUUqcFYnJUWMFGO907bpoR2svaq"),
        ("correct horse", "$2y$04$asIERaEl9yQbDr1Cr1U0oeEfhVqO8dlZlllCLBM2byxtwWzKe4iWW"),
        (
            "The quick brown fox jumps over the lazy dog, and then the dog jumps over the fox, again",
            "$2b$04$1QMbvcZIfdyb8x9Zwb87rO5nQNOWsRAoSRQ83v64zp67W6VboyM/6",
        ),
    ];

    #[tokio::test]
    async fn hashes_of_the_seed_are_verified_and_replaced() {
        let passwords = Passwords::new().unwrap();
        for (password, hashed) in SEEDS {
            let verdict = passwords.verify(password.into(), Some(hashed.into())).await.unwrap();
            let Verdict::Rehashed(new) = verdict else { panic!("{hashed}: {verdict:?}") };
            assert_eq!(passwords.verify(password.into(), Some(new)).await.unwrap(), Verdict::Right);
            let wrong = passwords.verify(format!("x{password}"), Some(hashed.into())).await.unwrap();
            assert_eq!(wrong, Verdict::Wrong);
        }
        let (long, hashed) = SEEDS[3];
        assert!(long.len() > 72);
        let same = format!("{}{}", &long[..72], "whatever");
        let verdict = passwords.verify(same, Some(hashed.into())).await.unwrap();
        assert!(matches!(verdict, Verdict::Rehashed(_)), "bcrypt looks at 72 bytes");
        for odd in ["$2x$04$", "$2b$31$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui", "$2b$04$short"]
        {
            assert!(passwords.verify("x".into(), Some(odd.into())).await.is_err(), "{odd}");
        }
    }

    #[tokio::test]
    async fn decoys_change_no_verdict() {
        let passwords = Passwords::new().unwrap();
        let hashed = passwords.hash("correct horse".into()).await.unwrap();
        for seed in [Some(SEEDS[0].1.to_owned()), None] {
            passwords.blend_in_with(seed).await.unwrap();
            let right = passwords.verify("correct horse".into(), Some(hashed.clone())).await.unwrap();
            assert_eq!(right, Verdict::Right);
            assert_eq!(passwords.verify("correct horse".into(), None).await.unwrap(), Verdict::Wrong);
        }
        passwords.blend_in_with(Some("$2b$31$".into())).await.unwrap();
        assert_eq!(passwords.verify("x".into(), None).await.unwrap(), Verdict::Wrong);
    }
}
