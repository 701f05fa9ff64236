//! The lease office: every voter answers Renews and claims; only the leader grants.

mod door;
mod rounds;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) use self::door::Door;
#[cfg(test)]
pub(super) use self::door::UnderWay;
use self::rounds::Rounds;
use super::raft::fitting;
use super::{
    Grant, LeaderKey, NotLeader, ProposeError, Proposed, RaftCore, Renew, RenewError, Wish,
};
use crate::base::{Boot, Instant, NodeId, Seams};
#[cfg(feature = "sim")]
use crate::base::{Fill, Seen, saw};
use crate::detector::{Denied, Heard, LeaseTable, Renewal, Span};
use crate::placement::{
    Change, ChangeId, Claim, Member, Outcome, Profile, Proposal, Refusal, View, plan_join,
    plan_rejoin,
};
use crate::transport::{AskError, Class, Head, Links, Service};
use crate::wire::{from_control, to_control};

/// Claims that wait for an older life to run out.
const CLAIMS_MAX: usize = 1_024;
/// How long a claim that is not repeated is remembered.
const CLAIM_KEPT: Duration = Duration::from_mins(10);

/// What office and leader need of raft.
pub(super) trait Core: fmt::Debug + Send + Sync + 'static {
    fn view(&self) -> Arc<View>;
    fn leader_hint(&self) -> Option<NodeId>;
    fn leader_key(&self) -> BoxFuture<'_, Option<LeaderKey>>;
    fn barrier(&self, deadline: Instant) -> BoxFuture<'_, Result<LeaderKey, NotLeader>>;
    fn propose_as(
        &self,
        key: LeaderKey,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>>;
    /// Has another voter lead, if there is one to take over; says which.
    fn transfer_leadership(&self) -> BoxFuture<'_, Option<NodeId>>;
    /// Lets owners shrink `in_sync` under leadership `key` from now on; `None`: not yet.
    fn let_shrink(&self, key: Option<LeaderKey>);
}

impl Core for RaftCore {
    fn view(&self) -> Arc<View> {
        Self::view(self)
    }

    fn leader_hint(&self) -> Option<NodeId> {
        Self::leader_hint(self)
    }

    fn leader_key(&self) -> BoxFuture<'_, Option<LeaderKey>> {
        Self::leader_key(self).boxed()
    }

    fn barrier(&self, deadline: Instant) -> BoxFuture<'_, Result<LeaderKey, NotLeader>> {
        Self::barrier(self, deadline).boxed()
    }

    fn propose_as(
        &self,
        key: LeaderKey,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        Self::propose_as(self, key, proposals, deadline).boxed()
    }

    fn transfer_leadership(&self) -> BoxFuture<'_, Option<NodeId>> {
        Self::transfer_leadership(self).boxed()
    }

    fn let_shrink(&self, key: Option<LeaderKey>) {
        Self::let_shrink(self, key);
    }
}

/// The way to another voter's office.
pub(super) trait Wire: fmt::Debug + Send + Sync + 'static {
    fn ask(
        &self,
        to: NodeId,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Bytes, AskError>>;
}

impl Wire for Links {
    fn ask(
        &self,
        to: NodeId,
        body: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Bytes, AskError>> {
        async move {
            let head = Head::default();
            Self::ask(self, &to, Class::Control, Service::Lease, head, body, deadline).await
        }
        .boxed()
    }
}

/// What an office is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    Renew(Renew),
    Claim(Claim),
}

/// An [`Ask`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    /// Passed on by another voter: not passed on again.
    pub(super) relayed: bool,
    pub(super) ask: Ask,
}

/// What an office answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Renew(Result<Grant, RenewError>),
    Claim(Result<(), ClaimError>),
}

/// Why a node is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(super) enum ClaimError {
    /// Ask the leader, or the next voter.
    #[error("not the leader")]
    NotLeader { leader: Option<NodeId> },
    /// Ask again: an older life of this name may still run, or was refused.
    #[error("an older life of this node may still run, or was refused a short while ago")]
    Wait,
    /// Ask again: nothing is known of the proposal.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// This very life was a member already, or a later one was. Next: the claimant begins another.
    #[error("this life or a later one was a member, and its membership has ended")]
    Over,
    /// Final.
    #[error("{0}")]
    Refused(String),
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    to_control(value)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    from_control(bytes).ok()
}

/// For the fuzz target `lease`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_lease(bytes: &[u8]) -> bool {
    fuzz::<Letter>(bytes) | fuzz::<Answer>(bytes)
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn fuzz<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
    crate::wire::fuzz::stable(bytes, decode::<T>, |value| Some(encode(value).into()))
}

/// What `ask` is on the wire.
pub(super) fn letter(ask: Ask) -> Bytes {
    encode(&Letter { relayed: false, ask })
}

/// D and D' as the view says; while D changes, D' is that of the longer one.
pub(super) fn span_of(view: &View) -> Span {
    let Some(constants) = &view.constants else {
        return Span { lease: Duration::ZERO, at_leader: Duration::MAX };
    };
    let profile = &constants.profile;
    let longest = constants.lease_before.map_or(profile.lease, |old| old.max(profile.lease));
    let at_leader = Profile::lease_at_leader(longest, profile.drift_permille);
    Span { lease: profile.lease, at_leader }
}

/// A second claimant of a live name.
#[derive(Debug)]
struct Waiter {
    since: Instant,
    /// When it was first seen that the first one has renewed since then. That may have been on its
    /// way when it died: it lives if it renews D later, too.
    renewed: Option<Instant>,
}

/// One lease table, and the claims that wait for it.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) seams: Seams,
    pub(super) core: Arc<dyn Core>,
    pub(super) wire: Arc<dyn Wire>,
    pub(super) me: NodeId,
    /// The one mutex of the design: renewals, marks and the view they look at.
    pub(super) table: Mutex<LeaseTable<LeaderKey>>,
    /// The second claimants of live names.
    waiting: Mutex<BTreeMap<(NodeId, Boot), Waiter>>,
    /// What this node, while it leads, wishes of the owners; never more than
    /// [`WISHES_MAX`](super::WISHES_MAX) of one.
    pub(super) wishes: Mutex<BTreeMap<NodeId, Vec<Wish>>>,
    /// Members that say they are not well, as far as this node has heard.
    pub(super) ailing: Mutex<BTreeSet<NodeId>>,
    busy: AtomicUsize,
    rounds: Arc<Rounds>,
}

impl Office {
    pub(super) fn new(
        seams: Seams,
        core: Arc<dyn Core>,
        wire: Arc<dyn Wire>,
        me: NodeId,
    ) -> Arc<Self> {
        let rounds = Rounds::new(core.clone(), seams.clone());
        Arc::new(Self {
            seams,
            core,
            wire,
            me,
            table: Mutex::default(),
            waiting: Mutex::default(),
            wishes: Mutex::default(),
            ailing: Mutex::default(),
            busy: AtomicUsize::new(0),
            rounds,
        })
    }

    /// A fresh, random id.
    pub(super) fn proposal(&self, change: Change) -> Proposal {
        Proposal { id: ChangeId(self.seams.rng.next_u128()), change }
    }

    /// Answers one question that arrived at `receipt`, `through` the voter that passed it on; if
    /// none did and this node does not lead, it passes it on to who does.
    pub(super) async fn answer(
        &self,
        receipt: Instant,
        ask: Ask,
        through: Option<NodeId>,
    ) -> Answer {
        let may_relay = through.is_none();
        let lease = span_of(&self.core.view()).lease.max(Duration::from_millis(200));
        let deadline = receipt + lease;
        let answer = match &ask {
            Ask::Renew(renew) => Answer::Renew(self.renew(receipt, renew, deadline).await),
            Ask::Claim(claim) => {
                let through = through.as_ref().unwrap_or(&self.me);
                Answer::Claim(self.claim(claim, through, deadline).await)
            }
        };
        let leader = match &answer {
            Answer::Renew(Err(RenewError::NotLeader { leader }))
            | Answer::Claim(Err(ClaimError::NotLeader { leader })) => leader.clone(),
            Answer::Renew(_) | Answer::Claim(_) => None,
        };
        let Some(leader) = leader.filter(|leader| may_relay && *leader != self.me) else {
            return answer;
        };
        let body = encode(&Letter { relayed: true, ask });
        let relayed = self.wire.ask(leader, body, deadline).await;
        relayed.ok().and_then(|body| decode(&body)).unwrap_or(answer)
    }

    /// How many requests and claims wait.
    #[cfg(feature = "sim")]
    pub(super) fn fills(&self) -> [Fill; 2] {
        let claims = self.waiting.lock().len();
        [door::UnderWay::fill(self), Fill::of("claims", claims, CLAIMS_MAX)]
    }

    /// What reached the leader in time is not evicted while its barrier runs.
    pub(super) fn note_arrival(&self, receipt: Instant, renew: &Renew) {
        #[cfg(feature = "sim")]
        saw(Seen::Renewing {
            office: self.me.clone(),
            node: renew.node.clone(),
            boot: renew.boot,
            at: receipt,
        });
        let span = span_of(&self.core.view());
        self.table.lock().arrived(&renew.node, renew.boot, receipt, span);
    }

    /// Grants or denies a Renew. `receipt` was read before anything else was done with it.
    async fn renew(
        &self,
        receipt: Instant,
        renew: &Renew,
        deadline: Instant,
    ) -> Result<Grant, RenewError> {
        self.note_arrival(receipt, renew);
        let not_leader = |NotLeader { leader }| RenewError::NotLeader { leader };
        let key = self.rounds.barrier(deadline).await.map_err(not_leader)?;
        let mut table = self.table.lock();
        // The view is read under the mutex: what a mark led to is seen here, or the mark is.
        let view = self.core.view();
        let span = span_of(&view);
        // Now, not the receipt: the barrier may have waited for the leadership's first entry.
        table.lead(key, self.seams.clock.now(), span);
        let renewal = Renewal {
            node: &renew.node,
            boot: renew.boot,
            receipt,
            is_member: view.has_boot(&renew.node, renew.boot),
            last_grant: renew.last_grant,
            unreachable: &renew.unreachable,
            leaving: renew.leaving,
            released: &renew.released,
        };
        match table.renew(key, &renewal, span) {
            Ok(()) => {
                let wishes = self.wishes.lock().get(&renew.node).cloned().unwrap_or_default();
                let (nonce, lease, version) = (renew.nonce, span.lease, view.version);
                Ok(Grant { nonce, lease, version, wishes })
            }
            Err(Denied::OldLeader) => Err(RenewError::NotLeader { leader: None }),
            Err(Denied::NotMember) => Err(RenewError::NotMember(renew.node.clone(), renew.boot)),
            Err(Denied::Ending) => Err(RenewError::Evicting(renew.node.clone(), renew.boot)),
        }
    }

    /// Admits a node that joins or was restarted, whose claim the voter `through` received.
    async fn claim(
        &self,
        claim: &Claim,
        through: &NodeId,
        deadline: Instant,
    ) -> Result<(), ClaimError> {
        let not_leader = |NotLeader { leader }| ClaimError::NotLeader { leader };
        let key = self.rounds.barrier(deadline).await.map_err(not_leader)?;
        let view = self.core.view();
        if view.is_life(claim) {
            return Ok(());
        }
        let change = match view.members.get(&claim.node) {
            None if view.is_behind(claim) => return Err(ClaimError::Over),
            None if !self.may_join(&view, claim, through) => return Err(ClaimError::Wait),
            None => {
                let assign = fitting(plan_join(&view, claim));
                Change::Join { claim: claim.clone(), assign }
            }
            Some(member) => {
                self.may_replace(key, &view, member, claim)?;
                let assign = fitting(plan_rejoin(&view, claim));
                Change::Rejoin { replaces: member.boot, claim: claim.clone(), assign }
            }
        };
        let proposals = vec![self.proposal(change)];
        let outcomes = self.core.propose_as(key, proposals, deadline).await;
        match outcomes.map(|outcomes| outcomes.into_iter().next()) {
            Ok(Some((_, Outcome::Accepted))) => Ok(()),
            Ok(Some((_, Outcome::Refused(refusal)))) => Err(refused(claim, &refusal)),
            Ok(None) => Err(ClaimError::NoAnswer("no outcome".into())),
            Err(error) => Err(ClaimError::NoAnswer(error.to_string())),
        }
    }

    /// Whether it may become a member: one that was refused must be heard again for a while, by a
    /// majority of the voters that are members, itself among them if it votes.
    fn may_join(&self, view: &View, claim: &Claim, through: &NodeId) -> bool {
        let after = view.constants.as_ref().map_or(Duration::ZERO, |all| all.profile.offer_after);
        let now = self.seams.clock.now();
        let there = view.voters.values().filter(|voter| view.members.contains_key(*voter));
        let heard = Heard {
            node: &claim.node,
            through,
            voters: &there.cloned().collect(),
            votes: view.votes(&claim.node),
        };
        self.table.lock().may_join(&heard, now, span_of(view), after)
    }

    /// Whether the life that `member` stands for is over. On the same disk and the same run of the
    /// host the lock proves it: the claimant holds it. Otherwise it goes the way of an eviction.
    fn may_replace(
        &self,
        key: LeaderKey,
        view: &View,
        member: &Member,
        claim: &Claim,
    ) -> Result<(), ClaimError> {
        // A new directory, and who told it of the last life was behind. One that votes is older.
        let votes = claim.voter.is_some_and(|voter| view.voters.contains_key(&voter));
        if claim.boot <= member.boot && !votes && !view.stores.contains_key(&claim.store) {
            return Err(ClaimError::Over);
        }
        if claim.boot <= member.boot {
            return Err(ClaimError::Refused(format!(
                "{}: {} is not newer than {}, the life the cluster knows: another process runs \
                 under this name, or the data directory is an older copy of itself; put the newest \
                 one back",
                claim.node, claim.boot, member.boot
            )));
        }
        if claim.disk == member.disk {
            return Ok(());
        }
        let now = self.seams.clock.now();
        let mut table = self.table.lock();
        table.lead(key, now, span_of(view));
        let mut waiting = self.waiting.lock();
        waiting.retain(|(node, _), one| {
            view.members.contains_key(node) && now.since(one.since) < CLAIM_KEPT
        });
        let ending = table.is_ending(&claim.node, member.boot);
        if table.mark(key, &claim.node, member.boot, now) {
            if !ending {
                saw_mark(&self.me, (&claim.node, member.boot), (now, span_of(view)));
            }
            waiting.remove(&(claim.node.clone(), claim.boot));
            return Ok(());
        }
        if waiting.len() >= CLAIMS_MAX {
            return Err(ClaimError::NoAnswer("too many nodes wait to join".into()));
        }
        let waiter = waiting.entry((claim.node.clone(), claim.boot));
        let waiter = waiter.or_insert(Waiter { since: now, renewed: None });
        let heard = table.heard(&claim.node, member.boot);
        if let Some(heard) = heard.filter(|heard| *heard > waiter.since) {
            let renewed = *waiter.renewed.get_or_insert(now);
            if heard > renewed + span_of(view).lease {
                let refusal = Refusal::NameTaken(claim.node.clone());
                return Err(ClaimError::Refused(refusal.to_string()));
            }
        }
        Err(ClaimError::Wait)
    }
}

/// The leader `office` marks a life that was not refused and has not left, `at` its clock: to be
/// seen by the simulation.
pub(super) fn saw_mark(office: &NodeId, life: (&NodeId, Boot), at: (Instant, Span)) {
    let ((node, boot), (at, span)) = (life, at);
    #[cfg(not(feature = "sim"))]
    let _ = (office, node, boot, at, span);
    #[cfg(feature = "sim")]
    saw(Seen::Evicting { office: office.clone(), node: node.clone(), boot, at, lease: span.lease });
}

/// What a claimant is told when its entry was refused.
fn refused(claim: &Claim, refusal: &Refusal) -> ClaimError {
    match refusal {
        Refusal::Over { .. } => ClaimError::Over,
        // The view moved on between the plan and the entry, as when a claim is repeated while its
        // first one is agreed on: the claimant asks again.
        Refusal::Stale(_) | Refusal::NameTaken(_) => ClaimError::NoAnswer(refusal.to_string()),
        Refusal::Boot { boot, .. } if *boot != claim.boot => {
            ClaimError::NoAnswer(refusal.to_string())
        }
        _ => ClaimError::Refused(refusal.to_string()),
    }
}
