//! Who seems alive, and how long a node may act without asking: integer deadlines only. PURE.
//!
//! What the heartbeats say is an *observation* of one node: it routes around trouble and notifies,
//! but only an agreed eviction ends a boot, and only the lease table says when that may be.
//!
//! Floats are for display, in `phi` alone; every module that decides denies them.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod health;
mod heartbeat;
mod lease;
mod phi;
mod sigmas;

pub use health::LocalHealth;
pub use heartbeat::{HeartbeatConfig, Heartbeats};
pub use lease::{
    Charge, DRAIN_MAX, Denied, Heard, LeaseTable, NodeLease, REPORTED_FOR, Renewal, Span,
    lease_at_leader,
};
