//! Who seems alive: SWIM gossip over the control links.
//!
//! [`Gossip`] is the protocol (the crate `foca`) with its timers, without a clock or a socket;
//! [`Membership`] drives it. What it says are *hints*: they route around trouble and are reported
//! to the leader. Only a committed eviction ends a boot.

mod driver;
mod gossip;

pub use driver::{Membership, MembershipParts, Observations};
pub use gossip::{Gossip, GossipConfig, GossipId, Input, Output, Reachability};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use gossip::fuzz_gossip;

#[cfg(test)]
mod golden;
