//! How long guests compute: the CPU time of the thread that runs them, while it runs them.
//!
//! Owns: that clock. Must not: know budgets.
//!
//! Ticks of the epoch alone would miss what happens within one instruction: a guest is looked at only between
//! instructions, and copying or filling a large memory is a single one.

use std::{cell::Cell, future::Future, future::poll_fn, pin::pin, time::Duration};

thread_local! {
    /// When the guest that this thread runs was last looked at; none if it runs none that is metered.
    static LOOKED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Runs `work`, in which a guest runs, with the clock on.
pub(crate) async fn metered<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        // A guest's call into the host may end in another guest.
        let outer = LOOKED.replace(now());
        let poll = work.as_mut().poll(context);
        LOOKED.set(outer.and_then(|_| now()));
        poll
    })
    .await
}

/// The CPU time since the last look, zero where it can't be known.
pub(crate) fn lap() -> Duration {
    let Some(since) = LOOKED.get() else { return Duration::ZERO };
    let Some(now) = now() else { return Duration::ZERO };
    LOOKED.set(Some(now));
    now.saturating_sub(since)
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
    use std::time::Instant;

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
