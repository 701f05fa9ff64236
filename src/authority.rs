//! Who decides what the view is, and the leases that bound how long a node may act on it.

mod api;
mod feed;
mod formation;
mod leader;
mod lease;
mod office;
mod quorum;
mod raft;
mod renewal;
mod seeds;
mod single;
mod standing;
mod voters;

pub use api::{
    Grant, ProposeError, Proposed, Renew, RenewError, ViewAuthority, WISHES_MAX, Wish, Wished,
};
pub use lease::{Gated, Lapsed, Lease, Tenure};
pub use quorum::{Formation, QuorumAuthority, QuorumParts};
use raft::RAFT_FILE;
pub(crate) use raft::Remains;
pub use raft::{
    FormError, LeaderKey, NotLeader, OpenError, Progress, QuorumState, RaftCore, RaftParts, Voter,
};
pub use seeds::{ADDRESSES_MAX, Seeds, SeedsFileError, read_seeds};
pub use single::SingleNode;
pub use standing::{Standing, StartError};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {
    feed::fuzz_feed,
    formation::fuzz_formation,
    office::fuzz_lease,
    raft::{fuzz_propose, fuzz_raft, fuzz_view},
};

#[cfg(test)]
mod golden;
