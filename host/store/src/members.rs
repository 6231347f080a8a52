//! Who is in which channel, as what, and how far each has read.

use patchbay_core::{ChannelId, Member, MessageId, Role, Timestamp, User, UserId};
use sqlx::FromRow;

use crate::{Conn, Page, StoreError, channels::parse_role, conn::on, query::Query, users::UserRow};

#[derive(FromRow)]
struct Row {
    #[sqlx(flatten)]
    user: UserRow,
    channel_id: i64,
    role: String,
    joined_at: i64,
}

impl TryFrom<Row> for Member {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            channel_id: ChannelId(row.channel_id),
            user: User::try_from(row.user)?,
            role: parse_role(&row.role)?,
            joined_at: Timestamp(row.joined_at),
        })
    }
}

const SELECT: &str = "SELECT u.id, u.username, u.email, u.full_name, u.is_active, u.is_superuser, u.is_bot,
        u.profile_picture, p.status, p.last_seen, u.created_at, u.updated_at,
        m.channel_id, m.role, m.joined_at
    FROM channel_members m JOIN users u ON u.id = m.user_id JOIN presence p ON p.user_id = u.id
    WHERE m.channel_id = ";

impl Conn {
    /// Adds members; whoever is one already stays what they are. Their read mark starts at the newest
    /// message: what was said before one joined is not unread.
    pub async fn insert_members(
        &mut self,
        channel: ChannelId,
        members: &[(UserId, Role)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (user, role) in members {
            on!(self, |c| {
                sqlx::query(
                    "INSERT INTO channel_members (channel_id, user_id, role, joined_at, last_read_message_id)
                     VALUES ($1, $2, $3, $4,
                             coalesce((SELECT max(id) FROM messages WHERE channel_id = $1), 0))
                     ON CONFLICT (channel_id, user_id) DO NOTHING",
                )
                .bind(channel.0)
                .bind(user.0)
                .bind(role.as_str())
                .bind(now.0)
                .execute(c)
                .await?
                .rows_affected()
            });
        }
        Ok(())
    }

    /// One membership.
    pub async fn member(&mut self, channel: ChannelId, user: UserId) -> Result<Option<Member>, StoreError> {
        let mut query = Query::new(SELECT);
        query.bind(channel.0).push(" AND m.user_id = ").bind(user.0);
        self.optional::<Row>(query).await?.map(Member::try_from).transpose()
    }

    /// A page of members, by rising user id, or by falling id before `page.before`.
    pub async fn members(&mut self, channel: ChannelId, page: &Page) -> Result<Vec<Member>, StoreError> {
        let mut query = Query::new(SELECT);
        query.bind(channel.0);
        page.push(&mut query, "m.user_id", false);
        self.all::<Row>(query).await?.into_iter().map(Member::try_from).collect()
    }

    /// How many owners there are, and how many members at all.
    pub async fn count_owners_and_members(&mut self, channel: ChannelId) -> Result<(i64, i64), StoreError> {
        Ok(on!(self, |c| {
            sqlx::query_as::<_, (i64, i64)>(
                "SELECT coalesce(sum(CASE WHEN role = 'owner' THEN 1 ELSE 0 END), 0), count(*)
                 FROM channel_members WHERE channel_id = $1",
            )
            .bind(channel.0)
            .fetch_one(c)
            .await?
        }))
    }

    /// Changes a member's role.
    pub async fn set_role(&mut self, channel: ChannelId, user: UserId, role: Role) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE channel_members SET role = $3 WHERE channel_id = $1 AND user_id = $2")
                .bind(channel.0)
                .bind(user.0)
                .bind(role.as_str())
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Removes a member.
    pub async fn delete_member(&mut self, channel: ChannelId, user: UserId) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("DELETE FROM channel_members WHERE channel_id = $1 AND user_id = $2")
                .bind(channel.0)
                .bind(user.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Moves a member's read mark forward; whether it moved.
    pub async fn mark_read(
        &mut self,
        channel: ChannelId,
        user: UserId,
        message: MessageId,
    ) -> Result<bool, StoreError> {
        let done = on!(self, |c| {
            sqlx::query(
                "UPDATE channel_members SET last_read_message_id = $3
                 WHERE channel_id = $1 AND user_id = $2 AND last_read_message_id < $3",
            )
            .bind(channel.0)
            .bind(user.0)
            .bind(message.0)
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(done > 0)
    }

    /// The channels that a user is a member of, tombstones among them: their deletion concerns the user.
    pub async fn channel_ids_of(&mut self, user: UserId) -> Result<Vec<ChannelId>, StoreError> {
        let ids = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT channel_id FROM channel_members WHERE user_id = $1")
                .bind(user.0)
                .fetch_all(c)
                .await?
        });
        Ok(ids.into_iter().map(ChannelId).collect())
    }

    /// The members of a channel.
    pub async fn member_ids(&mut self, channel: ChannelId) -> Result<Vec<UserId>, StoreError> {
        let ids = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT user_id FROM channel_members WHERE channel_id = $1")
                .bind(channel.0)
                .fetch_all(c)
                .await?
        });
        Ok(ids.into_iter().map(UserId).collect())
    }
}
