//! What one incarnation was sent and has handled, counted without locks.
//!
//! Senders count up [`Gauge::admitted`] before they send, the shell of the child counts up
//! `settled` before it calls the handler; the difference is what waits, or was lost when the child
//! is gone. Messages that come past the ref (the child's own, or through a bare `ActorRef`) cannot
//! be told from the others: while nothing admitted waits they are not counted at all, else one of
//! them settles an admitted one in its place. So `settled` never passes `admitted`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::{Clock, Instant};

/// The counters of one incarnation.
pub(super) struct Gauge {
    /// Messages that were let in, but for those given back.
    admitted: AtomicU64,
    /// A bound on `admitted` that was right when it was set, so that a sender seldom reads
    /// `settled`, which another core writes.
    ceiling: AtomicU64,
    /// How many may wait.
    limit: u64,
    closed: AtomicBool,
    shell: Shelf,
}

/// What the shell alone writes: on a cache line of its own, since senders write the other.
#[repr(align(64))]
struct Shelf {
    /// Messages that reached their handler.
    settled: AtomicU64,
    /// `admitted` as last read.
    seen: AtomicU64,
    /// When the call in hand began, in nanoseconds of `clock`; [`IDLE`] if there is none.
    began: AtomicU64,
    /// Given if calls have a limit.
    clock: Option<Arc<dyn Clock>>,
}

/// No call is in hand.
const IDLE: u64 = u64::MAX;

impl Gauge {
    /// Lets in `limit` messages at a time, and notes when calls begin if it is given a clock.
    pub(super) fn new(limit: u64, clock: Option<Arc<dyn Clock>>) -> Self {
        let (settled, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        let shell = Shelf { settled, seen, began: AtomicU64::new(IDLE), clock };
        let (admitted, ceiling) = (AtomicU64::new(0), AtomicU64::new(limit));
        Self { admitted, ceiling, limit, closed: AtomicBool::new(false), shell }
    }

    /// Lets one message in, if fewer than the limit wait.
    #[inline]
    pub(super) fn admit(&self) -> bool {
        let mut admitted = self.admitted.load(Ordering::Relaxed);
        loop {
            if admitted >= self.ceiling.load(Ordering::Relaxed) && !self.raise(admitted) {
                return false;
            }
            let next = admitted + 1;
            let swap = self.admitted.compare_exchange_weak(
                admitted,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swap {
                Ok(_) => return true,
                Err(other) => admitted = other,
            }
        }
    }

    /// Moves the ceiling to where it should be now. Whether that is above `admitted`.
    #[cold]
    fn raise(&self, admitted: u64) -> bool {
        let ceiling = self.shell.settled.load(Ordering::Acquire) + self.limit;
        self.ceiling.fetch_max(ceiling, Ordering::Relaxed);
        if self.is_closed() {
            // It may have been closed meanwhile, and the ceiling just been put back.
            self.ceiling.store(0, Ordering::Relaxed);
            return false;
        }
        admitted < ceiling
    }

    /// Lets nothing in any more: the incarnation is about to end.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.ceiling.store(0, Ordering::SeqCst);
    }

    /// Whether it lets nothing in any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Lets one message in, whatever waits.
    pub(super) fn force(&self) {
        self.admitted.fetch_add(1, Ordering::Relaxed);
    }

    /// A message that was let in was not sent.
    pub(super) fn give_back(&self) {
        self.admitted.fetch_sub(1, Ordering::Relaxed);
    }

    /// Messages that were let in and have not reached their handler.
    pub(super) fn waiting(&self) -> u64 {
        let settled = self.shell.settled.load(Ordering::Acquire);
        self.admitted.load(Ordering::Relaxed).saturating_sub(settled)
    }

    /// A message has reached its handler. Called by the shell alone.
    #[inline]
    pub(super) fn settle(&self) {
        let Shelf { settled, seen, .. } = &self.shell;
        let count = settled.load(Ordering::Relaxed);
        if count >= seen.load(Ordering::Relaxed) {
            // Not behind the message in hand: it was let in before it was sent.
            seen.store(self.admitted.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if count < seen.load(Ordering::Relaxed) {
            settled.store(count + 1, Ordering::Release);
        }
    }

    /// A call begins. Called by the shell alone.
    #[inline]
    pub(super) fn begin(&self) {
        if let Some(clock) = &self.shell.clock {
            self.shell.began.store(clock.now().as_nanos(), Ordering::Relaxed);
        }
    }

    /// The call in hand has ended. Called by the shell alone.
    #[inline]
    pub(super) fn rest(&self) {
        if self.shell.clock.is_some() {
            self.shell.began.store(IDLE, Ordering::Relaxed);
        }
    }

    /// When the call in hand began.
    pub(super) fn began(&self) -> Option<Instant> {
        let began = self.shell.began.load(Ordering::Relaxed);
        (began != IDLE).then_some(Instant::from_nanos(began))
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, .. } = self;
        write!(f, "Gauge({} of {limit} waiting)", self.waiting())
    }
}
