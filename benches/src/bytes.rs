//! An allocator that counts, and what it says of the difference between two moments.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// Allocations up to this size are counted size by size, in bytes.
const SIZE_MAX: usize = 8_192;

static LIVE: AtomicI64 = AtomicI64::new(0);
static LARGE: AtomicI64 = AtomicI64::new(0);
static BY_SIZE: [AtomicI64; SIZE_MAX + 1] = [const { AtomicI64::new(0) }; SIZE_MAX + 1];

/// The system's allocator, counting what is asked of it.
#[derive(Debug)]
pub struct Counting;

fn count(size: usize, sign: i64) {
    // No allocation is that large.
    let bytes = sign * i64::try_from(size).unwrap_or(i64::MAX);
    LIVE.fetch_add(bytes, Ordering::Relaxed);
    match BY_SIZE.get(size) {
        Some(blocks) => blocks.fetch_add(sign, Ordering::Relaxed),
        None => LARGE.fetch_add(bytes, Ordering::Relaxed),
    };
}

#[expect(unsafe_code, reason = "an allocator is unsafe; this one passes everything on")]
// SAFETY: all calls are passed on to the system's allocator as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        unsafe { System.realloc(block, layout, size) }
    }
}

/// What is allocated at a moment.
#[derive(Debug, Clone)]
pub struct Census {
    /// Bytes, all in all.
    pub live: i64,
    /// Bytes in blocks of more than [`SIZE_MAX`].
    large: i64,
    /// Blocks by size.
    blocks: Vec<i64>,
}

impl Census {
    /// What is allocated now.
    #[must_use]
    pub fn take() -> Self {
        let blocks = BY_SIZE.iter().map(|blocks| blocks.load(Ordering::Relaxed)).collect();
        let large = LARGE.load(Ordering::Relaxed);
        Self { live: LIVE.load(Ordering::Relaxed), large, blocks }
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let blocks = self.blocks.iter().zip(&before.blocks).map(|(now, then)| now - then);
        Self {
            live: self.live - before.live,
            large: self.large - before.large,
            blocks: blocks.collect(),
        }
    }

    /// The blocks of each of `n` children, by size: `(size in bytes, blocks)`; those of which there
    /// is less than one for fifty children are left out. Blocks of more than [`SIZE_MAX`] are said
    /// as bytes, of size 0.
    #[must_use]
    pub fn each(&self, n: usize) -> Vec<(usize, f64)> {
        let blocks = self.blocks.iter().enumerate().map(|(size, blocks)| (size, *blocks));
        let each = blocks.map(|(size, blocks)| (size, blocks as f64 / n as f64));
        let mut each: Vec<_> = each.filter(|(_, blocks)| blocks.abs() >= 0.02).collect();
        each.push((0, self.large as f64 / n as f64));
        each
    }
}

/// The bytes of this process that are in memory, as Linux says it; 0 elsewhere.
#[must_use]
pub fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
    kib.unwrap_or(0) * 1_024
}
