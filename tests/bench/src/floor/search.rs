//! The query of the index by itself: the statement that the server sends, prepared once, on as many connections.
//!
//! Owns: these statements. Must not: fetch what was found.

use std::time::{Duration, Instant};

use sqlx::{
    ConnectOptions as _, PgConnection, SqliteConnection, postgres::PgConnectOptions,
    sqlite::SqliteConnectOptions,
};
use tokio::task::JoinSet;

use crate::load::Result;

/// What is asked, as both databases want it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub fts5: String,
    pub tsquery: String,
    /// The same without what says nothing of relevance.
    pub words: String,
    pub by_relevance: bool,
}

const SQLITE_FROM: &str = "FROM message_index CROSS JOIN messages m JOIN channels c ON c.id = m.channel_id
    WHERE m.deleted_at IS NULL AND c.deleted_at IS NULL AND (c.is_public OR EXISTS
        (SELECT 1 FROM channel_members v WHERE v.channel_id = c.id AND v.user_id = $1))
    AND m.id = message_index.rowid AND message_index MATCH $2 ORDER BY message_index.rowid DESC";
const SQLITE_SCORE: &str = "m.id AS id, -bm25(message_index, 4.0, 1.0, 0.5, 0.0) AS score";
const POSTGRES_FROM: &str =
    "FROM message_index i JOIN messages m ON m.id = i.rowid JOIN channels c ON c.id = m.channel_id
    WHERE m.deleted_at IS NULL AND c.deleted_at IS NULL AND (c.is_public OR EXISTS
        (SELECT 1 FROM channel_members v WHERE v.channel_id = c.id AND v.user_id = $1))
    AND i.tokens @@ $2::TSQUERY ORDER BY i.rowid DESC";
const POSTGRES_SCORE: &str =
    "m.id AS id, CAST(ts_rank('{0, 0.1, 0.25, 1}', i.tokens, $3::TSQUERY, 1) AS DOUBLE PRECISION) AS score";

fn statement(score: &str, from: &str, by_relevance: bool) -> String {
    if by_relevance {
        format!(
            "SELECT id, score FROM (SELECT {score} {from} LIMIT 10000) n ORDER BY score DESC, id DESC LIMIT 51"
        )
    } else {
        format!("SELECT {score} {from} LIMIT 51")
    }
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Connection {
    async fn open(database: &str) -> Result<Self> {
        Ok(if database.starts_with("postgres://") {
            Self::Postgres(database.parse::<PgConnectOptions>()?.connect().await?)
        } else {
            let options = SqliteConnectOptions::new().filename(database).read_only(true);
            Self::Sqlite(options.pragma("cache_size", "-16384").connect().await?)
        })
    }

    /// How many rows there were.
    async fn ask(&mut self, user: i64, asked: &Asked) -> Result<usize> {
        let Asked { fts5, tsquery, words, by_relevance } = asked;
        let found: Vec<(i64, f64)> = match self {
            Self::Sqlite(connection) => {
                let sql = sqlx::AssertSqlSafe(statement(SQLITE_SCORE, SQLITE_FROM, *by_relevance));
                sqlx::query_as(sql).bind(user).bind(fts5).fetch_all(connection).await?
            }
            Self::Postgres(connection) => {
                let sql = sqlx::AssertSqlSafe(statement(POSTGRES_SCORE, POSTGRES_FROM, *by_relevance));
                // Not prepared for good: the plan depends on the words.
                let query = sqlx::query_as(sql).persistent(false).bind(user).bind(tsquery).bind(words);
                query.fetch_all(connection).await?
            }
        };
        Ok(found.len())
    }
}

/// How long each query took, sorted: so many connections ask one after the other, for so long.
pub async fn load(
    database: &str,
    user: i64,
    asked: &[Asked],
    connections: usize,
    round: Duration,
) -> Result<Vec<Duration>> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for n in 0..connections {
        let (database, asked) = (database.to_owned(), asked.to_vec());
        running.spawn(async move {
            let mut connection = Connection::open(&database).await?;
            let mut times = Vec::new();
            for asked in asked.iter().cycle().skip(n * 7) {
                if started.elapsed() >= round {
                    break;
                }
                let begun = Instant::now();
                connection.ask(user, asked).await?;
                times.push(begun.elapsed());
            }
            Result::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(one) = running.join_next().await {
        times.extend(one??);
    }
    times.sort_unstable();
    Ok(times)
}
