//! `plugin-route`: requests per second through a plugin's route, against a route of the host's own that does as much;
//! `swap`: failed requests and p99 while a plugin is replaced once a second, against the same load without.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    load::{
        Result,
        http::{Connection, request},
        patchbay::{Patchbay, User},
    },
    report::root,
    table::{Figure, Goal, Table, percentile},
};

const SENDERS: usize = 32;
/// Of `swap`: so many that the machine is busy and not overwhelmed.
const CALLERS: usize = 8;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
const SWAP_ROUND: Duration = Duration::from_secs(4);

pub fn route() -> Result<()> {
    block_on(async {
        let (server, user, message) = prepared().await?;
        let whoami = std::fs::read(root().join("target/test-guests/whoami.wasm"))?;
        install(&server, &user, "whoami", &whoami).await?;
        let paths = [
            ("plugin, one read", format!("/api/messages/{message}/reactions")),
            ("host, one read", format!("/api/messages/{message}/thread")),
            ("plugin, no-op", "/api/plugins/whoami/me".to_owned()),
            ("host, no-op", "/api/commands".to_owned()),
        ];
        let mut rates = paths.each_ref().map(|_| Vec::new());
        for round in 0..=ROUNDS {
            for ((_, path), rates) in paths.iter().zip(&mut rates) {
                let (times, _) = load(&server.address, path, &user.token, SENDERS, ROUND).await?;
                if round > 0 {
                    rates.push(times.len() as f64 / ROUND.as_secs_f64());
                }
            }
        }
        let mut table = Table::new("plugin-route", "requests/s");
        for ((name, _), rates) in paths.iter().zip(rates) {
            table.add(Figure::new(*name, rates));
        }
        table.compare("plugin, one read", "host, one read", Goal::AtLeast(0.85));
        table.compare("plugin, no-op", "host, no-op", Goal::AtLeast(0.5));
        table.publish()
    })
}

pub fn swap() -> Result<()> {
    block_on(async {
        let (server, user, message) = prepared().await?;
        let component = std::fs::read(root().join("target/plugins/reactions.wasm"))?;
        let path = format!("/api/messages/{message}/reactions");
        let own = format!("/api/messages/{message}");
        let names = ["quiet, p99", "swapped, p99", "quiet host, p99", "swapped host, p99", "failed requests"];
        let mut figures = names.map(|name| (name, Vec::new()));
        let mut mark = 0_u32;
        for round in 0..=ROUNDS {
            let (quiet, none) = load(&server.address, &path, &user.token, CALLERS, SWAP_ROUND).await?;
            let (quiet_host, _) = load(&server.address, &own, &user.token, CALLERS, SWAP_ROUND).await?;
            let (times, failed) = swapping(&server, &user, &component, &mut mark, &path).await?;
            let (host, failed_host) = swapping(&server, &user, &component, &mut mark, &own).await?;
            if round > 0 {
                let p99 = |times: &[Duration]| percentile(times, 0.99);
                let measured = [p99(&quiet), p99(&times), p99(&quiet_host), p99(&host)];
                let all = measured.into_iter().chain([(none + failed + failed_host) as f64]);
                for ((_, rounds), figure) in figures.iter_mut().zip(all) {
                    rounds.push(figure);
                }
            }
        }
        let mut table = Table::new("swap", "ms, and requests");
        for (name, rounds) in figures {
            table.add(Figure::new(name, rounds));
        }
        table.compare("swapped, p99", "quiet, p99", Goal::AtMost(1.5));
        table.compare("swapped host, p99", "quiet host, p99", Goal::AtMost(1.5));
        table.judge("failed requests", Goal::AtMost(0.0));
        table.publish()
    })
}

fn block_on(measure: impl Future<Output = Result<()>>) -> Result<()> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(measure)
}

/// A server, its superuser, and a message with a reaction.
async fn prepared() -> Result<(Patchbay, User, i64)> {
    let server = Patchbay::start(None)?;
    let users = server.users(1).await?;
    let user = users.first().cloned().ok_or("nobody")?;
    let channel = server.channel(&users).await?;
    let mut connection = Connection::open(&server.address).await?;
    let body = json!({ "content": "hello" }).to_string();
    let path = format!("/api/channels/{channel}/messages");
    let posted = connection.send(&request("POST", &path, &user.token, &body)).await?.json()?;
    let message = posted.get("id").and_then(serde_json::Value::as_i64).ok_or("no message")?;
    let body = json!({ "emoji": "👍" }).to_string();
    let path = format!("/api/messages/{message}/reactions");
    connection.send(&request("POST", &path, &user.token, &body)).await?.json()?;
    Ok((server, user, message))
}

async fn install(server: &Patchbay, user: &User, name: &str, component: &[u8]) -> Result<()> {
    let mut connection = Connection::open(&server.address).await?;
    let head = format!(
        "PUT /api/admin/plugins/{name} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\
         content-type: application/wasm\r\ncontent-length: {}\r\n\r\n",
        user.token,
        component.len()
    );
    let installed = connection.send(&[head.as_bytes(), component].concat()).await?.json()?;
    match installed.get("state").and_then(serde_json::Value::as_str) {
        Some("active") => Ok(()),
        state => Err(format!("{name} is {state:?}").into()),
    }
}

/// The load while another version takes over each second, each compiled anew.
async fn swapping(
    server: &Patchbay,
    user: &User,
    component: &[u8],
    mark: &mut u32,
    path: &str,
) -> Result<(Vec<Duration>, usize)> {
    let calls = load(&server.address, path, &user.token, CALLERS, SWAP_ROUND);
    let swaps = async {
        let until = Instant::now() + SWAP_ROUND;
        while Instant::now() < until {
            let next = Instant::now() + Duration::from_secs(1);
            *mark += 1;
            // A custom section that means nothing gives it another digest.
            let note = [&[0, 9, 4][..], b"note", &mark.to_le_bytes()].concat();
            install(server, user, "reactions", &[component, &note].concat()).await?;
            tokio::time::sleep_until(next.into()).await;
        }
        Result::Ok(())
    };
    let (calls, swaps) = tokio::join!(calls, swaps);
    swaps?;
    calls
}

/// How long each request took, sorted, and how many failed.
async fn load(
    address: &str,
    path: &str,
    token: &str,
    senders: usize,
    round: Duration,
) -> Result<(Vec<Duration>, usize)> {
    let request = Arc::new(request("GET", path, token, ""));
    let started = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..senders {
        let (address, request) = (address.to_owned(), Arc::clone(&request));
        running.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let (mut times, mut failed) = (Vec::new(), 0);
            while started.elapsed() < round {
                let begun = Instant::now();
                let answer = connection.send(&request).await?;
                times.push(begun.elapsed());
                failed += usize::from(answer.status != 200);
            }
            Result::Ok((times, failed))
        });
    }
    let (mut times, mut failed) = (Vec::new(), 0);
    while let Some(one) = running.join_next().await {
        let (some, missed) = one??;
        times.extend(some);
        failed += missed;
    }
    times.sort_unstable();
    Ok((times, failed))
}
