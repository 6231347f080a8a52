//! Invitations to make an account.

use patchbay_core::{Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, Page, StoreError, conn::on, query::Query};

/// An invitation, known by the hash of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteRow {
    /// Its id.
    pub id: i64,
    /// The only address that it is good for.
    pub email: Option<String>,
    /// How many accounts may be made with it.
    pub max_uses: i64,
    /// How many have been.
    pub uses: i64,
    /// Who made it; none for the operator at the machine.
    pub created_by_id: Option<UserId>,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// An invitation about to be made.
#[derive(Clone, Debug)]
pub struct NewInvite {
    /// SHA-256 of the token.
    pub token_hash: Vec<u8>,
    /// The only address that it is good for.
    pub email: Option<String>,
    /// How many accounts may be made with it, at least 1.
    pub max_uses: i64,
    /// Who makes it; none for the operator at the machine.
    pub created_by_id: Option<UserId>,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

macro_rules! select_invites {
    ($rest:literal) => {
        concat!(
            "SELECT id, email, max_uses, uses, created_by_id, created_at, expires_at FROM invites ",
            $rest
        )
    };
}

#[derive(FromRow)]
struct Row {
    id: i64,
    email: Option<String>,
    max_uses: i64,
    uses: i64,
    created_by_id: Option<i64>,
    created_at: i64,
    expires_at: i64,
}

impl From<Row> for InviteRow {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            email: row.email,
            max_uses: row.max_uses,
            uses: row.uses,
            created_by_id: row.created_by_id.map(UserId),
            created_at: Timestamp(row.created_at),
            expires_at: Timestamp(row.expires_at),
        }
    }
}

impl Conn {
    /// Makes an invitation; its id.
    pub async fn insert_invite(&mut self, new: &NewInvite, now: Timestamp) -> Result<i64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "INSERT INTO invites (token_hash, email, max_uses, created_by_id, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
            )
            .bind(&new.token_hash)
            .bind(&new.email)
            .bind(new.max_uses)
            .bind(new.created_by_id.map(|id| id.0))
            .bind(now.0)
            .bind(new.expires_at.0)
            .fetch_one(c)
            .await?
        }))
    }

    /// The invitation of that token, good or not.
    pub async fn invite_by_hash(&mut self, token_hash: &[u8]) -> Result<Option<InviteRow>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, Row>(select_invites!("WHERE token_hash = $1"))
                .bind(token_hash)
                .fetch_optional(c)
                .await?
        });
        Ok(row.map(InviteRow::from))
    }

    /// One invitation.
    pub async fn invite(&mut self, id: i64) -> Result<Option<InviteRow>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, Row>(select_invites!("WHERE id = $1")).bind(id).fetch_optional(c).await?
        });
        Ok(row.map(InviteRow::from))
    }

    /// Invitations, newest first.
    pub async fn invites(&mut self, page: &Page) -> Result<Vec<InviteRow>, StoreError> {
        let mut query = Query::new(select_invites!("WHERE TRUE"));
        page.push(&mut query, "id", true);
        Ok(self.all::<Row>(query).await?.into_iter().map(InviteRow::from).collect())
    }

    /// Counts a use of an invitation; whether there was one left.
    pub async fn use_invite(&mut self, id: i64) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("UPDATE invites SET uses = uses + 1 WHERE id = $1 AND uses < max_uses")
                .bind(id)
                .execute(c)
                .await?
                .rows_affected()
                == 1
        }))
    }

    /// Removes an invitation.
    pub async fn delete_invite(&mut self, id: i64) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("DELETE FROM invites WHERE id = $1").bind(id).execute(c).await?.rows_affected()
        });
        Ok(())
    }

    /// Removes up to `limit` invitations that expired before that time; how many there were.
    pub async fn delete_expired_invites(&mut self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query(
                "DELETE FROM invites WHERE id IN (SELECT id FROM invites WHERE expires_at < $1 LIMIT $2)",
            )
            .bind(before.0)
            .bind(limit)
            .execute(c)
            .await?
            .rows_affected()
        }))
    }
}
