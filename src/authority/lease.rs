//! The node's side of a lease: the gate that every turn of an entity passes.
//!
//! A node may run entity code only while its clock is before `s + D - guard` (see
//! `detector::NodeLease`), and only for shards that the newest view it applied says are
//! its own. The gate reads the *clock*, never a flag: a process that was stopped and goes on finds
//! a flag as it left it, but the clock went on.

mod alarm;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

pub(super) use self::alarm::alarm;
use crate::base::{Boot, Bug, Clock, Epoch, Instant, NodeId, ShardId, planted};
use crate::placement::{Owner, View};

/// Waiting futures are kept in this many lists, so that shards rarely share a lock.
const LISTS: usize = 64;

/// Under what right a turn, timer or helper task of an entity runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenure {
    /// The life of the node's membership.
    pub boot: Boot,
    /// The shard the entity is in.
    pub shard: ShardId,
    /// The ownership of that shard.
    pub epoch: Epoch,
}

/// Why the gate is shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lapsed {
    /// The lease ran out. Still true: nobody else has the shard as far as this node knows. Next:
    /// wait; a new grant may open the gate again.
    #[error("the lease ran out")]
    Expired,
    /// The boot, the shard's owner or its epoch is another by now. Final: drop future and state,
    /// and answer *unknown*.
    #[error("the shard is owned under another epoch")]
    Moved,
}

/// A future that waits at the gate.
struct Waiting {
    /// Woken by the next grant too; otherwise only when its shard moves.
    parked: bool,
    tenure: Tenure,
    waker: Waker,
}

#[derive(Default)]
struct List {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

impl List {
    /// Takes out the wakers of all that `wanted` picks.
    fn take(&mut self, mut wanted: impl FnMut(&Waiting) -> bool) -> Vec<Waker> {
        self.waiting.extract_if(.., |_, one| wanted(one)).map(|(_, one)| one.waker).collect()
    }
}

struct Inner {
    clock: Arc<dyn Clock>,
    node: NodeId,
    /// Nanoseconds; the node runs entity code before it.
    deadline: AtomicU64,
    /// The boot this process runs under; 0: none yet.
    boot: AtomicU64,
    /// Per shard the epoch under which (node, boot) owns it; 0: it does not. Made with the first
    /// view of a formed cluster: the shard count never changes.
    owned: OnceLock<Box<[AtomicU64]>>,
    /// Of the newest view it was told of.
    version: AtomicU64,
    /// Times that a grant came when the lease had run out.
    lapses: AtomicU64,
    lists: [Mutex<List>; LISTS],
    /// What this life gave up, whatever later views say. Held while any of the above is changed;
    /// the gate does not take it.
    released: Mutex<BTreeMap<(ShardId, Epoch), Given>>,
}

/// How far a shard is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// Its gate is shut; something of it may still run.
    Shut,
    /// Nothing of it runs any more: the leader is told.
    Released,
}

/// The lease of this node. Cheap to clone; all clones are one lease.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease of {} until {}", self.0.node, self.valid_until())
    }
}

impl Lease {
    /// A lease that was never granted, of a node that has no boot yet: every gate is shut.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, node: NodeId) -> Self {
        Self(Arc::new(Inner {
            clock,
            node,
            deadline: AtomicU64::new(0),
            boot: AtomicU64::new(0),
            owned: OnceLock::new(),
            version: AtomicU64::new(0),
            lapses: AtomicU64::new(0),
            lists: std::array::from_fn(|_| Mutex::default()),
            released: Mutex::default(),
        }))
    }

    /// Begins the life `boot`: what was owned and granted before counts no more.
    pub fn begin(&self, boot: Boot) {
        let mut released = self.0.released.lock();
        released.clear();
        self.0.deadline.store(0, Ordering::Release);
        self.0.boot.store(boot.0, Ordering::Release);
        for owned in self.0.owned.get().into_iter().flatten() {
            owned.store(Epoch::NONE.0, Ordering::Release);
        }
        self.wake(|_| true);
    }

    /// The life this node runs under; `Boot(0)` before the first.
    #[must_use]
    pub fn boot(&self) -> Boot {
        Boot(self.0.boot.load(Ordering::Acquire))
    }

    /// The node runs entity code before this instant. [`Instant::ZERO`] before the first grant.
    #[must_use]
    pub fn valid_until(&self) -> Instant {
        Instant::from_nanos(self.0.deadline.load(Ordering::Acquire))
    }

    /// Whether the lease holds now, by the clock.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.0.clock.now() < self.valid_until()
    }

    /// How often a grant came only when the lease of this process had run out: it was suspended
    /// until then.
    #[must_use]
    pub fn lapses(&self) -> u64 {
        self.0.lapses.load(Ordering::Acquire)
    }

    /// The right of this life to `shard` under `epoch`. Whether it holds is for [`Self::check`].
    #[must_use]
    pub fn tenure(&self, shard: ShardId, epoch: Epoch) -> Tenure {
        Tenure { boot: self.boot(), shard, epoch }
    }

    /// The tenure of `shard`, if the newest applied view says that this life owns it.
    #[must_use]
    pub fn owned(&self, shard: ShardId) -> Option<Tenure> {
        let epoch = self.epoch_of(shard);
        (epoch != Epoch::NONE).then(|| self.tenure(shard, epoch))
    }

    fn epoch_of(&self, shard: ShardId) -> Epoch {
        let owned = self.0.owned.get().and_then(|all| all.get(usize::from(shard.0)));
        Epoch(owned.map_or(0, |epoch| epoch.load(Ordering::Acquire)))
    }

    /// The gate. To be passed whenever a suspended future is polled again, at every batch, and
    /// before every effect that leaves a turn.
    ///
    /// # Errors
    /// [`Lapsed`]: what must not be done.
    pub fn check(&self, tenure: &Tenure) -> Result<(), Lapsed> {
        // The deadline first: one that a grant just set was set after the view that the grant
        // names was applied, so what is read below is at least that view. The clock last: the
        // later it is read, the stricter.
        let deadline = self.valid_until();
        if self.boot() != tenure.boot
            || tenure.epoch == Epoch::NONE
            || self.epoch_of(tenure.shard) != tenure.epoch
        {
            return Err(Lapsed::Moved);
        }
        let is_valid = planted(Bug::LeaseByFlag) || self.0.clock.now() < deadline;
        if is_valid { Ok(()) } else { Err(Lapsed::Expired) }
    }

    /// Polls `future` only while the gate is open. Past the deadline it is parked, not polled; it
    /// goes on after a new grant if boot, shard and epoch are unchanged; when they are not it is
    /// dropped at once, and the answer is an error. What leaves a turn passes [`Self::check`]
    /// besides: a poll may outlast the lease.
    pub fn through<F: Future>(&self, tenure: Tenure, future: F) -> Gated<F> {
        let lease = self.clone();
        Gated { lease, tenure, future: Some(Box::pin(future)), place: None }
    }

    /// Notes what the view says this life owns. Called before the view is published to others, so
    /// that nobody acts on a view that the gate does not know.
    pub fn applied(&self, view: &View) {
        let mut released = self.0.released.lock();
        // An older view than the newest known must not open a gate again.
        if !view.is_formed() || view.version.0 < self.0.version.load(Ordering::Acquire) {
            return;
        }
        self.0.version.store(view.version.0, Ordering::Release);
        let boot = self.boot();
        let all = self.0.owned.get_or_init(|| view.shards.iter().map(|_| 0.into()).collect());
        let mut moved = false;
        released.retain(|(id, epoch), _| view.shard(*id).is_some_and(|one| one.epoch == *epoch));
        for (owned, (id, shard)) in all.iter().zip(view.numbered()) {
            let mine = |owner: &Owner| owner.node == self.0.node && owner.boot == boot;
            let mine = shard.owner.as_ref().is_some_and(mine)
                && !released.contains_key(&(id, shard.epoch));
            let epoch = if mine { shard.epoch.0 } else { Epoch::NONE.0 };
            if owned.load(Ordering::Acquire) != epoch {
                owned.store(epoch, Ordering::Release);
                moved = true;
            }
        }
        if moved {
            self.wake(|one| self.epoch_of(one.tenure.shard) != one.tenure.epoch);
        }
    }

    /// Gives up `shard` under `epoch`, for good: no later view opens its gate again, and the leader
    /// is told. To be called once nothing of it runs any more.
    pub fn release(&self, shard: ShardId, epoch: Epoch) {
        self.give(shard, epoch, Given::Released);
    }

    /// Shuts the gate of `shard` under `epoch`, for good: what runs of it is dropped when it is
    /// polled the next time. [`Self::release`] follows.
    pub fn shut(&self, shard: ShardId, epoch: Epoch) {
        self.give(shard, epoch, Given::Shut);
    }

    fn give(&self, shard: ShardId, epoch: Epoch, how: Given) {
        let mut released = self.0.released.lock();
        let given = released.entry((shard, epoch)).or_insert(how);
        if how == Given::Released {
            *given = how;
        }
        if let Some(owned) = self.0.owned.get().and_then(|all| all.get(usize::from(shard.0))) {
            // Whatever else it holds is another ownership, and stays.
            let (one, none, order) = (epoch.0, Epoch::NONE.0, Ordering::AcqRel);
            let _ = owned.compare_exchange(one, none, order, Ordering::Acquire);
        }
        self.wake(|one| one.tenure.shard == shard && one.tenure.epoch == epoch);
    }

    /// What this life has released and the view still shows as its own.
    #[must_use]
    pub fn released(&self) -> Vec<(ShardId, Epoch)> {
        self.released_after(None, usize::MAX)
    }

    /// Up to `most` of what this life has released and the view still shows as its own: those after
    /// `last`, in order.
    pub(super) fn released_after(
        &self,
        last: Option<(ShardId, Epoch)>,
        most: usize,
    ) -> Vec<(ShardId, Epoch)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let given = self.0.released.lock();
        let released = given.range((from, Bound::Unbounded));
        let released = released.filter(|(_, how)| **how == Given::Released);
        released.take(most).map(|(one, _)| *one).collect()
    }

    /// Sets the deadline that a grant to `boot` gives; never takes one back. For the renewal
    /// driver, after the view that the grant names was applied.
    pub fn extend(&self, boot: Boot, until: Instant) {
        let _changing = self.0.released.lock();
        if self.boot() == boot {
            let before = self.0.deadline.fetch_max(until.as_nanos(), Ordering::AcqRel);
            if before != 0 && self.0.clock.now().as_nanos() >= before {
                self.0.lapses.fetch_add(1, Ordering::AcqRel);
            }
            self.wake(|one| one.parked);
        }
    }

    fn wake(&self, mut wanted: impl FnMut(&Waiting) -> bool) {
        for list in &self.0.lists {
            let woken = list.lock().take(&mut wanted);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    fn list(&self, shard: ShardId) -> &Mutex<List> {
        &self.0.lists[usize::from(shard.0) % LISTS]
    }
}

/// A future behind the gate: [`Lease::through`].
#[must_use = "futures do nothing unless polled"]
pub struct Gated<F: Future> {
    lease: Lease,
    tenure: Tenure,
    /// `None` once it was dropped or has ended.
    future: Option<Pin<Box<F>>>,
    /// Its place in the list of those that wait.
    place: Option<u64>,
}

impl<F: Future> fmt::Debug for Gated<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").field("tenure", &self.tenure).finish_non_exhaustive()
    }
}

impl<F: Future> Gated<F> {
    /// Waits for a move of the shard and, if `parked`, for the next grant.
    fn wait(&mut self, parked: bool, waker: &Waker) {
        let tenure = self.tenure;
        let mut list = self.lease.list(tenure.shard).lock();
        let place = *self.place.get_or_insert_with(|| {
            list.next += 1;
            list.next
        });
        list.waiting.insert(place, Waiting { parked, tenure, waker: waker.clone() });
    }

    fn stop_waiting(&mut self) {
        if let Some(place) = self.place.take() {
            self.lease.list(self.tenure.shard).lock().waiting.remove(&place);
        }
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = Result<F::Output, Lapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.lease.check(&self.tenure) {
                Ok(()) => break,
                Err(Lapsed::Moved) => {
                    self.future = None;
                    self.stop_waiting();
                    return Poll::Ready(Err(Lapsed::Moved));
                }
                Err(Lapsed::Expired) => {
                    self.wait(true, cx.waker());
                    // A grant may have come in between, before it could see that we wait.
                    if self.lease.check(&self.tenure) == Err(Lapsed::Expired) {
                        return Poll::Pending;
                    }
                }
            }
        }
        let polled = self.future.as_mut().map(|future| future.as_mut().poll(cx));
        match polled {
            Some(Poll::Ready(output)) => {
                self.future = None;
                self.stop_waiting();
                Poll::Ready(Ok(output))
            }
            Some(Poll::Pending) => {
                self.wait(false, cx.waker());
                // The shard may have moved before it could see that we wait.
                if self.lease.check(&self.tenure) == Err(Lapsed::Moved) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            // Polled after its end: what a future may answer then is free.
            None => Poll::Ready(Err(Lapsed::Moved)),
        }
    }
}

impl<F: Future> Drop for Gated<F> {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

#[cfg(test)]
mod tests;
