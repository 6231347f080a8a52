//! Bot users that people have made through a plugin.

use patchbay_core::{SessionId, Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on, query::Query};

/// A bot user and to whom it belongs.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct BotRow {
    /// The account.
    pub user_id: i64,
    /// Through which plugin it was made.
    pub plugin: String,
    /// By whom.
    pub owner_id: Option<i64>,
    /// The session of its token; none while it has no token.
    pub session_id: Option<i64>,
    /// The SHA-256 of its token.
    pub token_hash: Option<Vec<u8>>,
    /// What the token allows, names with spaces between them.
    pub scopes: String,
    /// Its name.
    pub username: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// Whether it may act.
    pub is_active: bool,
    /// When it was made, in ms.
    pub created_at: i64,
}

const SELECT: &str =
    "SELECT b.user_id, b.plugin, b.owner_id, b.session_id, b.token_hash, b.scopes, u.username,
        u.full_name, u.is_active, b.created_at
    FROM bots b JOIN users u ON u.id = b.user_id";

impl Conn {
    /// Notes to whom a bot user belongs.
    pub async fn insert_bot(
        &mut self,
        bot: UserId,
        plugin: &str,
        owner: UserId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut query = Query::new("INSERT INTO bots (user_id, plugin, owner_id, created_at) VALUES (");
        query.bind(bot.0).push(", ").bind(plugin).push(", ").bind(owner.0).push(", ").bind(now.0).push(")");
        self.run(query).await.map(drop)
    }

    /// One bot.
    pub async fn bot(&mut self, id: UserId) -> Result<Option<BotRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push(" WHERE b.user_id = ").bind(id.0);
        self.optional(query).await
    }

    /// The bot whose token belongs to this session.
    pub async fn bot_of_session(&mut self, session: SessionId) -> Result<Option<BotRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push(" WHERE b.session_id = ").bind(session.0);
        self.optional(query).await
    }

    /// Bots of a plugin, of one owner or of all, with ids after `after`, by rising id.
    pub async fn bots(
        &mut self,
        plugin: &str,
        owner: Option<UserId>,
        after: i64,
        limit: i64,
    ) -> Result<Vec<BotRow>, StoreError> {
        let mut query = Query::new(SELECT);
        query.push(" WHERE b.plugin = ").bind(plugin).push(" AND b.user_id > ").bind(after);
        if let Some(owner) = owner {
            query.push(" AND b.owner_id = ").bind(owner.0);
        }
        query.push(" ORDER BY b.user_id LIMIT ").bind(limit);
        self.all(query).await
    }

    /// How many bots somebody owns.
    pub async fn count_bots_of(&mut self, owner: UserId) -> Result<i64, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar("SELECT count(*) FROM bots WHERE owner_id = $1")
                .bind(owner.0)
                .fetch_one(c)
                .await?
        }))
    }

    /// The bot has this token, and no other.
    pub async fn set_bot_token(
        &mut self,
        bot: UserId,
        session: SessionId,
        hash: &[u8],
        scopes: &str,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE bots SET session_id = $2, token_hash = $3, scopes = $4 WHERE user_id = $1")
                .bind(bot.0)
                .bind(session.0)
                .bind(hash)
                .bind(scopes)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// The account is an ordinary one that belongs to nobody; whether it was a bot.
    pub async fn delete_bot(&mut self, bot: UserId) -> Result<bool, StoreError> {
        let mut query = Query::new("DELETE FROM bots WHERE user_id = ");
        query.bind(bot.0);
        Ok(self.run(query).await? > 0)
    }
}
