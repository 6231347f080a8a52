//! A component's allocator: an arena that is part of its memory from the start, and the standard allocator for
//! what does not fit.
//!
//! An instance lives for one call. The standard allocator begins by growing the memory, which costs the host
//! two system calls and a flush of address translations on every core, each call; most calls need a few KiB,
//! which the arena gives without any of that. What is freed in it is taken back only from its end; a plugin
//! that works for long ends up in the standard allocator and has lost the arena's size, nothing more.
//!
//! Owns: the arena. Must not: be used outside WebAssembly. The feature `allocator` (on by default) makes it
//! the global allocator.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::{Cell, UnsafeCell},
    mem::MaybeUninit,
};

/// Enough for a page of 200 decorated messages.
const ARENA_BYTES: usize = 256 << 10;

#[repr(align(16))]
struct Bytes(UnsafeCell<[MaybeUninit<u8>; ARENA_BYTES]>);

/// The allocator.
pub struct Arena {
    bytes: Bytes,
    /// Bytes in use, from the start.
    used: Cell<usize>,
}

// SAFETY: WebAssembly without threads has one thread; `cfg` below keeps it away from everything else.
unsafe impl Sync for Arena {}

impl Arena {
    /// An empty arena.
    pub const fn new() -> Self {
        let bytes = Bytes(UnsafeCell::new([MaybeUninit::uninit(); ARENA_BYTES]));
        Self { bytes, used: Cell::new(0) }
    }

    fn start(&self) -> *mut u8 {
        self.bytes.0.get().cast()
    }

    /// Where in the arena a block lies; none if it is the standard allocator's.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        let offset = (block as usize).checked_sub(self.start() as usize)?;
        (offset < ARENA_BYTES).then_some(offset)
    }

    /// Room for a layout, if the arena has it. Zero-sized layouts don't come here (`GlobalAlloc`).
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let start = self.start() as usize;
        let block = (start + self.used.get()).checked_next_multiple_of(layout.align())?;
        let offset = block - start;
        let end = offset.checked_add(layout.size()).filter(|end| *end <= ARENA_BYTES)?;
        self.used.set(end);
        Some(self.start().wrapping_add(offset))
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: a block of the arena lies between `offset` and `offset + size`, at the alignment asked for; blocks
// don't overlap, because `used` only falls to the start of the last one, when that is freed.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(block) => block,
            // SAFETY: the caller's contract is passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            Some(offset) if offset + layout.size() == self.used.get() => self.used.set(offset),
            Some(_) => {}
            // SAFETY: it isn't the arena's, so `alloc` got it from there.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(offset) = self.offset(block) else {
            // SAFETY: as in `dealloc`.
            return unsafe { System.realloc(block, layout, new_size) };
        };
        let is_last = offset + layout.size() == self.used.get();
        if is_last && let Some(end) = offset.checked_add(new_size).filter(|end| *end <= ARENA_BYTES) {
            self.used.set(end);
            return block;
        }
        if new_size <= layout.size() {
            return block;
        }
        // SAFETY: `new_size` is larger than a valid size and the caller guarantees that it is one, too; the new
        // block is distinct, because this one is still in use.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size());
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: Arena = Arena::new();

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn blocks_are_aligned_and_apart() {
        let arena = Box::new(Arena::new());
        // SAFETY: layouts are not empty and blocks are used within their size.
        unsafe {
            let (a, b) = (arena.alloc(layout(3, 1)), arena.alloc(layout(8, 8)));
            assert_eq!(b as usize % 8, 0);
            assert!(b as usize >= a as usize + 3);
            a.write_bytes(1, 3);
            b.write_bytes(2, 8);
            assert_eq!(a.add(2).read(), 1);
        }
    }

    #[test]
    fn the_end_is_taken_back_and_grows_in_place() {
        let arena = Box::new(Arena::new());
        // SAFETY: as above.
        unsafe {
            let first = arena.alloc(layout(10, 1));
            first.write_bytes(7, 10);
            assert_eq!(arena.realloc(first, layout(10, 1), 100), first);
            let second = arena.alloc(layout(10, 1));
            let moved = arena.realloc(first, layout(100, 1), 200);
            assert_ne!(moved, first);
            assert_eq!(moved.add(9).read(), 7, "contents move along");
            arena.dealloc(moved, layout(200, 1));
            assert_eq!(arena.alloc(layout(200, 1)), moved, "the last block was taken back");
            assert_eq!(arena.realloc(second, layout(10, 1), 5), second, "shrinking stays");
        }
    }

    #[test]
    fn what_does_not_fit_comes_from_elsewhere() {
        let arena = Box::new(Arena::new());
        // SAFETY: as above.
        unsafe {
            let large = layout(ARENA_BYTES + 1, 16);
            let block = arena.alloc(large);
            assert!(arena.offset(block).is_none());
            let block = arena.realloc(block, large, ARENA_BYTES * 2);
            block.add(ARENA_BYTES * 2 - 1).write(1);
            arena.dealloc(block, layout(ARENA_BYTES * 2, 16));
            assert_eq!(arena.used.get(), 0);
        }
    }
}
