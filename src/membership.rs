//! Who seems alive: SWIM gossip over the control links.
//!
//! [`Gossip`] is the protocol with its timers, without a clock or a socket; [`Membership`] drives
//! it. What it says are *hints*: they route around trouble and are reported to the leader. Only a
//! committed eviction ends a boot.

mod driver;
mod hints;
mod id;
mod machine;
mod packet;
mod record;
mod state;
mod timing;
mod watchers;

use serde::{Deserialize, Serialize};

pub use driver::{Membership, MembershipParts, Observations};
pub use hints::Hints;
pub use id::GossipId;
pub use machine::{
    Gossip, GossipConfig, GossipCounts, Input, OBSERVERS, Output, Own, Sight, WATCHERS,
};
pub use record::{Card, FAILING_MAX, PROBE_NAME_BYTES_MAX};
pub use state::{MemberChange, MemberEvent, MemberEvents, MemberHub, MemberState};

/// What this node observes of another; not agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reachability {
    /// It answers, directly or through others.
    Reachable,
    /// Somebody had no answer from it, and it may still refute that.
    Suspect,
    /// Two observers had no answer from it, one where only one is left, and it did not refute.
    Unreachable,
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use machine::fuzz_gossip;

#[cfg(test)]
mod golden;
