//! What plugins say, and what is said of their failures: the last lines of each, for its operator.
//!
//! Owns: the lines. They are kept in memory only; the server's own log has them too. Must not: grow: so many lines of so
//! many plugins, the oldest go.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use patchbay_core::Timestamp;
use patchbay_runtime::capabilities::log::LogLevel;

/// Lines that are kept of one plugin: up to 4 MiB.
const LINES: usize = 1_000;
/// Characters of a line that are kept.
const LINE_CHARS: usize = 4_096;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Rises by one with each line of any plugin since the server started.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// What it says; may hold any character.
    pub text: String,
}

/// The lines of all plugins. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PluginLog(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: i64,
    of: HashMap<String, VecDeque<Line>>,
}

impl PluginLog {
    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a line.
    pub fn push(&self, plugin: &str, level: LogLevel, text: &str) {
        let mut lines = self.lines();
        lines.last += 1;
        let line = Line {
            id: lines.last,
            at: Timestamp::now(),
            level,
            text: text.chars().take(LINE_CHARS).collect(),
        };
        let of = lines.of.entry(plugin.to_owned()).or_default();
        if of.len() >= LINES {
            of.pop_front();
        }
        of.push_back(line);
    }

    /// Up to `limit` lines of a plugin, the newest first: the newest ones, those next before the line `before`, or those
    /// next after the line `after`.
    pub fn page(&self, plugin: &str, before: Option<i64>, after: Option<i64>, limit: usize) -> Vec<Line> {
        let lines = self.lines();
        let mut of = lines.of.get(plugin).into_iter().flatten();
        if let Some(after) = after {
            let mut found: Vec<_> = of.filter(|line| line.id > after).take(limit).cloned().collect();
            found.reverse();
            return found;
        }
        let mut found = Vec::new();
        while let Some(line) = of.next_back()
            && found.len() < limit
        {
            if before.is_none_or(|id| line.id < id) {
                found.push(line.clone());
            }
        }
        found
    }

    /// A plugin is gone.
    pub fn forget(&self, plugin: &str) {
        self.lines().of.remove(plugin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay() {
        let log = PluginLog::default();
        for n in 0..LINES + 5 {
            log.push("a", LogLevel::Info, &n.to_string());
        }
        log.push("b", LogLevel::Warn, "other");
        let texts = |before, after, limit| -> Vec<String> {
            log.page("a", before, after, limit).into_iter().map(|line| line.text).collect()
        };
        assert_eq!(texts(None, None, 2), ["1004", "1003"]);
        assert_eq!(texts(Some(8), None, 5), ["6", "5"], "the first five are gone");
        assert_eq!(texts(None, Some(1003), 5), ["1004", "1003"]);
        assert_eq!(texts(None, Some(6), 2), ["7", "6"], "the next ones, the newest first");
        log.forget("a");
        assert!(texts(None, None, 1).is_empty());
        assert_eq!(log.page("b", None, None, 9).len(), 1);
    }
}
