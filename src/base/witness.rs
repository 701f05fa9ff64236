//! What a simulated world sees of the inside of its nodes, beside what they show to everybody.
//!
//! Only with feature `sim`. A world and all of its nodes run on one thread, so what they tell is
//! kept by thread: worlds on other threads hear nothing of it, and where no world listens nothing
//! is kept at all.

use std::cell::RefCell;
use std::time::Duration;

use super::{Boot, Epoch, Instant, NodeId, ShardId, StoreId};

/// What a node did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A store committed a change of a shard, or its seal.
    Stored { store: StoreId, shard: ShardId, epoch: Epoch },
    /// A Renew came to `office`, directly or relayed; `at` is that node's clock.
    Renewing { office: NodeId, node: NodeId, boot: Boot, at: Instant },
    /// `office` leads and marks a life for its eviction; `lease` is D.
    Evicting { office: NodeId, node: NodeId, boot: Boot, at: Instant, lease: Duration },
}

thread_local! {
    static SEEN: RefCell<Option<Vec<Seen>>> = const { RefCell::new(None) };
}

/// Takes note, if a world listens.
pub(crate) fn saw(seen: Seen) {
    SEEN.with_borrow_mut(|all| {
        if let Some(all) = all {
            all.push(seen);
        }
    });
}

/// What was seen on this thread while `call` ran, with what it gave back.
pub(crate) fn while_listening<T>(call: impl FnOnce() -> T) -> (T, Vec<Seen>) {
    SEEN.set(Some(Vec::new()));
    let result = call();
    (result, SEEN.take().unwrap_or_default())
}
