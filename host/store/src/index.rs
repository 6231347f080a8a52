//! The index of words: what is written to it, and with which rows it is still behind.
//!
//! Owns: the form of a document on both databases. Must not: know what is asked of it (`search`), or what a word is
//! (`patchbay_words`).

use std::{collections::BTreeMap, fmt::Write as _};

use patchbay_core::{ChannelId, FileId, MessageId, Timestamp, UserId};
use patchbay_words::{Token, words};

use crate::{Conn, StoreError, conn::Inner, query::Query};

/// What is indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// Messages, by what they say.
    Messages,
    /// Files, by their names, their types and what is written in them.
    Files,
}

impl Index {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Messages, Self::Files];

    /// Its name in `search_progress` and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Files => "files",
        }
    }

    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Messages => "message_index",
            Self::Files => "file_index",
        }
    }

    /// Only of these rows there may be documents.
    fn condition(self) -> &'static str {
        match self {
            Self::Messages => "SELECT 1 FROM messages m WHERE m.id = new.id AND m.deleted_at IS NULL",
            Self::Files => "SELECT 1 FROM files f WHERE f.id = new.id AND f.sha256 IS NOT NULL",
        }
    }
}

/// What can be asked for beside words. In the index each begins with a colon, which no word has, so that no beginning of
/// a word is that of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Every document has it.
    Any,
    /// In this channel.
    In(ChannelId),
    /// From this user.
    From(UserId),
    /// With a link.
    Link,
}

impl Mark {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Any => ":any".to_owned(),
            Self::In(channel) => format!(":in:{channel}"),
            Self::From(user) => format!(":from:{user}"),
            Self::Link => ":link".to_owned(),
        }
    }
}

/// The words of a message or a file.
#[derive(Clone, Debug, Default)]
pub struct Document {
    title: Vec<Token>,
    words: Vec<Token>,
    parts: Vec<Token>,
    marks: Vec<String>,
}

impl Document {
    /// Of a message.
    pub fn message(content: &str, channel: ChannelId, sender: UserId) -> Self {
        let found = words(content);
        let mut marks = vec![Mark::Any.text(), Mark::In(channel).text(), Mark::From(sender).text()];
        if found.has_link {
            marks.push(Mark::Link.text());
        }
        Self { title: Vec::new(), words: found.words, parts: found.parts, marks }
    }

    /// Of a file, with the text that was read in it.
    pub fn file(name: &str, kind: &str, text: &str) -> Self {
        let (mut title, text) = (words(name), words(text));
        title.words.extend(words(kind).words);
        let parts = title.parts.into_iter().chain(text.parts).collect();
        Self { title: title.words, words: text.words, parts, marks: vec![Mark::Any.text()] }
    }

    /// The columns of an FTS5 table.
    fn columns(&self) -> [String; 4] {
        let row = |tokens: &[Token]| {
            let mut row = String::new();
            for token in tokens {
                row.push_str(&token.text);
                row.push(' ');
            }
            row
        };
        [row(&self.title), row(&self.words), row(&self.parts), self.marks.join(" ")]
    }

    /// The same as a `tsvector`: one row of places with a gap between the columns. What comes after the last place that
    /// there can be shares it: it is found, but in no phrase.
    fn tsvector(&self) -> String {
        const LAST: usize = 16_383;
        /// Further places of one word are dropped by the database.
        const MOST: usize = 256;
        let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut place = 0;
        for (tokens, weight) in [(&self.title, 'A'), (&self.words, 'B'), (&self.parts, 'C')] {
            for token in tokens {
                place = (place + 1).min(LAST);
                let of_this = places.entry(&token.text).or_default();
                if of_this.len() < MOST {
                    of_this.push(format!("{place}{weight}"));
                }
            }
            place += 2;
        }
        let mut vector = String::new();
        for (word, places) in places {
            let _ = write!(vector, "{}:{} ", quoted(word), places.join(","));
        }
        for mark in &self.marks {
            let _ = write!(vector, "{} ", quoted(mark));
        }
        vector
    }
}

/// A lexeme in the text form of `tsvector` and `tsquery`.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', "\\\\").replace('\'', "''"))
}

/// Documents of one statement: few numbers, so that their statements stay prepared.
const CHUNKS: [usize; 3] = [32, 8, 1];

impl Conn {
    /// Writes documents, in place of those there are. One whose message or file is gone is passed over. Of two with the
    /// same id the last counts.
    pub async fn index(
        &mut self,
        index: Index,
        documents: impl IntoIterator<Item = (i64, &Document)>,
    ) -> Result<(), StoreError> {
        let last: BTreeMap<i64, &Document> = documents.into_iter().collect();
        let mut left: Vec<(i64, &Document)> = last.into_iter().collect();
        while let Some(size) = CHUNKS.into_iter().find(|size| *size <= left.len()) {
            let rest = left.split_off(size);
            self.index_chunk(index, &left).await?;
            left = rest;
        }
        Ok(())
    }

    async fn index_chunk(&mut self, index: Index, documents: &[(i64, &Document)]) -> Result<(), StoreError> {
        let mut query = match &self.0 {
            Inner::Sqlite(_) => Query::new("WITH new (id, title, words, parts, marks) AS (VALUES "),
            Inner::Postgres(_) => Query::new("WITH new (id, tokens) AS (VALUES "),
        };
        for (n, (id, document)) in documents.iter().enumerate() {
            query.push(if n == 0 { "(" } else { ", (" });
            match &self.0 {
                Inner::Sqlite(_) => {
                    query.bind(*id).push(", ").bind_list(document.columns()).push(")");
                }
                Inner::Postgres(_) => {
                    query.bind(*id).push(", ").bind(document.tsvector()).push("::TSVECTOR)");
                }
            }
        }
        match &self.0 {
            Inner::Sqlite(_) => query.push(") INSERT OR REPLACE INTO ").push(index.table()).push(
                " (rowid, title, words, parts, marks) SELECT id, title, words, parts, marks FROM new WHERE EXISTS (",
            ),
            Inner::Postgres(_) => query
                .push(") INSERT INTO ")
                .push(index.table())
                .push(" (rowid, tokens) SELECT id, tokens FROM new WHERE EXISTS ("),
        };
        query.push(index.condition()).push(")");
        if matches!(self.0, Inner::Postgres(_)) {
            query.push(" ON CONFLICT (rowid) DO UPDATE SET tokens = excluded.tokens");
        }
        self.run(query).await.map(|_| ())
    }

    /// Takes a message out of the index whose row stays.
    pub(crate) async fn unindex_message(&mut self, id: MessageId) -> Result<(), StoreError> {
        let mut query = Query::new("DELETE FROM message_index WHERE rowid = ");
        query.bind(id.0);
        self.run(query).await.map(|_| ())
    }

    /// How far an index has been made.
    pub async fn index_progress(&mut self, index: Index) -> Result<IndexProgress, StoreError> {
        let mut query = Query::new("SELECT version, at, until FROM search_progress WHERE name = ");
        query.bind(index.as_str());
        let row = self.optional::<(i64, i64, i64)>(query).await?;
        let (version, at, until) = row
            .ok_or_else(|| StoreError::Corrupt(format!("no progress of the index of {}", index.as_str())))?;
        Ok(IndexProgress { version, at, until })
    }

    /// The largest id among the rows that are indexed; 0 if there are none.
    pub async fn newest_id(&mut self, index: Index) -> Result<i64, StoreError> {
        let mut query = Query::new("SELECT coalesce(max(id), 0) FROM ");
        query.push(index.as_str());
        Ok(self.optional::<(i64,)>(query).await?.map_or(0, |(id,)| id))
    }

    /// From now on every row that there is has to be indexed anew.
    pub async fn restart_index(&mut self, index: Index) -> Result<(), StoreError> {
        let mut query = Query::new("UPDATE search_progress SET at = 0, version = ");
        query.bind(patchbay_words::VERSION).push(", until = (SELECT coalesce(max(id), 0) FROM ");
        query.push(index.as_str()).push(") WHERE name = ").bind(index.as_str());
        self.run(query).await.map(|_| ())
    }

    /// Indexes up to `limit` rows that are still to be; how far it is now. A file that may hold text is put down to be read.
    pub async fn index_further(
        &mut self,
        index: Index,
        limit: i64,
        now: Timestamp,
    ) -> Result<IndexProgress, StoreError> {
        let progress = self.index_progress(index).await?;
        let (at, documents) = match index {
            Index::Messages => self.next_messages(&progress, limit).await?,
            Index::Files => self.next_files(&progress, limit, now).await?,
        };
        self.index(index, documents.iter().map(|(id, document)| (*id, document))).await?;
        let at = at.unwrap_or(progress.until);
        let mut query = Query::new("UPDATE search_progress SET at = ");
        query.bind(at).push(" WHERE name = ").bind(index.as_str());
        self.run(query).await?;
        Ok(IndexProgress { at, ..progress })
    }

    /// The documents of the next messages, and the id of the last; none if there are no more.
    async fn next_messages(
        &mut self,
        progress: &IndexProgress,
        limit: i64,
    ) -> Result<(Option<i64>, Vec<(i64, Document)>), StoreError> {
        let mut query = Query::new(
            "SELECT id, content, channel_id, sender_id FROM messages WHERE deleted_at IS NULL AND id > ",
        );
        query
            .bind(progress.at)
            .push(" AND id <= ")
            .bind(progress.until)
            .push(" ORDER BY id LIMIT ")
            .bind(limit);
        let rows = self.all::<(i64, String, i64, i64)>(query).await?;
        let document = |(id, content, channel, sender): &(i64, String, i64, i64)| {
            (*id, Document::message(content, ChannelId(*channel), UserId(*sender)))
        };
        Ok((rows.last().map(|row| row.0), rows.iter().map(document).collect()))
    }

    async fn next_files(
        &mut self,
        progress: &IndexProgress,
        limit: i64,
        now: Timestamp,
    ) -> Result<(Option<i64>, Vec<(i64, Document)>), StoreError> {
        let mut query = Query::new(
            "SELECT f.id, f.filename, f.file_type, t.text FROM files f LEFT JOIN file_texts t ON t.file_id = f.id
             WHERE f.sha256 IS NOT NULL AND f.id > ",
        );
        query
            .bind(progress.at)
            .push(" AND f.id <= ")
            .bind(progress.until)
            .push(" ORDER BY f.id LIMIT ")
            .bind(limit);
        let rows = self.all::<(i64, String, String, Option<String>)>(query).await?;
        let mut documents = Vec::new();
        for (id, name, kind, text) in &rows {
            self.read_later(FileId(*id), name, kind, now).await?;
            documents.push((*id, Document::file(name, kind, text.as_deref().unwrap_or_default())));
        }
        Ok((rows.last().map(|row| row.0), documents))
    }

    /// What a restored copy says of an index that is in no copy.
    pub(crate) async fn forget_index(&mut self) -> Result<(), StoreError> {
        self.run(Query::new("UPDATE search_progress SET version = 0, at = 0, until = 0")).await.map(|_| ())
    }
}

/// How far an index has been made: rows above `at` up to `until` are still to be indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexProgress {
    /// By which version of the rules for words; 0 if it has to be made anew.
    pub version: i64,
    /// The last row's id.
    pub at: i64,
    /// The last one's that is to be.
    pub until: i64,
}

impl IndexProgress {
    /// Whether every row is indexed by the rules of now.
    pub fn is_complete(&self) -> bool {
        self.version == patchbay_words::VERSION && self.at >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_on_both_databases() {
        let document = Document::message("Hello helloWorld, it's http://a", ChannelId(3), UserId(7));
        assert_eq!(
            document.columns(),
            ["", "hello helloworld it s http a ", "hello world ", ":any :in:3 :from:7 :link"]
        );
        assert_eq!(
            document.tsvector(),
            "'a':8B 'hello':3B,11C 'helloworld':4B 'http':7B 'it':5B 's':6B 'world':12C \
             ':any' ':in:3' ':from:7' ':link' "
        );
        assert_eq!(
            Document::file("a.pdf", "application/pdf", "x").columns(),
            ["a pdf application pdf ", "x ", "", ":any"]
        );
        assert_eq!(quoted("a'b\\"), "'a''b\\\\'");
    }
}
