//! The wasmtime engine: what guests may be, where they run, and the clock that interrupts them.
//!
//! Owns: wasmtime's configuration, the instance pool and the epoch ticker. Must not: know plugins.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits;

/// How long the ticker goes on after the last call, so that a busy server doesn't wake it for each.
const LINGER: Duration = Duration::from_millis(50);

/// The configuration of wasmtime for `concurrent_calls` calls at once. Public for benchmarks, which compare
/// with wasmtime alone under the same settings.
pub fn wasmtime_config(concurrent_calls: u32) -> Config {
    let beyond = limits::HOOK_CALLS + limits::POOL_SLACK + limits::REUSED_INSTANCES;
    let slots = concurrent_calls.saturating_add(beyond);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(limits::CORE_INSTANCES))
        .total_memories(slots.saturating_mul(limits::MEMORIES))
        .total_tables(slots.saturating_mul(limits::TABLES))
        .total_stacks(slots)
        .max_core_instances_per_component(limits::CORE_INSTANCES)
        .max_memories_per_component(limits::MEMORIES)
        .max_memories_per_module(1)
        .max_tables_per_component(limits::TABLES)
        .max_tables_per_module(4)
        .table_elements(limits::TABLE_ELEMENTS)
        .max_memory_size(limits::POOL_MEMORY_BYTES)
        // Reset the pages that a call touched by copying over them instead of unmapping: the next call in
        // that slot takes no page faults. The kernel tells which they are where it can (Linux 6.7).
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(limits::WASM_STACK_BYTES)
        .async_stack_size(limits::CALL_STACK_BYTES)
        .wasm_memory64(false)
        // Frames of a trap have names; nobody unwinds through guests from outside.
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32))
        .native_unwind_info(false);
    config
}

/// The engine and its ticker.
pub(crate) struct Engine {
    wasmtime: wasmtime::Engine,
    clock: Arc<Clock>,
    ticker: Option<JoinHandle<()>>,
}

struct Clock {
    running: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// While it lives, the ticker ticks.
pub(crate) struct Running {
    clock: Arc<Clock>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.clock.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Engine {
    pub(crate) fn new(concurrent_calls: u32) -> wasmtime::Result<Self> {
        let wasmtime = wasmtime::Engine::new(&wasmtime_config(concurrent_calls))?;
        let clock = Arc::new(Clock {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let (ticked, its_clock) = (wasmtime.clone(), Arc::clone(&clock));
        let ticker = thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .spawn(move || tick(&ticked, &its_clock))
            .map_err(wasmtime::Error::new)?;
        Ok(Self { wasmtime, clock, ticker: Some(ticker) })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// To be held while a guest runs.
    pub(crate) fn running(&self) -> Running {
        self.clock.running.fetch_add(1, Ordering::SeqCst);
        // The ticker announces that it will park before it looks at `running` a last time, so one of the two
        // sees the other.
        if self.clock.parked.load(Ordering::SeqCst)
            && let Some(ticker) = &self.ticker
        {
            ticker.thread().unpark();
        }
        Running { clock: Arc::clone(&self.clock) }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.clock.stopped.store(true, Ordering::SeqCst);
        if let Some(ticker) = self.ticker.take() {
            ticker.thread().unpark();
            // It sleeps for a tick at most; a panic there has been printed.
            let _ = ticker.join();
        }
    }
}

fn tick(engine: &wasmtime::Engine, clock: &Clock) {
    let mut last_seen = Instant::now();
    while !clock.stopped.load(Ordering::SeqCst) {
        if clock.running.load(Ordering::SeqCst) > 0 {
            last_seen = Instant::now();
        }
        if last_seen.elapsed() < LINGER {
            thread::park_timeout(limits::TICK);
            engine.increment_epoch();
            continue;
        }
        clock.parked.store(true, Ordering::SeqCst);
        while clock.running.load(Ordering::SeqCst) == 0 && !clock.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        clock.parked.store(false, Ordering::SeqCst);
        last_seen = Instant::now();
    }
}
