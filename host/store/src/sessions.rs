//! Logins and their chains of refresh tokens.

use patchbay_core::{SessionId, Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on};

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// The refresh token that was last used, or the login's own.
    pub current_token_id: i64,
    /// An access token made from a successor of the current token has been used.
    pub successor_used: bool,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// From where it logged in.
    pub ip: Option<String>,
    /// When.
    pub created_at: Timestamp,
    /// When it was last refreshed.
    pub last_used_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A refresh token, known by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshTokenRow {
    /// Its id.
    pub id: i64,
    /// Its session.
    pub session_id: SessionId,
    /// The token it was made from.
    pub parent_id: Option<i64>,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    user_id: i64,
    current_token_id: i64,
    successor_used: bool,
    user_agent: Option<String>,
    ip: Option<String>,
    created_at: i64,
    last_used_at: i64,
    expires_at: i64,
}

impl From<Row> for SessionRow {
    fn from(row: Row) -> Self {
        Self {
            id: SessionId(row.id),
            user_id: UserId(row.user_id),
            current_token_id: row.current_token_id,
            successor_used: row.successor_used,
            user_agent: row.user_agent,
            ip: row.ip,
            created_at: Timestamp(row.created_at),
            last_used_at: Timestamp(row.last_used_at),
            expires_at: Timestamp(row.expires_at),
        }
    }
}

impl Conn {
    /// Starts a session whose first refresh token has this hash; both ids.
    pub async fn insert_session(
        &mut self,
        user: UserId,
        token_hash: &[u8],
        user_agent: Option<&str>,
        ip: Option<&str>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(SessionId, i64), StoreError> {
        let session = on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "INSERT INTO sessions (user_id, current_token_id, user_agent, ip, created_at, last_used_at,
                                       expires_at)
                 VALUES ($1, 0, $2, $3, $4, $4, $5) RETURNING id",
            )
            .bind(user.0)
            .bind(user_agent)
            .bind(ip)
            .bind(now.0)
            .bind(expires_at.0)
            .fetch_one(c)
            .await?
        });
        let session = SessionId(session);
        let token = self.insert_refresh_token(session, None, token_hash, now).await?;
        self.set_current_token(session, token, now, expires_at).await?;
        Ok((session, token))
    }

    /// Adds a refresh token made from `parent`; its id.
    pub async fn insert_refresh_token(
        &mut self,
        session: SessionId,
        parent: Option<i64>,
        token_hash: &[u8],
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, i64>(
                "INSERT INTO refresh_tokens (session_id, parent_id, token_hash, created_at)
                 VALUES ($1, $2, $3, $4) RETURNING id",
            )
            .bind(session.0)
            .bind(parent)
            .bind(token_hash)
            .bind(now.0)
            .fetch_one(c)
            .await?
        }))
    }

    /// Forgets all but the newest `keep` refresh tokens of a session and its current one: a token that is older
    /// than that is unknown when it is used again.
    pub async fn prune_refresh_tokens(&mut self, session: SessionId, keep: i64) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "DELETE FROM refresh_tokens WHERE session_id = $1
                 AND id <> (SELECT current_token_id FROM sessions WHERE id = $1)
                 AND id NOT IN (SELECT id FROM refresh_tokens WHERE session_id = $1 ORDER BY id DESC LIMIT $2)",
            )
            .bind(session.0)
            .bind(keep)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Makes a token the session's current one: no successor of it has been used yet.
    pub async fn set_current_token(
        &mut self,
        session: SessionId,
        token: i64,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "UPDATE sessions SET current_token_id = $2, successor_used = FALSE, last_used_at = $3,
                                     expires_at = $4 WHERE id = $1",
            )
            .bind(session.0)
            .bind(token)
            .bind(now.0)
            .bind(expires_at.0)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Records that an access token which belongs to `token` was used; counts only if `token` was made from
    /// the session's current one.
    pub async fn confirm_successor(&mut self, session: SessionId, token: i64) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "UPDATE sessions SET successor_used = TRUE WHERE id = $1 AND current_token_id =
                 (SELECT parent_id FROM refresh_tokens WHERE id = $2)",
            )
            .bind(session.0)
            .bind(token)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// The refresh token of that hash.
    pub async fn refresh_token(&mut self, token_hash: &[u8]) -> Result<Option<RefreshTokenRow>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, (i64, i64, Option<i64>)>(
                "SELECT id, session_id, parent_id FROM refresh_tokens WHERE token_hash = $1",
            )
            .bind(token_hash)
            .fetch_optional(c)
            .await?
        });
        Ok(row.map(|(id, session, parent_id)| RefreshTokenRow {
            id,
            session_id: SessionId(session),
            parent_id,
        }))
    }

    /// One session, expired or not.
    pub async fn session(&mut self, id: SessionId) -> Result<Option<SessionRow>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, Row>("SELECT * FROM sessions WHERE id = $1")
                .bind(id.0)
                .fetch_optional(c)
                .await?
        });
        Ok(row.map(SessionRow::from))
    }

    /// A user's sessions that have not expired, newest first.
    pub async fn sessions_of(&mut self, user: UserId, now: Timestamp) -> Result<Vec<SessionRow>, StoreError> {
        let rows = on!(self, |c| {
            sqlx::query_as::<_, Row>(
                "SELECT * FROM sessions WHERE user_id = $1 AND expires_at > $2 ORDER BY id DESC",
            )
            .bind(user.0)
            .bind(now.0)
            .fetch_all(c)
            .await?
        });
        Ok(rows.into_iter().map(SessionRow::from).collect())
    }

    /// Ends a session; whether it was there.
    pub async fn delete_session(&mut self, id: SessionId) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.0).execute(c).await?.rows_affected() > 0
        }))
    }

    /// Ends a user's sessions other than `kept`; which they were.
    pub async fn delete_other_sessions(
        &mut self,
        user: UserId,
        kept: SessionId,
    ) -> Result<Vec<SessionId>, StoreError> {
        let ended = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("DELETE FROM sessions WHERE user_id = $1 AND id <> $2 RETURNING id")
                .bind(user.0)
                .bind(kept.0)
                .fetch_all(c)
                .await?
        });
        Ok(ended.into_iter().map(SessionId).collect())
    }

    /// Ends all of a user's sessions; which they were.
    pub async fn delete_sessions_of(&mut self, user: UserId) -> Result<Vec<SessionId>, StoreError> {
        let ended = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("DELETE FROM sessions WHERE user_id = $1 RETURNING id")
                .bind(user.0)
                .fetch_all(c)
                .await?
        });
        Ok(ended.into_iter().map(SessionId).collect())
    }

    /// Ends up to `limit` sessions that expired before `now`; how many there were.
    pub async fn delete_expired_sessions(&mut self, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query(
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at <= $1 LIMIT $2)",
            )
            .bind(now.0)
            .bind(limit)
            .execute(c)
            .await?
            .rows_affected()
        }))
    }
}
