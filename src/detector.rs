//! Who seems alive, as integer deadlines. PURE.
//!
//! What this module says is an *observation* of one node: it routes around trouble and notifies,
//! but only an agreed eviction ends a boot.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic))]

mod heartbeat;

pub use heartbeat::{HeartbeatConfig, Heartbeats};
