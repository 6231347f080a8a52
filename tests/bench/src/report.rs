//! Timing in alternating rounds, the table, and the JSON file.
//!
//! Owns: how figures are taken and shown. Must not: know what is measured.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

/// The middle of some figures; of two middles the upper.
pub fn median<T: Ord + Copy + Default>(mut figures: Vec<T>) -> T {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// A measured variant: the p50 of each round.
pub struct Series {
    /// What it is.
    pub name: &'static str,
    rounds: Vec<Duration>,
}

impl Series {
    pub fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }

    /// Takes in one round's single times.
    pub fn round(&mut self, times: Vec<Duration>) {
        self.rounds.push(median(times));
    }

    /// The median of the rounds' p50s.
    pub fn p50(&self) -> Duration {
        median(self.rounds.clone())
    }

    fn micros(&self) -> f64 {
        self.p50().as_secs_f64() * 1e6
    }
}

/// Prints all series with their ratios to the first, and writes them to `target/bench/NAME.json`.
pub fn publish(name: &str, series: &[&Series], goals: &[(&Series, &Series, f64)]) -> std::io::Result<()> {
    println!("{name}: p50 per call, median of rounds");
    for s in series {
        let spread = s.rounds.iter().min().zip(s.rounds.iter().max());
        let (low, high) = spread.map_or((0.0, 0.0), |(a, b)| (a.as_secs_f64() * 1e6, b.as_secs_f64() * 1e6));
        println!("  {:<44} {:>8.2} µs   (rounds {low:.2} to {high:.2})", s.name, s.micros());
    }
    let mut ratios = Vec::new();
    for (ours, floor, goal) in goals {
        let ratio = ours.micros() / floor.micros();
        println!("  {} / {}: {ratio:.2} × (goal: at most {goal} ×)", ours.name, floor.name);
        ratios.push(json!({ "ours": ours.name, "floor": floor.name, "ratio": ratio, "goal": goal }));
    }
    let rows: Vec<Value> = series
        .iter()
        .map(|s| json!({ "name": s.name, "p50_us": s.micros(), "rounds": s.rounds.len() }))
        .collect();
    let directory = root().join("target/bench");
    fs::create_dir_all(&directory)?;
    let document = json!({ "benchmark": name, "series": rows, "ratios": ratios });
    fs::write(directory.join(format!("{name}.json")), format!("{document:#}\n"))
}

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}
