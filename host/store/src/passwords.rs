//! Passwords of users, as hashes.

use patchbay_core::{Timestamp, UserId};

use crate::{Conn, StoreError, conn::on, users::key};

/// What is needed to check a password.
#[derive(Clone, Debug)]
pub struct UserSecret {
    /// Whose.
    pub id: UserId,
    /// A PHC string, or a bcrypt hash of the system before.
    pub hashed_password: Option<String>,
    /// Whether the account may be used.
    pub is_active: bool,
}

impl Conn {
    /// What is needed to log in by name or address.
    pub async fn secret_by_login(&mut self, login: &str) -> Result<Option<UserSecret>, StoreError> {
        let row = on!(self, |c| {
            // A name can't contain an @, so one text can't match two accounts.
            sqlx::query_as::<_, (i64, Option<String>, bool)>(
                "SELECT id, hashed_password, is_active FROM users WHERE username_key = $1 OR email_key = $1",
            )
            .bind(key(login))
            .fetch_optional(c)
            .await?
        });
        Ok(row.map(|(id, hashed_password, is_active)| UserSecret {
            id: UserId(id),
            hashed_password,
            is_active,
        }))
    }

    /// What is needed to check a known user's password.
    pub async fn secret_by_id(&mut self, id: UserId) -> Result<Option<UserSecret>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, (Option<String>, bool)>(
                "SELECT hashed_password, is_active FROM users WHERE id = $1",
            )
            .bind(id.0)
            .fetch_optional(c)
            .await?
        });
        Ok(row.map(|(hashed_password, is_active)| UserSecret { id, hashed_password, is_active }))
    }

    /// Replaces the password.
    pub async fn set_password(
        &mut self,
        id: UserId,
        hashed_password: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE users SET hashed_password = $2, updated_at = $3 WHERE id = $1")
                .bind(id.0)
                .bind(hashed_password)
                .bind(now.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Replaces the hash of a password by another of the same password, if it still is that hash; whether it was.
    pub async fn rehash_password(&mut self, id: UserId, old: &str, new: &str) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("UPDATE users SET hashed_password = $3 WHERE id = $1 AND hashed_password = $2")
                .bind(id.0)
                .bind(old)
                .bind(new)
                .execute(c)
                .await?
                .rows_affected()
                == 1
        }))
    }

    /// Some bcrypt hash, if there is still one.
    pub async fn any_bcrypt_hash(&mut self) -> Result<Option<String>, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar(
                "SELECT hashed_password FROM users WHERE substr(hashed_password, 1, 2) = '$2' LIMIT 1",
            )
            .fetch_optional(c)
            .await?
        }))
    }
}
