//! What voters say to each other, and how it lies in a frame.

use std::time::Duration;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::types::{SnapshotMeta, Tc, Vote};
use crate::authority::Proposed;
use crate::base::{NodeId, VoterId};
use crate::placement::Proposal;
use crate::wire::{CONTROL_SCHEMA, from_control};

/// Largest encoded list of proposals, so that an entry fits into a frame with room to spare.
pub(super) const PROPOSALS_BYTES_MAX: usize = 2 << 20;

/// Bytes of a snapshot in one frame: few enough that a heartbeat behind it is not late.
pub(super) const PART_BYTES: usize = 256 << 10;

/// From one voter's raft to another's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum RaftRequest {
    Append(AppendEntriesRequest<Tc>),
    Vote(VoteRequest<Tc>),
    PreVote(VoteRequest<Tc>),
    Transfer(TransferLeaderRequest<Tc>),
    Snapshot(Part),
}

/// A [`RaftRequest`] on the wire. A node that has lost what it voted is another voter: it must not
/// answer for the one it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Addressed {
    pub(super) to: VoterId,
    pub(super) request: RaftRequest,
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
    /// An operator wants fewer voters, this node not among them; then nothing is proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) without_voter: Option<NodeId>,
}

/// What is asked of the leader.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Changes(Vec<Proposal>),
    WithoutVoter(NodeId),
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

/// Encodes in the language of the control plane.
pub(super) fn to_frame(message: &impl Serialize) -> Result<Bytes, String> {
    let mut body = vec![CONTROL_SCHEMA];
    rmp_serde::encode::write_named(&mut body, message).map_err(|error| error.to_string())?;
    Ok(body.into())
}

/// Decodes what another node sent.
pub(super) fn from_frame<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    from_control(body).map_err(|error| error.to_string())
}

/// For the fuzz target `raft`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_raft(bytes: &[u8]) -> bool {
    fuzz::<Addressed>(bytes) | fuzz::<RaftRequest>(bytes) | fuzz::<RaftReply>(bytes)
}

/// For the fuzz target `propose`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_propose(bytes: &[u8]) -> bool {
    fuzz::<ProposeRequest>(bytes) | fuzz::<ProposeReply>(bytes)
}

#[cfg(any(test, feature = "fuzzing"))]
fn fuzz<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
    let to = |value: &T| to_frame(value).ok().map(Into::into);
    crate::wire::fuzz::stable(bytes, |bytes| from_frame(bytes).ok(), to)
}
