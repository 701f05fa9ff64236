//! The view agreed by openraft among the voters.
//!
//! [`RaftCore`] runs one voter: its log and vote on disk, the [`View`] as its state machine, and
//! the way of proposals to the leader. Leases and formation are built on top of it.
//!
//! Who leads is asked of raft's own state, never of its metrics, which coalesce: a leadership that
//! came and went between two looks would not be seen. What is only a hint or for people is read off
//! them: [`RaftCore::leader_hint`] and [`RaftCore::quorum_state`].

mod change;
mod file;
mod log;
mod machine;
mod members;
mod message;
mod network;
mod propose;
mod recover;
mod runtime;
mod serve;
mod state;
mod transfer;
mod types;
mod watch;
#[cfg(test)]
pub(in crate::authority) mod golden;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{InitializeError, RaftError};
use openraft::{Config, LinearizerOption, ReadPolicy, ServerState, SnapshotPolicy};

use parking_lot::Mutex;

use super::{ProposeError, Proposed};
use crate::base::{Bug, Instant, NodeId, Seams, VoterId, Watched, planted, within};
use crate::placement::{Outcome, Profile, Proposal, Refusal, View};
use crate::storage::{Disk, Facts, disk_worker};
use crate::transport::{Links, Service};
pub(in crate::authority) use change::Seen;
pub(in crate::authority) use file::RAFT_FILE;
use file::{Loaded, RaftFile};
use log::Log;
use machine::Machine;
use members::Outside;
use message::ProposeReply;
use network::{Carrier, Network};
pub(super) use propose::fitting;
use propose::{batches, fits, gather};
pub(crate) use recover::Remains;
use runtime::RaftRt;
use serve::{Served, Server};
pub use state::{Progress, QuorumState};
use types::Raft;
pub use types::{FormError, LeaderKey, NotLeader, OpenError, Voter};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use {
    machine::fuzz_view,
    message::{fuzz_propose, fuzz_raft},
};

/// A snapshot is made after so many entries.
const SNAPSHOT_ENTRIES: u64 = 2_000;

/// So many entries before a snapshot are kept, so that a voter a little behind needs no snapshot.
const KEPT_ENTRIES: u64 = 500;
/// How often it is looked whether raft has stopped.
const STOPPED_ASKED_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

/// What a voter is made of.
#[derive(Debug)]
pub struct RaftParts {
    /// Its way to the world.
    pub seams: Seams,
    /// Its links. They serve raft and proposals from now on.
    pub links: Links,
    /// Where its log and vote are.
    pub disk: Arc<dyn Disk>,
    /// What its directory knows of the log.
    pub facts: Facts,
    /// Its name.
    pub me: NodeId,
    /// Its raft id, kept with its disk.
    pub voter: VoterId,
    /// Timing of heartbeats and elections.
    pub profile: Profile,
}

/// [`RaftParts`] with whatever carries asks.
struct Setup {
    seams: Seams,
    carrier: Arc<dyn Carrier>,
    disk: Arc<dyn Disk>,
    me: NodeId,
    voter: VoterId,
    profile: Profile,
}

impl Setup {
    /// Opens the log, and does nothing with it yet.
    fn open(&self) -> Result<(RaftFile, Loaded), OpenError> {
        let worker = disk_worker(&*self.disk, &self.seams, "raft-log")?;
        RaftFile::open(&*self.disk, worker)
    }
}

/// One voter. Cheap to clone.
#[derive(Clone)]
pub struct RaftCore(Arc<Inner>);

struct Inner {
    seams: Seams,
    carrier: Arc<dyn Carrier>,
    me: NodeId,
    voter: VoterId,
    profile: Profile,
    raft: Raft,
    file: RaftFile,
    log: Log,
    machine: Machine,
    outside: Outside,
    /// Under which leadership of this node owners may shrink `in_sync`.
    shrinks: Mutex<Option<LeaderKey>>,
}

impl fmt::Debug for RaftCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RaftCore({}, {})", self.0.me, self.0.voter)
    }
}

impl RaftCore {
    /// Opens the voter's log, rebuilds the view from it, and starts to take part. Spawns on the
    /// runtime it is called on, which must be the one of `seams.control`.
    ///
    /// # Errors
    /// [`OpenError`]: the log cannot be read, or is not what was written.
    pub async fn open(parts: RaftParts) -> Result<Self, OpenError> {
        let RaftParts { seams, links, disk, facts, me, voter, profile } = parts;
        let carrier = Arc::new(links.clone());
        let setup = Setup { seams: seams.clone(), carrier, disk, me, voter, profile };
        let opened = setup.open()?;
        opened.0.begin_start(&opened.1, &facts)?;
        let core = Self::begin(setup, opened).await?;
        // Where the voters were last known to be; whoever follows the view tells what changes.
        let view = core.view();
        for voter in core.voters().values() {
            let member = view.members.get(&voter.node);
            links.learn(&voter.node, member.map_or(&voter.addr, |member| &member.addr));
        }
        let server = Server::new(&core, seams);
        for service in [Service::Raft, Service::Propose] {
            links.serve(service, Arc::new(Served(server.clone(), service)));
        }
        Ok(core)
    }

    /// A voter without facts, whose starts nobody counts.
    #[cfg(test)]
    async fn start(setup: Setup) -> Result<Self, OpenError> {
        let opened = setup.open()?;
        Self::begin(setup, opened).await
    }

    async fn begin(setup: Setup, opened: (RaftFile, Loaded)) -> Result<Self, OpenError> {
        let Setup { seams, carrier, disk: _, me, voter, profile } = setup;
        let (file, mut loaded) = opened;
        let config = config(&profile)?;
        let machine = Machine::new(file.clone(), loaded.snapshot.take())
            .map_err(|error| OpenError::Damaged(error.to_string()))?;
        let log = Log::new(file.clone(), loaded);
        let network = Network {
            carrier: carrier.clone(),
            clock: seams.clock.clone(),
            append_patience: profile.election_min,
        };
        let starting = Raft::new(voter.0, Arc::new(config), network, log.clone(), machine.clone());
        // All that raft spawns draws from this seed, so its elections follow from the node's.
        let raft = RaftRt::scope(seams.rng.next_u64(), starting)
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            seams,
            carrier,
            me,
            voter,
            profile,
            raft,
            file,
            log,
            machine,
            outside: Outside::new(),
            shrinks: Mutex::default(),
        })))
    }

    /// Whether this voter belongs to a quorum already: initialised here, or heard of.
    pub async fn is_initialized(&self) -> bool {
        self.0.log.is_begun() || self.0.raft.is_initialized().await.unwrap_or(false)
    }

    /// Starts the quorum of `voters` and waits until the view is formed by `first`
    /// ([`crate::placement::Change::Form`]).
    ///
    /// Every voter calls it with the same list and the same proposal (same id): the elected one
    /// commits it. Harmless to repeat, also after a restart.
    ///
    /// # Errors
    /// [`FormError`].
    pub async fn initialize(
        &self,
        voters: BTreeMap<VoterId, Voter>,
        first: Proposal,
        deadline: Instant,
    ) -> Result<(), FormError> {
        let inner = &*self.0;
        if !voters.contains_key(&inner.voter) {
            return Err(FormError::NotAVoter(inner.voter));
        }
        fits(&first)?;
        for voter in voters.values() {
            inner.carrier.learn(voter);
        }
        let members: BTreeMap<u64, Voter> =
            voters.into_iter().map(|(id, voter)| (id.0, voter)).collect();
        match inner.raft.initialize(members).await {
            // Not allowed: it is initialised already, here or by another of the list.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => {
                return Err(FormError::NotAVoter(inner.voter));
            }
            Err(RaftError::Fatal(error)) => return Err(FormError::Stopped(error.to_string())),
        }
        self.form(first, deadline).await
    }

    /// Commits `first` whenever this node leads and the view is not formed.
    async fn form(&self, first: Proposal, deadline: Instant) -> Result<(), FormError> {
        let clock = &*self.0.seams.clock;
        let mut views = self.watched().follow();
        while !views.get().is_formed() {
            if let Some(key) = self.leader_key().await {
                let reply = self.write(Some(key), vec![first.clone()], deadline).await;
                // Refused as formed already: another leader was first, and the view shows it.
                if let ProposeReply::Done(outcomes) = reply {
                    for (_, outcome) in outcomes {
                        match outcome {
                            Outcome::Accepted | Outcome::Refused(Refusal::Formation(_)) => {}
                            Outcome::Refused(refusal) => return Err(FormError::Refused(refusal)),
                        }
                    }
                }
            }
            let now = clock.now();
            if now >= deadline {
                return Err(FormError::NotYet);
            }
            let look_again = deadline.min(now + self.0.profile.raft_heartbeat);
            if let Ok(None) = within(clock, look_again, views.changed()).await {
                return Err(FormError::Stopped("no view is published any more".into()));
            }
        }
        Ok(())
    }

    /// The newest view applied here.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.0.machine.views().get()
    }

    /// Follows the views applied here.
    #[must_use]
    pub fn watched(&self) -> Watched<View> {
        self.0.machine.views().watched()
    }

    /// The leadership of this node, if it leads as far as it knows. Asked of raft's own state.
    pub async fn leader_key(&self) -> Option<LeaderKey> {
        let asked = self.0.raft.with_raft_state(|state| {
            let leads = state.server_state == ServerState::Leader;
            let vote = state.vote_ref();
            (leads && vote.committed).then(|| LeaderKey::of(vote.leader_id))
        });
        asked.await.ok().flatten().filter(|key| key.voter == self.0.voter)
    }

    /// Makes sure that this node leads: a majority confirmed it after the call, and the view here
    /// has everything agreed before, at least the first entry of this leadership.
    ///
    /// # Errors
    /// [`NotLeader`], also when the deadline passed first.
    pub async fn barrier(&self, deadline: Instant) -> Result<LeaderKey, NotLeader> {
        if planted(Bug::NoBarrier) {
            let not_leader = || NotLeader { leader: self.leader_hint() };
            return self.leader_key().await.ok_or_else(not_leader);
        }
        let clock = &*self.0.seams.clock;
        let patience = deadline.since(clock.now());
        // Never `LeaseRead`: it trusts clocks, and leases are what makes clocks matter.
        let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(patience);
        let confirmed = within(clock, deadline, self.0.raft.ensure_linearizable(option)).await;
        let not_leader = || NotLeader { leader: self.leader_hint() };
        let Ok(Ok(read)) = confirmed else { return Err(not_leader()) };
        let key = LeaderKey::of(*read.committed_leader_id());
        // Another leader's entry may have taken the place of this one's first. Then this node was
        // confirmed and is deposed by now.
        let applied = self.0.machine.applied().map(|id| LeaderKey::of(*id.committed_leader_id()));
        if applied == Some(key) && key.voter == self.0.voter { Ok(key) } else { Err(not_leader()) }
    }

    /// Proposes as the leadership `key` and no other: refused if this node leads under another
    /// key by now. What is too much for one entry is several, as with [`RaftCore::propose`].
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose_as(
        &self,
        key: LeaderKey,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        let mut done = Vec::new();
        for batch in batches(proposals) {
            let reply = self.write(Some(key), batch, deadline).await;
            if !gather(&mut done, reply.into_result(&self.0.me))? {
                break;
            }
        }
        Ok(done)
    }

    /// Proposes here, whatever this node's leadership; not executed if it does not lead.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose_local(
        &self,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> Result<Proposed, ProposeError> {
        self.write(None, proposals, deadline).await.into_result(&self.0.me)
    }

    /// Waits until raft has stopped, or the views told here cannot be, and says why. A voter whose
    /// disk failed stops for good.
    pub async fn stopped(&self) -> String {
        loop {
            if let Some(why) = self.refuted() {
                return why;
            }
            // Looked at now and then: its metrics are new at every tick of its own, fifty a second,
            // and whoever followed them would wake as often.
            if let Err(error) = &self.0.raft.metrics().borrow_watched().running_state {
                let Some(why) = self.0.file.broken() else { return error.to_string() };
                return format!(
                    "{RAFT_FILE} of {} cannot be written: {why}; make room on its disk or replace \
                     it, and start the node again",
                    self.0.me
                );
            }
            let clock = &self.0.seams.clock;
            clock.sleep_until(clock.next_look(STOPPED_ASKED_EVERY)).await;
        }
    }

    /// Stops taking part; what was acknowledged is on disk.
    pub async fn shutdown(&self) {
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop in order");
        }
    }
}

/// Raft's settings for `profile`.
fn config(profile: &Profile) -> Result<Config, OpenError> {
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let heartbeat = millis(profile.raft_heartbeat);
    let config = Config {
        cluster_name: "evertree".into(),
        heartbeat_interval: heartbeat,
        election_timeout_min: millis(profile.election_min),
        election_timeout_max: millis(profile.election_max),
        install_snapshot_timeout: millis(profile.lease * 5),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        max_payload_entries: 256,
        backoff: format!("{heartbeat}ms"),
        // A restarted leader must be elected again: what it led before says nothing.
        enable_leader_restore: Some(planted(Bug::TermRestored)),
        // A voter that was cut off does not depose a good leader when it comes back.
        enable_pre_vote: Some(true),
        allow_log_reversion: Some(false),
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Timing(error.to_string()))
}
