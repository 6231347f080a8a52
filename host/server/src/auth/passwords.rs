//! Password hashing: Argon2id with the parameters of RFC 9106's memory-constrained recommendation as the crate
//! sets them (19 MiB, 2 passes), on a bounded number of blocking threads.

use std::sync::Arc;

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use tokio::sync::Semaphore;

/// Calls that wait for a thread; beyond this a call fails at once. At 20 to 50 ms each that is a wait of a few
/// seconds, after which a client has given up anyway.
const QUEUE: usize = 128;

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

/// The hasher. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// What an unknown user's password is compared with, so that it takes as long as a known one's.
    decoy: Arc<str>,
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
        })
    }

    /// A PHC string of the password with a fresh salt.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] if too many calls wait.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password is that of `hashed`. With none, the answer is no and takes as long.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] if too many calls wait.
    pub async fn verify(&self, password: String, hashed: Option<String>) -> Result<bool, PasswordError> {
        let decoy = self.decoy.clone();
        self.run(move || {
            let matches = verify(&password, hashed.as_deref().unwrap_or(&decoy))?;
            Ok(matches && hashed.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = Passwords::new().unwrap();
        let hashed = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        assert!(passwords.verify("correct horse".into(), Some(hashed.clone())).await.unwrap());
        assert!(!passwords.verify("wrong horse".into(), Some(hashed)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
        assert!(passwords.verify("x".into(), Some("not a hash".into())).await.is_err());
    }
}
