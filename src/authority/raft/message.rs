//! What voters say to each other, and how it lies in a frame.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::types::{SnapshotMeta, Tc, Vote};
use crate::authority::Proposed;
use crate::base::NodeId;
use crate::placement::Proposal;

/// Largest encoded list of proposals, so that an entry fits into a frame with room to spare.
pub(super) const PROPOSALS_BYTES_MAX: usize = 2 << 20;

/// Bytes of a snapshot in one frame.
pub(super) const PART_BYTES: usize = 1 << 20;

/// From one voter's raft to another's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum RaftRequest {
    Append(AppendEntriesRequest<Tc>),
    Vote(VoteRequest<Tc>),
    PreVote(VoteRequest<Tc>),
    Transfer(TransferLeaderRequest<Tc>),
    Snapshot(Part),
}

/// One part of a snapshot. Parts are sent in order, each after the answer to the one before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    /// Where it begins.
    pub(super) offset: usize,
    pub(super) bytes: Bytes,
    pub(super) is_last: bool,
}

/// The answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum RaftReply {
    Append(AppendEntriesResponse<Tc>),
    Vote(VoteResponse<Tc>),
    PreVote(VoteResponse<Tc>),
    Transfer(TransferLeaderResponse<Tc>),
    /// The part was kept; the next one, please.
    Part,
    /// The snapshot was judged.
    Snapshot(SnapshotResponse<Tc>),
}

/// A node asks for changes of the view.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ProposeRequest {
    pub(super) proposals: Vec<Proposal>,
    /// How long the asker waits. Clocks differ, so not until when.
    pub(super) patience: Duration,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ProposeReply {
    Done(Proposed),
    NotLeader(Option<NodeId>),
    NotExecuted(String),
    Unknown(String),
    Forbidden,
}

/// Encodes with the names of fields, so that fields can be added.
pub(super) fn to_frame(message: &impl Serialize) -> Result<Bytes, String> {
    rmp_serde::to_vec_named(message).map(Bytes::from).map_err(|error| error.to_string())
}

/// Decodes what another node sent.
pub(super) fn from_frame<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(body).map_err(|error| error.to_string())
}
