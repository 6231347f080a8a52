//! The keys that sign access tokens: sealed with the master key, opened at start, replaced while the server runs. And
//! the master key itself, by which the secrets of plugins are sealed too.
//!
//! What the database holds is marked with the id of the master key that sealed it, so that a wrong one is known
//! before anything is opened. All that is sealed changes hands in one transaction.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use patchbay_core::Timestamp;
use patchbay_store::{Conn, SigningKeyRow, Store, Tx};
use serde_json::json;

use super::{
    Error, Ops, Result,
    audit::{Admin, record},
    plugin_config::{self, drop_sealed_by_others, sealed_by},
    sessions::detached,
};
use crate::{
    auth::{
        seal::{MasterKey, SealError},
        tokens::{self, AccessTokens, SigningKey},
    },
    key_file::{KeyFileError, KeyPlace},
};

/// How much longer than its tokens a retired key is kept: one may have been signed while it was retired.
const GRACE: Duration = Duration::from_secs(60);

/// The opened keys.
#[derive(Debug)]
pub(super) struct Keys {
    place: KeyPlace,
    master: Mutex<MasterKey>,
    tokens: ArcSwap<AccessTokens>,
    access_ttl: Duration,
    /// Keys are changed one after the other.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl From<KeyFileError> for Error {
    fn from(error: KeyFileError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl Keys {
    /// Opens what is sealed, seals what isn't yet, and makes what isn't there.
    ///
    /// # Errors
    /// If the master key is missing or wrong: a sentence that says what to do.
    pub async fn open(store: &Store, place: KeyPlace, access_ttl: Duration) -> Result<Self> {
        let mut conn = store.read().await?;
        let (mut rows, secrets) = (conn.signing_keys().await?, conn.plugin_secrets().await?);
        drop(conn);
        let of_secrets = secrets.iter().filter_map(|row| sealed_by(&row.sealed));
        let seals: Vec<&str> =
            rows.iter().filter_map(|row| row.sealed_by.as_deref()).chain(of_secrets).collect();
        let master = master_key(&place, &seals)?;
        if rows.iter().any(|row| row.sealed_by.is_none()) || rows.iter().all(|row| row.retired_at.is_some()) {
            let master = master.clone();
            rows = store
                .write::<_, Error, _>(move |tx| Box::pin(async move { complete(tx, &master).await }))
                .await?;
        }
        let tokens = ArcSwap::from_pointee(access_tokens(&rows, &master, access_ttl)?);
        Ok(Self { place, master: Mutex::new(master), tokens, access_ttl, changing: Arc::default() })
    }

    /// What makes and checks access tokens now.
    pub fn tokens(&self) -> arc_swap::Guard<Arc<AccessTokens>> {
        self.tokens.load()
    }

    /// As long as this is held, the keys stay as they are.
    pub async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.changing).lock_owned().await
    }

    /// The key that seals.
    pub fn master(&self) -> MasterKey {
        self.master.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reload(&self, store: &Store) -> Result<()> {
        let rows = store.read().await?.signing_keys().await?;
        self.tokens.store(Arc::new(access_tokens(&rows, &self.master(), self.access_ttl)?));
        Ok(())
    }
}

/// The right key out of the one that is kept and the one that was to replace it when the server stopped; the
/// first one of a deployment is made. `seals` are the ids of the keys that what is sealed is sealed with.
fn master_key(place: &KeyPlace, seals: &[&str]) -> Result<MasterKey> {
    let fits = |key: &MasterKey| seals.iter().all(|id| *id == key.id());
    let (kept, next) = (place.read()?, place.read_next()?);
    if let Some(key) = kept.clone().filter(fits) {
        place.discard_next()?;
        return Ok(key);
    }
    if let Some(key) = next.filter(fits)
        && !seals.is_empty()
    {
        place.adopt_next()?;
        return Ok(key);
    }
    let wanted = seals.first().copied();
    match (kept, wanted) {
        (None, None) => {
            let key = MasterKey::generate()?;
            place.write_next(&key)?;
            place.adopt_next()?;
            Ok(key)
        }
        (kept, wanted) => {
            let has = match kept {
                Some(key) => format!("{place} is master key {}", key.id()),
                None => format!("{place} is missing"),
            };
            Err(Error::Internal(format!(
                "{has}, but the secrets in the database are sealed with master key {}. Put that key back (backups \
                 hold secret.key), or, if it is lost, run `patchbay keys reset`: it drops what can't be opened",
                wanted.unwrap_or_default()
            )))
        }
    }
}

/// Seals the rows that aren't sealed and sees to it that a key signs; all rows.
async fn complete(tx: &mut Tx, master: &MasterKey) -> Result<Vec<SigningKeyRow>> {
    let rows = tx.signing_keys().await?;
    for row in rows.iter().filter(|row| row.sealed_by.is_none()) {
        let sealed = master.seal(&purpose(&row.kid), &row.secret)?;
        tx.reseal_signing_key(&row.kid, &sealed, master.id()).await?;
    }
    if rows.iter().all(|row| row.retired_at.is_some()) {
        insert_new(tx, master, Timestamp::now()).await?;
    }
    Ok(tx.signing_keys().await?)
}

async fn insert_new(tx: &mut Tx, master: &MasterKey, now: Timestamp) -> Result<String> {
    let key = tokens::new_signing_key()?;
    let secret = master.seal(&purpose(&key.kid), &key.secret)?;
    let sealed_by = Some(master.id().to_owned());
    let row = SigningKeyRow { kid: key.kid, secret, sealed_by, created_at: now, retired_at: None };
    tx.insert_signing_key(&row).await?;
    Ok(row.kid)
}

fn access_tokens(rows: &[SigningKeyRow], master: &MasterKey, ttl: Duration) -> Result<AccessTokens> {
    let mut keys = Vec::new();
    for row in rows {
        keys.push(SigningKey { kid: row.kid.clone(), secret: master.open(&purpose(&row.kid), &row.secret)? });
    }
    AccessTokens::new(&keys, ttl).map_err(|error| Error::Internal(error.to_string()))
}

/// What a sealed signing key is good for.
fn purpose(kid: &str) -> String {
    format!("signing_key:{kid}")
}

/// The rows, if this key has sealed them all: a change whose fate the database could not tell may have replaced it.
async fn sealed_rows(conn: &mut Conn, master: &MasterKey) -> Result<Vec<SigningKeyRow>> {
    let rows = conn.signing_keys().await?;
    if rows.iter().all(|row| row.sealed_by.as_deref() == Some(master.id())) {
        Ok(rows)
    } else {
        let why = "the master key has changed; restart the server first";
        Err(Error::Conflict("master_key_changed", why.into()))
    }
}

/// Drops what the present master key doesn't open, for when the one that did is lost; how many keys and secrets there
/// were.
///
/// # Errors
/// If the database can't be written or the master key can't be kept.
pub async fn reset(store: &Store, place: &KeyPlace) -> Result<u64> {
    let key = match place.read()? {
        Some(key) => key,
        None => master_key(place, &[])?,
    };
    store
        .write(move |tx| {
            Box::pin(async move {
                let keys = tx.delete_signing_keys_not_sealed_by(key.id()).await?;
                let gone = keys + drop_sealed_by_others(tx, &key).await?;
                let (target, now) = (format!("master_key:{}", key.id()), Timestamp::now());
                record(tx, &Admin::operator(), "keys.reset", target, json!({ "dropped": gone }), now).await?;
                Ok(gone)
            })
        })
        .await
}

impl Ops {
    /// A new key signs access tokens from now on; those that others have signed stay good for as long as they
    /// would have been. The id of the new key.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::Conflict`] with `master_key_changed`.
    pub async fn rotate_signing_key(&self, by: &Admin) -> Result<String> {
        by.demand()?;
        let turn = Arc::clone(&self.0.keys.changing).lock_owned().await;
        let (this, by) = (self.clone(), by.clone());
        detached(async move {
            let _turn = turn;
            let master = this.0.keys.master();
            let kid = this
                .0
                .store
                .write::<_, Error, _>(move |tx| {
                    Box::pin(async move {
                        sealed_rows(tx, &master).await?;
                        let now = Timestamp::now();
                        tx.retire_signing_keys(now).await?;
                        let kid = insert_new(tx, &master, now).await?;
                        let target = format!("signing_key:{kid}");
                        record(tx, &by, "keys.rotated", target, json!({}), now).await?;
                        Ok(kid)
                    })
                })
                .await?;
            this.0.keys.reload(&this.0.store).await?;
            Ok(kid)
        })
        .await
    }

    /// Seals everything with another master key, a new one if none is given. Its id, and whether the server keeps
    /// it; otherwise the operator has to, before the next start.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who isn't superuser; [`Error::Invalid`] if the key is the operator's to keep and
    /// none is given; [`Error::Conflict`] with `master_key_changed`.
    pub async fn change_master_key(&self, by: &Admin, given: Option<MasterKey>) -> Result<(String, bool)> {
        by.demand()?;
        let is_kept = matches!(self.0.keys.place, KeyPlace::Own(_));
        let new = match given {
            Some(key) => key,
            None if is_kept => MasterKey::generate()?,
            None => {
                let why = "is needed: the present one is in the settings, where only you can replace it";
                return Err(Error::invalid("new_key", "missing", why));
            }
        };
        let turn = Arc::clone(&self.0.keys.changing).lock_owned().await;
        let (this, by) = (self.clone(), by.clone());
        detached(async move {
            let _turn = turn;
            let keys = &this.0.keys;
            // An earlier change may have been carried out without a word of it: then the key beside is the one that
            // fits, and must not be overwritten.
            sealed_rows(&mut this.0.store.read().await?, &keys.master()).await?;
            if keys.place.read_next()?.is_some_and(|next| next.id() == keys.master().id()) {
                keys.place.adopt_next()?;
            }
            // Until this is adopted, a start finds both keys and takes the one that fits.
            keys.place.write_next(&new)?;
            let (old, next) = (keys.master(), new.clone());
            this.0
                .store
                .write::<_, Error, _>(move |tx| Box::pin(async move { reseal(tx, &by, &old, &next).await }))
                .await?;
            let id = new.id().to_owned();
            *keys.master.lock().unwrap_or_else(PoisonError::into_inner) = new;
            keys.place.adopt_next()?;
            Ok((id, is_kept))
        })
        .await
    }

    /// Removes retired keys whose tokens have all expired.
    pub(super) async fn tidy_keys(&self) -> Result<()> {
        let _turn = self.0.keys.changing.lock().await;
        let before = Timestamp::now().minus(self.0.keys.access_ttl + GRACE);
        let gone = self
            .0
            .store
            .write::<_, Error, _>(move |tx| {
                Box::pin(async move { Ok(tx.delete_retired_signing_keys(before).await?) })
            })
            .await?;
        if gone > 0 { self.0.keys.reload(&self.0.store).await } else { Ok(()) }
    }
}

async fn reseal(tx: &mut Tx, by: &Admin, old: &MasterKey, new: &MasterKey) -> Result<()> {
    for row in sealed_rows(tx, old).await? {
        let secret = old.open(&purpose(&row.kid), &row.secret)?;
        let sealed = new.seal(&purpose(&row.kid), &secret)?;
        tx.reseal_signing_key(&row.kid, &sealed, new.id()).await?;
    }
    plugin_config::reseal(tx, old, new).await?;
    let (target, detail) = (format!("master_key:{}", new.id()), json!({ "before": old.id() }));
    record(tx, by, "keys.rekeyed", target, detail, Timestamp::now()).await
}
