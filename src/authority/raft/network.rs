//! From raft to the other voters.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::message::{Addressed, PART_BYTES, Part, RaftReply, RaftRequest, from_frame, to_frame};
use super::types::{Tc, ViewSnapshot, Vote, Voter};
use crate::base::{Clock, Instant, VoterId};
use crate::transport::{AskError, Class, Head, Links, Service};

/// The way of an ask to another node: [`Links`], or what stands in for them in tests.
pub(super) trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// Asks `service` of the node at the other end.
    fn ask<'a>(
        &'a self,
        to: &'a Voter,
        service: Service,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Bytes, AskError>>;

    /// Says where a voter is.
    fn learn(&self, voter: &Voter);

    /// Says where a voter was when the cluster was formed, in case nothing newer is known.
    fn recall(&self, voter: &Voter);
}

impl Carrier for Links {
    fn ask<'a>(
        &'a self,
        to: &'a Voter,
        service: Service,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Bytes, AskError>> {
        Self::ask(self, &to.node, Class::Control, service, Head::default(), body, deadline).boxed()
    }

    fn learn(&self, voter: &Voter) {
        Self::learn(self, &voter.node, &voter.addr);
    }

    fn recall(&self, voter: &Voter) {
        Self::recall(self, &voter.node, &voter.addr);
    }
}

/// Makes a [`Client`] for each voter.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) clock: Arc<dyn Clock>,
    /// How long an append with entries may take: longer than a heartbeat, because it is decoded and
    /// synced at the other end. A repeat would only be more work for a slow voter.
    pub(super) append_patience: Duration,
}

/// One voter, seen from here.
#[derive(Debug)]
pub(super) struct Client {
    carrier: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
    append_patience: Duration,
    id: VoterId,
    target: Voter,
}

impl RaftNetworkFactory<Tc> for Network {
    type Network = Client;

    async fn new_client(&mut self, id: u64, target: &Voter) -> Client {
        // The view may have none of the voters: after all were evicted and restarted they must find
        // each other to vote.
        self.carrier.recall(target);
        Client {
            carrier: self.carrier.clone(),
            clock: self.clock.clone(),
            append_patience: self.append_patience,
            id: VoterId(id),
            target: target.clone(),
        }
    }
}

type Rpc<T> = Result<T, RPCError<Tc>>;

fn network_error(why: impl fmt::Display) -> RPCError<Tc> {
    RPCError::Network(NetworkError::from_string(why))
}

impl Client {
    async fn ask(&self, request: RaftRequest, patience: Duration) -> Rpc<RaftReply> {
        let body = to_frame(&Addressed { to: self.id, request }).map_err(network_error)?;
        let deadline = self.clock.now() + patience;
        match self.carrier.ask(&self.target, Service::Raft, body, deadline).await {
            Ok(body) => from_frame(&body).map_err(network_error),
            // It did not reach a voter: there is no use in trying again at once.
            Err(error @ (AskError::NotExecuted(_) | AskError::Refused(_))) => {
                Err(RPCError::Unreachable(Unreachable::from_string(error)))
            }
            Err(error @ AskError::Unknown(_)) => Err(network_error(error)),
        }
    }

    async fn send_parts(
        &self,
        vote: Vote,
        snapshot: ViewSnapshot,
        patience: Duration,
    ) -> Rpc<SnapshotResponse<Tc>> {
        let deadline = self.clock.now() + patience;
        let bytes = snapshot.snapshot;
        let mut offset = 0;
        loop {
            let end = bytes.len().min(offset + PART_BYTES);
            let part = Part {
                vote,
                meta: snapshot.meta.clone(),
                offset,
                bytes: bytes.slice(offset..end),
                is_last: end == bytes.len(),
            };
            let left = deadline.since(self.clock.now());
            match self.ask(RaftRequest::Snapshot(part), left).await? {
                RaftReply::Snapshot(response) => return Ok(response),
                RaftReply::Part if end < bytes.len() => offset = end,
                other => return Err(wrong(&other)),
            }
        }
    }
}

fn wrong(reply: &RaftReply) -> RPCError<Tc> {
    network_error(format!("an answer to something else: {reply:?}"))
}

impl RaftNetworkV2<Tc> for Client {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Tc>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Tc>> {
        let heartbeat = request.entries.is_empty();
        let least = if heartbeat { Duration::ZERO } else { self.append_patience };
        let patience = option.soft_ttl().max(least);
        match self.ask(RaftRequest::Append(request), patience).await? {
            RaftReply::Append(response) => Ok(response),
            other => Err(wrong(&other)),
        }
    }

    async fn vote(&mut self, request: VoteRequest<Tc>, option: RPCOption) -> Rpc<VoteResponse<Tc>> {
        match self.ask(RaftRequest::Vote(request), option.soft_ttl()).await? {
            RaftReply::Vote(response) => Ok(response),
            other => Err(wrong(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Tc>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<Tc>> {
        match self.ask(RaftRequest::PreVote(request), option.soft_ttl()).await? {
            RaftReply::PreVote(response) => Ok(response),
            other => Err(wrong(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: ViewSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Tc>, StreamingError<Tc>> {
        let parts = pin!(self.send_parts(vote, snapshot, option.soft_ttl()));
        match select(pin!(cancel), parts).await {
            Either::Left((closed, _)) => Err(StreamingError::Closed(closed)),
            Either::Right((judged, _)) => judged.map_err(StreamingError::from),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Tc>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Tc>> {
        match self.ask(RaftRequest::Transfer(request), option.soft_ttl()).await? {
            RaftReply::Transfer(response) => Ok(response),
            other => Err(wrong(&other)),
        }
    }
}
