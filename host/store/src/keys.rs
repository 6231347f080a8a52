//! The keys that sign access tokens, sealed by the server: what is kept here is of no use by itself.

use patchbay_core::Timestamp;
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on};

/// A key that signs access tokens or has done so.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// Its id, the `kid` of the tokens.
    pub kid: String,
    /// The sealed secret, or the secret itself if nothing has sealed it yet.
    pub secret: Vec<u8>,
    /// The id of the master key that it is sealed with.
    pub sealed_by: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it no longer signs and only verifies.
    pub retired_at: Option<Timestamp>,
}

/// Without the secret.
impl std::fmt::Debug for SigningKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKeyRow({})", self.kid)
    }
}

#[derive(FromRow)]
struct Row {
    kid: String,
    secret: Vec<u8>,
    sealed_by: Option<String>,
    created_at: i64,
    retired_at: Option<i64>,
}

impl Conn {
    /// The keys that verify access tokens. The first one signs, if it is not retired.
    pub async fn signing_keys(&mut self) -> Result<Vec<SigningKeyRow>, StoreError> {
        let rows = on!(self, |c| {
            sqlx::query_as::<_, Row>(
                "SELECT kid, secret, sealed_by, created_at, retired_at FROM signing_keys
                 ORDER BY retired_at IS NOT NULL, created_at DESC, kid",
            )
            .fetch_all(c)
            .await?
        });
        let key = |row: Row| SigningKeyRow {
            kid: row.kid,
            secret: row.secret,
            sealed_by: row.sealed_by,
            created_at: Timestamp(row.created_at),
            retired_at: row.retired_at.map(Timestamp),
        };
        Ok(rows.into_iter().map(key).collect())
    }

    /// Adds a signing key that is not retired.
    pub async fn insert_signing_key(&mut self, key: &SigningKeyRow) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "INSERT INTO signing_keys (kid, secret, sealed_by, created_at) VALUES ($1, $2, $3, $4)",
            )
            .bind(&key.kid)
            .bind(&key.secret)
            .bind(&key.sealed_by)
            .bind(key.created_at.0)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Replaces the secret of a key by the same one sealed anew.
    pub async fn reseal_signing_key(
        &mut self,
        kid: &str,
        secret: &[u8],
        sealed_by: &str,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE signing_keys SET secret = $2, sealed_by = $3 WHERE kid = $1")
                .bind(kid)
                .bind(secret)
                .bind(sealed_by)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// From now on the present keys only verify.
    pub async fn retire_signing_keys(&mut self, now: Timestamp) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE signing_keys SET retired_at = $1 WHERE retired_at IS NULL")
                .bind(now.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Removes the keys that were retired before that time; how many there were.
    pub async fn delete_retired_signing_keys(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("DELETE FROM signing_keys WHERE retired_at < $1")
                .bind(before.0)
                .execute(c)
                .await?
                .rows_affected()
        }))
    }

    /// Removes the keys that are sealed with a master key other than this one; how many there were.
    pub async fn delete_signing_keys_not_sealed_by(&mut self, master_key: &str) -> Result<u64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("DELETE FROM signing_keys WHERE sealed_by <> $1")
                .bind(master_key)
                .execute(c)
                .await?
                .rows_affected()
        }))
    }
}
