//! How long guests compute: the CPU time of the thread that runs them, while it runs them.
//!
//! Owns: that clock. Must not: know budgets.
//!
//! Ticks of the epoch alone would miss what happens within one instruction: a guest is looked at only between
//! instructions, and copying or filling a large memory is a single one.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    time::{Duration, Instant},
};

thread_local! {
    /// Since when the guest that this thread runs has not been looked at; none if it runs none that is metered.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// The thread's CPU time when that was last asked for. Asking costs as much as a short call altogether, so it is asked
    /// for only when there is much to tell apart.
    static CPU: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Below this the two clocks are not worth telling apart; it is no more than a tick.
const SHORT: Duration = Duration::from_millis(1);

/// Runs `work`, in which a guest runs, with the clock on.
pub(crate) async fn metered<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        // A guest's call into the host may end in another guest.
        let outer = LOOKED.replace(Some(Instant::now()));
        let poll = work.as_mut().poll(context);
        LOOKED.set(outer.map(|_| Instant::now()));
        poll
    })
    .await
}

/// The CPU time since the last look, zero where it can't be known or is not worth asking for: ticks count that.
///
/// No more than has passed, and no more than the thread has used since it was last asked: on a busy machine a guest that
/// was interrupted is charged neither for the wait nor, but for a share, for what the thread did before.
pub(crate) fn lap() -> Duration {
    let Some(since) = LOOKED.get() else { return Duration::ZERO };
    let passed = since.elapsed();
    LOOKED.set(Some(Instant::now()));
    if passed < SHORT {
        return Duration::ZERO;
    }
    let Some(used) = now() else { return Duration::ZERO };
    let before = CPU.replace(Some(used));
    before.map_or(passed, |before| used.saturating_sub(before).min(passed))
}

#[cfg(target_os = "linux")]
fn now() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// Without such a clock, what one instruction costs is bounded by a call's memory alone.
#[cfg(not(target_os = "linux"))]
fn now() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn computing_counts_and_waiting_does_not() {
        assert_eq!(lap(), Duration::ZERO, "no guest runs");
        metered(async {
            // Of a busy machine the thread may get a part only.
            compute(Duration::from_millis(100));
            lap();
            compute(Duration::from_millis(100));
            let computed = lap();
            assert!(computed > Duration::from_millis(5), "{computed:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            let waited = lap();
            assert!(waited < Duration::from_millis(30), "{waited:?}");
            metered(async { compute(Duration::from_millis(100)) }).await;
            let inner = lap();
            assert!(inner < Duration::from_millis(5), "another guest's time is its own: {inner:?}");
        })
        .await;
        assert_eq!(lap(), Duration::ZERO);
    }
}
