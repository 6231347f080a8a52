//! Every limit that a plugin runs under, with its default and the reason, in one table.
//!
//! Owns: the numbers, and the limiter that counts a call's memory. Must not: enforce anything else; each
//! limit is enforced where the thing that it limits happens.
//!
//! Which wait and which refuse: permits wait (a burst is normal) and then refuse with `busy`. Everything
//! else traps the one call that reached it.

use std::time::Duration;

/// How often running guests are looked at. CPU budgets count these, so they are no finer than this.
pub const TICK: Duration = Duration::from_millis(1);

/// How long a call may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Time in the guest itself, in steps of [`TICK`]. Waiting for the host is not counted.
    pub cpu: Duration,
    /// Time from start to end, waiting for the host included.
    pub wall: Duration,
}

/// What one plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of all linear memories and tables of one call together.
    pub memory_bytes: usize,
    /// An HTTP call, until it starts to stream.
    pub http: Budget,
    /// Decorating one page of up to 200 messages.
    pub decorate: Budget,
    /// How long a call may go on once it streams.
    pub stream_wall: Duration,
    /// How long a streaming call waits for a client that does not read.
    pub stream_stall: Duration,
    /// Most bytes that a guest hands over in one call of a host function.
    pub host_call_bytes: usize,
    /// Most bytes that a call exchanges with host functions altogether, both directions.
    pub host_total_bytes: usize,
    /// Most calls of host functions that a call makes.
    pub host_calls: u32,
    /// Most live handles (resources) of a call.
    pub handles: usize,
    /// Most bytes of a response's body.
    pub response_bytes: usize,
    /// Bytes of a body that are kept back so that a short answer is sent whole.
    pub response_buffer: usize,
    /// Most bytes of one message's decoration.
    pub decoration_bytes: usize,
    /// Most calls of this plugin at once.
    pub concurrent_calls: u32,
    /// Most calls that wait for one of those; the next is refused at once.
    pub waiting_calls: u32,
    /// How long a call waits for a permit.
    pub queue_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A Rust guest uses 1 to 2 MiB, one that carries a JavaScript or Python engine 10 to 40.
            memory_bytes: 64 << 20,
            // A page of work, not a batch: what takes longer belongs in a job. Waiting for the database or a
            // model may take longer than computing.
            http: Budget { cpu: Duration::from_secs(1), wall: Duration::from_secs(5) },
            // Readers wait for it on every page. What it computes is bounded tightly; the wall also counts the
            // database and the host's own load, and a page without its reactions for a stall that is not the
            // plugin's is worse than a page that comes a moment later.
            decorate: Budget { cpu: Duration::from_millis(20), wall: Duration::from_millis(250) },
            // A generated answer takes minutes at worst.
            stream_wall: Duration::from_secs(300),
            stream_stall: Duration::from_secs(30),
            // The largest legitimate values are 64 KiB (kv), in batches of up to 256.
            host_call_bytes: 4 << 20,
            host_total_bytes: 64 << 20,
            // Far above any loop over a page of 200, far below what keeps the database busy.
            host_calls: 10_000,
            // Caller, response, and what later capabilities lend.
            handles: 256,
            // Downloads go through files, not through plugins.
            response_bytes: 16 << 20,
            // One TCP window; below it, streaming costs more than it gives.
            response_buffer: 64 << 10,
            // 200 of these are a page of 3 MiB, which is too much already.
            decoration_bytes: 16 << 10,
            // Half of the global permits, so that one plugin can't starve the others.
            concurrent_calls: 64,
            waiting_calls: 256,
            // Longer than a burst, shorter than a client's patience.
            queue_wait: Duration::from_millis(500),
        }
    }
}

/// Most bytes of a component: JavaScript guests have 13 MB, Python guests 18 MB.
pub const COMPONENT_BYTES: usize = 48 << 20;
/// Most bytes of a plugin's part of the OpenAPI document: everybody who reads the document gets it.
pub const OPENAPI_BYTES: usize = 128 << 10;
/// Most bytes of a manifest.
pub const MANIFEST_BYTES: usize = 256 << 10;
/// Most core instances of one component: the module, wit-component's two shims, an adapter or two.
pub const CORE_INSTANCES: u32 = 16;
/// Most linear memories of one component: its own and an adapter's.
pub const MEMORIES: u32 = 2;
/// Most tables of one component: the module's and wit-component's.
pub const TABLES: u32 = 8;
/// Most elements of one table, 8 bytes each: engines of other languages have some thousand functions.
pub const TABLE_ELEMENTS: usize = 50_000;
/// Most bytes of one linear memory that the pool reserves room for; [`Limits::memory_bytes`] can be no more.
pub const POOL_MEMORY_BYTES: usize = 256 << 20;
/// Most bytes of the guest's own stack, which is separate from its memory.
pub const WASM_STACK_BYTES: usize = 512 << 10;
/// The stack that a call runs on: the guest's and, below it, that of the host functions it calls.
pub const CALL_STACK_BYTES: usize = 2 << 20;
/// Most calls of all plugins at once.
pub const CONCURRENT_CALLS: u32 = 128;
/// Slots of the pool beyond the global permits: instances under trial before activation, and those still being
/// torn down.
pub const POOL_SLACK: u32 = 16;

/// Most signals of one plugin per second (`realtime.signal`), and as many at once; more are dropped. Each goes to every
/// connected member of a channel, so that this times the members is what the gateway has to write.
pub const SIGNALS_PER_SECOND: u32 = 100;

/// A limit that a call reached. Carried by the trap that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exceeded {
    #[error("the CPU budget is used up")]
    Cpu,
    #[error("the call wants more memory than it may have")]
    Memory,
    #[error("the call exchanged more data with the host than it may")]
    HostData,
    #[error("the call called the host more often than it may")]
    HostCalls,
    #[error("the answer is larger than it may be")]
    Response,
    #[error("the client does not take the answer")]
    Stalled,
    #[error("the client is gone")]
    ClientGone,
}

/// Adds up all linear memories and tables of one call; the stock limiter would limit each by itself.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    used: usize,
    limit: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: 0, limit }
    }

    /// Bytes in use.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn grow(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        match self.used.checked_add(bytes).filter(|total| *total <= self.limit) {
            // A refused growth would reach most guests as an abort without a reason; a trap has a name.
            None => Err(Exceeded::Memory.into()),
            Some(total) => {
                self.used = total;
                Ok(true)
            }
        }
    }
}

impl wasmtime::ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(size_of::<usize>()))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::*;

    #[test]
    fn memory_is_summed_over_memories_and_tables() {
        let mut limiter = MemoryLimiter::new(1000);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap(), "a second memory");
        assert!(limiter.table_growing(0, 20, None).unwrap());
        assert_eq!(limiter.used(), 960);
        let refused = limiter.memory_growing(400, 500, None).unwrap_err();
        assert_eq!(refused.downcast_ref(), Some(&Exceeded::Memory));
        assert!(limiter.table_growing(0, usize::MAX, None).is_err());
        assert!(limiter.memory_growing(400, 440, None).unwrap(), "a refusal takes nothing");
    }
}
