//! What comes next: a heap of events, in the order of their time and then of their making.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::base::Instant;

/// Which connection of a pair: another one of the same pair has another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conn {
    /// Who dialled it, and sends on it.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) id: u64,
}

/// What is due. Each names what it was made for: one that is out of date does nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A machine's deadline.
    Wake(usize),
    /// A dial is tried, for the so-many-th time.
    Dial(Conn, u32),
    /// A dial comes to stand.
    Dialled(Conn),
    /// A dial failed.
    Refused(Conn),
    /// The next packet on the way arrives, of those launched at this generation.
    Arrive(Conn, u32),
    /// Nothing came for as long as a link may be silent, since this instant.
    Silent(Conn, Instant),
    /// A link may have been idle for long enough to be pinged.
    Ping(Conn),
    /// The answer to a ping arrives.
    Heard { at: usize, of: usize },
    /// The other end said that a connection is over.
    Reset { to: usize, of: usize },
    /// A starved node gets, or loses, the processor, in this period of starvation.
    Slice(usize, u64),
    /// A node that started asks to become a member, in this start of it.
    Join(usize, u64),
    /// The committed members reach a node.
    Commit(usize),
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<Entry>>,
    made: u64,
}

impl Events {
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.made += 1;
        self.heap.push(Reverse(Entry { at, number: self.made, event }));
    }

    /// The earliest event, if it is due by `end`.
    pub(super) fn pop_until(&mut self, end: Instant) -> Option<(Instant, Event)> {
        if self.heap.peek().is_none_or(|Reverse(entry)| entry.at > end) {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
