//! What the calls of a plugin cost and how they ended, across its versions.
//!
//! Owns: the counters and the quantiles. Must not: decide anything by them; see `health`.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// The exports that calls go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// A routed request.
    Http,
    /// A page of messages to decorate.
    Decorator,
    /// A batch of events.
    Events,
    /// A message about to be stored.
    Hook,
    /// A slash command.
    Command,
    /// A job that has come due.
    Job,
    /// A change of version, or missed events.
    Lifecycle,
}

impl CallKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Decorator, Self::Events, Self::Hook, Self::Command, Self::Job, Self::Lifecycle];

    /// The export's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Decorator => "decorator",
            Self::Events => "events",
            Self::Hook => "hooks",
            Self::Command => "commands",
            Self::Job => "jobs",
            Self::Lifecycle => "lifecycle",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As the plugin meant it, refusals included.
    Well,
    /// It failed.
    Failed {
        /// By a trap or a limit, not by an error that the plugin returned.
        trapped: bool,
    },
    /// It never ran: no permit, or nobody waits for it any more.
    Unserved,
}

/// The upper ends of the buckets of durations: a factor of √2 from 16 µs to 95 s, in µs.
const BUCKETS: usize = 46;

/// Counters of one plugin.
#[derive(Debug)]
pub struct Stats {
    kinds: [Counters; CallKind::ALL.len()],
    traps: AtomicU64,
    running: AtomicU32,
    cpu_ms: AtomicU64,
    peak_memory: AtomicU64,
}

#[derive(Debug)]
struct Counters {
    calls: AtomicU64,
    failures: AtomicU64,
    unserved: AtomicU64,
    total_us: AtomicU64,
    durations: [AtomicU64; BUCKETS],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            unserved: AtomicU64::new(0),
            total_us: AtomicU64::new(0),
            durations: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            kinds: std::array::from_fn(|_| Counters::default()),
            traps: AtomicU64::new(0),
            running: AtomicU32::new(0),
            cpu_ms: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
        }
    }
}

/// What was counted of one export, since the server started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindStats {
    /// Of which export.
    pub kind: CallKind,
    /// Calls that ran.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Calls that found no permit or were given up.
    pub unserved: u64,
    /// How long they took altogether.
    pub total: Duration,
    /// Half of them took no longer than this, rounded up by at most 42 %.
    pub p50: Duration,
    /// All but one in a hundred took no longer than this, rounded up by at most 42 %.
    pub p99: Duration,
}

/// What was counted of a plugin, since the server started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Of each export that was called.
    pub kinds: Vec<KindStats>,
    /// Calls that ended by a trap or a limit.
    pub traps: u64,
    /// Calls that run now.
    pub running: u32,
    /// Time in the guest.
    pub cpu: Duration,
    /// Most memory that a call had.
    pub peak_memory: u64,
}

fn bucket(duration: Duration) -> usize {
    let us = duration.as_micros().max(1) as f64;
    let index = ((us / 16.0).log2() * 2.0).ceil().max(0.0);
    (index as usize).min(BUCKETS - 1)
}

fn bucket_end(index: usize) -> Duration {
    Duration::from_micros((16.0 * (index as f64 / 2.0).exp2()) as u64)
}

impl Stats {
    fn counters(&self, kind: CallKind) -> Option<&Counters> {
        self.kinds.get(kind as usize)
    }

    pub(crate) fn ended(&self, kind: CallKind, took: Duration, ending: Ending) {
        let Some(counters) = self.counters(kind) else { return };
        match ending {
            Ending::Unserved => {
                counters.unserved.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ending::Failed { trapped } => {
                counters.failures.fetch_add(1, Ordering::Relaxed);
                self.traps.fetch_add(u64::from(trapped), Ordering::Relaxed);
            }
            Ending::Well => {}
        }
        counters.calls.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counters.total_us.fetch_add(us, Ordering::Relaxed);
        if let Some(count) = counters.durations.get(bucket(took)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn used(&self, cpu: Duration, memory: usize) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.cpu_ms.fetch_add(u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.peak_memory.fetch_max(memory as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self) -> Counted {
        let kinds = CallKind::ALL.into_iter().filter_map(|kind| {
            let counters = self.counters(kind)?;
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (calls, unserved) = (read(&counters.calls), read(&counters.unserved));
            (calls + unserved > 0).then(|| KindStats {
                kind,
                calls,
                failures: read(&counters.failures),
                unserved,
                total: Duration::from_micros(read(&counters.total_us)),
                p50: counters.quantile(50),
                p99: counters.quantile(99),
            })
        });
        Counted {
            kinds: kinds.collect(),
            traps: self.traps.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            cpu: Duration::from_millis(self.cpu_ms.load(Ordering::Relaxed)),
            peak_memory: self.peak_memory.load(Ordering::Relaxed),
        }
    }
}

impl Counters {
    fn quantile(&self, percent: u64) -> Duration {
        let counts: Vec<u64> = self.durations.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let rank = (counts.iter().sum::<u64>() * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in counts.into_iter().enumerate() {
            seen += count;
            if count > 0 && seen >= rank {
                return bucket_end(index);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near() {
        let stats = Stats::default();
        for ms in 1..=100 {
            stats.ended(CallKind::Http, Duration::from_millis(ms), Ending::Well);
        }
        stats.ended(CallKind::Http, Duration::from_millis(1), Ending::Failed { trapped: true });
        stats.ended(CallKind::Http, Duration::ZERO, Ending::Unserved);
        let read = stats.read();
        let http = read.kinds.first().unwrap();
        assert_eq!((http.calls, http.failures, http.unserved, read.traps), (101, 1, 1, 1));
        let near = |duration: Duration, ms: f64| (0.8..1.45).contains(&(duration.as_secs_f64() * 1e3 / ms));
        assert!(near(http.p50, 50.0) && near(http.p99, 99.0), "{http:?}");
        assert_eq!(read.kinds.len(), 1);
    }

    #[test]
    fn every_duration_has_a_bucket() {
        for us in [0, 1, 16, 17, 1_000, 95_000_000, u64::MAX] {
            assert!(bucket(Duration::from_micros(us)) < BUCKETS);
        }
        assert!(bucket_end(BUCKETS - 1) > Duration::from_secs(90));
    }
}
