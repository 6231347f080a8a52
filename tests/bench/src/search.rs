//! `search`: queries per second over many messages, mixed words, phrases and filters, against the same statements sent to
//! the same database directly; and how long one takes while messages are being posted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, SqliteConnection, postgres::PgConnectOptions,
};
use tokio::task::JoinSet;

use crate::{
    floor::search::{self as floor, Asked},
    load::{
        Result,
        http::{Connection, request},
        patchbay::{Patchbay, User},
        postgres::Postgres,
    },
    options,
    table::{Figure, Goal, Table, percentile},
};

/// Messages, unless `--messages=` says otherwise.
const MESSAGES: usize = 100_000;
const USERS: usize = 16;
const CHANNELS: usize = 20;
/// Different words, the `k`th about in proportion to 1/k, as in languages.
const VOCABULARY: usize = 30_000;
const SEARCHERS: usize = 4;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
/// Messages per second that are posted meanwhile.
const POSTS: f64 = 200.0;
const ROWS: usize = 500;

pub fn run() -> Result<()> {
    let messages = options::number("messages")?.unwrap_or(MESSAGES);
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        on("search-sqlite", None, messages).await?;
        if let Some(postgres) = Postgres::start()? {
            let url = postgres.database("ours").await?;
            on("search-postgres", Some(&url), messages).await?;
        }
        Ok(())
    })
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    /// A word's number, the first ones more often.
    fn zipf(&mut self) -> usize {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((share * (VOCABULARY as f64).ln()).exp() as usize).saturating_sub(1)
    }
}

/// A word of its number, in letters.
fn word(number: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "de", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va", "we", "xi", "yo", "zu", "fa"];
    let mut left = number + 16;
    let mut word = String::new();
    while left > 0 {
        word.push_str(SYLLABLES.get(left % 16).copied().unwrap_or_default());
        left /= 16;
    }
    word
}

fn sentence(numbers: &mut Numbers) -> String {
    let words: Vec<String> = (0..6 + numbers.below(14)).map(|_| word(numbers.zipf())).collect();
    words.join(" ")
}

/// Queries as clients write them, and as the databases do.
fn queries(channels: &[i64], users: &[User]) -> Vec<(String, Asked)> {
    let mut queries = Vec::new();
    let mut add = |q: String, fts5: String, tsquery: String, words: String| {
        for by_relevance in [true, false] {
            let sort = if by_relevance { "relevance" } else { "newest" };
            let path = format!("/api/search/messages?q={q}&sort={sort}");
            let (fts5, tsquery, words) = (fts5.clone(), tsquery.clone(), words.clone());
            queries.push((path, Asked { fts5, tsquery, words, by_relevance }));
        }
    };
    for (n, common) in [3, 10, 30, 100, 300, 1_000, 3_000, 10_000].into_iter().enumerate() {
        let (a, b) = (word(common), word(common / 2 + 1));
        let channel = channels.get(n % channels.len().max(1)).copied().unwrap_or(1);
        let user = users.get(n % users.len().max(1)).map_or(1, |user| user.id);
        add(a.clone(), format!("\"{a}\""), format!("'{a}'"), format!("'{a}'"));
        add(
            format!("{a}+{b}"),
            format!("\"{a}\" AND \"{b}\""),
            format!("'{a}' & '{b}'"),
            format!("'{a}' & '{b}'"),
        );
        add(
            format!("%22{b}+{a}%22"),
            format!("\"{b} {a}\""),
            format!("'{b}' <-> '{a}'"),
            format!("'{b}' <-> '{a}'"),
        );
        add(format!("{a}+-{b}"), format!("\"{a}\" NOT \"{b}\""), format!("'{a}' & !'{b}'"), format!("'{a}'"));
        add(
            format!("{a}+in:{channel}"),
            format!("\"{a}\" AND \":in:{channel}\""),
            format!("'{a}' & ':in:{channel}'"),
            format!("'{a}'"),
        );
        add(
            format!("{b}+from:{user}"),
            format!("\"{b}\" AND \":from:{user}\""),
            format!("'{b}' & ':from:{user}'"),
            format!("'{b}'"),
        );
    }
    queries
}

async fn on(name: &str, database: Option<&str>, messages: usize) -> Result<()> {
    let server = Patchbay::start(database)?;
    let users = server.users(USERS).await?;
    let searcher = users.last().ok_or("nobody")?;
    let channels = channels(&server, &users).await?;
    let database = match database {
        Some(url) => url.to_owned(),
        None => server.database_file(),
    };
    fill(&database, messages, &channels, &users).await?;
    let indexed = messages as f64 / reindex(&server, users.first().ok_or("nobody")?).await?.as_secs_f64();
    let queries = queries(&channels, &users);
    let asked: Vec<_> = queries.iter().map(|(_, asked)| asked.clone()).collect();
    let requests: Vec<_> =
        queries.iter().map(|(path, _)| Arc::new(request("GET", path, &searcher.token, ""))).collect();

    let names = [
        "Patchbay",
        "statements",
        "Patchbay, p99",
        "statements, p99",
        "Patchbay, posting, p99",
        "posts, p99",
    ];
    let mut figures = names.map(|name| (name, Vec::new()));
    for round in 0..=ROUNDS {
        let ours = load(&server.address, &requests, ROUND).await?;
        let floor = floor::load(&database, searcher.id, &asked, SEARCHERS, ROUND).await?;
        let posting = posting(&server.address, &users, channels.first().copied().unwrap_or(1), ROUND);
        let (busy, posts) = tokio::join!(load(&server.address, &requests, ROUND), posting);
        let (busy, posts) = (busy?, posts?);
        if round == 0 {
            continue;
        }
        let rate = |times: &Vec<Duration>| times.len() as f64 / ROUND.as_secs_f64();
        let p99 = |times: &Vec<Duration>| percentile(times, 0.99);
        let row = [rate(&ours), rate(&floor), p99(&ours), p99(&floor), p99(&busy), p99(&posts)];
        for ((_, rounds), figure) in figures.iter_mut().zip(row) {
            rounds.push(figure);
        }
    }
    let unit = "queries/s, and ms for p99";
    let mut table = Table::new(format!("{name}-{messages}"), unit);
    table.add(Figure::new("messages indexed anew per second", vec![indexed]));
    for (name, rounds) in figures {
        table.add(Figure::new(name, rounds));
    }
    table.compare("Patchbay", "statements", Goal::AtLeast(0.8));
    table.compare("Patchbay, posting, p99", "Patchbay, p99", Goal::None);
    table.publish()
}

/// Some channels, half of them private; everybody is in each second one.
async fn channels(server: &Patchbay, users: &[User]) -> Result<Vec<i64>> {
    let owner = users.first().ok_or("nobody")?;
    let mut connection = Connection::open(&server.address).await?;
    let mut channels = Vec::new();
    for n in 0..CHANNELS {
        let members: Vec<i64> = users.iter().filter(|_| n % 4 < 2).map(|user| user.id).collect();
        let body = json!({ "name": format!("bench{n}"), "is_public": n % 2 == 0, "member_ids": members });
        let create = request("POST", "/api/channels", &owner.token, &body.to_string());
        let made = connection.send(&create).await?.json()?;
        channels.push(made.get("id").and_then(Value::as_i64).ok_or("no channel")?);
    }
    Ok(channels)
}

/// Puts messages into the database without the server, as an earlier version would have left them.
async fn fill(database: &str, messages: usize, channels: &[i64], users: &[User]) -> Result<()> {
    enum Open {
        Sqlite(SqliteConnection),
        Postgres(PgConnection),
    }
    let mut open = if database.starts_with("postgres://") {
        Open::Postgres(database.parse::<PgConnectOptions>()?.connect().await?)
    } else {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        Open::Sqlite(options.busy_timeout(Duration::from_secs(30)).connect().await?)
    };
    let mut numbers = Numbers(1);
    let mut done = 0;
    while done < messages {
        let rows: Vec<String> = (done..messages.min(done + ROWS))
            .map(|n| {
                let channel = channels.get(numbers.below(channels.len())).copied().unwrap_or(1);
                let user = users.get(numbers.below(users.len())).map_or(1, |user| user.id);
                let at = 1_700_000_000_000 + n as u64 * 1_000;
                // Letters and spaces only.
                format!("({channel}, {user}, '{}', {at}, {at})", sentence(&mut numbers))
            })
            .collect();
        let sql = format!(
            "INSERT INTO messages (channel_id, sender_id, content, created_at, updated_at) VALUES {}",
            rows.join(", ")
        );
        let sql = sqlx::AssertSqlSafe(sql);
        match &mut open {
            Open::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop)?,
            Open::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(drop)?,
        }
        done += ROWS;
    }
    match open {
        Open::Sqlite(connection) => connection.close().await?,
        Open::Postgres(mut connection) => {
            sqlx::raw_sql("ANALYZE").execute(&mut connection).await?;
            connection.close().await?;
        }
    }
    Ok(())
}

/// How long making the index takes.
async fn reindex(server: &Patchbay, root: &User) -> Result<Duration> {
    let mut connection = Connection::open(&server.address).await?;
    let begun = Instant::now();
    connection.send(&request("POST", "/api/admin/search/reindex", &root.token, "")).await?.json()?;
    loop {
        let state = connection.send(&request("GET", "/api/admin/search", &root.token, "")).await?.json()?;
        let indexes = state.get("indexes").and_then(Value::as_array).cloned().unwrap_or_default();
        if indexes.iter().all(|index| index.get("is_complete") == Some(&Value::Bool(true))) {
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How long each query took, sorted.
async fn load(address: &str, requests: &[Arc<Vec<u8>>], round: Duration) -> Result<Vec<Duration>> {
    let started = Instant::now();
    let mut running = JoinSet::new();
    for n in 0..SEARCHERS {
        let (address, requests) = (address.to_owned(), requests.to_vec());
        running.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let mut times = Vec::new();
            for request in requests.iter().cycle().skip(n * 7) {
                if started.elapsed() >= round {
                    break;
                }
                let begun = Instant::now();
                let answer = connection.send(request).await?;
                times.push(begun.elapsed());
                if answer.status != 200 {
                    let (asked, said) =
                        (String::from_utf8_lossy(request), String::from_utf8_lossy(&answer.body));
                    return Err(format!("{}: {said}\n{asked}", answer.status).into());
                }
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

/// Posts at a steady rate; how long each took, sorted.
async fn posting(address: &str, users: &[User], channel: i64, round: Duration) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(address).await?;
    let mut numbers = Numbers(2);
    let path = format!("/api/channels/{channel}/messages");
    let owner = users.first().ok_or("nobody")?;
    let (started, mut due, mut times) = (Instant::now(), Duration::ZERO, Vec::new());
    while due < round {
        tokio::time::sleep_until((started + due).into()).await;
        let body = json!({ "content": sentence(&mut numbers) }).to_string();
        let begun = Instant::now();
        connection.send(&request("POST", &path, &owner.token, &body)).await?.json()?;
        times.push(begun.elapsed());
        due += Duration::from_secs_f64(1.0 / POSTS);
    }
    times.sort_unstable();
    Ok(times)
}
