//! From the other nodes to this voter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::Snapshot;
use openraft::raft::{AppendEntriesResponse, SnapshotResponse};
use parking_lot::Mutex;

use super::message::{
    Addressed, Part, ProposeReply, ProposeRequest, RaftReply, RaftRequest, Wanted,
};
use super::message::{from_frame, to_frame};
use super::types::{Raft, SnapshotMeta, Vote};
use super::{Inner, RaftCore};
use crate::base::{NodeId, Seams, within};
use crate::placement::{Change, Proposal};
use crate::transport::{Head, Inbound, Peer, ReplyTo, Service};

/// An ask that raft does not answer in so long is given up: its disk hangs, or it is stopping.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Asks under way at one time; further ones are refused.
const ASKS_MAX: usize = 1_024;

/// Largest snapshot another voter may send.
const SNAPSHOT_BYTES_MAX: usize = 64 << 20;

/// The answer to one ask, or why it was not executed.
pub(super) type Answer = Result<Bytes, String>;

/// What a node without a vote is told that still leads, as far as it knows: who lost its vote while
/// it was cut off hears of the later leader from nobody, and would lead nobody for ever.
async fn deposed(core: &RaftCore, request: &RaftRequest) -> Option<RaftReply> {
    let RaftRequest::Append(request) = request else { return None };
    let own = core.0.raft.with_raft_state(|state| *state.vote_ref()).await.ok()?;
    (own > request.vote).then_some(RaftReply::Append(AppendEntriesResponse::HigherVote(own)))
}

/// Takes what arrives for this voter.
pub(super) struct Server {
    /// Weak, because the links hold the server and the core holds the links.
    core: Weak<Inner>,
    seams: Seams,
    under_way: Arc<AtomicUsize>,
    /// By sender: the snapshot it is sending.
    incoming: Mutex<BTreeMap<NodeId, Incoming>>,
}

/// The parts of a snapshot so far.
struct Incoming {
    vote: Vote,
    meta: SnapshotMeta,
    bytes: BytesMut,
}

/// Counts one ask while it lives.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    pub(super) fn new(core: &RaftCore, seams: Seams) -> Arc<Self> {
        let (under_way, incoming) = (Arc::default(), Mutex::default());
        Arc::new(Self { core: Arc::downgrade(&core.0), seams, under_way, incoming })
    }

    fn admit(&self) -> Option<UnderWay> {
        let admitted = self.under_way.fetch_add(1, Ordering::Relaxed) < ASKS_MAX;
        let counted = UnderWay(self.under_way.clone());
        admitted.then_some(counted)
    }

    /// Whether the view knows a later life of that node, be it over too: what this one voted may be
    /// forgotten.
    fn is_over(&self, from: &Peer) -> bool {
        let Some(core) = self.core.upgrade() else { return false };
        let view = RaftCore(core).known();
        view.last_life(&from.node).is_some_and(|(boot, _)| boot > from.boot)
    }

    /// Answers one ask of `from`.
    pub(super) async fn answer(&self, from: &NodeId, service: Service, body: &[u8]) -> Answer {
        let core = self.core.upgrade().map(RaftCore).ok_or("this voter has stopped")?;
        match service {
            Service::Raft => to_frame(&self.raft(&core, from, from_frame(body)?).await?),
            Service::Propose => to_frame(&self.propose(&core, from, from_frame(body)?).await),
            other @ (Service::Formation
            | Service::Lease
            | Service::Gossip
            | Service::Replica
            | Service::Entity
            | Service::Status
            | Service::View) => Err(format!("{other:?} is not served here")),
        }
    }

    async fn raft(
        &self,
        core: &RaftCore,
        from: &NodeId,
        Addressed { to, request }: Addressed,
    ) -> Result<RaftReply, String> {
        if !core.may_speak_raft(from) {
            return deposed(core, &request).await.ok_or_else(|| format!("{from} is no voter"));
        }
        if to != core.0.voter {
            return Err(format!("{to} is gone: this is {}", core.0.voter));
        }
        let raft = &core.0.raft;
        let stopped = |error: &dyn std::fmt::Display| error.to_string();
        Ok(match request {
            RaftRequest::Append(request) => {
                RaftReply::Append(raft.append_entries(request).await.map_err(|e| stopped(&e))?)
            }
            RaftRequest::Vote(request) => {
                RaftReply::Vote(raft.vote(request).await.map_err(|e| stopped(&e))?)
            }
            RaftRequest::PreVote(request) => {
                RaftReply::PreVote(raft.pre_vote(request).await.map_err(|e| stopped(&e))?)
            }
            RaftRequest::Transfer(request) => RaftReply::Transfer(
                raft.handle_transfer_leader(request).await.map_err(|e| stopped(&e))?,
            ),
            RaftRequest::Snapshot(part) => self.part(from, raft, part).await?,
        })
    }

    /// Keeps a part of a snapshot; installs it after the last one.
    async fn part(&self, from: &NodeId, raft: &Raft, part: Part) -> Result<RaftReply, String> {
        let Part { vote, meta, offset, bytes, is_last } = part;
        let whole = {
            let mut incoming = self.incoming.lock();
            if offset == 0 {
                let fresh = Incoming { vote, meta: meta.clone(), bytes: BytesMut::new() };
                incoming.insert(from.clone(), fresh);
            }
            let begun = incoming.get_mut(from).filter(|begun| {
                begun.vote == vote && begun.meta == meta && begun.bytes.len() == offset
            });
            let begun = begun.ok_or("a part of a snapshot that was not begun")?;
            if offset + bytes.len() > SNAPSHOT_BYTES_MAX {
                incoming.remove(from);
                return Err(format!("a snapshot of more than {SNAPSHOT_BYTES_MAX} bytes"));
            }
            begun.bytes.extend_from_slice(&bytes);
            if !is_last {
                return Ok(RaftReply::Part);
            }
            incoming.remove(from).map(|begun| begun.bytes.freeze()).unwrap_or_default()
        };
        let snapshot = Snapshot { meta, snapshot: whole };
        let SnapshotResponse { vote, .. } =
            raft.install_full_snapshot(vote, snapshot).await.map_err(|error| error.to_string())?;
        Ok(RaftReply::Snapshot(SnapshotResponse::new(vote)))
    }

    async fn propose(
        &self,
        core: &RaftCore,
        from: &NodeId,
        request: ProposeRequest,
    ) -> ProposeReply {
        let ProposeRequest { proposals, patience, without_voter } = request;
        if !proposals.iter().all(|proposal| may_propose(from, proposal)) {
            tracing::warn!(%from, "proposes what only others may");
            return ProposeReply::Forbidden;
        }
        let is_member = || core.known().members.contains_key(from);
        let wanted = match without_voter {
            // Whoever can open a member's socket is an operator.
            Some(node) if is_member() => Wanted::WithoutVoter(node),
            Some(_) => return ProposeReply::Forbidden,
            None => Wanted::Changes(proposals),
        };
        core.at_this(wanted, self.seams.clock.now() + patience).await
    }
}

/// Whether `from` may propose it at another voter: an owner, for its own shards. The leader alone
/// evicts, assigns and moves, and never through another node; and it alone lets a node in, as the
/// office that has seen its claim and knows the leases.
pub(super) fn may_propose(from: &NodeId, proposal: &Proposal) -> bool {
    match &proposal.change {
        Change::HasRecords { when, .. }
        | Change::Add { when, .. }
        | Change::Shrink { when, .. } => when.owner.node == *from,
        Change::Leave { node, .. } => node == from,
        // An operator's, through the member whose socket the operator may open.
        Change::Drain { .. } | Change::Set { .. } => true,
        Change::Form { .. }
        | Change::Join { .. }
        | Change::Rejoin { .. }
        | Change::Evict { .. }
        | Change::Assign { .. }
        | Change::Move { .. }
        | Change::HandOver { .. }
        | Change::MoveAborted { .. }
        | Change::LeaseSettled { .. } => false,
    }
}

/// One service of the server, as links want it.
pub(super) struct Served(pub(super) Arc<Server>, pub(super) Service);

impl Inbound for Served {
    fn tell(&self, from: &Peer, _: Head, _: Bytes) {
        tracing::debug!(from = %from.node, service = ?self.1, "a tell where asks are expected");
    }

    fn ask(&self, from: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        let Self(server, service) = self;
        let Some(counted) = server.admit() else {
            reply.refuse(Bytes::from_static(b"overloaded"));
            return;
        };
        if *service == Service::Raft && server.is_over(from) {
            reply.refuse(Bytes::from_static(b"a later life of this node is known"));
            return;
        }
        let (server, service, from) = (server.clone(), *service, from.node.clone());
        let answer = async move {
            let clock = &*server.seams.clock;
            let answer = server.answer(&from, service, &body);
            match within(clock, clock.now() + ANSWER_WITHIN, answer).await {
                Ok(Ok(body)) => reply.send(body),
                Ok(Err(error)) => {
                    tracing::debug!(%from, ?service, %error, "refused");
                    reply.refuse(error.into());
                }
                // Whether it is done is unknown: the asker learns so when `reply` is dropped.
                Err(elapsed) => tracing::warn!(%from, ?service, %elapsed, "not answered"),
            }
            drop(counted);
        };
        self.0.seams.control.spawn(answer);
    }
}
