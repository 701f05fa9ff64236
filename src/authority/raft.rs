//! The view agreed by openraft among the voters.
//!
//! [`RaftCore`] runs one voter: its log and vote on disk, the [`View`] as its state machine, and
//! the way of proposals to the leader. Leases and formation are built on top of it.

mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Instant, NodeId, Publisher, Seams, VoterId, Watched};
use crate::placement::{Profile, Proposal, View};
use crate::storage::Disk;

use super::{ProposeError, Proposed};
pub use types::{FormError, LeaderKey, NotLeader, OpenError, Voter};

/// What a voter is made of.
#[derive(Debug)]
pub struct RaftParts {
    /// Its way to the world.
    pub seams: Seams,
    /// Where its log and vote are.
    pub disk: Arc<dyn Disk>,
    /// Its name.
    pub me: NodeId,
    /// Its raft id, kept with its disk.
    pub voter: VoterId,
    /// Timing of heartbeats and elections.
    pub profile: Profile,
}

/// One voter. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RaftCore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    views: Publisher<View>,
}

impl RaftCore {
    /// Opens the voter's log, rebuilds the view from it, and starts to take part. Spawns on the
    /// runtime it is called on, which must be the one of `seams.control`.
    ///
    /// # Errors
    /// [`OpenError`]: the log cannot be read, or is not what was written.
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn open(_parts: RaftParts) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(Inner { views: Publisher::new(View::default()) })))
    }

    /// Whether this voter belongs to a quorum already: initialised here, or heard of.
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn is_initialized(&self) -> bool {
        false
    }

    /// Starts the quorum of `voters` and waits until the view is formed by `first`
    /// ([`crate::placement::Change::Form`]).
    ///
    /// Every voter calls it with the same list and the same proposal (same id): the elected one
    /// commits it. Harmless to repeat, also after a restart.
    ///
    /// # Errors
    /// [`FormError`].
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn initialize(
        &self,
        _voters: BTreeMap<VoterId, Voter>,
        _first: Proposal,
        _deadline: Instant,
    ) -> Result<(), FormError> {
        Ok(())
    }

    /// The newest view applied here.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.0.views.get()
    }

    /// Follows the views applied here.
    #[must_use]
    pub fn watched(&self) -> Watched<View> {
        self.0.views.watched()
    }

    /// The leadership of this node, if it leads as far as it knows. Asked of raft's own state.
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn leader_key(&self) -> Option<LeaderKey> {
        None
    }

    /// Makes sure that this node leads: a majority confirmed it after the call, and the view here
    /// has everything agreed before, at least the first entry of this leadership.
    ///
    /// # Errors
    /// [`NotLeader`], also when the deadline passed first.
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn barrier(&self, _deadline: Instant) -> Result<LeaderKey, NotLeader> {
        Err(NotLeader { leader: None })
    }

    /// Proposes as the leadership `key` and no other: refused if this node leads under another
    /// key by now.
    ///
    /// # Errors
    /// [`ProposeError`].
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn propose_as(
        &self,
        _key: LeaderKey,
        _proposals: Vec<Proposal>,
        _deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        Err(ProposeError::NotExecuted("not the leader".into()))
    }

    /// Proposes here, whatever this node's leadership; not executed if it does not lead.
    ///
    /// # Errors
    /// [`ProposeError`].
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn propose_local(
        &self,
        _proposals: Vec<Proposal>,
        _deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        Err(ProposeError::NotExecuted("not the leader".into()))
    }

    /// Proposes at the leader, wherever it is: asks the one it believes in, then every voter,
    /// until the deadline.
    ///
    /// # Errors
    /// [`ProposeError`].
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn propose(
        &self,
        _proposals: Vec<Proposal>,
        _deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        Err(ProposeError::NotExecuted("no leader".into()))
    }

    /// Who leads, as far as this node has heard. A hint: where to ask first.
    #[must_use]
    pub fn leader_hint(&self) -> Option<NodeId> {
        None
    }

    /// The voters of the membership in force here. Empty before formation.
    #[must_use]
    pub fn voters(&self) -> BTreeMap<VoterId, Voter> {
        BTreeMap::new()
    }

    /// Stops taking part; what was acknowledged is on disk.
    #[expect(clippy::unused_async, reason = "the signature comes first")]
    pub async fn shutdown(&self) {}
}
