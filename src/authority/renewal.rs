//! The node's own renewals.

mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::turn::Turn;
use super::lease::alarm;
use super::office::{Answer, Ask, Office, decode, letter, span_of};
use super::{Grant, Lease, Renew, RenewError, Wish};
use crate::base::{
    Alarm, Boot, Epoch, Instant, NodeId, Publisher, ShardId, Version, VoterId, Watched, within,
};
use crate::detector::NodeLease;
use crate::placement::{Profile, View};
use crate::transport::AskError;

use super::raft::Voter;
use super::standing::Standing;

/// Shards whose release one Renew carries; with more, the next ones follow at once.
const RELEASED_MAX: usize = 1_024;

/// Where the voters are, until a view says it: asked anew for every Renew.
pub(super) type Voters = Box<dyn Fn() -> BTreeMap<VoterId, Voter> + Send + Sync>;

/// Where a node has its views from, if raft does not bring them.
pub(super) trait Told: Send + Sync + 'static {
    /// A grant of this version came before its view.
    fn behind(&self, granted: Version);

    /// The version that another node told and raft has not brought; 0 if there is none.
    fn told(&self) -> Version;

    /// The leader granted in a view older than one that was told before it was asked: what was told
    /// was agreed on by nobody.
    fn refuted(&self, told: Version, granted: Version);
}

/// What the rest of the node tells the renewals.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) unreachable: Vec<NodeId>,
    pub(super) load: u32,
    pub(super) leaving: bool,
}

/// The renewals of one node.
pub(super) struct Renewals {
    pub(super) office: Arc<Office>,
    pub(super) lease: Lease,
    pub(super) profile: Profile,
    /// Views of which the lease knows.
    pub(super) views: Watched<View>,
    pub(super) voters: Voters,
    pub(super) told: Arc<dyn Told>,
    pub(super) standing: Arc<Publisher<Standing>>,
    pub(super) notes: Mutex<Notes>,
    /// Sends a Renew at once.
    pub(super) hurry: Notify,
    /// The life to renew; `Boot(0)`: none.
    pub(super) boot: AtomicU64,
    /// What the last grant wished.
    pub(super) wishes: Publisher<Vec<Wish>>,
    reckoning: Mutex<NodeLease>,
    turn: Mutex<Turn>,
    /// The last release sent, while a round over all of them is under way.
    released_to: Mutex<Option<(ShardId, Epoch)>>,
    granted: Notify,
    /// When the workers last ran a task, in nanoseconds.
    tick: Arc<AtomicU64>,
    ticking: Arc<AtomicBool>,
    _alarm: Option<Alarm>,
}

impl std::fmt::Debug for Renewals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renewals of {:?}", self.lease)
    }
}

/// What [`Renewals::new`] needs.
pub(super) struct RenewalParts {
    pub(super) office: Arc<Office>,
    pub(super) lease: Lease,
    pub(super) profile: Profile,
    pub(super) views: Watched<View>,
    pub(super) voters: Voters,
    pub(super) told: Arc<dyn Told>,
    pub(super) standing: Arc<Publisher<Standing>>,
}

impl Renewals {
    pub(super) fn new(parts: RenewalParts) -> Arc<Self> {
        let RenewalParts { office, lease, profile, views, voters, told, standing } = parts;
        let now = office.seams.clock.now();
        let node = office.me.clone();
        let lapsed = move |boot, _| {
            tracing::warn!(%node, %boot, "the lease ran out: no entity runs until it is renewed");
        };
        let alarm = alarm(&office.seams, &lease, lapsed).unwrap_or_else(|error| {
            tracing::error!(%error, "the lease has no alarm: no thread for it");
            None
        });
        Arc::new(Self {
            office,
            lease,
            profile,
            views,
            voters,
            told,
            standing,
            notes: Mutex::default(),
            hurry: Notify::new(),
            boot: AtomicU64::new(0),
            wishes: Publisher::new(Vec::new()),
            reckoning: Mutex::default(),
            turn: Mutex::default(),
            released_to: Mutex::default(),
            granted: Notify::new(),
            tick: Arc::new(AtomicU64::new(now.as_nanos())),
            ticking: Arc::new(AtomicBool::new(false)),
            _alarm: alarm,
        })
    }

    /// Renews `boot` from now on.
    pub(super) fn begin(&self, boot: Boot) {
        *self.reckoning.lock() = NodeLease::default();
        self.boot.store(boot.0, Ordering::Release);
        self.hurry.notify_one();
    }

    /// Waits until a grant to `boot` counts.
    pub(super) async fn first_grant(&self, boot: Boot, deadline: Instant) -> Result<(), String> {
        loop {
            // Made before the lease is looked at, so that no grant slips in between.
            let granted = self.granted.notified();
            if self.lease.boot() == boot && self.lease.is_valid() {
                return Ok(());
            }
            if self.boot.load(Ordering::Acquire) != boot.0 {
                return Err(format!("{boot} is no member any more"));
            }
            let next = deadline.min(self.now() + self.profile.renew);
            let waited = within(&*self.office.seams.clock, next, granted).await;
            if waited.is_err() && self.now() >= deadline {
                return Err("no lease was granted".into());
            }
        }
    }

    fn now(&self) -> Instant {
        self.office.seams.clock.now()
    }

    /// D as the view has it: an operator may have changed what this node was started with.
    fn length(&self) -> Duration {
        let view = self.views.get();
        if view.is_formed() { span_of(&view).lease } else { self.profile.lease }
    }

    /// Sends Renews without end.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let round = self.now();
            self.ask_for_a_tick();
            if self.boot.load(Ordering::Acquire) != 0 && self.workers_run() {
                self.renew_once(round).await;
            }
            let clock = &*self.office.seams.clock;
            let _ = within(clock, round + self.profile.renew, self.hurry.notified()).await;
        }
    }

    /// One renewal: repeated at the next voter after renew/4 without an answer, until the next is
    /// due anyway.
    async fn renew_once(self: &Arc<Self>, round: Instant) {
        let clock = self.office.seams.clock.clone();
        for attempt in 0..4 {
            let granted = self.granted.notified();
            self.send(self.target(attempt));
            let patience = round + self.profile.renew / 4 * (attempt + 1);
            let hurried = async {
                tokio::select! {
                    biased;
                    () = granted => {}
                    () = self.hurry.notified() => self.hurry.notify_one(),
                }
            };
            if within(&*clock, patience, hurried).await.is_ok() {
                return;
            }
        }
    }

    fn target(&self, attempt: u32) -> NodeId {
        let view = self.views.get();
        let mut voters: Vec<_> = view.voters.values().cloned().collect();
        if voters.is_empty() {
            voters.extend((self.voters)().into_values().map(|voter| voter.node));
        }
        let (hint, me) = (self.office.core.leader_hint(), &self.office.me);
        self.turn.lock().target(attempt, hint, &voters, me)
    }

    /// What the next Renew says was given up. If there is more, it is sent at once.
    fn released(&self) -> Vec<(ShardId, Epoch)> {
        let mut sent_to = self.released_to.lock();
        let released = self.lease.released_after(*sent_to, RELEASED_MAX + 1);
        let is_more = released.len() > RELEASED_MAX;
        let some: Vec<_> = released.into_iter().take(RELEASED_MAX).collect();
        *sent_to = some.last().copied().filter(|_| is_more);
        if is_more {
            self.hurry.notify_one();
        }
        some
    }

    /// Sends one Renew; its answer is taken whenever it comes.
    fn send(self: &Arc<Self>, to: NodeId) {
        let boot = Boot(self.boot.load(Ordering::Acquire));
        if boot == Boot(0) {
            // Evicted between two attempts.
            return;
        }
        let nonce = self.office.seams.rng.next_u64();
        let request = {
            let (notes, mut reckoning) = (self.notes.lock(), self.reckoning.lock());
            // Read before it leaves: the lease counts from here.
            reckoning.request(nonce, self.now());
            Renew {
                nonce,
                node: self.office.me.clone(),
                boot,
                last_grant: reckoning.last_grant(),
                load: notes.load,
                unreachable: notes.unreachable.clone(),
                released: self.released(),
                leaving: notes.leaving,
            }
        };
        let (this, deadline) = (self.clone(), self.now() + self.length());
        // Agreed on before this leaves: the leader's barrier comes after it, and so does its view.
        let told = self.told.told();
        self.office.seams.control.spawn(async move {
            match this.ask(&to, request, deadline).await {
                Ok(grant) if grant.version < told => this.told.refuted(told, grant.version),
                Ok(grant) => {
                    this.turn.lock().granted(&to);
                    this.take(boot, &grant, deadline).await;
                }
                Err(RenewError::NotMember(..)) => this.evicted(boot),
                Err(error) => tracing::debug!(%to, %error, "no grant"),
            }
        });
    }

    /// Asks the office at `to`, which may be this node's own.
    pub(super) async fn ask(
        &self,
        to: &NodeId,
        request: Renew,
        deadline: Instant,
    ) -> Result<Grant, RenewError> {
        let ask = Ask::Renew(request);
        let answer = if *to == self.office.me {
            let asked = self.office.answer(self.now(), ask, None);
            within(&*self.office.seams.clock, deadline, asked.boxed())
                .await
                .map_err(|error| RenewError::NoAnswer(error.to_string()))?
        } else {
            let asked = self.office.wire.ask(to.clone(), letter(ask), deadline).await;
            let body = asked.map_err(|error: AskError| RenewError::NoAnswer(error.to_string()))?;
            decode(&body).ok_or_else(|| RenewError::NoAnswer("malformed".into()))?
        };
        match answer {
            Answer::Renew(result) => result,
            Answer::Claim(_) => Err(RenewError::NoAnswer("not what was asked".into())),
        }
    }

    /// Takes a grant: it counts from its own request's send time, once the view it names is applied
    /// here and still has this boot.
    async fn take(&self, boot: Boot, grant: &Grant, deadline: Instant) {
        let until = {
            let mut reckoning = self.reckoning.lock();
            reckoning.granted(grant.nonce, grant.lease, self.profile.guard)
        };
        let Some(until) = until else { return };
        if self.views.get().version < grant.version {
            self.told.behind(grant.version);
        }
        let mut views = self.views.follow();
        let applied = views.until(|view| view.version >= grant.version);
        let applied = within(&*self.office.seams.clock, deadline, applied.boxed()).await;
        if let Ok(Some(view)) = applied
            && view.has_boot(&self.office.me, boot)
        {
            self.lease.extend(boot, until);
            // Repeated with every grant: what was not possible then may be by now.
            if !(grant.wishes.is_empty() && self.wishes.get().is_empty()) {
                self.wishes.publish(Arc::new(grant.wishes.clone()));
            }
            self.granted.notify_waiters();
        }
    }

    /// The cluster does not have `boot` any more.
    pub(super) fn evicted(&self, boot: Boot) {
        if self.boot.compare_exchange(boot.0, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let leaving = self.notes.lock().leaving;
            tracing::warn!(node = %self.office.me, %boot, leaving, "no member any more");
            let standing = if leaving { Standing::Left } else { Standing::Evicted(boot) };
            self.standing.publish(Arc::new(standing));
        }
    }

    /// A task on the workers' runtime that notes the time it ran.
    fn ask_for_a_tick(&self) {
        if self.ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (tick, ticking) = (self.tick.clone(), self.ticking.clone());
        let clock = self.office.seams.clock.clone();
        self.office.seams.work.spawn(async move {
            tick.store(clock.now().as_nanos(), Ordering::Release);
            ticking.store(false, Ordering::Release);
        });
    }

    /// Whether the workers ran anything within 2 D. If not, this node is better evicted.
    fn workers_run(&self) -> bool {
        let last = Instant::from_nanos(self.tick.load(Ordering::Acquire));
        self.now().since(last) < self.patience()
    }

    fn patience(&self) -> Duration {
        self.length() * 2
    }
}

#[cfg(test)]
mod tests;
