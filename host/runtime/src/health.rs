//! When a version of a plugin fails too much to go on. Pure: endings and time in, verdict out.
//!
//! Owns: the rule. Must not: act on it; the embedder rolls back or puts the plugin into quarantine.

use std::time::{Duration, Instant};

/// How far back failures count: two spans of this, the present one and the one before.
const SPAN: Duration = Duration::from_secs(30);
/// How many failures are too many, if they are at least half of all calls.
const TOO_MANY: u32 = 20;
/// The same for a version that has just taken another one's place.
const TOO_MANY_AT_FIRST: u32 = 3;
/// How long a version counts as new.
const AT_FIRST: Duration = Duration::from_secs(600);

/// The recent past of one version.
#[derive(Debug)]
pub(crate) struct Health {
    since: Option<Instant>,
    span: Option<Instant>,
    now: Tally,
    before: Tally,
    condemned: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { since: None, span: None, now: Tally::default(), before: Tally::default(), condemned: false }
    }

    /// It has taken the place of a version that worked.
    pub(crate) fn succeeds(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Nobody could be told.
    pub(crate) fn retract(&mut self) {
        self.condemned = false;
    }

    /// Whether it took another one's place a short while ago.
    pub(crate) fn is_new(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < AT_FIRST)
    }

    /// A call has ended; whether the version must not go on. Says so once.
    pub(crate) fn ended(&mut self, failed: bool, now: Instant) -> bool {
        let age = self.span.map_or(SPAN * 2, |start| now.saturating_duration_since(start));
        if age >= SPAN {
            self.before = if age < SPAN * 2 { self.now } else { Tally::default() };
            self.now = Tally::default();
            self.span = Some(now);
        }
        self.now.calls = self.now.calls.saturating_add(1);
        self.now.failures = self.now.failures.saturating_add(u32::from(failed));
        let calls = self.now.calls.saturating_add(self.before.calls);
        let failures = self.now.failures.saturating_add(self.before.failures);
        let too_many = if self.is_new(now) { TOO_MANY_AT_FIRST } else { TOO_MANY };
        let condemned = failed && !self.condemned && failures >= too_many && failures >= calls.div_ceil(2);
        self.condemned |= condemned;
        condemned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endings(health: &mut Health, now: Instant, endings: &str) -> Vec<usize> {
        let ended = |(n, c)| health.ended(c == 'f', now).then_some(n);
        endings.chars().enumerate().filter_map(ended).collect()
    }

    #[test]
    fn failures_condemn_once() {
        let now = Instant::now();
        assert_eq!(endings(&mut Health::new(), now, &"f".repeat(50)), [19]);
        assert_eq!(endings(&mut Health::new(), now, &"fo".repeat(40)), [38], "half of the calls");
        assert!(endings(&mut Health::new(), now, &"foo".repeat(40)).is_empty(), "a third");
    }

    #[test]
    fn a_new_version_has_less_credit() {
        let now = Instant::now();
        let mut health = Health::new();
        health.succeeds(now);
        assert_eq!(endings(&mut health, now, "offff"), [3]);
        let mut old = Health::new();
        old.succeeds(now);
        assert!(endings(&mut old, now + AT_FIRST, "offff").is_empty());
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let now = Instant::now();
        let mut health = Health::new();
        assert!(endings(&mut health, now, &"f".repeat(19)).is_empty());
        assert!(endings(&mut health, now + SPAN * 2, &"f".repeat(10)).is_empty());
        assert_eq!(endings(&mut health, now + SPAN * 3, &"f".repeat(10)), [9], "the span before counts");
    }
}
