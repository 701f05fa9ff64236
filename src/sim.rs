//! A world of simulated nodes: the real code of every layer on simulated links, disks and clocks.
//!
//! Nothing imports this module. The network and the time are turmoil's: a host is a paused
//! current-thread runtime, a link delivers in order after a drawn latency. What goes wrong is a
//! *power loss* (all links cut first, then the host is gone, its disk keeps what was synced and a
//! random part of the rest), a *killed* process (its sockets close in order, then it is gone; its
//! disk keeps everything), a *stopped* one (the time goes on without it), one that *leaves*, a
//! *cut*, or a *slow* link or disk; all are repeatable from the seed. So is *loss*,
//! which is a property of the links and not a fault: it shows as TCP shows it, as delay. Meanwhile
//! an operator drains nodes and sets the lease D.
//!
//! Every sleep of a node is by its own [`SimClock`], which has an offset and a rate. Two things
//! keep the world's time: the network, and the timers inside of openraft, on which no lease rests.
//!
//! [`World::step`] passes one tick of time and then checks the invariants: one valid lease holder
//! per shard (I1), stores that take no older epoch (I2), versions and epochs that only grow, views
//! that keep their rules and are the same at every node (I4), nobody evicted who renewed (I6), no
//! queue beyond its limit (I8). What is acknowledged and must be there is for an oracle outside to
//! know.
//!
//! [`queue`] is another world, without turmoil: membership alone, for up to 1,000 nodes.

mod changes;
mod clock;
mod fault;
mod faults;
mod host;
mod laws;
mod net;
mod operator;
mod panics;
#[cfg(test)]
mod planted;
mod process;
pub mod queue;
mod repeat;
mod trace;
pub mod trial;
mod world;

pub use changes::Changes;
pub use clock::SimClock;
pub use fault::{Fault, FaultKind};
pub use faults::Faults;
pub use host::{Load, Prepare};
pub use net::{RETRANSMISSIONS_MAX, SimNet};
pub use repeat::Repeat;
pub use trace::Trace;
pub use world::{Broken, Setup, World};

use std::time::Duration;

/// The world's time, seen from inside of one of its hosts; `None` elsewhere.
///
/// A host's time comes from its runtime. When turmoil takes a host away, it drops what the host's
/// own task held after the runtime: `turmoil::sim_elapsed` would then add how much later the
/// *machine's* clock is than the runtime's, which is nothing on a fast machine and chance on a slow
/// one. So outside of every runtime nobody is told a time.
#[must_use]
pub fn elapsed() -> Option<Duration> {
    tokio::runtime::Handle::try_current().ok().and_then(|_| turmoil::sim_elapsed())
}

/// A seed of its own for each part of a run: the finaliser of `SplitMix64` over all `parts`.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| {
        let state = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ state >> 31
    })
}
