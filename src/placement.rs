//! The view: who is a member, and who owns and holds each shard. PURE.
//!
//! A [`View`] is numbered and totally ordered. It is changed by [`Change`]s that the authority has
//! agreed on; `apply` validates and copies, it never plans. The planner runs at the proposer, so
//! that an agreed entry says explicitly which shard goes to whom.

mod change;
mod profile;
mod view;

pub use change::{
    Assign, Cause, Change, ChangeId, Claim, Outcome, Precondition, Proposal, Refusal,
};
pub use profile::{Profile, ProfileError};
pub use view::{Constants, DiskMark, Member, Owner, Shard, Status, StoreMark, View};
