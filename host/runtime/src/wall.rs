//! How long a call may take from start to end, and that waiting for a model is not the plugin's time.
//!
//! Owns: that clock. Must not: know what is waited for, or what becomes of a call that has no time left.
//!
//! A model takes a minute for what everything else does in milliseconds. Were the call's time long enough for that, a plugin
//! that hangs for another reason would hang as long. So the time stands still while a model is waited for, up to a bound of
//! its own (`llm_wait_ms`), and a call ends at the latest after both.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

tokio::task_local! {
    /// The clock of the innermost call: a call of a plugin can end in another plugin's.
    static WALL: Arc<Wall>;
}

/// No sleep is shorter: with almost nothing left, a clock that stands still must not be looked at all the time.
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

/// The clock of one call.
pub(crate) struct Wall {
    began: Instant,
    time: Duration,
    /// For how long it may stand still.
    pauses: Duration,
    paused: Mutex<Paused>,
}

#[derive(Default)]
struct Paused {
    so_far: Duration,
    since: Option<Instant>,
}

impl Wall {
    /// Begins now.
    pub(crate) fn new(time: Duration, pauses: Duration) -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), time, pauses, paused: Mutex::default() })
    }

    /// Runs the call that this is the clock of.
    pub(crate) async fn around<T>(self: Arc<Self>, work: impl Future<Output = T>) -> T {
        WALL.scope(self, work).await
    }

    /// What is left; none if nothing is.
    fn left(&self, now: Instant) -> Option<Duration> {
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let current = paused.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let end = self.time + paused.so_far.saturating_add(current).min(self.pauses);
        drop(paused);
        end.checked_sub(now.saturating_duration_since(self.began)).filter(|left| !left.is_zero())
    }

    /// Returns when no time is left.
    pub(crate) async fn expired(&self) {
        while let Some(left) = self.left(Instant::now()) {
            tokio::time::sleep(left.max(SHORTEST_SLEEP)).await;
        }
    }
}

/// Runs again when it is dropped, however the wait ends.
struct Pause(Arc<Wall>);

impl Drop for Pause {
    fn drop(&mut self) {
        let mut paused = self.0.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = paused.since.take() {
            paused.so_far = paused.so_far.saturating_add(since.elapsed());
        }
    }
}

/// Does `work` while the time of the call that it is part of stands still.
pub(crate) async fn paused<T>(work: impl Future<Output = T>) -> T {
    let pause = WALL.try_with(|wall| {
        wall.paused.lock().unwrap_or_else(PoisonError::into_inner).since = Some(Instant::now());
        Pause(Arc::clone(wall))
    });
    let value = work.await;
    drop(pause);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_left() {
        let wall = Wall::new(UNIT * 5, UNIT * 10);
        let at = |seconds: u32| wall.began + UNIT * seconds;
        assert_eq!(wall.left(at(2)), Some(UNIT * 3));
        wall.paused.lock().unwrap().since = Some(at(2));
        assert_eq!(wall.left(at(10)), Some(UNIT * 3), "it stands still");
        assert_eq!(wall.left(at(14)), Some(UNIT), "no longer than it may");
        assert_eq!(wall.left(at(15)), None);
        *wall.paused.lock().unwrap() = Paused { so_far: UNIT * 4, since: None };
        assert_eq!((wall.left(at(8)), wall.left(at(9))), (Some(UNIT), None));
    }

    #[tokio::test]
    async fn only_a_pause_stops_it() {
        let wall = Wall::new(UNIT, UNIT * 10);
        let inner = Arc::clone(&wall);
        Arc::clone(&wall)
            .around(paused(async move {
                assert!(inner.paused.lock().unwrap().since.is_some());
            }))
            .await;
        let paused = wall.paused.lock().unwrap();
        assert!(paused.since.is_none() && paused.so_far < UNIT);
    }
}
