//! The journal: what happened, in the order in which it was committed.

use patchbay_core::{Audience, ChannelId, MessageId, Seq, Timestamp, UserId};
use sqlx::FromRow;

use crate::{Conn, StoreError, conn::on, query::Query};

/// An event about to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// Its name, e.g. `message.created`.
    pub kind: String,
    /// Who may see it.
    pub audience: Audience,
    /// Where it happened.
    pub channel_id: Option<ChannelId>,
    /// The message whose content the payload holds.
    pub message_id: Option<MessageId>,
    /// Who did it; none for the system.
    pub actor_id: Option<UserId>,
    /// Who hears of it whatever the audience.
    pub target_user_id: Option<UserId>,
    /// A JSON object: the `data` of the gateway's frame.
    pub payload: String,
    /// The plugin through which it was done.
    pub origin: Option<String>,
    /// How many plugins stand between a person and it.
    pub depth: u8,
    /// When.
    pub created_at: Timestamp,
}

/// An event as the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place; strictly rising, without holes.
    pub seq: Seq,
    /// Its name.
    pub kind: String,
    /// Who may see it.
    pub audience: Audience,
    /// Where it happened.
    pub channel_id: Option<ChannelId>,
    /// Who did it.
    pub actor_id: Option<UserId>,
    /// Who hears of it whatever the audience.
    pub target_user_id: Option<UserId>,
    /// A JSON object.
    pub payload: String,
    /// The message whose content the payload holds.
    pub message_id: Option<MessageId>,
    /// The plugin through which it was done.
    pub origin: Option<String>,
    /// How many plugins stand between a person and it.
    pub depth: u8,
    /// When.
    pub created_at: Timestamp,
}

/// Through whose eyes the journal is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Who.
    pub user_id: UserId,
    /// Public channels that this connection follows without being a member.
    pub subscribed: Vec<ChannelId>,
}

#[derive(FromRow)]
struct Row {
    seq: i64,
    kind: String,
    audience: String,
    channel_id: Option<i64>,
    actor_id: Option<i64>,
    target_user_id: Option<i64>,
    payload: String,
    message_id: Option<i64>,
    origin: Option<String>,
    depth: i64,
    created_at: i64,
}

/// The columns of [`Row`] and of the table of events, `e`.
const COLUMNS: &str = "e.seq, e.kind, e.audience, e.channel_id, e.actor_id, e.target_user_id, e.payload, \
                       e.message_id, e.origin, e.depth, e.created_at";

impl TryFrom<Row> for Entry {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        let audience = Audience::parse(&row.audience)
            .ok_or_else(|| StoreError::Corrupt(format!("audience {:?}", row.audience)))?;
        Ok(Self {
            seq: Seq(row.seq),
            kind: row.kind,
            audience,
            channel_id: row.channel_id.map(ChannelId),
            actor_id: row.actor_id.map(UserId),
            target_user_id: row.target_user_id.map(UserId),
            payload: row.payload,
            message_id: row.message_id.map(MessageId),
            origin: row.origin,
            depth: u8::try_from(row.depth).unwrap_or(u8::MAX),
            created_at: Timestamp(row.created_at),
        })
    }
}

/// What a plugin is to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The plugin.
    pub plugin: String,
    /// Kinds by name; with a dot at the end, all that start with it.
    pub kinds: Vec<String>,
    /// All kinds, whatever `kinds` says.
    pub all_kinds: bool,
    /// Through whose eyes; none: those of the deployment.
    pub bot: Option<UserId>,
}

impl Wanted {
    fn push_kinds(&self, query: &mut Query) {
        if self.all_kinds {
            query.push("TRUE");
            return;
        }
        let (prefixes, names): (Vec<_>, Vec<_>) = self.kinds.iter().partition(|kind| kind.ends_with('.'));
        query.push("(e.kind IN (").bind_list(names.into_iter().map(String::as_str)).push(")");
        for prefix in prefixes {
            let length = i64::try_from(prefix.len()).unwrap_or(i64::MAX);
            query
                .push(" OR substr(e.kind, 1, CAST(")
                .bind(length)
                .push(" AS INTEGER)) = ")
                .bind(prefix.as_str());
        }
        query.push(")");
    }
}

/// What the viewer may see now. Of a deleted channel that is only its deletion.
fn visible(query: &mut Query, viewer: &Viewer) {
    query.push("(c.deleted_at IS NULL OR e.kind = 'channel.deleted') AND (e.target_user_id = ");
    query.bind(viewer.user_id.0);
    query.push(
        " OR (e.audience = 'everyone' AND (e.channel_id IS NULL OR c.is_public))
          OR (e.audience <> 'target' AND EXISTS (
              SELECT 1 FROM channel_members m WHERE m.channel_id = e.channel_id AND m.user_id = ",
    );
    query.bind(viewer.user_id.0).push("))");
    if !viewer.subscribed.is_empty() {
        query.push(" OR (e.audience = 'channel' AND c.is_public AND e.channel_id IN (");
        query.ids(viewer.subscribed.iter().map(|id| id.0)).push("))");
    }
    query.push(")");
}

/// Rows of one insert: as many as keep the number of different statements, and so the statement cache, small.
const ROWS_PER_INSERT: usize = 32;

impl Conn {
    /// The newest `seq`; 0 if nothing has happened yet.
    pub async fn journal_head(&mut self) -> Result<Seq, StoreError> {
        let seq = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT seq FROM journal_head").fetch_one(c).await?
        });
        Ok(Seq(seq))
    }

    /// The newest `seq` that has been pruned: only what comes after it can be replayed.
    pub async fn journal_floor(&mut self) -> Result<Seq, StoreError> {
        let floor = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("SELECT floor FROM journal_head").fetch_one(c).await?
        });
        Ok(Seq(floor))
    }

    /// Appends a batch; returns the new head. The counter row is taken as late as possible: whoever holds it
    /// commits next.
    pub(crate) async fn append_to_journal(&mut self, entries: &[NewEntry]) -> Result<i64, StoreError> {
        let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        let head = on!(self, |c| {
            sqlx::query_scalar::<_, i64>("UPDATE journal_head SET seq = seq + $1 RETURNING seq")
                .bind(count)
                .fetch_one(c)
                .await?
        });
        let mut seq = head - count;
        for chunk in entries.chunks(ROWS_PER_INSERT) {
            let mut insert = Query::new(
                "INSERT INTO events (seq, kind, audience, channel_id, message_id, actor_id, target_user_id, payload, origin, depth, created_at) ",
            );
            for (n, entry) in chunk.iter().enumerate() {
                seq += 1;
                insert.push(if n == 0 { "VALUES (" } else { ", (" });
                insert.bind(seq).push(", ");
                insert.bind(entry.kind.as_str()).push(", ").bind(entry.audience.as_str()).push(", ");
                let ids = [
                    entry.channel_id.map(|id| id.0),
                    entry.message_id.map(|id| id.0),
                    entry.actor_id.map(|id| id.0),
                    entry.target_user_id.map(|id| id.0),
                ];
                insert.bind_list(ids).push(", ");
                insert.bind(entry.payload.as_str()).push(", ").bind(entry.origin.as_deref()).push(", ");
                insert.bind(i64::from(entry.depth)).push(", ").bind(entry.created_at.0).push(")");
            }
            self.run(insert).await?;
        }
        Ok(head)
    }

    /// Forgets all entries and jumps ahead by `jump`: whatever `seq` anybody has seen, what comes next can't be told
    /// to follow it.
    pub(crate) async fn start_journal_afresh(&mut self, jump: i64) -> Result<(), StoreError> {
        on!(self, |c| {
            sqlx::query("DELETE FROM events").execute(&mut *c).await?;
            sqlx::query("UPDATE journal_head SET seq = seq + $1, floor = seq + $1")
                .bind(jump)
                .execute(c)
                .await?;
        });
        Ok(())
    }

    pub(crate) async fn scrub_journal(
        &mut self,
        message: MessageId,
        payload: &str,
    ) -> Result<(), StoreError> {
        on!(self, |c| {
            for update in [
                "UPDATE events SET payload = $2 WHERE message_id = $1",
                "UPDATE dead_letters SET payload = $2 WHERE message_id = $1",
            ] {
                sqlx::query(update).bind(message.0).bind(payload).execute(&mut *c).await?;
            }
        });
        Ok(())
    }

    /// The entries after `after`, whoever may see them, in order, at most `limit`.
    pub async fn journal(&mut self, after: Seq, limit: i64) -> Result<Vec<Entry>, StoreError> {
        let mut query = Query::new("SELECT ");
        query.push(COLUMNS).push(" FROM events e WHERE e.seq > ").bind(after.0);
        query.push(" ORDER BY e.seq LIMIT ").bind(limit);
        self.all::<Row>(query).await?.into_iter().map(Entry::try_from).collect()
    }

    /// The entries after `after` up to and including `until` that the viewer may see now, in order, at most
    /// `limit`. Of a deleted channel only its deletion can be seen.
    pub async fn journal_for(
        &mut self,
        viewer: &Viewer,
        after: Seq,
        until: Seq,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut query = Query::new("SELECT ");
        query.push(COLUMNS).push(" FROM events e LEFT JOIN channels c ON c.id = e.channel_id WHERE e.seq > ");
        query.bind(after.0).push(" AND e.seq <= ").bind(until.0).push(" AND ");
        visible(&mut query, viewer);
        query.push(" ORDER BY e.seq LIMIT ").bind(limit);
        self.all::<Row>(query).await?.into_iter().map(Entry::try_from).collect()
    }

    /// The entries after `after` up to and including `until` that a plugin is to hear of, in order, at most `limit`: of
    /// these kinds, not done through itself, and what its bot may see now or, without one, all that more than one
    /// user may see.
    pub async fn journal_of_plugin(
        &mut self,
        wanted: &Wanted,
        after: Seq,
        until: Seq,
        limit: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut query = Query::new("SELECT ");
        query.push(COLUMNS).push(" FROM events e LEFT JOIN channels c ON c.id = e.channel_id WHERE e.seq > ");
        query.bind(after.0).push(" AND e.seq <= ").bind(until.0);
        query.push(" AND (e.origin IS NULL OR e.origin <> ").bind(wanted.plugin.as_str()).push(") AND ");
        wanted.push_kinds(&mut query);
        match wanted.bot {
            Some(bot) => {
                query.push(" AND ");
                visible(&mut query, &Viewer { user_id: bot, subscribed: Vec::new() });
            }
            None => {
                query.push(" AND e.audience <> 'target'");
            }
        }
        query.push(" ORDER BY e.seq LIMIT ").bind(limit);
        self.all::<Row>(query).await?.into_iter().map(Entry::try_from).collect()
    }

    /// Removes entries older than `before` or beyond the newest `keep`, at most `limit` of them, oldest
    /// first; how many there were. What is acknowledged stays in its own table: this forgets only how it came
    /// about.
    pub async fn prune_journal(
        &mut self,
        before: Timestamp,
        keep: i64,
        limit: i64,
    ) -> Result<u64, StoreError> {
        on!(self, |c| {
            // Age rises with seq but for clock steps; an entry that is too young before one that is old enough
            // goes with it, since what remains must be without holes.
            let until = sqlx::query_scalar::<_, Option<i64>>(
                "SELECT max(seq) FROM (SELECT seq, created_at FROM events ORDER BY seq LIMIT $3) AS oldest
                 WHERE created_at < $1 OR seq <= (SELECT seq FROM journal_head) - $2",
            )
            .bind(before.0)
            .bind(keep)
            .bind(limit)
            .fetch_one(&mut *c)
            .await?;
            let Some(until) = until else { return Ok(0) };
            let gone = sqlx::query("DELETE FROM events WHERE seq <= $1").bind(until).execute(&mut *c).await?;
            sqlx::query("UPDATE journal_head SET floor = $1").bind(until).execute(c).await?;
            Ok(gone.rows_affected())
        })
    }
}
