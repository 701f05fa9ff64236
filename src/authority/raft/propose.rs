//! The way of proposals to the leader.

use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use serde::Serialize;

use super::message::{
    PROPOSALS_BYTES_MAX, ProposeReply, ProposeRequest, Wanted, from_frame, to_frame,
};
use super::types::{Batch, FormError, LeaderKey, Tc, Voter};
use super::{ProposeError, Proposed, RaftCore};
use crate::base::{Instant, NodeId, within};
use crate::placement::{Assign, Change, Proposal};
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

/// Bytes that a list takes beside its items, at most.
const LIST_BYTES: usize = 16;
/// What is left of an entry for lists of assigns: names, claims and causes take far less.
const ASSIGNS_BYTES_MAX: usize = PROPOSALS_BYTES_MAX - (128 << 10);

/// As many of `assign`, from the first one on, as fit into one entry. What is left out has no owner
/// then, and the leader plans it in its next round.
pub(in crate::authority) fn fitting(mut assign: Vec<Assign>) -> Vec<Assign> {
    let is_long = |assign: &[Assign]| bytes_of(&assign) > ASSIGNS_BYTES_MAX;
    while !assign.is_empty() && is_long(&assign) {
        assign.truncate(assign.len() / 2);
    }
    assign
}

/// Whether the first entry of a cluster can be written at all.
pub(super) fn fits(first: &Proposal) -> Result<(), FormError> {
    let (bytes, bytes_max) = (bytes_of(&[first]), PROPOSALS_BYTES_MAX);
    if bytes > bytes_max { Err(FormError::TooLong { bytes, bytes_max }) } else { Ok(()) }
}

/// How long it is in an entry; without an end if it cannot be encoded, which `write` says.
fn bytes_of(message: &impl Serialize) -> usize {
    to_frame(message).map_or(usize::MAX, |body| body.len())
}

/// The proposals in lists that fit into an entry each, in their order. One that fits into none is
/// alone, and refused where it is to be written.
pub(super) fn batches(proposals: Vec<Proposal>) -> Vec<Vec<Proposal>> {
    if proposals.len() <= 1 || bytes_of(&proposals) <= PROPOSALS_BYTES_MAX {
        return vec![proposals];
    }
    let (mut batches, mut left) = (Vec::<Vec<_>>::new(), 0);
    for proposal in proposals {
        // With its schema byte, which makes up for what a list takes beside its items.
        let bytes = bytes_of(&proposal);
        if bytes > left || batches.is_empty() {
            batches.push(Vec::new());
            left = PROPOSALS_BYTES_MAX - LIST_BYTES;
        }
        left = left.saturating_sub(bytes);
        if let Some(batch) = batches.last_mut() {
            batch.push(proposal);
        }
    }
    batches
}

/// Adds what came of one entry of several to `done`; whether the next one is to be proposed. The
/// first that is not agreed on, as far as is known, ends it: what it and those after it propose is
/// missing in what is returned.
pub(super) fn gather(
    done: &mut Proposed,
    result: Result<Proposed, ProposeError>,
) -> Result<bool, ProposeError> {
    match result {
        Ok(outcomes) => {
            done.extend(outcomes);
            Ok(true)
        }
        Err(error) if done.is_empty() => Err(error),
        Err(error) => {
            tracing::debug!(%error, "some changes of many are to be proposed again");
            Ok(false)
        }
    }
}

/// How the tries so far went.
#[derive(Default)]
struct Tries {
    /// One of them may have been executed.
    unknown: Option<String>,
    /// Why the leader did not do it: it says more than that others do not lead.
    reason: Option<String>,
    last: String,
}

/// What came of one try.
enum Tried {
    Answered(ProposeReply),
    /// The voter was not reached: nothing was executed.
    InVain(String),
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
            None if self.reason.is_some() => {
                ProposeError::NotExecuted(self.reason.unwrap_or_default())
            }
            None if self.last.is_empty() => ProposeError::NotExecuted("no voter is known".into()),
            None => ProposeError::NotExecuted(self.last),
        }
    }
}

impl RaftCore {
    /// Proposes at the leader, wherever it is: asks the one it believes in, then every voter,
    /// until the deadline. What is too much for one entry is several: then what was not agreed on,
    /// as far as is known, is missing in the outcomes, and is proposed again under its ids.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(
        &self,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        let mut done = Vec::new();
        for batch in batches(proposals) {
            let result = self.at_leader(&Wanted::Changes(batch), deadline).await;
            if !gather(&mut done, result)? {
                break;
            }
        }
        Ok(done)
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
                let reply = match self.try_at(&voter, wanted, deadline).await {
                    Tried::Answered(reply) => reply,
                    Tried::InVain(why) => {
                        tries.note(false, why);
                        continue;
                    }
                };
                match reply {
                    ProposeReply::Done(proposed) => return Ok(proposed),
                    ProposeReply::Forbidden => {
                        return Err(ProposeError::Forbidden(self.0.me.clone()));
                    }
                    ProposeReply::NotLeader(leader) => {
                        named = leader;
                        tries.note(false, format!("{} does not lead", voter.node));
                    }
                    ProposeReply::NotExecuted(why) => tries.reason = Some(why),
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
    async fn try_at(&self, voter: &Voter, wanted: &Wanted, deadline: Instant) -> Tried {
        let inner = &*self.0;
        if voter.node == inner.me {
            return Tried::Answered(self.at_this(wanted.clone(), deadline).await);
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
            Err(why) => return Tried::InVain(why),
        };
        match inner.carrier.ask(voter, Service::Propose, body, deadline).await {
            Ok(body) => Tried::Answered(from_frame(&body).unwrap_or_else(ProposeReply::Unknown)),
            Err(AskError::Unknown(why)) => Tried::Answered(ProposeReply::Unknown(why)),
            Err(error) => Tried::InVain(format!("{}: {error}", voter.node)),
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

#[cfg(test)]
mod tests {
    use super::super::golden::longest;
    use super::*;
    use crate::placement::ChangeId;

    #[test]
    fn what_is_too_much_for_one_entry_is_several_in_the_same_order() {
        let evict = |id: u8, shards: u16| {
            let (node, cause) = (longest::node(id), "its lease ran out".into());
            let assign = longest::assigns(shards, 3);
            let boot = crate::base::Boot(u64::MAX);
            let change = Change::Evict { node, boot, cause, assign, released: false };
            Proposal { id: ChangeId(id.into()), change }
        };
        let ids = |batch: &Vec<Proposal>| batch.iter().map(|one| one.id.0).collect::<Vec<_>>();
        let of = |all: Vec<Proposal>| batches(all).iter().map(ids).collect::<Vec<_>>();
        assert_eq!(of(vec![]), [vec![]; 1]);
        assert_eq!(of(vec![evict(1, 9), evict(2, 9)]), [[1, 2]]);
        let many = || vec![evict(1, 4_000), evict(2, 4_000), evict(3, 4_000), evict(4, 4_000)];
        assert_eq!(of(many()), [vec![1, 2], vec![3, 4]]);
        assert!(batches(many()).iter().all(|one| bytes_of(one) <= PROPOSALS_BYTES_MAX));
        // One that fits into none is alone.
        assert_eq!(of(vec![evict(1, 9), evict(2, 12_000), evict(3, 9)]), [[1], [2], [3]]);
    }

    #[test]
    fn of_too_many_assigns_the_first_ones_fit() {
        for (shards, copies, kept) in [(8_192, 3, 8_192), (8_192, 20, 2_048), (1, 3, 1), (0, 3, 0)]
        {
            let cut = fitting(longest::assigns(shards, copies));
            assert_eq!(cut.len(), kept, "{shards} of {copies}");
            assert!(bytes_of(&cut) <= ASSIGNS_BYTES_MAX);
        }
    }

    #[test]
    fn the_first_entry_that_is_not_agreed_on_ends_it() {
        let agreed = |id| Ok(vec![(ChangeId(id), crate::placement::Outcome::Accepted)]);
        let fail = || Err(ProposeError::NotExecuted("no".into()));
        let mut done = Vec::new();
        assert_eq!(gather(&mut done, fail()), fail().map(|_: Proposed| true));
        assert_eq!(gather(&mut done, agreed(1)), Ok(true));
        assert_eq!(gather(&mut done, fail()), Ok(false));
        assert_eq!(done, agreed(1).expect("it was"));
    }

    /// Goal: a cluster of the most shards and nodes, with the longest names, can be formed.
    #[test]
    fn the_first_entry_of_the_largest_cluster_fits_and_that_of_a_larger_one_is_refused() {
        let form = |shards| longest::form(shards, 64);
        let largest = crate::placement::SHARDS_FORMED_MAX;
        assert_eq!(fits(&form(largest)), Ok(()));
        let Err(FormError::TooLong { bytes, .. }) = fits(&form(largest * 2)) else {
            panic!("it fits")
        };
        assert!(bytes > PROPOSALS_BYTES_MAX);
    }
}
