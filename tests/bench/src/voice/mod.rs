//! `voice`: what a forwarded packet costs the server's threads, what somebody silent costs, and how soon a newcomer hears.
//!
//! The rooms are those of the server, in this process, over real sockets. Only the time of their threads is counted, as the
//! scheduler tells it; the floor is a thread that encrypts the same packets and sends them to the same listeners at the same pace,
//! a batch in one system call.

mod crowd;
mod floor;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use patchbay_voice::{Config, Limits, Observer, Reason, Stats, View, Voice};

use crate::{
    load::{Result, raise_file_limit},
    table::{Figure, Goal, Table, percentile},
};
use crowd::Crowd;

const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_secs(2);
/// Who speaks in each room.
const SPEAKERS: usize = 3;
/// Rooms and people in each.
const SHAPES: [(usize, usize); 4] = [(10, 10), (40, 10), (1, 100), (1, 500)];
const IDLE: usize = 200;
const JOINS: usize = 60;

struct Nobody;

impl Observer for Nobody {
    fn joined(&self, _: i64, _: &View) {}
    fn left(&self, _: i64, _: &View, _: Reason) {}
}

fn start() -> Result<Voice> {
    let config = Config {
        port: 0,
        announce: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        limits: Limits { slots: SPEAKERS, people: 1_000, rooms: 1_000 },
    };
    Ok(Voice::start(&config, Arc::new(Nobody))?)
}

pub fn run() -> Result<()> {
    raise_file_limit();
    let mut table = Table::new("voice", "µs of processor time per forwarded packet");
    for (rooms, people) in SHAPES {
        let name = format!("{rooms} rooms of {people}, {SPEAKERS} speaking");
        let floor_name = format!("encrypt and send, {rooms} rooms of {people}");
        let voice = start()?;
        let mut crowd = Crowd::gather(&voice, rooms, people)?;
        crowd.speakers(SPEAKERS);
        crowd.run(Duration::from_secs(1))?;
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (before, heard, began) = (forwarded(&voice), crowd.heard(), threads_time()?);
            crowd.run(WINDOW)?;
            let (packets, spent) = (forwarded(&voice) - before, threads_time()? - began);
            let heard = crowd.heard() - heard;
            if heard < packets - packets / 10 {
                return Err(format!("only {heard} of {packets} packets were read").into());
            }
            ours.push(spent.as_secs_f64() * 1e6 / packets as f64);
            floor.push(floor::run(&mut crowd, WINDOW)?);
        }
        voice.stop();
        table.add(Figure::new(&name, ours));
        table.add(Figure::new(&floor_name, floor));
        table.judge(&name, Goal::AtMost(8.0));
        // Packets per second are the inverse of the time that each takes.
        table.compare(&floor_name, &name, Goal::AtLeast(0.5));
    }
    idle(&mut table)?;
    joins(&mut table)?;
    table.publish()
}

/// Percent of a core that somebody connected and silent costs.
fn idle(table: &mut Table) -> Result<()> {
    let voice = start()?;
    let mut crowd = Crowd::gather(&voice, IDLE / 10, 10)?;
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let began = threads_time()?;
        crowd.run(WINDOW * 2)?;
        let spent = threads_time()? - began;
        shares.push(spent.as_secs_f64() / (WINDOW * 2).as_secs_f64() / IDLE as f64 * 100.0);
    }
    voice.stop();
    let name = "idle participant, % of a core";
    table.add(Figure::new(name, shares));
    table.judge(name, Goal::AtMost(0.05));
    Ok(())
}

/// From the offer to the first packet of somebody who speaks all the time, in milliseconds.
fn joins(table: &mut Table) -> Result<()> {
    let voice = start()?;
    let mut crowd = Crowd::gather(&voice, 1, 2)?;
    crowd.speakers(1);
    let mut times = Vec::new();
    for _ in 0..JOINS {
        times.push(crowd.newcomer(&voice)?);
    }
    voice.stop();
    times.sort_unstable();
    for (name, share) in [("join to first sound, ms, p50", 0.5), ("join to first sound, ms, p95", 0.95)] {
        table.add(Figure::new(name, vec![percentile(&times, share)]));
        table.judge(name, Goal::AtMost(1_000.0));
    }
    Ok(())
}

fn forwarded(voice: &Voice) -> u64 {
    let (put, get) = mpsc::channel::<Vec<Stats>>();
    voice.stats(move |stats| drop(put.send(stats)));
    let rooms = get.iter().take(voice.threads()).flatten();
    rooms.map(|room| room.forwarded).sum()
}

/// What the scheduler has given to the server's threads.
fn threads_time() -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if fs::read_to_string(path.join("comm"))?.starts_with("voice-") {
            sum += crowd::scheduled(&path.join("schedstat"))?;
        }
    }
    Ok(sum)
}

/// Waits for an answer that comes from another thread at once.
fn answer<T>(get: &mpsc::Receiver<T>) -> Result<T> {
    Ok(get.recv_timeout(Duration::from_secs(10))?)
}

/// How long it has been, for loops that must end.
fn patience(began: Instant, what: &str) -> Result<()> {
    if began.elapsed() > Duration::from_secs(60) {
        Err(format!("{what}: not within a minute").into())
    } else {
        Ok(())
    }
}
