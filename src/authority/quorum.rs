//! [`ViewAuthority`](super::ViewAuthority) among several nodes: raft, leases and formation put
//! together.

mod form;
mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::form::{
    begin_with, find, not_opened, same_cluster, same_life, same_profile, same_quorum, same_votes,
    settings,
};
use super::feed::{Feed, FeedDoor, Follower};
use super::formation::Former;
use super::leader::Leader;
use super::office::{Door, Office};
use super::renewal::{RenewalParts, Renewals};
use super::standing::{Standing, StartError};
use super::voters::Replacer;
use super::{
    Grant, Lease, ProposeError, Proposed, RaftCore, RaftParts, Renew, RenewError, Seeds,
    ViewAuthority, Wish,
};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::base::{
    Boot, Epoch, Instant, NodeId, Publisher, Seams, ShardId, StoreId, Watched, within,
};
use crate::placement::{Claim, Member, Profile, Proposal, View};
use crate::storage::{Disk, Facts};
use crate::transport::{Life, Links, Service};

/// How a node finds its cluster when its directory is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Formation {
    /// Nobody else is named: it forms a cluster of one.
    Alone,
    /// It is told to form a cluster of one, for others to join: refused if its directory is of a
    /// cluster already, or if one of the seeds is.
    Bootstrap {
        /// Where there must be no cluster.
        seeds: Seeds,
    },
    /// It joins the cluster of the seeds. If there is none, it waits until `expect` nodes, itself
    /// included, agree on who they are, and forms one with them.
    Expect {
        /// How many nodes form the cluster. 1: it forms none, unless no other address is named.
        expect: usize,
        /// Where others may be found; its own address may be among them.
        seeds: Seeds,
    },
}

/// What the authority of one node is made of.
#[derive(Debug)]
pub struct QuorumParts {
    /// Its way to the world.
    pub seams: Seams,
    /// Its links; not of any cluster yet unless the directory says so.
    pub links: Links,
    /// Its data directory.
    pub disk: Arc<dyn Disk>,
    /// What it knows about itself.
    pub facts: Facts,
    /// Its name.
    pub me: NodeId,
    /// The life it begins; fsynced in its directory.
    pub boot: Boot,
    /// Its store.
    pub store: StoreId,
    /// Where others reach it.
    pub addr: String,
    /// Failure zone, or empty.
    pub zone: String,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// How many shards a cluster formed by this node has.
    pub shards: u16,
    /// Its timing; must be the cluster's.
    pub profile: Profile,
    /// How it finds its cluster.
    pub formation: Formation,
    /// How long a voter whose node was evicted is waited for before another takes its place.
    pub replace_voters_after: Duration,
}

struct Inner {
    seams: Seams,
    links: Links,
    facts: Facts,
    core: RaftCore,
    lease: Lease,
    office: Arc<Office>,
    renewals: Arc<Renewals>,
    /// Tells other nodes the views of this one.
    feed: Arc<Feed>,
    /// Tells those that look for the cluster.
    former: Arc<Former>,
    /// What the lease knows of already.
    views: Arc<Publisher<View>>,
    standing: Arc<Publisher<Standing>>,
    /// How this node presents itself.
    claim: Mutex<Claim>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The authority of one node. Cheap to clone.
#[derive(Clone)]
pub struct QuorumAuthority(Arc<Inner>);

impl std::fmt::Debug for QuorumAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QuorumAuthority({}, {:?})", self.0.office.me, self.0.lease)
    }
}

impl QuorumAuthority {
    /// Opens raft, forms or joins the cluster, and becomes a member under the boot of `parts`.
    /// Returns once the view applied here has it and a lease was granted.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(parts: QuorumParts, deadline: Instant) -> Result<Self, StartError> {
        // Raft spawns where it is opened, and belongs on the control runtime.
        let control = parts.seams.control.clone();
        let started = control.spawn(Self::start_here(parts, deadline)).await;
        started.map_err(|error| StartError::Storage(format!("the start ended: {error}")))?
    }

    async fn start_here(parts: QuorumParts, deadline: Instant) -> Result<Self, StartError> {
        let open = Former::open(&parts.seams, &parts.links, &parts.facts, claim_of(&parts));
        let former = Arc::new(open?);
        former.set(settings(&parts));
        parts.links.serve(Service::Formation, former.clone());
        let mut voters = BTreeMap::new();
        if let Some(cluster) = parts.facts.cluster() {
            voters = same_cluster(&parts, &former, cluster, deadline).await?;
            parts.links.set_cluster(cluster);
        }
        same_votes(&parts)?;
        let core = RaftCore::open(RaftParts {
            seams: parts.seams.clone(),
            links: parts.links.clone(),
            disk: parts.disk.clone(),
            facts: parts.facts.clone(),
            me: parts.me.clone(),
            voter: parts.facts.voter(),
            profile: parts.profile.clone(),
        })
        .await
        .map_err(|error| not_opened(&parts, &error))?;
        if let Err(error) = same_life(&parts, &former, &core) {
            core.shutdown().await;
            return Err(error);
        }
        let (control, lease) = (parts.seams.control.clone(), parts.profile.lease);
        let wire = Arc::new(parts.links.clone());
        let as_me = (parts.me.clone(), lease);
        let follower = Follower::new(parts.seams.clone(), core.clone(), wire, as_me);
        // From now on: where raft does not reach this node, it has the first view from others.
        let asks = control.spawn(follower.clone().run());
        begin_with(&parts, &core, voters);
        let cores = (core.clone(), follower);
        match Self::start_with(parts, former, cores, deadline).await {
            Ok(this) => {
                this.0.tasks.lock().push(asks);
                Ok(this)
            }
            Err(error) => {
                asks.abort();
                core.shutdown().await;
                Err(error)
            }
        }
    }

    async fn start_with(
        mut parts: QuorumParts,
        former: Arc<Former>,
        (core, follower): (RaftCore, Arc<Follower>),
        deadline: Instant,
    ) -> Result<Self, StartError> {
        if !core.view().is_formed() {
            find(&mut parts, &former, &core, deadline).await?;
        } else if parts.facts.cluster().is_none() {
            // It was taught the log before it was a member, and ended in between.
            parts.links.set_cluster(core.view().cluster);
        }
        same_quorum(&parts, &core)?;
        same_profile(&parts.profile, &core.known())?;
        let this = Self::assemble(parts, (core, follower), former);
        let mut result = this.become_member(deadline).await;
        if result.is_ok() && this.0.facts.cluster().is_none() {
            // Before anything is kept here that the cluster relies on.
            let joined = this.0.former.formed(this.0.views.get().cluster);
            result = joined.map_err(StartError::from);
        }
        if result.is_err() {
            this.stop_tasks();
        }
        result.map(|()| this)
    }

    /// Puts the parts together and starts what runs as long as the node.
    fn assemble(
        parts: QuorumParts,
        (core, follower): (RaftCore, Arc<Follower>),
        former: Arc<Former>,
    ) -> Self {
        let claim = claim_of(&parts);
        let patience = parts.replace_voters_after;
        let QuorumParts { seams, links, facts, me, boot, profile, .. } = parts;
        let lease = Lease::new(seams.clock.clone(), me.clone());
        lease.begin(boot);
        let views = Arc::new(Publisher::new(View::default()));
        let standing = Arc::new(Publisher::new(Standing::Outside));
        let office =
            Office::new(seams.clone(), Arc::new(core.clone()), Arc::new(links.clone()), me);
        links.serve(Service::Lease, Arc::new(Door(office.clone())));
        let feed = Feed::new(seams.clone(), core.clone(), views.watched());
        links.serve(Service::View, Arc::new(FeedDoor(feed.clone())));
        let voters = core.clone();
        let renewals = Renewals::new(RenewalParts {
            office: office.clone(),
            lease: lease.clone(),
            profile,
            views: views.watched(),
            voters: Box::new(move || voters.voters()),
            told: follower,
            standing: standing.clone(),
        });
        let (claim, tasks) = (Mutex::new(claim), Mutex::new(Vec::new()));
        let leader = Leader::new(office.clone(), boot);
        let replacer = Replacer::new(office.clone(), core.clone(), patience);
        let this = Self(Arc::new(Inner {
            seams,
            links,
            facts,
            core,
            lease,
            office,
            renewals,
            feed,
            former,
            views,
            standing,
            claim,
            tasks,
        }));
        this.show(this.0.core.known());
        let control = &this.0.seams.control;
        let follow = control.spawn(this.clone().follow());
        let renew = control.spawn(this.0.renewals.clone().run());
        let lead = control.spawn(leader.run());
        let replace = control.spawn(replacer.run());
        this.0.tasks.lock().extend([follow, renew, lead, replace]);
        this
    }

    /// Shows every view to the lease first, then to all others.
    async fn follow(self) {
        let (mut applied, mut told) = (self.0.core.watched().follow(), self.0.core.told().follow());
        // Shown again: one may have come before this follower began.
        applied.get();
        told.get();
        self.show(self.0.core.known());
        loop {
            let view = tokio::select! {
                biased;
                view = applied.changed() => view,
                view = told.changed() => view,
            };
            let Some(view) = view else { return };
            self.show(view);
        }
    }

    fn show(&self, view: Arc<View>) {
        let inner = &*self.0;
        if view.version < inner.views.get().version {
            // Raft brings what another node has told already.
            return;
        }
        inner.lease.applied(&view);
        for (node, member) in &view.members {
            if *node != inner.office.me {
                inner.links.learn(node, &member.addr);
            }
        }
        let token = |member: &Member| view.stores.get(&member.store).map_or(0, |mark| mark.token);
        let life = |member: &Member| Life { boot: member.boot, token: token(member) };
        let lives = view.members.iter().map(|(node, member)| (node.clone(), life(member)));
        inner.links.set_members(lives.collect());
        let voters = inner.core.voters();
        inner.former.show(&view, voters.clone());
        let mut kept = view.sharing_with(&inner.office.me);
        kept.extend(voters.into_values().map(|voter| voter.node));
        inner.links.keep(kept);
        if let Standing::Member(boot) = *inner.standing.get()
            && !view.has_boot(&inner.office.me, boot)
        {
            inner.renewals.evicted(boot);
        }
        inner.feed.keep(&view);
        inner.views.publish(view);
    }

    /// This node's lease.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.0.lease.clone()
    }

    /// The voter.
    #[must_use]
    pub fn core(&self) -> &RaftCore {
        &self.0.core
    }

    /// How full the queues of its office and of its feed are.
    #[cfg(feature = "sim")]
    pub(crate) fn fills(&self) -> impl Iterator<Item = Fill> {
        self.0.office.fills().into_iter().chain(self.0.feed.fills())
    }

    /// Follows how this node stands.
    #[must_use]
    pub fn standing(&self) -> Watched<Standing> {
        self.0.standing.watched()
    }

    /// Begins the life `boot` (fsynced in the directory) after an eviction, and becomes a member
    /// again. Before, whoever acted under the old life must have been stopped.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn begin(
        &self,
        boot: Boot,
        store: StoreId,
        deadline: Instant,
    ) -> Result<(), StartError> {
        self.begin_life(boot, store);
        let (this, control) = (self.clone(), &self.0.seams.control);
        let joined = control.spawn(async move { this.become_member(deadline).await });
        joined.await.map_err(|error| StartError::NoCluster(error.to_string()))?
    }

    fn begin_life(&self, boot: Boot, store: StoreId) {
        let inner = &*self.0;
        inner.renewals.begin(Boot(0));
        inner.standing.publish(Arc::new(Standing::Outside));
        inner.lease.begin(boot);
        let token = inner.facts.token(boot);
        inner.links.set_life(Life { boot, token });
        {
            let mut claim = inner.claim.lock();
            claim.earlier_boots = inner.facts.boots_before(boot);
            claim.tokens = inner.facts.tokens_before(boot);
            (claim.boot, claim.token, claim.store) = (boot, token, store);
            inner.former.present_as(claim.clone());
        }
        // What the view says of the new life, if anything, the lease learns from it again.
        inner.lease.applied(&inner.core.known());
    }

    /// Tells which nodes this one finds unreachable.
    pub fn unreachable(&self, nodes: Vec<NodeId>) {
        self.0.renewals.notes.lock().unreachable = nodes;
    }

    /// Tells which members say that they are not well. While this node leads, their shards go to
    /// others.
    pub fn ailing(&self, nodes: BTreeSet<NodeId>) {
        *self.0.office.ailing.lock() = nodes;
    }

    /// Tells this node's load, in turns per second.
    pub fn load(&self, turns_per_second: u32) {
        self.0.renewals.notes.lock().load = turns_per_second;
    }

    /// Releases the whole boot: this node serves nothing from here on, and its shards go on at
    /// once. Waits until the view shows it, or until `deadline`: then the lease runs out by itself.
    pub async fn leave(&self, deadline: Instant) {
        let inner = &*self.0;
        let Standing::Member(boot) = *inner.standing.get() else { return };
        // First the gate shuts for good, then it is said.
        inner.lease.begin(Boot(0));
        inner.renewals.notes.lock().leaving = true;
        inner.renewals.hurry.notify_one();
        let mut views = inner.views.watched().follow();
        let gone = views.until(|view| !view.has_boot(&inner.office.me, boot));
        let _ = within(&*inner.seams.clock, deadline, gone.boxed()).await;
    }

    fn stop_tasks(&self) {
        for task in self.0.tasks.lock().drain(..) {
            task.abort();
        }
        self.0.lease.begin(Boot(0));
    }

    /// Stops the renewals, the leader's part and the voter. The gates of all tenures shut.
    pub async fn stop(&self) {
        self.stop_tasks();
        self.0.core.shutdown().await;
    }
}

impl ViewAuthority for QuorumAuthority {
    fn view(&self) -> Arc<View> {
        self.0.views.get()
    }

    fn watched(&self) -> Watched<View> {
        self.0.views.watched()
    }

    fn propose(
        &self,
        proposals: Vec<Proposal>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Proposed, ProposeError>> {
        self.0.core.propose(proposals, deadline).boxed()
    }

    fn renew(&self, request: Renew, deadline: Instant) -> BoxFuture<'_, Result<Grant, RenewError>> {
        let to = self.0.core.leader_hint().unwrap_or_else(|| self.0.office.me.clone());
        async move { self.0.renewals.ask(&to, request, deadline).await }.boxed()
    }

    fn release(&self, shard: ShardId, epoch: Epoch) {
        self.0.lease.release(shard, epoch);
        self.0.renewals.hurry.notify_one();
    }

    fn wishes(&self) -> Watched<Vec<Wish>> {
        self.0.renewals.wishes.watched()
    }
}

/// How the node of `parts` presents itself.
fn claim_of(parts: &QuorumParts) -> Claim {
    Claim {
        node: parts.me.clone(),
        boot: parts.boot,
        token: parts.facts.token(parts.boot),
        earlier_boots: parts.facts.boots_before(parts.boot),
        tokens: parts.facts.tokens_before(parts.boot),
        store: parts.store,
        voter: Some(parts.facts.voter()),
        addr: parts.addr.clone(),
        zone: parts.zone.clone(),
        weight: parts.weight,
        disk: parts.disk.mark(),
    }
}

#[cfg(test)]
mod tests;
