//! The way of proposals to the leader.

use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;

use super::message::{
    PROPOSALS_BYTES_MAX, ProposeReply, ProposeRequest, Wanted, from_frame, to_frame,
};
use super::types::{Batch, LeaderKey, Tc, Voter};
use super::{ProposeError, Proposed, RaftCore};
use crate::base::{Instant, NodeId, within};
use crate::placement::{Change, Proposal};
use crate::transport::{AskError, Service};

impl ProposeReply {
    pub(super) fn into_result(self, me: &NodeId) -> Result<Proposed, ProposeError> {
        match self {
            Self::Done(proposed) => Ok(proposed),
            Self::NotLeader(Some(leader)) if leader == *me => {
                Err(ProposeError::NotExecuted(format!("{me} leads under another key by now")))
            }
            Self::NotLeader(Some(leader)) => {
                Err(ProposeError::NotExecuted(format!("{leader} leads, not {me}")))
            }
            Self::NotLeader(None) => Err(ProposeError::NotExecuted(format!("{me} does not lead"))),
            Self::NotExecuted(why) => Err(ProposeError::NotExecuted(why)),
            Self::Unknown(why) => Err(ProposeError::Unknown(why)),
            Self::Forbidden => Err(ProposeError::Forbidden(me.clone())),
        }
    }
}

/// How the tries so far went.
#[derive(Default)]
struct Tries {
    /// One of them may have been executed.
    unknown: Option<String>,
    last: String,
}

impl Tries {
    fn note(&mut self, unknown: bool, why: String) {
        if unknown {
            self.unknown.get_or_insert_with(|| why.clone());
        }
        self.last = why;
    }

    fn failed(self) -> ProposeError {
        match self.unknown {
            Some(why) => ProposeError::Unknown(why),
            None if self.last.is_empty() => ProposeError::NotExecuted("no voter is known".into()),
            None => ProposeError::NotExecuted(self.last),
        }
    }
}

impl RaftCore {
    /// Proposes at the leader, wherever it is: asks the one it believes in, then every voter,
    /// until the deadline.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(
        &self,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        self.at_leader(&Wanted::Changes(proposals), deadline).await
    }

    /// Makes the voters fewer, `node` not among them, as an operator wants where no other node can
    /// take its place: of three one is left, of five three. Asked of the leader, wherever it is.
    ///
    /// # Errors
    /// [`ProposeError`]; it says in words why it is not done.
    pub async fn without_voter(&self, node: NodeId, deadline: Instant) -> Result<(), ProposeError> {
        self.at_leader(&Wanted::WithoutVoter(node), deadline).await.map(drop)
    }

    async fn at_leader(
        &self,
        wanted: &Wanted,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        let clock = &*self.0.seams.clock;
        let mut tries = Tries::default();
        loop {
            // Whom to ask in this round: the leader as heard of, then the others by id; and whom
            // one of them names.
            let hint = self.leader_hint();
            let mut round: Vec<Voter> = self.voters().into_values().collect();
            round.sort_by_key(|voter| Some(&voter.node) != hint.as_ref());
            let mut named: Option<NodeId> = None;
            while !round.is_empty() {
                let place = round.iter().position(|voter| Some(&voter.node) == named.as_ref());
                let voter = round.remove(place.unwrap_or(0));
                match self.try_at(&voter, wanted, deadline).await {
                    ProposeReply::Done(proposed) => return Ok(proposed),
                    ProposeReply::Forbidden => {
                        return Err(ProposeError::Forbidden(self.0.me.clone()));
                    }
                    ProposeReply::NotLeader(leader) => {
                        named = leader;
                        tries.note(false, format!("{} does not lead", voter.node));
                    }
                    ProposeReply::NotExecuted(why) => tries.note(false, why),
                    ProposeReply::Unknown(why) => tries.note(true, why),
                }
                if clock.now() >= deadline {
                    return Err(tries.failed());
                }
            }
            // Nobody leads: an election is under way.
            clock.sleep(self.0.profile.raft_heartbeat).await;
            if clock.now() >= deadline {
                return Err(tries.failed());
            }
        }
    }

    /// One try at one voter; a voter that does not answer does not use up the whole deadline.
    async fn try_at(&self, voter: &Voter, wanted: &Wanted, deadline: Instant) -> ProposeReply {
        let inner = &*self.0;
        if voter.node == inner.me {
            return self.at_this(wanted.clone(), deadline).await;
        }
        let now = inner.seams.clock.now();
        let deadline = deadline.min(now + inner.profile.election_max * 2);
        let (proposals, without_voter) = match wanted {
            Wanted::Changes(proposals) => (proposals.clone(), None),
            Wanted::WithoutVoter(node) => (Vec::new(), Some(node.clone())),
        };
        let patience = deadline.since(now);
        let request = ProposeRequest { proposals, patience, without_voter };
        let body = match to_frame(&request) {
            Ok(body) => body,
            Err(why) => return ProposeReply::NotExecuted(why),
        };
        match inner.carrier.ask(voter, Service::Propose, body, deadline).await {
            Ok(body) => from_frame(&body).unwrap_or_else(ProposeReply::Unknown),
            Err(AskError::Unknown(why)) => ProposeReply::Unknown(why),
            Err(error) => ProposeReply::NotExecuted(format!("{}: {error}", voter.node)),
        }
    }

    /// Does it, if this node leads.
    pub(super) async fn at_this(&self, wanted: Wanted, deadline: Instant) -> ProposeReply {
        match wanted {
            Wanted::Changes(proposals) => self.write(None, proposals, deadline).await,
            Wanted::WithoutVoter(node) => self.without_voter_here(&node, deadline).await,
        }
    }

    /// Lets owners shrink `in_sync` under this node's leadership `key`: a leader that finds every
    /// voter restarted waits for the others first. `None`: not yet.
    pub fn let_shrink(&self, key: Option<LeaderKey>) {
        *self.0.shrinks.lock() = key;
    }

    /// Writes one entry, if this node leads, and as `key` if one is given.
    pub(super) async fn write(
        &self,
        key: Option<LeaderKey>,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> ProposeReply {
        let inner = &*self.0;
        let clock = &*inner.seams.clock;
        match to_frame(&proposals) {
            Ok(body) if body.len() > PROPOSALS_BYTES_MAX => {
                let bytes = body.len();
                let why = format!("{bytes} bytes of changes, at most {PROPOSALS_BYTES_MAX}");
                return ProposeReply::NotExecuted(why);
            }
            Ok(_) => {}
            Err(why) => return ProposeReply::NotExecuted(why),
        }
        let shrinks = key.is_none() && proposals.iter().any(is_shrink);
        let key = if shrinks { *inner.shrinks.lock() } else { key };
        if shrinks && key.is_none() {
            let why = "who leads has not heard yet who is there: nothing is shrunk so far";
            return ProposeReply::NotExecuted(why.into());
        }
        let (responder, done) = ProgressResponder::<Tc, _>::complete_only();
        let mut write = inner.raft.write(Batch(proposals)).responder(responder);
        if let Some(key) = key {
            write = write.with_leader(key.leader_id());
        }
        match within(clock, deadline, write.into_future()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return ProposeReply::NotExecuted(error.to_string()),
            Err(elapsed) => return ProposeReply::NotExecuted(elapsed.to_string()),
        }
        match within(clock, deadline, done).await {
            Ok(Ok(Ok(response))) => ProposeReply::Done(response.data.0),
            Ok(Ok(Err(error))) => refused(error),
            Ok(Err(_)) => ProposeReply::Unknown("raft stopped".into()),
            Err(elapsed) => ProposeReply::Unknown(elapsed.to_string()),
        }
    }
}

fn is_shrink(proposal: &Proposal) -> bool {
    matches!(proposal.change, Change::Shrink { .. })
}

fn refused(error: ClientWriteError<Tc>) -> ProposeReply {
    match error {
        ClientWriteError::ForwardToLeader(forward) => {
            ProposeReply::NotLeader(forward.leader_node.map(|voter| voter.node))
        }
        error @ ClientWriteError::LogEntryDiscarded(_) => ProposeReply::Unknown(error.to_string()),
        error @ (ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_)) => ProposeReply::NotExecuted(error.to_string()),
    }
}
