//! Looking for messages and files in the index of words.
//!
//! Owns: the queries, in which permissions are conditions like any other, and their bounds in time. Must not: take in
//! query text of anybody's: what is looked for comes as words, and each is quoted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use patchbay_core::{ChannelId, File, Message, Timestamp, UserId};
use patchbay_words::Sought;
use sqlx::Connection as _;

use crate::{
    Conn, Index, Mark, StoreError,
    conn::Inner,
    index::quoted,
    query::{FromAnyRow, Query},
};

/// Most documents of which the relevance is told: the newest that match. What many messages say is better looked for
/// among the newer ones, and each that is weighed costs time.
pub const MAX_RANKED: i64 = 10_000;
/// Instructions of SQLite's machine between two looks at the clock: well below a millisecond.
const LOOK: i32 = 10_000;

/// What a document must have in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// These words.
    Words(Sought),
    /// At least one of these marks; there is one.
    AnyOf(Vec<Mark>),
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those that fit best first, of equal ones the newest, after that many.
    Relevance {
        /// How many to pass over.
        offset: i64,
    },
    /// The newest first.
    Newest,
}

/// What is looked for among messages or files.
#[derive(Clone, Debug)]
pub struct Search {
    /// Who looks: sees public channels and those one is a member of; of files one's own too. None sees everything.
    pub viewer: Option<UserId>,
    /// All of these.
    pub needs: Vec<Need>,
    /// None of these.
    pub rejects: Vec<Need>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Messages: with files, or without.
    pub has_file: Option<bool>,
    /// Messages: with reactions, or without.
    pub has_reaction: Option<bool>,
    /// Messages: in a thread, or not.
    pub in_thread: Option<bool>,
    /// Files: of messages in one of these channels.
    pub channels: Option<Vec<ChannelId>>,
    /// Files: not of messages in these channels.
    pub not_channels: Vec<ChannelId>,
    /// Files: uploaded by one of these.
    pub owners: Option<Vec<UserId>>,
    /// Files: not uploaded by these.
    pub not_owners: Vec<UserId>,
    /// Only ids below this one.
    pub below: Option<i64>,
    /// In which order.
    pub order: Order,
    /// How many at most.
    pub limit: i64,
}

impl Search {
    /// All that `viewer` may see, the newest first.
    pub fn of(viewer: Option<UserId>, limit: i64) -> Self {
        Self {
            viewer,
            needs: Vec::new(),
            rejects: Vec::new(),
            since: None,
            until: None,
            has_file: None,
            has_reaction: None,
            in_thread: None,
            channels: None,
            not_channels: Vec::new(),
            owners: None,
            not_owners: Vec::new(),
            below: None,
            order: Order::Newest,
            limit,
        }
    }

    /// Whether there is anything by which relevance could be told.
    fn has_words(&self) -> bool {
        self.needs.iter().any(|need| matches!(need, Need::Words(_)))
    }
}

/// A message or file that was found: id and score, higher is better, 0 without words.
pub type Found = (i64, f64);

impl Conn {
    /// The ids of messages that were found, and their scores. The channels in which they are can be read by the viewer as
    /// of when this began; [`Conn::messages_seen`] looks again.
    ///
    /// # Errors
    /// [`StoreError::TooSlow`] after `patience`.
    pub async fn search_messages(
        &mut self,
        search: &Search,
        patience: Duration,
    ) -> Result<Vec<Found>, StoreError> {
        let query = self.search(Index::Messages, search, |query| {
            query.push(" JOIN channels c ON c.id = m.channel_id WHERE m.deleted_at IS NULL AND ");
            readable(query, search.viewer);
            if let Some(wanted) = search.has_file {
                query.push(if wanted { " AND m.has_attachments" } else { " AND NOT m.has_attachments" });
            }
            if let Some(wanted) = search.has_reaction {
                query.push(if wanted { " AND EXISTS" } else { " AND NOT EXISTS" });
                query.push(" (SELECT 1 FROM reactions r WHERE r.message_id = m.id)");
            }
            if let Some(wanted) = search.in_thread {
                query.push(if wanted { " AND " } else { " AND NOT " });
                query.push("(m.parent_id IS NOT NULL OR m.reply_count > 0)");
            }
        });
        self.all_within(query, patience).await
    }

    /// The same for files.
    ///
    /// # Errors
    /// [`StoreError::TooSlow`] after `patience`.
    pub async fn search_files(
        &mut self,
        search: &Search,
        patience: Duration,
    ) -> Result<Vec<Found>, StoreError> {
        let query = self.search(Index::Files, search, |query| {
            query.push(
                " LEFT JOIN messages s ON s.id = m.message_id AND s.deleted_at IS NULL
                  LEFT JOIN channels c ON c.id = s.channel_id WHERE m.sha256 IS NOT NULL AND ",
            );
            file_readable(query, search.viewer);
            if let Some(channels) = &search.channels {
                query.push(" AND s.channel_id IN (").ids(channels.iter().map(|id| id.0)).push(")");
            }
            if !search.not_channels.is_empty() {
                query.push(" AND (s.channel_id IS NULL OR s.channel_id NOT IN (");
                query.ids(search.not_channels.iter().map(|id| id.0)).push("))");
            }
            if let Some(owners) = &search.owners {
                query.push(" AND m.uploaded_by_id IN (").ids(owners.iter().map(|id| id.0)).push(")");
            }
            if !search.not_owners.is_empty() {
                query
                    .push(" AND m.uploaded_by_id NOT IN (")
                    .ids(search.not_owners.iter().map(|id| id.0))
                    .push(")");
            }
        });
        self.all_within(query, patience).await
    }

    /// `condition` joins what tells who may see what, and begins the conditions.
    fn search(&self, index: Index, search: &Search, condition: impl FnOnce(&mut Query)) -> Query {
        let (needs, rejects) = (search.needs.as_slice(), search.rejects.as_slice());
        let is_sqlite = matches!(self.0, Inner::Sqlite(_));
        let has_index = !needs.is_empty() || !rejects.is_empty();
        let ranked = match search.order {
            Order::Relevance { offset } if search.has_words() => Some(offset),
            _ => None,
        };
        let mut query = Query::new("");
        // Every query is another one.
        query.uncached();
        if ranked.is_some() {
            query.push("SELECT id, score FROM (");
        }
        query.push("SELECT m.id AS id, ");
        match (search.has_words(), is_sqlite, index) {
            (false, ..) => query.push("CAST(0 AS DOUBLE PRECISION)"),
            (true, true, Index::Messages) => query.push("-bm25(message_index, 4.0, 1.0, 0.5, 0.0)"),
            (true, true, Index::Files) => query.push("-bm25(file_index, 4.0, 1.0, 0.5, 0.0)"),
            (true, false, _) => query
                .push("CAST(ts_rank('{0, 0.1, 0.25, 1}', i.tokens, ")
                .bind(tsquery(needs.iter().filter(|need| matches!(need, Need::Words(_))), &[]))
                .push("::TSQUERY, 1) AS DOUBLE PRECISION)"),
        };
        query.push(" AS score FROM ");
        let table = match index {
            Index::Messages => "messages",
            Index::Files => "files",
        };
        match (has_index, is_sqlite) {
            (false, _) => query.push(table).push(" m"),
            // The index leads: it yields what it finds in the order of its ids, so that the newest come first.
            (true, true) => query.push(index.table()).push(" CROSS JOIN ").push(table).push(" m"),
            (true, false) => {
                query.push(index.table()).push(" i JOIN ").push(table).push(" m ON m.id = i.rowid")
            }
        };
        condition(&mut query);
        match (has_index, is_sqlite) {
            (false, _) => {}
            (true, true) => {
                query.push(" AND m.id = ").push(index.table()).push(".rowid AND ").push(index.table());
                query.push(" MATCH ").bind(fts5(needs, rejects));
            }
            (true, false) => {
                query.push(" AND i.tokens @@ ").bind(tsquery(needs.iter(), rejects)).push("::TSQUERY");
            }
        }
        if let Some(since) = search.since {
            query.push(" AND m.created_at >= ").bind(since.0);
        }
        if let Some(until) = search.until {
            query.push(" AND m.created_at < ").bind(until.0);
        }
        let id = match (has_index, is_sqlite, index) {
            (true, true, Index::Messages) => "message_index.rowid",
            (true, true, Index::Files) => "file_index.rowid",
            (true, false, _) => "i.rowid",
            (false, ..) => "m.id",
        };
        if let Some(below) = search.below {
            query.push(" AND ").push(id).push(" < ").bind(below);
        }
        query.push(" ORDER BY ").push(id).push(" DESC LIMIT ");
        match ranked {
            None => query.bind(search.limit),
            Some(offset) => query
                .bind(MAX_RANKED)
                .push(") AS newest ORDER BY score DESC, id DESC LIMIT ")
                .bind(search.limit)
                .push(" OFFSET ")
                .bind(offset),
        };
        query
    }

    /// Those of these messages that the viewer can read now and that are not deleted, in no particular order.
    pub async fn messages_seen(
        &mut self,
        viewer: Option<UserId>,
        ids: &[i64],
    ) -> Result<Vec<Message>, StoreError> {
        self.messages_where(|query| {
            query.push("m.id IN (").ids(ids.iter().copied());
            query.push(") AND m.deleted_at IS NULL AND EXISTS (SELECT 1 FROM channels c WHERE c.id = m.channel_id AND ");
            readable(query, viewer);
            query.push(")");
        })
        .await
    }

    /// Those of these files that the viewer can see now, in no particular order.
    pub async fn files_seen(&mut self, viewer: Option<UserId>, ids: &[i64]) -> Result<Vec<File>, StoreError> {
        self.files_where(|query| {
            query.push(
                "id IN (SELECT m.id FROM files m LEFT JOIN messages s ON s.id = m.message_id AND s.deleted_at IS NULL
                 LEFT JOIN channels c ON c.id = s.channel_id WHERE m.id IN (",
            );
            query.ids(ids.iter().copied()).push(") AND ");
            file_readable(query, viewer);
            query.push(")");
        })
        .await
    }

    /// Runs a query that is given up after `patience`.
    async fn all_within<T: FromAnyRow>(
        &mut self,
        query: Query,
        patience: Duration,
    ) -> Result<Vec<T>, StoreError> {
        match &mut self.0 {
            Inner::Sqlite(held) => {
                let deadline = Instant::now() + patience;
                let limit = Armed::default();
                let is_armed = Arc::clone(&limit.0);
                let goes_on = move || !is_armed.load(Ordering::Relaxed) || Instant::now() < deadline;
                held.lock_handle().await?.set_progress_handler(LOOK, goes_on);
                let found = self.all(query).await;
                drop(limit);
                if let Inner::Sqlite(held) = &mut self.0 {
                    held.lock_handle().await?.remove_progress_handler();
                }
                found.map_err(|error| if Instant::now() >= deadline { StoreError::TooSlow } else { error })
            }
            Inner::Postgres(held) => {
                // A transaction is what the limit ends with, whatever becomes of the query.
                let mut transaction = held.begin().await?;
                let millis = patience.as_millis().max(1).to_string();
                let limit = sqlx::query("SELECT set_config('statement_timeout', $1, TRUE)").bind(millis);
                limit.execute(&mut *transaction).await?;
                let found = query.all_on_postgres(&mut transaction).await;
                transaction.rollback().await?;
                found.map_err(|error| match error.as_database_error().and_then(|error| error.code()) {
                    // query_canceled
                    Some(code) if code == "57014" => StoreError::TooSlow,
                    _ => error.into(),
                })
            }
        }
    }
}

/// A limit of time that holds until this is dropped. Whoever asked may be gone before the answer: the connection goes to
/// somebody else then, and the limit must not.
struct Armed(Arc<AtomicBool>);

impl Default for Armed {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// That the viewer can read the channel `c`.
pub(crate) fn readable(query: &mut Query, viewer: Option<UserId>) {
    query.push("c.deleted_at IS NULL");
    if let Some(viewer) = viewer {
        query.push(" AND (c.is_public OR EXISTS (SELECT 1 FROM channel_members v WHERE v.channel_id = c.id AND v.user_id = ");
        query.bind(viewer.0).push("))");
    }
}

/// That the viewer can see the file `m`, which hangs on the message `s` in the channel `c`, or on none.
fn file_readable(query: &mut Query, viewer: Option<UserId>) {
    let Some(viewer) = viewer else {
        query.push("(s.id IS NULL OR c.deleted_at IS NULL)");
        return;
    };
    query.push("(m.uploaded_by_id = ").bind(viewer.0).push(" OR (s.id IS NOT NULL AND ");
    readable(query, Some(viewer));
    query.push("))");
}

/// A query of FTS5 (<https://www.sqlite.org/fts5.html#full_text_query_syntax>). Every word is a string there.
fn fts5(needs: &[Need], rejects: &[Need]) -> String {
    let string = |words: &[String]| format!("\"{}\"", words.join(" ").replace('"', "\"\""));
    let one = |need: &Need| match need {
        Need::Words(sought) => {
            let phrase = string(&sought.words);
            if sought.is_prefix { format!("({phrase} *)") } else { format!("({phrase})") }
        }
        Need::AnyOf(marks) => {
            let marks: Vec<_> = marks.iter().map(|mark| string(&[mark.text()])).collect();
            format!("({})", marks.join(" OR "))
        }
    };
    let join = |needs: &[Need], with: &str| needs.iter().map(one).collect::<Vec<_>>().join(with);
    let wanted = if needs.is_empty() { string(&[Mark::Any.text()]) } else { join(needs, " AND ") };
    if rejects.is_empty() { wanted } else { format!("({wanted}) NOT ({})", join(rejects, " OR ")) }
}

/// The same as a `tsquery`.
fn tsquery<'a>(needs: impl Iterator<Item = &'a Need>, rejects: &[Need]) -> String {
    let one = |need: &Need| match need {
        Need::Words(sought) => {
            let words: Vec<_> = sought.words.iter().map(|word| quoted(word)).collect();
            format!("({}{})", words.join(" <-> "), if sought.is_prefix { ":*" } else { "" })
        }
        Need::AnyOf(marks) => {
            let marks: Vec<_> = marks.iter().map(|mark| quoted(&mark.text())).collect();
            format!("({})", marks.join(" | "))
        }
    };
    let mut all: Vec<String> = needs.map(one).collect();
    if all.is_empty() {
        all.push(quoted(&Mark::Any.text()));
    }
    all.extend(rejects.iter().map(|need| format!("!{}", one(need))));
    all.join(" & ")
}

#[cfg(test)]
mod tests {
    use patchbay_words::sought;

    use super::*;

    #[test]
    fn every_word_is_quoted() {
        let words = |text, is_prefix| Need::Words(sought(text, is_prefix).unwrap());
        let needs = [words("NOT a\" OR b*", false), words("depl", true)];
        let rejects = [words("x-y", false), Need::AnyOf(vec![Mark::Link, Mark::In(ChannelId(3))])];
        assert_eq!(
            fts5(&needs, &rejects),
            r#"(("not a or b") AND ("depl" *)) NOT (("x y") OR (":link" OR ":in:3"))"#
        );
        assert_eq!(
            tsquery(needs.iter(), &rejects),
            "('not' <-> 'a' <-> 'or' <-> 'b') & ('depl':*) & !('x' <-> 'y') & !(':link' | ':in:3')"
        );
        assert_eq!(fts5(&[], &rejects[..1]), r#"(":any") NOT (("x y"))"#);
        assert_eq!(tsquery([].iter(), &rejects[..1]), "':any' & !('x' <-> 'y')");
    }
}
