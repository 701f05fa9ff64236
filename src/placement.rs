//! The view: who is a member, and who owns and holds each shard. PURE.
//!
//! A [`View`] is numbered and totally ordered. It is changed by [`Change`]s that the authority has
//! agreed on; `apply` validates and copies, it never plans. The planner runs at the proposer, so
//! that an agreed entry says explicitly which shard goes to whom.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic))]

mod apply;
mod change;
mod check;
mod planner;
mod profile;
mod view;

/// Most shards a cluster may have.
pub const SHARDS_MAX: u16 = 32_768;
/// Highest shard count with which a cluster is formed: its first entry names owner and holders of
/// each, and an entry has at most 2 MiB.
pub const SHARDS_FORMED_MAX: u16 = 8_192;

/// Most units of 128 virtual nodes that one node may claim.
pub const WEIGHT_MAX: u16 = 256;

pub use apply::{DEPARTED_MAX, HISTORY_MAX, RECENT_MAX};
pub use change::{
    Assign, CLAIM_TOKENS_MAX, Cause, Change, ChangeId, Claim, Outcome, Precondition, Proposal,
    Refusal, Transfer,
};
pub use planner::{
    Copies, Limits, Move, Plan, Planner, Step, Underway, cap, copy_candidates, next_copy,
    plan_evict, plan_evict_among, plan_formation, plan_join, plan_ownerless, plan_rejoin,
    replica_sets, share,
};
pub use profile::{Profile, ProfileError};
pub use view::{
    Constants, Departed, Departure, DiskMark, Member, Noted, Owner, Shard, Status, StoreMark, View,
};

#[cfg(test)]
pub(crate) mod tests;
