//! Users, their secrets and what they chose to show.

use std::collections::HashMap;

use patchbay_core::{Status, Timestamp, User, UserId};
use sqlx::FromRow;

use crate::{
    Conn, Page, StoreError,
    conn::{escape_like, on},
    query::Query,
};

/// An account about to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its name.
    pub username: String,
    /// Its address.
    pub email: String,
    /// The name to show.
    pub full_name: Option<String>,
    /// A PHC string; none for an account without a password.
    pub hashed_password: Option<String>,
    /// May administer the deployment.
    pub is_superuser: bool,
    /// A bot account.
    pub is_bot: bool,
}

/// Somebody who shares a channel with a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquaintance {
    /// Who.
    pub user_id: UserId,
    /// What they chose to show.
    pub chosen: Status,
    /// When a socket of theirs was last open.
    pub last_seen: Option<Timestamp>,
}

macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, u.username, u.email, u.full_name, u.is_active, u.is_superuser, u.is_bot,
                    u.profile_picture, p.status, p.last_seen, u.created_at, u.updated_at
             FROM users u JOIN presence p ON p.user_id = u.id ",
            $rest
        )
    };
}

#[derive(FromRow)]
pub(crate) struct UserRow {
    id: i64,
    username: String,
    email: String,
    full_name: Option<String>,
    is_active: bool,
    is_superuser: bool,
    is_bot: bool,
    profile_picture: Option<String>,
    status: String,
    last_seen: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;
    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId(row.id),
            username: row.username,
            email: row.email,
            full_name: row.full_name,
            is_active: row.is_active,
            is_superuser: row.is_superuser,
            is_bot: row.is_bot,
            profile_picture: row.profile_picture,
            status: parse_status(&row.status)?,
            last_seen: row.last_seen.map(Timestamp),
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        })
    }
}

fn parse_status(name: &str) -> Result<Status, StoreError> {
    Status::parse(name).ok_or_else(|| StoreError::Corrupt(format!("status {name:?}")))
}

/// Names and addresses are unique without regard to case.
pub(crate) fn key(text: &str) -> String {
    text.to_lowercase()
}

impl Conn {
    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Unique`] naming `users.username_key` or `users.email_key`.
    pub async fn insert_user(&mut self, new: &NewUser, now: Timestamp) -> Result<UserId, StoreError> {
        let id = on!(self, |c| {
            let id = sqlx::query_scalar::<_, i64>(
                "INSERT INTO users (username, username_key, email, email_key, full_name, full_name_key,
                                    hashed_password, is_active, is_superuser, is_bot, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $10, $6, TRUE, $7, $8, $9, $9) RETURNING id",
            )
            .bind(&new.username)
            .bind(key(&new.username))
            .bind(&new.email)
            .bind(key(&new.email))
            .bind(&new.full_name)
            .bind(&new.hashed_password)
            .bind(new.is_superuser)
            .bind(new.is_bot)
            .bind(now.0)
            .bind(key(new.full_name.as_deref().unwrap_or_default()))
            .fetch_one(&mut *c)
            .await?;
            sqlx::query("INSERT INTO presence (user_id, status) VALUES ($1, $2)")
                .bind(id)
                .bind(Status::Online.as_str())
                .execute(c)
                .await?;
            id
        });
        Ok(UserId(id))
    }

    /// One user.
    pub async fn user(&mut self, id: UserId) -> Result<Option<User>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, UserRow>(select_users!("WHERE u.id = $1"))
                .bind(id.0)
                .fetch_optional(c)
                .await?
        });
        row.map(User::try_from).transpose()
    }

    /// The user of that name, without regard to case.
    pub async fn user_by_name(&mut self, username: &str) -> Result<Option<User>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, UserRow>(select_users!("WHERE u.username_key = $1"))
                .bind(key(username))
                .fetch_optional(c)
                .await?
        });
        row.map(User::try_from).transpose()
    }

    /// A plugin that is gone has no use for its bot user; what it wrote stays its own.
    pub async fn deactivate_bot(&mut self, bot: UserId, now: Timestamp) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE users SET is_active = FALSE, updated_at = ");
        query.bind(now.0).push(" WHERE is_bot AND id = ").bind(bot.0);
        self.run(query).await.map(drop)
    }

    /// Who of these users shares a channel with `viewer`, however large, with what they chose to show.
    pub async fn known_among(
        &mut self,
        viewer: UserId,
        ids: &[UserId],
    ) -> Result<Vec<(UserId, Status)>, StoreError> {
        let mut query = Query::new(
            "SELECT DISTINCT p.user_id, p.status
             FROM channel_members mine
             JOIN channels c ON c.id = mine.channel_id AND c.deleted_at IS NULL
             JOIN channel_members other ON other.channel_id = c.id
             JOIN presence p ON p.user_id = other.user_id
             WHERE mine.user_id = ",
        );
        query.bind(viewer.0).push(" AND other.user_id IN (").ids(ids.iter().map(|id| id.0)).push(")");
        self.statuses(query).await
    }

    /// What these users chose to show; those who don't exist are passed over.
    pub async fn chosen_statuses(&mut self, ids: &[UserId]) -> Result<Vec<(UserId, Status)>, StoreError> {
        let mut query = Query::new("SELECT user_id, status FROM presence WHERE user_id IN (");
        query.ids(ids.iter().map(|id| id.0)).push(")");
        self.statuses(query).await
    }

    async fn statuses(&mut self, query: Query) -> Result<Vec<(UserId, Status)>, StoreError> {
        let rows = self.all::<(i64, String)>(query).await?;
        rows.into_iter().map(|(id, status)| Ok((UserId(id), parse_status(&status)?))).collect()
    }

    /// Which of these users exist.
    pub async fn existing_users(&mut self, ids: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        let mut query = Query::new("SELECT id FROM users WHERE id IN (");
        query.ids(ids.iter().map(|id| id.0)).push(")");
        Ok(self.all::<(i64,)>(query).await?.into_iter().map(|(id,)| UserId(id)).collect())
    }

    /// The users of these names (lower case), by rising id; names that nobody has are passed over.
    pub async fn user_ids_by_name(&mut self, names: &[String]) -> Result<Vec<UserId>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = Query::new("SELECT id FROM users WHERE username_key IN (");
        query.bind_list(names.iter().map(String::as_str)).push(") ORDER BY id");
        Ok(self.all::<(i64,)>(query).await?.into_iter().map(|(id,)| UserId(id)).collect())
    }

    /// Those of these names (as [`Conn::user_ids_by_name`] takes them) that users have.
    pub async fn users_by_name(&mut self, names: &[String]) -> Result<HashMap<String, UserId>, StoreError> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let mut query = Query::new("SELECT username_key, id FROM users WHERE username_key IN (");
        query.bind_list(names.iter().map(String::as_str)).push(")").uncached();
        Ok(self.all::<(String, i64)>(query).await?.into_iter().map(|(name, id)| (name, UserId(id))).collect())
    }

    /// Whether anybody administers the deployment.
    pub async fn has_superuser(&mut self) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT 1 FROM users WHERE is_superuser)")
                .fetch_one(c)
                .await?
        }))
    }

    /// Replaces name, address and full name.
    ///
    /// # Errors
    /// [`StoreError::Unique`] as for [`Conn::insert_user`].
    pub async fn update_profile(&mut self, user: &User, now: Timestamp) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "UPDATE users SET username = $2, username_key = $3, email = $4, email_key = $5,
                                  full_name = $6, updated_at = $7, full_name_key = $8 WHERE id = $1",
            )
            .bind(user.id.0)
            .bind(&user.username)
            .bind(key(&user.username))
            .bind(&user.email)
            .bind(key(&user.email))
            .bind(&user.full_name)
            .bind(now.0)
            .bind(key(user.full_name.as_deref().unwrap_or_default()))
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Replaces what only an administrator may: whether the account may be used, and whether it administers.
    pub async fn set_standing(
        &mut self,
        id: UserId,
        is_active: bool,
        is_superuser: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE users SET is_active = $2, is_superuser = $3, updated_at = $4 WHERE id = $1")
                .bind(id.0)
                .bind(is_active)
                .bind(is_superuser)
                .bind(now.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Whether somebody other than this user can log in and administer the deployment.
    pub async fn has_other_superuser(&mut self, than: UserId) -> Result<bool, StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_scalar::<_, bool>(
                "SELECT EXISTS (SELECT 1 FROM users WHERE is_superuser AND is_active AND NOT is_bot AND id <> $1)",
            )
            .bind(than.0)
            .fetch_one(c)
            .await?
        }))
    }

    /// Replaces the object that holds the profile picture.
    pub async fn set_profile_picture(
        &mut self,
        id: UserId,
        path: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE users SET profile_picture = $2, updated_at = $3 WHERE id = $1")
                .bind(id.0)
                .bind(path)
                .bind(now.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Records what the user chose to show.
    pub async fn set_status(&mut self, id: UserId, status: Status) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE presence SET status = $2 WHERE user_id = $1")
                .bind(id.0)
                .bind(status.as_str())
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Records when a user was last seen.
    pub async fn set_last_seen(&mut self, id: UserId, at: Timestamp) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE presence SET last_seen = $2 WHERE user_id = $1")
                .bind(id.0)
                .bind(at.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Active and inactive users whose username or full name contains `text` (all, if it is empty), by rising id, or by
    /// falling id before `page.before`.
    pub async fn users_matching(&mut self, text: &str, page: &Page) -> Result<Vec<User>, StoreError> {
        self.matching(Query::new(select_users!("WHERE (")), text, page).await
    }

    /// The same, but an address that contains the text counts too.
    pub async fn users_or_addresses_matching(
        &mut self,
        text: &str,
        page: &Page,
    ) -> Result<Vec<User>, StoreError> {
        let mut query = Query::new(select_users!("WHERE (u.email_key LIKE "));
        query.bind(pattern(text)).push(" ESCAPE '\\' OR ");
        self.matching(query, text, page).await
    }

    async fn matching(&mut self, mut query: Query, text: &str, page: &Page) -> Result<Vec<User>, StoreError> {
        query.push("u.username_key LIKE ").bind(pattern(text)).push(" ESCAPE '\\' OR u.full_name_key LIKE ");
        query.bind(pattern(text)).push(" ESCAPE '\\')");
        page.push(&mut query, "u.id", false);
        self.all::<UserRow>(query).await?.into_iter().map(User::try_from).collect()
    }

    /// The people who share a channel with a user, except by channels of more than 1,000 members; at most 10,000,
    /// by rising id.
    pub async fn acquaintances(&mut self, user: UserId) -> Result<Vec<Acquaintance>, StoreError> {
        let mut query = Query::new(
            "SELECT DISTINCT p.user_id, p.status, p.last_seen
             FROM channel_members mine
             JOIN channels c ON c.id = mine.channel_id AND c.deleted_at IS NULL
             JOIN channel_members other ON other.channel_id = c.id AND other.user_id <> mine.user_id
             JOIN presence p ON p.user_id = other.user_id
             WHERE (SELECT count(*) FROM (SELECT 1 FROM channel_members n WHERE n.channel_id = c.id LIMIT 1001) few)
                   <= 1000 AND mine.user_id = ",
        );
        query.bind(user.0).push(" ORDER BY p.user_id LIMIT 10000");
        let rows = self.all::<(i64, String, Option<i64>)>(query).await?;
        rows.into_iter()
            .map(|(id, status, last_seen)| {
                Ok(Acquaintance {
                    user_id: UserId(id),
                    chosen: parse_status(&status)?,
                    last_seen: last_seen.map(Timestamp),
                })
            })
            .collect()
    }
}

/// What contains the text.
fn pattern(text: &str) -> String {
    format!("%{}%", escape_like(&text.to_lowercase()))
}
