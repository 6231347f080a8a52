//! Figures of variants that were measured in turn, their ratios, and the JSON file.
//!
//! Owns: how such figures are shown. Must not: know what is measured.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::{load::Result, report::root};

/// What a ratio should be.
#[derive(Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Told for its own sake.
    None,
}

/// A variant: one figure for each round.
pub struct Figure {
    name: String,
    rounds: Vec<f64>,
}

/// What a benchmark has found.
pub struct Table {
    name: String,
    unit: &'static str,
    figures: Vec<Figure>,
    ratios: Vec<Value>,
    lines: Vec<String>,
}

/// The middle of some figures; of two middles the upper.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Below which a share of some sorted times lies, in milliseconds.
pub fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
}

impl Figure {
    pub fn new(name: impl Into<String>, rounds: Vec<f64>) -> Self {
        Self { name: name.into(), rounds }
    }
}

impl Table {
    pub fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, figures: Vec::new(), ratios: Vec::new(), lines: Vec::new() }
    }

    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    fn of(&self, name: &str) -> Option<f64> {
        Some(median(&self.figures.iter().find(|figure| figure.name == name)?.rounds))
    }

    /// The ratio of one figure to another; nothing, if one of them was not measured.
    pub fn compare(&mut self, ours: &str, floor: &str, goal: Goal) {
        let (Some(a), Some(b)) = (self.of(ours), self.of(floor)) else { return };
        self.tell(format!("{ours} / {floor}"), a / b, " ×", goal);
    }

    /// A figure that has a goal of its own.
    pub fn judge(&mut self, ours: &str, goal: Goal) {
        let Some(figure) = self.of(ours) else { return };
        self.tell(ours.to_owned(), figure, "", goal);
    }

    fn tell(&mut self, what: String, figure: f64, sign: &str, goal: Goal) {
        let (told, reached) = match goal {
            Goal::AtLeast(bound) => (format!("  (goal: at least {bound}{sign})"), Some(figure >= bound)),
            Goal::AtMost(bound) => (format!("  (goal: at most {bound}{sign})"), Some(figure <= bound)),
            Goal::None => (String::new(), None),
        };
        let missed = if reached == Some(false) { "  MISSED" } else { "" };
        self.lines.push(format!("  {what}: {figure:.2}{sign}{told}{missed}"));
        self.ratios.push(json!({ "what": what, "figure": figure, "goal_reached": reached }));
    }

    /// Prints it, and writes it to `target/bench/NAME.json`.
    pub fn publish(&self) -> Result<()> {
        println!("{}: {}, median of rounds", self.name, self.unit);
        for figure in &self.figures {
            let low = figure.rounds.iter().copied().fold(f64::INFINITY, f64::min);
            let high = figure.rounds.iter().copied().fold(0.0, f64::max);
            let middle = median(&figure.rounds);
            println!(
                "  {:<36} {middle:>12.2}   ({} rounds, {low:.2} to {high:.2})",
                figure.name,
                figure.rounds.len()
            );
        }
        for line in &self.lines {
            println!("{line}");
        }
        let rows: Vec<Value> = self
            .figures
            .iter()
            .map(|f| json!({ "name": f.name, "median": median(&f.rounds), "rounds": f.rounds }))
            .collect();
        let directory = root().join("target/bench");
        fs::create_dir_all(&directory)?;
        let document =
            json!({ "benchmark": self.name, "unit": self.unit, "figures": rows, "ratios": self.ratios });
        Ok(fs::write(directory.join(format!("{}.json", self.name)), format!("{document:#}\n"))?)
    }
}
