//! Follows the view: stops what is not owned any more, and gives up shards that are on their way to
//! another node.
//!
//! A shard that the view shows as moving is *held*: no turn begins, and what comes waits in its
//! lane. Once no turn runs it is released; a turn that still runs after [`MOVE_TIMEOUT`] is dropped
//! by its gate, and one that never yields keeps the shard until the leader takes the move back.
//! What waits is given back as soon as the view names the next owner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Hosts;
use super::host::{SWEEP_EVERY, WeakHosts};
use crate::authority::Tenure;
use crate::base::{Clock, Instant, LATE_MAX, ShardId, Watched, within};
use crate::placement::{Owner, View};

/// How long a turn of a shard on its way may go on.
const MOVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The shards that this node gives up.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// Since when each is held.
    held: Mutex<BTreeMap<Tenure, Instant>>,
    /// The last turn of a held home has ended.
    pub(super) quiet: Arc<Notify>,
}

impl Moving {
    /// Whether it is being given up.
    pub(super) fn has(&self, tenure: Tenure) -> bool {
        self.held.lock().contains_key(&tenure)
    }
}

/// Runs as long as the entities of the node; does not keep them alive.
pub(super) async fn follow(
    hosts: WeakHosts,
    watched: Watched<View>,
    clock: Arc<dyn Clock>,
    quiet: Arc<Notify>,
) {
    let mut watch = watched.follow();
    let mut sweep_at = clock.next_look(SWEEP_EVERY);
    // A view may have come before this follower began.
    if let Some(hosts) = hosts.upgrade() {
        hosts.settle(&watch.get());
        hosts.release_quiet();
    }
    loop {
        let next = async {
            tokio::select! {
                biased;
                view = watch.changed() => Some(view.is_some()),
                () = quiet.notified() => None,
            }
        };
        let changed = within(&*clock, sweep_at, next.boxed()).await;
        let Some(hosts) = hosts.upgrade() else { return };
        if changed == Ok(Some(false)) || hosts.is_stopping() {
            return;
        }
        if changed == Ok(Some(true)) {
            hosts.settle(&watch.get());
        }
        hosts.release_quiet();
        if hosts.now() >= sweep_at {
            hosts.kinds().for_each(|kind| kind.sweep());
            // A node without kinds has nothing to sweep, and holds no messages.
            let is_idle = hosts.kinds().next().is_none();
            sweep_at = clock.next_look(if is_idle { LATE_MAX } else { SWEEP_EVERY });
        }
        hosts.let_in_held();
    }
}

impl Hosts {
    /// Stops what this node does not own any more, and holds what it is to give up.
    fn settle(&self, view: &View) {
        let now = self.now();
        let moving = view.numbered().filter(|(_, shard)| shard.moving.is_some());
        let (boot, released) = (self.lease().boot(), self.lease().released());
        let own = moving.filter(|(number, shard)| {
            let mine = |owner: &Owner| (&owner.node, owner.boot) == (self.me(), boot);
            shard.owner.as_ref().is_some_and(mine) && !released.contains(&(*number, shard.epoch))
        });
        let own = own.map(|(shard, now)| Tenure { boot, shard, epoch: now.epoch });
        let begun: Vec<Tenure> = {
            let mut held = self.moving().held.lock();
            let moving: Vec<Tenure> = own.collect();
            held.retain(|tenure, _| moving.contains(tenure));
            let begun = moving.into_iter().filter(|tenure| !held.contains_key(tenure));
            let begun: Vec<Tenure> = begun.collect();
            held.extend(begun.iter().map(|tenure| (*tenure, now)));
            begun
        };
        // After they were noted: a home that is made from here on is held from its beginning.
        for tenure in begun {
            self.kinds().for_each(|kind| kind.hold(tenure));
        }
        self.kinds().for_each(|kind| kind.settle(self));
    }

    /// The tenure under which this life owns `shard` in the newest view, and whether its gate is
    /// open: it is shut once the shard was given up, and no other view has come yet.
    pub(super) fn own(&self, shard: ShardId) -> Option<(Tenure, bool)> {
        if let Some(tenure) = self.lease().owned(shard) {
            return Some((tenure, true));
        }
        let (view, boot) = (self.view(), self.lease().boot());
        let now = view.shard(shard)?;
        let mine =
            now.owner.as_ref().is_some_and(|owner| (&owner.node, owner.boot) == (self.me(), boot));
        mine.then_some((Tenure { boot, shard, epoch: now.epoch }, false))
    }

    /// Releases the held shards of which nothing runs any more, and shuts the gate of those that
    /// take too long.
    fn release_quiet(&self) {
        let held: Vec<(Tenure, Instant)> =
            self.moving().held.lock().iter().map(|(tenure, since)| (*tenure, *since)).collect();
        for (tenure, since) in held {
            if self.kinds().all(|kind| kind.is_quiet(tenure)) {
                self.authority().release(tenure.shard, tenure.epoch);
                self.moving().held.lock().remove(&tenure);
            } else if self.now().since(since) >= MOVE_TIMEOUT {
                self.lease().shut(tenure.shard, tenure.epoch);
            }
        }
    }
}
