//! Instances that serve more than one call, where an operator wants that (`reuse_calls`): an engine of another language takes
//! longer to start than most calls take.
//!
//! What this gives up: what a guest keeps in its memory is there in the next call, which may be another user's. The host
//! gives up nothing: budgets, the log's share and the actor are each call's own, and an instance that still holds a right to
//! act is not used again, nor is one that trapped, ran out of a budget, or was left by its client.
//!
//! Owns: the instances that wait. Must not: be part of a call; `call.rs` takes from here and gives back.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Store, component::Instance};

use crate::{limits::Limits, state::CallState};

/// An instance, and what it has behind it.
pub(crate) struct Used {
    pub(crate) store: Store<CallState>,
    pub(crate) instance: Instance,
    pub(crate) calls: u32,
    pub(crate) made: Instant,
}

struct Idle {
    used: Used,
    _room: OwnedSemaphorePermit,
}

/// Those of one version of a plugin.
pub(crate) struct Reuse {
    calls: u32,
    age: Duration,
    memory: usize,
    idle: Mutex<Vec<Idle>>,
    /// Places in the pool that waiting instances of all plugins share.
    room: Arc<Semaphore>,
    is_swept: AtomicBool,
}

impl Reuse {
    pub(crate) fn new(limits: &Limits, room: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            calls: limits.reuse_calls,
            age: limits.reuse_age,
            memory: limits.reuse_memory,
            idle: Mutex::default(),
            room,
            is_swept: AtomicBool::new(false),
        })
    }

    /// One that waits and is young enough; the one that was used last, so that others grow old.
    pub(crate) fn take(&self) -> Option<Used> {
        if self.calls <= 1 {
            return None;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.used.made.elapsed() < self.age);
        idle.pop().map(|idle| idle.used)
    }

    /// After a call that ended well: whether it waits for another, or goes.
    pub(crate) fn give_back(self: &Arc<Self>, mut used: Used) {
        let memory = used.store.data().memory.used();
        if used.calls >= self.calls || used.made.elapsed() >= self.age || memory > self.memory {
            return;
        }
        if used.store.data_mut().holds_rights() {
            return;
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return };
        used.store.data_mut().settle();
        let waiting = Idle { used, _room: room };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
        if !self.is_swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self), self.age));
        }
    }
}

/// Lets go of what has grown old, until nothing waits.
async fn sweep(reuse: Weak<Reuse>, age: Duration) {
    loop {
        tokio::time::sleep(age).await;
        let Some(reuse) = reuse.upgrade() else { return };
        let mut idle = reuse.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.used.made.elapsed() < reuse.age);
        if idle.is_empty() {
            // Under the lock: whoever gives one back after this starts another.
            reuse.is_swept.store(false, Ordering::Release);
            return;
        }
    }
}
