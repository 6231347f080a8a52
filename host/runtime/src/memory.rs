//! How much memory a call has taken.
//!
//! Owns: the sum over all memories and tables of a store. Must not: choose the limit.

use crate::limits::{CORE_INSTANCES, Exceeded, MEMORIES, TABLES};

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
