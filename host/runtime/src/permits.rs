//! Who may call now: a permit of the plugin and one of the whole runtime, for each call.
//!
//! Owns: the queue in front of the instance pool; the pool has more slots than there are permits, because an
//! exhausted pool is an error and not a wait. Must not: wait without a bound.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::CallError;

/// The permits of one plugin; a new version of it takes over the old one's place with permits of its own.
pub(crate) struct Permits {
    own: Arc<Semaphore>,
    global: Arc<Semaphore>,
    waiting: AtomicU32,
    max_waiting: u32,
    patience: Duration,
}

/// The right to run one call.
pub(crate) struct Permit {
    _own: OwnedSemaphorePermit,
    _global: OwnedSemaphorePermit,
}

struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permits {
    pub(crate) fn new(own: u32, global: Arc<Semaphore>, max_waiting: u32, patience: Duration) -> Self {
        let own = Arc::new(Semaphore::new(own as usize));
        Self { own, global, waiting: AtomicU32::new(0), max_waiting, patience }
    }

    /// Calls that wait for one.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for both permits, at most for the plugin's patience.
    pub(crate) async fn acquire(&self) -> Result<Permit, CallError> {
        let busy = || CallError::Busy { retry_after: Duration::from_secs(1) };
        if let Ok(own) = Arc::clone(&self.own).try_acquire_owned()
            && let Ok(global) = Arc::clone(&self.global).try_acquire_owned()
        {
            return Ok(Permit { _own: own, _global: global });
        }
        let _waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.max_waiting {
            return Err(busy());
        }
        let both = async {
            // The plugin's own first: a call that waits for it must not hold what others could use.
            let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
            let global = Arc::clone(&self.global).acquire_owned().await.ok()?;
            Some(Permit { _own: own, _global: global })
        };
        tokio::time::timeout(self.patience, both).await.ok().flatten().ok_or_else(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_and_is_then_refused() {
        let permits = Permits::new(1, Arc::new(Semaphore::new(5)), 1, Duration::from_millis(100));
        let first = permits.acquire().await.unwrap();
        assert!(matches!(permits.acquire().await, Err(CallError::Busy { .. })));
        let (second, ()) = tokio::join!(permits.acquire(), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(first);
        });
        assert!(second.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded() {
        let permits = Permits::new(1, Arc::new(Semaphore::new(5)), 1, Duration::from_millis(100));
        let _first = permits.acquire().await.unwrap();
        let started = tokio::time::Instant::now();
        let (one, two) = tokio::join!(permits.acquire(), async {
            let refused = permits.acquire().await.is_err();
            (refused, started.elapsed())
        });
        assert!(one.is_err());
        assert_eq!(two, (true, Duration::ZERO), "refused at once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_global_permits_hold_for_all() {
        let global = Arc::new(Semaphore::new(1));
        let a = Permits::new(5, Arc::clone(&global), 5, Duration::from_millis(100));
        let b = Permits::new(5, global, 5, Duration::from_millis(100));
        let held = a.acquire().await.unwrap();
        assert!(b.acquire().await.is_err());
        drop(held);
        assert!(b.acquire().await.is_ok());
    }
}
