//! `post`: durable messages per second by REST, and `post-latency`: how long one takes at half that load; against a
//! handler that does next to nothing, with the same commit.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    floor::post::{self as floor, Database},
    load::{
        Result,
        child::Process,
        http::{Connection, request},
        patchbay::Patchbay,
        postgres::Postgres,
    },
    table::{Figure, Goal, Table, percentile},
};

const SENDERS: usize = 64;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
const USERS: usize = 16;
/// Single inserts in a round, for the floor of latency.
const INSERTS: usize = 400;
const CONTENT: &str =
    "A message of a usual length, such as people write to each other all day long, with a 👍 in it.";

/// A server and what its senders send.
struct Side {
    address: String,
    requests: Vec<Arc<Vec<u8>>>,
    _process: Box<dyn Send>,
}

pub fn throughput() -> Result<()> {
    block_on(async {
        let directory = tempfile::tempdir()?;
        on("post-sqlite", None, &file(&directory, "floor.db")?).await?;
        if let Some(postgres) = Postgres::start()? {
            let (ours, floor) = (postgres.database("ours").await?, postgres.database("floor").await?);
            on("post-postgres", Some(&ours), &floor).await?;
        }
        Ok(())
    })
}

pub fn latency() -> Result<()> {
    block_on(async {
        let directory = tempfile::tempdir()?;
        latency_on("post-latency-sqlite", None, &file(&directory, "floor.db")?).await?;
        if let Some(postgres) = Postgres::start()? {
            let (ours, floor) = (postgres.database("ours").await?, postgres.database("floor").await?);
            latency_on("post-latency-postgres", Some(&ours), &floor).await?;
        }
        Ok(())
    })
}

fn block_on(measure: impl Future<Output = Result<()>>) -> Result<()> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(measure)
}

fn file(directory: &TempDir, name: &str) -> Result<String> {
    Ok(directory.path().join(name).to_str().ok_or("a path that is no text")?.to_owned())
}

async fn on(name: &str, ours: Option<&str>, floor: &str) -> Result<()> {
    let sides = [("Patchbay", Side::patchbay(ours).await?), ("bare handler", Side::floor(floor)?)];
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for ((_, side), rates) in sides.iter().zip(&mut rates) {
            let rate = side.saturate().await?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let mut table = Table::new(name, "messages/s");
    for ((name, _), rates) in sides.iter().zip(rates) {
        table.add(Figure::new(*name, rates));
    }
    table.compare("Patchbay", "bare handler", Goal::AtLeast(0.6));
    table.publish()
}

async fn latency_on(name: &str, ours: Option<&str>, floor: &str) -> Result<()> {
    let side = Side::patchbay(ours).await?;
    let mut database = Database::open(floor).await?;
    side.saturate().await?;
    let load = side.saturate().await? / 2.0;
    let names = ["Patchbay, p50", "Patchbay, p99", "one insert, p50", "one insert, p99"];
    let mut figures = names.map(|name| (name, Vec::new()));
    for _ in 0..ROUNDS {
        let mut ours = side.paced(load).await?;
        let mut floor = Vec::new();
        for _ in 0..INSERTS {
            let started = Instant::now();
            database.insert(1, 1, CONTENT).await?;
            floor.push(started.elapsed());
        }
        ours.sort_unstable();
        floor.sort_unstable();
        let round = [(&ours, 0.5), (&ours, 0.99), (&floor, 0.5), (&floor, 0.99)];
        for ((_, rounds), (times, share)) in figures.iter_mut().zip(round) {
            rounds.push(percentile(times, share));
        }
    }
    database.close().await?;
    let mut table = Table::new(name, "ms, at half the load that saturates");
    for (name, rounds) in figures {
        table.add(Figure::new(name, rounds));
    }
    table.compare("Patchbay, p50", "one insert, p50", Goal::AtMost(2.0));
    table.compare("Patchbay, p99", "one insert, p99", Goal::AtMost(5.0));
    table.publish()
}

impl Side {
    async fn patchbay(database: Option<&str>) -> Result<Self> {
        let server = Patchbay::start(database)?;
        let users = server.users(USERS).await?;
        let channel = server.channel(&users).await?;
        let tokens = users.iter().map(|user| user.token.as_str());
        let (address, requests) = (server.address.clone(), requests(channel, tokens));
        Ok(Self { address, requests, _process: Box::new(server) })
    }

    fn floor(database: &str) -> Result<Self> {
        let (process, address, token): (Process, _, String) = floor::start(database)?;
        Ok(Self { address, requests: requests(1, [token.as_str()]), _process: Box::new(process) })
    }

    /// Posts per second, when each sender sends as soon as it has been answered.
    async fn saturate(&self) -> Result<f64> {
        let started = Instant::now();
        let mut senders = JoinSet::new();
        for request in self.requests.iter().cycle().take(SENDERS) {
            let (address, request) = (self.address.clone(), Arc::clone(request));
            senders.spawn(async move {
                let mut connection = Connection::open(&address).await?;
                let mut sent = 0_u32;
                while started.elapsed() < ROUND {
                    post(&mut connection, &request).await?;
                    sent += 1;
                }
                Result::Ok(sent)
            });
        }
        let mut sent = 0;
        while let Some(one) = senders.join_next().await {
            sent += one??;
        }
        Ok(f64::from(sent) / started.elapsed().as_secs_f64())
    }

    /// How long each took at so many posts per second, counted from when it was due: a sender that waits for an answer
    /// makes the next one late, not absent.
    async fn paced(&self, rate: f64) -> Result<Vec<Duration>> {
        let started = Instant::now();
        let step = Duration::from_secs_f64(SENDERS as f64 / rate);
        let mut senders = JoinSet::new();
        for (n, request) in self.requests.iter().cycle().take(SENDERS).enumerate() {
            let (address, request) = (self.address.clone(), Arc::clone(request));
            let mut due = step.mul_f64(n as f64 / SENDERS as f64);
            senders.spawn(async move {
                let mut connection = Connection::open(&address).await?;
                let mut times = Vec::new();
                while due < ROUND {
                    tokio::time::sleep_until((started + due).into()).await;
                    // The clock that wakes counts in milliseconds, which is not the server's fault.
                    let begun = started.elapsed().saturating_sub(due).min(Duration::from_millis(2));
                    post(&mut connection, &request).await?;
                    times.push(started.elapsed().saturating_sub(due + begun));
                    due += step;
                }
                Result::Ok(times)
            });
        }
        let mut times = Vec::new();
        while let Some(some) = senders.join_next().await {
            times.extend(some??);
        }
        Ok(times)
    }
}

fn requests<'a>(channel: i64, tokens: impl IntoIterator<Item = &'a str>) -> Vec<Arc<Vec<u8>>> {
    let path = format!("/api/channels/{channel}/messages");
    let body = json!({ "content": CONTENT }).to_string();
    tokens.into_iter().map(|token| Arc::new(request("POST", &path, token, &body))).collect()
}

async fn post(connection: &mut Connection, request: &[u8]) -> Result<()> {
    let answer = connection.send(request).await?;
    if answer.status == 201 {
        return Ok(());
    }
    Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
}
