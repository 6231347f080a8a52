//! `fanout`: messages to many sockets in one channel, 8 on their way, against a loop that only writes, and against `bun`.
//!
//! Owns: alternating between the sides, and comparing them. Must not: open a socket; each side does in its own process.

mod side;

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

pub use side::serve;

use crate::{
    load::Result,
    options::number,
    table::{Figure, Goal, Table},
};

const ROUNDS: usize = 7;
const WINDOW: usize = 8;
/// Deliveries in a round, before which as many are not counted once.
const DELIVERIES: usize = 200_000;

/// One server and its sockets, in a process that does a round when it is asked to.
struct Side {
    name: &'static str,
    child: Child,
    asked: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    /// The frame that reaches the sockets.
    sample: String,
}

pub fn run() -> Result<()> {
    let sizes = number("sockets")?.map_or(vec![1_000, 10_000], |one| vec![one]);
    sizes.into_iter().try_for_each(measure)
}

fn measure(sockets: usize) -> Result<()> {
    let messages = (DELIVERIES / sockets).max(WINDOW * 2);
    let start = |name, argument, sample: &str| Side::start(name, argument, sockets, messages, sample);
    let ours = start("Patchbay", "patchbay", "")?.ok_or("Patchbay is absent")?;
    let sample = ours.sample.clone();
    let mut sides = vec![ours];
    sides.extend(start("bare loop", "bare", &sample)?);
    sides.extend(start("bun", "bun", &sample)?);
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); sides.len()];
    let mut latencies: Vec<[Vec<f64>; 2]> = vec![[Vec::new(), Vec::new()]; sides.len()];
    for round in 0..=ROUNDS {
        for ((side, rates), [p50, p99]) in sides.iter_mut().zip(&mut rates).zip(&mut latencies) {
            let measured = side.round(messages)?;
            if round > 0 {
                rates.push((messages * sockets) as f64 / measured.seconds);
                p50.push(measured.p50);
                p99.push(measured.p99);
            }
        }
    }
    let mut table = Table::new(format!("fanout-{sockets}"), "deliveries/s");
    let mut waits = Table::new(format!("fanout-{sockets}-latency"), "ms to the last receiver");
    for ((side, rates), [p50, p99]) in sides.iter().zip(rates).zip(latencies) {
        table.add(Figure::new(side.name, rates));
        waits.add(Figure::new(format!("{}, p50", side.name), p50));
        waits.add(Figure::new(format!("{}, p99", side.name), p99));
    }
    table.compare("Patchbay", "bare loop", Goal::AtLeast(0.8));
    table.compare("Patchbay", "bun", Goal::AtLeast(1.0));
    waits.compare("Patchbay, p50", "bare loop, p50", Goal::None);
    waits.compare("Patchbay, p99", "bare loop, p99", Goal::None);
    table.publish()?;
    waits.publish()?;
    Ok(())
}

/// Of one round: how long it took, and milliseconds to the last receiver.
struct Measured {
    seconds: f64,
    p50: f64,
    p99: f64,
}

impl Side {
    /// None if what it needs is not installed.
    fn start(
        name: &'static str,
        argument: &str,
        sockets: usize,
        messages: usize,
        sample: &str,
    ) -> Result<Option<Self>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["fanout-side", argument, &sockets.to_string(), &messages.to_string(), sample]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let asked = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let mut side = Self { name, child, asked, answers, sample: String::new() };
        let said = side.answer()?;
        if said == "absent" {
            return Ok(None);
        }
        said.strip_prefix("ready ").ok_or("a side said something else")?.clone_into(&mut side.sample);
        Ok(Some(side))
    }

    fn answer(&mut self) -> Result<String> {
        Ok(self.answers.next().ok_or_else(|| format!("{} has ended", self.name))??)
    }

    fn round(&mut self, messages: usize) -> Result<Measured> {
        writeln!(self.asked.as_mut().ok_or("no standard input")?, "{messages}")?;
        let answer = self.answer()?;
        let numbers: Vec<f64> = answer.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [seconds, p50, p99] = *numbers else { return Err(format!("{}: {answer}", self.name).into()) };
        Ok(Measured { seconds, p50, p99 })
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It ends when nobody can ask any more, and takes its server with it.
        drop(self.asked.take());
        let _ = self.child.wait();
    }
}
