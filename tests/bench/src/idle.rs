//! `idle`: what an authenticated socket on which nothing happens costs in memory, here and on `bun`.

use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;

use crate::{
    load::{
        Result, bun,
        child::Process,
        patchbay::Patchbay,
        raise_file_limit,
        sockets::{connect, listen},
    },
    options::number,
    table::{Figure, Goal, Table},
};

const SOCKETS: usize = 10_000;
const USERS: usize = 250;
/// Each on a new process: memory that was freed is not given back, so a second time in the same one would cost nothing.
const ROUNDS: usize = 5;
/// Opened before counting begins, so that what a server needs once isn't counted.
const WARM: usize = 500;

pub fn run() -> Result<()> {
    raise_file_limit();
    let sockets = number("sockets")?.unwrap_or(SOCKETS);
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    executor.block_on(async {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(patchbay(sockets).await?);
            if let Some((process, address)) = bun::start("{}")? {
                theirs.push(measure(&process, &address, "/", &[String::new()], sockets).await?);
            }
        }
        let mut table = Table::new("idle", "KiB per socket");
        table.add(Figure::new("Patchbay", ours));
        if !theirs.is_empty() {
            table.add(Figure::new("bun", theirs));
        }
        table.judge("Patchbay", Goal::AtMost(6.0));
        table.compare("Patchbay", "bun", Goal::None);
        table.publish()
    })
}

async fn patchbay(sockets: usize) -> Result<f64> {
    let server = Patchbay::start(None)?;
    let users = server.users(USERS).await?;
    server.channel(&users).await?;
    let tokens: Vec<String> = users.into_iter().map(|user| user.token).collect();
    measure(&server.process, &server.address, "/ws/chat", &tokens, sockets).await
}

/// KiB that each socket adds.
async fn measure(
    process: &Process,
    address: &str,
    path: &str,
    tokens: &[String],
    sockets: usize,
) -> Result<f64> {
    let mut open: Vec<OwnedWriteHalf> = Vec::new();
    let mut tokens = tokens.iter().cycle();
    let mut before = 0;
    for n in 0..WARM + sockets {
        if n == WARM {
            before = settled(process).await?;
        }
        let token = tokens.next().ok_or("nobody")?;
        open.push(listen(connect(address, path, token).await?, None));
    }
    let after = settled(process).await?;
    Ok(after.saturating_sub(before) as f64 / sockets as f64 / 1024.0)
}

/// Resident bytes once what goes on after the last connection is over.
async fn settled(process: &Process) -> Result<u64> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    process.resident()
}
