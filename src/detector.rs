//! Who seems alive, and how long a node may act without asking: integer deadlines only. PURE.
//!
//! What the heartbeats say is an *observation* of one node: it routes around trouble and notifies,
//! but only an agreed eviction ends a boot, and only the lease table says when that may be.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic))]

mod heartbeat;
mod lease;

pub use heartbeat::{HeartbeatConfig, Heartbeats};
pub use lease::{Denied, LeaseTable, NodeLease, Renewal, Span};
