//! What an operator has a running node propose: drains, leaving, other constants.
//!
//! Any member may propose a drain of any member, and other constants: whoever may open the socket
//! of one of them is an operator. A node leaves by itself alone.

use std::time::Duration;

use super::{Node, Parts};
use crate::admin::LeaveAnswer;
use crate::authority::{ProposeError, ViewAuthority as _};
use crate::base::{NodeId, within};
use crate::observe::{DrainReport, RingAskError, SetAsk, SetError, SetReport};
use crate::placement::{Change, ChangeId, Outcome, Proposal, Refusal, View};

/// How long it may take until a change is agreed.
const AGREE_WITHIN: Duration = Duration::from_secs(7);
/// How long an agreed change may take to be seen here.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
/// A round trip and an fsync that a lease must at least allow for.
const LEAST: Duration = Duration::from_millis(1);

/// Why nothing was changed; where it may have been, it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// There is no such member, or no cluster.
    #[error(transparent)]
    Who(#[from] RingAskError),
    /// The constants cannot be set so.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The rules of the view forbid it.
    #[error(transparent)]
    Refused(Refusal),
    /// It votes, and no member could in its place. Next: add a node, or take back another's drain.
    #[error(
        "{0} votes, and there is no member that could vote in its place: add a node first, or take \
         back the drain of another one, or make the voters fewer (`evertree drain {0} \
         --shrink-voters`)"
    )]
    VotesForGood(NodeId),
    /// Too few nodes would be left for a write.
    #[error(
        "without {node} there are {stay} nodes, and write-min is {write_min}: lower it first \
         (`evertree set --write-min`)"
    )]
    TooFew {
        /// Who would go.
        node: NodeId,
        /// Who would be left.
        stay: usize,
        /// The constant.
        write_min: u8,
    },
    /// It was not agreed. Next: see who votes, and try again.
    #[error("it was not agreed: {0}; `evertree voters` shows who votes and who leads")]
    NotAgreed(String),
    /// It may have been agreed or not. Next: look.
    #[error("it may have been agreed or not: {0}; look before you try again")]
    Unknown(String),
}

impl Node {
    /// How far `node` is with handing over what it has.
    ///
    /// # Errors
    /// [`OperatorError::Who`].
    pub fn drain_report(&self, node: &NodeId) -> Result<DrainReport, OperatorError> {
        Ok(DrainReport::new(&self.view(), node)?)
    }

    /// Has `node` hand over what it has from now on, or (`on` is false) no longer. Harmless to
    /// repeat.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn drain(&self, node: &NodeId, on: bool) -> Result<DrainReport, OperatorError> {
        self.0.parts.drain(node, on).await
    }

    /// The same of a voter that no member could vote in the place of: the voters become fewer, of
    /// three one is left, of five three.
    ///
    /// # Errors
    /// [`OperatorError`]; `node` is drained where it is about the voters alone.
    pub async fn drain_voter(&self, node: &NodeId) -> Result<DrainReport, OperatorError> {
        self.0.parts.drain_voter(node).await
    }

    /// One step towards leaving the cluster for good: drains this node, or, once nothing keeps it,
    /// leaves. Repeat it until it has left; [`Node::left`] completes then. To give up meanwhile,
    /// take the drain back.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn leave(&self) -> Result<LeaveAnswer, OperatorError> {
        self.0.parts.leave().await
    }

    /// Sets constants of the cluster; without [`SetAsk::seen`] only says what would follow.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn set(&self, ask: &SetAsk) -> Result<SetReport, OperatorError> {
        self.0.parts.set(ask).await
    }

    /// Completes when this node has left the cluster for good. Next: stop it.
    pub async fn left(&self) {
        let mut left = self.0.parts.left.watched().follow();
        let _ = left.until(|left| *left).await;
    }
}

impl Parts {
    pub(super) async fn drain(
        &self,
        node: &NodeId,
        on: bool,
    ) -> Result<DrainReport, OperatorError> {
        let view = self.authority.view();
        let report = DrainReport::new(&view, node)?;
        if report.is_draining() == on {
            return Ok(report);
        }
        tracing::info!(name = %self.name, %node, on, "an operator drains a node");
        let boot = report.boot;
        self.agree(Change::Drain { node: node.clone(), boot, on }).await?;
        let is_so = |view: &View| {
            DrainReport::new(view, node).map_or(true, |report| report.is_draining() == on)
        };
        Ok(DrainReport::new(&*self.seen(is_so).await, node)?)
    }

    /// Drains `node`; if it votes and no member could in its place, the voters become fewer.
    pub(super) async fn drain_voter(&self, node: &NodeId) -> Result<DrainReport, OperatorError> {
        let report = self.drain(node, true).await?;
        if !report.votes_for_good() {
            return Ok(report);
        }
        tracing::info!(name = %self.name, %node, "an operator makes the voters fewer");
        let deadline = self.seams.clock.now() + AGREE_WITHIN;
        self.authority.core().without_voter(node.clone(), deadline).await.map_err(not_agreed)?;
        Ok(DrainReport::new(&*self.seen(|view| !view.votes(node)).await, node)?)
    }

    pub(super) async fn leave(&self) -> Result<LeaveAnswer, OperatorError> {
        let node = &self.name;
        let view = self.authority.view();
        let mut drain = DrainReport::new(&view, node)?;
        let stay = view.members.len().saturating_sub(1);
        let write_min = view.constants.as_ref().map_or(1, |all| all.write_min);
        if stay < usize::from(write_min) {
            return Err(OperatorError::TooFew { node: node.clone(), stay, write_min });
        }
        if drain.votes_for_good() {
            return Err(OperatorError::VotesForGood(node.clone()));
        }
        if !drain.is_draining() {
            drain = self.drain(node, true).await?;
        }
        if !drain.may_leave() {
            return Ok(LeaveAnswer { drain, has_left: false });
        }
        tracing::info!(name = %self.name, "an operator lets this node leave");
        let boot = drain.boot;
        let left = self.agree(Change::Leave { node: node.clone(), boot }).await;
        let now = DrainReport::new(&self.authority.view(), node);
        match left {
            Ok(()) => Ok(LeaveAnswer { drain, has_left: true }),
            // Something has come to it since.
            Err(OperatorError::Refused(Refusal::Needed { .. }))
                if now.as_ref().is_ok_and(|now| !now.may_leave()) =>
            {
                Ok(LeaveAnswer { drain: now?, has_left: false })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn set(&self, ask: &SetAsk) -> Result<SetReport, OperatorError> {
        let report = SetReport::new(&self.authority.view(), ask, (LEAST, LEAST))?;
        let Some(seen) = ask.seen.clone() else { return Ok(report) };
        let (copies, write_min) = (report.after.copies, report.after.write_min);
        let lease = report.after.profile.lease;
        tracing::info!(name = %self.name, copies, write_min, ?lease, "an operator sets constants");
        self.agree(Change::Set { seen, copies, write_min, lease }).await?;
        let view = self.seen(|view| view.constants.as_ref() != Some(&report.before)).await;
        Ok(SetReport { version: view.version, is_agreed: true, ..report })
    }

    /// Has `change` agreed, once.
    async fn agree(&self, change: Change) -> Result<(), OperatorError> {
        let id = ChangeId(self.seams.rng.next_u128());
        let deadline = self.seams.clock.now() + AGREE_WITHIN;
        let proposed = self.authority.propose(vec![Proposal { id, change }], deadline).await;
        let outcomes = proposed.map_err(not_agreed)?;
        match outcomes.into_iter().find(|(other, _)| *other == id) {
            Some((_, Outcome::Accepted)) => Ok(()),
            Some((_, Outcome::Refused(refusal))) => Err(OperatorError::Refused(refusal)),
            None => Err(OperatorError::Unknown("the answer is about something else".into())),
        }
    }

    /// The view here once it is as `wanted`, or after a while as it is.
    async fn seen(&self, wanted: impl Fn(&View) -> bool) -> std::sync::Arc<View> {
        let mut views = self.authority.watched().follow();
        let deadline = self.seams.clock.now() + SEEN_WITHIN;
        let comes = views.until(wanted);
        let _ = within(&*self.seams.clock, deadline, comes).await;
        self.authority.view()
    }
}

fn not_agreed(error: ProposeError) -> OperatorError {
    match error {
        ProposeError::Unknown(why) => OperatorError::Unknown(why),
        other => OperatorError::NotAgreed(other.to_string()),
    }
}
