//! Channels, as such and as one user sees them.

use std::collections::HashMap;

use patchbay_core::{Channel, ChannelForViewer, ChannelId, MessageId, Role, Timestamp, UserId};
use sqlx::FromRow;

use crate::{
    Conn, Page, StoreError,
    conn::{escape_like, on},
    query::Query,
    search::readable,
};

/// A channel about to be made.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// The set of people is fixed.
    pub is_direct_message: bool,
    /// Everyone may read it.
    pub is_public: bool,
    /// A voice channel.
    pub is_vc: bool,
    /// Who makes it.
    pub created_by_id: UserId,
    /// For a direct message: names its set of people.
    pub dm_key: Option<String>,
}

/// What a channel is found by.
#[derive(Clone, Debug, FromRow)]
pub struct ChannelText {
    /// Which.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
}

/// A channel and what somebody is in it.
#[derive(FromRow)]
struct WithRole {
    #[sqlx(flatten)]
    channel: Row,
    role: Option<String>,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    name: String,
    description: Option<String>,
    is_direct_message: bool,
    is_public: bool,
    is_vc: bool,
    created_by_id: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl From<Row> for Channel {
    fn from(row: Row) -> Self {
        Self {
            id: ChannelId(row.id),
            name: row.name,
            description: row.description,
            is_direct_message: row.is_direct_message,
            is_public: row.is_public,
            is_vc: row.is_vc,
            created_by_id: row.created_by_id.map(UserId),
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
        }
    }
}

#[derive(FromRow)]
struct ViewRow {
    #[sqlx(flatten)]
    channel: Row,
    role: Option<String>,
    member_count: i64,
    last_message_id: Option<i64>,
    unread_count: i64,
    mention_count: i64,
}

impl TryFrom<ViewRow> for ChannelForViewer {
    type Error = StoreError;
    fn try_from(row: ViewRow) -> Result<Self, StoreError> {
        Ok(Self {
            channel: row.channel.into(),
            role: row.role.as_deref().map(parse_role).transpose()?,
            member_count: row.member_count,
            last_message_id: row.last_message_id.map(MessageId),
            unread_count: row.unread_count,
            mention_count: row.mention_count,
        })
    }
}

pub(crate) fn parse_role(name: &str) -> Result<Role, StoreError> {
    Role::parse(name).ok_or_else(|| StoreError::Corrupt(format!("role {name:?}")))
}

/// The viewer is `me.user_id`; counts are 0 for who isn't a member. Messages that one sent oneself are read. Counting
/// ends at 10,000: a list of channels must not cost more the longer somebody has been away.
const SELECT_VIEW: &str = "
    SELECT c.id, c.name, c.description, c.is_direct_message, c.is_public, c.is_vc, c.created_by_id,
           c.created_at, c.updated_at, me.role AS role,
           (SELECT count(*) FROM channel_members n WHERE n.channel_id = c.id) AS member_count,
           (SELECT max(l.id) FROM messages l WHERE l.channel_id = c.id) AS last_message_id,
           (SELECT count(*) FROM (SELECT 1 FROM messages u WHERE me.user_id IS NOT NULL AND u.channel_id = c.id
               AND u.id > me.last_read_message_id AND u.sender_id <> me.user_id AND u.deleted_at IS NULL
               LIMIT 10000) unread) AS unread_count,
           (SELECT count(*) FROM (SELECT 1 FROM message_mentions n JOIN messages mm ON mm.id = n.message_id
               WHERE n.user_id = me.user_id AND n.channel_id = c.id AND n.message_id > me.last_read_message_id
               AND mm.sender_id <> me.user_id LIMIT 10000) mentioned) AS mention_count
    FROM channels c LEFT JOIN channel_members me ON me.channel_id = c.id AND me.user_id = ";

/// What a channel is found by.
pub(crate) fn search_key(name: &str, description: Option<&str>) -> String {
    format!("{name} {}", description.unwrap_or_default()).to_lowercase()
}

impl Conn {
    /// Makes a channel without members.
    ///
    /// # Errors
    /// [`StoreError::Unique`] naming `channels.dm_key`.
    pub async fn insert_channel(&mut self, new: &NewChannel, now: Timestamp) -> Result<Channel, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, Row>(
                "INSERT INTO channels (name, description, is_direct_message, is_public, is_vc, dm_key,
                                       created_by_id, created_at, updated_at, search_key)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)
                 RETURNING id, name, description, is_direct_message, is_public, is_vc, created_by_id,
                           created_at, updated_at",
            )
            .bind(&new.name)
            .bind(&new.description)
            .bind(new.is_direct_message)
            .bind(new.is_public)
            .bind(new.is_vc)
            .bind(&new.dm_key)
            .bind(new.created_by_id.0)
            .bind(now.0)
            .bind(search_key(&new.name, new.description.as_deref()))
            .fetch_one(c)
            .await?
        });
        Ok(row.into())
    }

    /// The direct message of that set of people.
    pub async fn direct_message(&mut self, dm_key: &str) -> Result<Option<ChannelId>, StoreError> {
        let id = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT id FROM channels WHERE dm_key = $1 AND deleted_at IS NULL")
                .bind(dm_key)
                .fetch_optional(c)
                .await?
        });
        Ok(id.map(ChannelId))
    }

    /// One channel and what `viewer` is in it, without its counts: all that permissions need.
    pub async fn channel_and_role(
        &mut self,
        id: ChannelId,
        viewer: Option<UserId>,
    ) -> Result<Option<(Channel, Option<Role>)>, StoreError> {
        let row = on!(self, |c| {
            sqlx::query_as::<_, WithRole>(
                "SELECT c.id, c.name, c.description, c.is_direct_message, c.is_public, c.is_vc,
                        c.created_by_id, c.created_at, c.updated_at, m.role AS role
                 FROM channels c LEFT JOIN channel_members m ON m.channel_id = c.id AND m.user_id = $2
                 WHERE c.id = $1 AND c.deleted_at IS NULL",
            )
            .bind(id.0)
            .bind(viewer.map(|id| id.0))
            .fetch_optional(c)
            .await?
        });
        row.map(|r| Ok((r.channel.into(), r.role.as_deref().map(parse_role).transpose()?))).transpose()
    }

    /// The same for several channels and viewers, each pair once: those whose channels there are.
    pub async fn channels_and_roles(
        &mut self,
        pairs: &[(ChannelId, UserId)],
    ) -> Result<HashMap<(ChannelId, UserId), (Channel, Option<Role>)>, StoreError> {
        #[derive(FromRow)]
        struct OfViewer {
            #[sqlx(flatten)]
            of: WithRole,
            viewer: i64,
        }
        let mut query = Query::new("WITH asked (channel_id, viewer) AS (VALUES ");
        for (n, (channel, viewer)) in pairs.iter().enumerate() {
            query.push(if n == 0 { "(" } else { ", (" });
            query.bind(channel.0).push(", ").bind(viewer.0).push(")");
        }
        query.push(
            ") SELECT c.id, c.name, c.description, c.is_direct_message, c.is_public, c.is_vc,
                      c.created_by_id, c.created_at, c.updated_at, m.role AS role, a.viewer AS viewer
               FROM asked a JOIN channels c ON c.id = a.channel_id AND c.deleted_at IS NULL
               LEFT JOIN channel_members m ON m.channel_id = c.id AND m.user_id = a.viewer",
        );
        query.uncached();
        let pair = |row: OfViewer| {
            let (channel, role): (Channel, _) = (row.of.channel.into(), row.of.role.as_deref());
            Ok(((channel.id, UserId(row.viewer)), (channel, role.map(parse_role).transpose()?)))
        };
        self.all(query).await?.into_iter().map(pair).collect()
    }

    /// Those of these channels that `viewer` can read, each with whether everybody can.
    pub async fn readable_channels(
        &mut self,
        viewer: Option<UserId>,
        ids: &[ChannelId],
    ) -> Result<Vec<(ChannelId, bool)>, StoreError> {
        let mut query =
            Query::new("SELECT c.id, c.is_public FROM channels c WHERE c.deleted_at IS NULL AND c.id IN (");
        query.ids(ids.iter().map(|id| id.0));
        query.push(") AND (c.is_public OR EXISTS (SELECT 1 FROM channel_members m WHERE m.channel_id = c.id AND m.user_id = ");
        query.bind(viewer.map(|id| id.0)).push("))");
        Ok(self
            .all::<(i64, bool)>(query)
            .await?
            .into_iter()
            .map(|(id, is_public)| (ChannelId(id), is_public))
            .collect())
    }

    /// One channel as `viewer` sees it, whether or not the viewer may.
    pub async fn channel_view(
        &mut self,
        id: ChannelId,
        viewer: Option<UserId>,
    ) -> Result<Option<ChannelForViewer>, StoreError> {
        let mut query = Query::new(SELECT_VIEW);
        query.bind(viewer.map(|id| id.0)).push(" WHERE c.deleted_at IS NULL AND c.id = ");
        query.bind(id.0);
        self.optional::<ViewRow>(query).await?.map(ChannelForViewer::try_from).transpose()
    }

    /// The channels that `viewer` can read (public ones and those one is a member of; none: all), by rising id, or by
    /// falling id before `page.before`; those whose name or description contains `matching`, if given.
    pub async fn channels_readable(
        &mut self,
        viewer: Option<UserId>,
        matching: Option<&str>,
        page: &Page,
    ) -> Result<Vec<ChannelForViewer>, StoreError> {
        let mut query = Query::new(SELECT_VIEW);
        query.bind(viewer.map(|id| id.0));
        query.push(" WHERE c.deleted_at IS NULL");
        if viewer.is_some() {
            query.push(" AND (c.is_public OR me.user_id IS NOT NULL)");
        }
        if let Some(text) = matching {
            let pattern = format!("%{}%", escape_like(&text.to_lowercase()));
            query.push(" AND c.search_key LIKE ").bind(pattern).push(" ESCAPE '\\'");
        }
        page.push(&mut query, "c.id", false);
        self.all::<ViewRow>(query).await?.into_iter().map(ChannelForViewer::try_from).collect()
    }

    /// Those of these channels that `viewer` can read, in no particular order.
    pub async fn channels_seen(
        &mut self,
        viewer: Option<UserId>,
        ids: &[i64],
    ) -> Result<Vec<ChannelForViewer>, StoreError> {
        let mut query = Query::new(SELECT_VIEW);
        query.bind(viewer.map(|id| id.0)).push(" WHERE c.id IN (").ids(ids.iter().copied()).push(") AND ");
        readable(&mut query, viewer);
        self.all::<ViewRow>(query).await?.into_iter().map(ChannelForViewer::try_from).collect()
    }

    /// What the channels that `viewer` can read are found by; of more than `limit` the newest.
    pub async fn channel_texts(
        &mut self,
        viewer: Option<UserId>,
        limit: i64,
    ) -> Result<Vec<ChannelText>, StoreError> {
        let mut query = Query::new("SELECT c.id, c.name, c.description FROM channels c WHERE ");
        readable(&mut query, viewer);
        query.push(" ORDER BY c.id DESC LIMIT ").bind(limit);
        self.all(query).await
    }

    /// Replaces name, description and visibility.
    pub async fn update_channel(&mut self, channel: &Channel) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query(
                "UPDATE channels SET name = $2, description = $3, is_public = $4, is_vc = $5,
                                     updated_at = $6, search_key = $7 WHERE id = $1",
            )
            .bind(channel.id.0)
            .bind(&channel.name)
            .bind(&channel.description)
            .bind(channel.is_public)
            .bind(channel.is_vc)
            .bind(channel.updated_at.0)
            .bind(search_key(&channel.name, channel.description.as_deref()))
            .execute(c)
            .await?
            .rows_affected()
        });
        Ok(())
    }

    /// Makes a channel a tombstone. Its content is removed by [`Conn::purge_deleted_channels`].
    pub async fn delete_channel(&mut self, id: ChannelId, now: Timestamp) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("UPDATE channels SET deleted_at = $2, dm_key = NULL WHERE id = $1")
                .bind(id.0)
                .bind(now.0)
                .execute(c)
                .await?
                .rows_affected()
        });
        Ok(())
    }

    /// Removes up to `limit` messages of deleted channels, with the replies to them, and their traces in the
    /// journal; how many rows were named. Tombstones of which the journal no longer speaks go once they are
    /// empty.
    pub async fn purge_deleted_channels(&mut self, limit: i64) -> Result<usize, StoreError> {
        let tombstones = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT id FROM channels WHERE deleted_at IS NOT NULL")
                .fetch_all(c)
                .await?
        });
        if !tombstones.is_empty() {
            let mut letters = Query::new("DELETE FROM dead_letters WHERE channel_id IN (");
            letters.ids(tombstones.iter().copied()).push(")");
            self.run(letters).await?;
        }
        for channel in &tombstones {
            let messages = on!(self, |c| {
                sqlx::query_scalar::<_, i64>(
                    "SELECT id FROM messages WHERE channel_id = $1 ORDER BY id LIMIT $2",
                )
                .bind(channel)
                .bind(limit)
                .fetch_all(c)
                .await?
            });
            if messages.is_empty() {
                continue;
            }
            let mut scrub = Query::new("UPDATE events SET payload = '{}' WHERE message_id IN (");
            scrub.ids(messages.iter().copied());
            scrub.push(") OR message_id IN (SELECT id FROM messages WHERE parent_id IN (");
            scrub.ids(messages.iter().copied()).push("))");
            self.run(scrub).await?;
            let mut delete = Query::new("DELETE FROM messages WHERE id IN (");
            delete.ids(messages.iter().copied()).push(")");
            self.run(delete).await?;
            return Ok(messages.len());
        }
        on!(self, |c| {
            sqlx::query(
                "DELETE FROM channels WHERE deleted_at IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.channel_id = channels.id)
                 AND NOT EXISTS (SELECT 1 FROM events e WHERE e.created_at <= channels.deleted_at)",
            )
            .execute(c)
            .await?;
        });
        Ok(0)
    }
}
