//! What a node does for itself, under a supervision tree of its own: it gossips, begins a new boot
//! after an eviction, and ends when its disk has failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Parts;
use crate::authority::{Standing, ViewAuthority as _};
use crate::base::Boot;
use crate::membership::{Membership, MembershipParts};
use crate::placement::{Departure, Profile};
use crate::storage::Facts;
use crate::supervisor::{Setting, StartError, Stop, SupervisorSpec, Tree, task};

/// How long one attempt to become a member again may take.
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
/// How often the store is asked whether it failed.
const DISK_ASKED_EVERY: Duration = Duration::from_millis(200);

/// What the node's own tasks share.
pub(super) struct Life {
    pub(super) parts: Arc<Parts>,
    pub(super) facts: Facts,
    pub(super) profile: Profile,
}

/// Starts the node's own tasks.
pub(super) async fn tree(life: Life) -> Result<Tree, StartError> {
    let life = Arc::new(life);
    let (one, two, three) = (life.clone(), life.clone(), life.clone());
    let (health, load, events) = (life.clone(), life.clone(), life.clone());
    let spec = SupervisorSpec::one_for_one("node")
        .child(task("gossip", move |stop: Stop| one.clone().gossip(stop)))
        .child(task("health", move |stop: Stop| health.clone().health(stop)))
        .child(task("boots", move |stop: Stop| two.clone().boots(stop)))
        .child(task("disk", move |stop: Stop| three.clone().disk(stop)))
        .child(task("events", move |stop: Stop| events.clone().events(stop)))
        .child(task("load", move |stop: Stop| load.clone().load(stop)));
    spec.start_in(Setting::new(life.parts.seams.clock.clone())).await
}

impl Life {
    /// Gossips in every life that the node has, on the control runtime.
    async fn gossip(self: Arc<Self>, stop: Stop) -> Result<(), String> {
        let mut standing = self.parts.authority.standing().follow();
        loop {
            let member = standing.until(|now| matches!(now, Standing::Member(_)));
            let boot = tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                now = member => match now.as_deref() {
                    Some(Standing::Member(boot)) => *boot,
                    _ => return Ok(()),
                },
            };
            let gossip = self.gossip_as(boot);
            let mut gossip = self.parts.seams.control.spawn(gossip);
            let ended = tokio::select! {
                biased;
                () = stop.requested() => None,
                _ = standing.until(|now| *now != Standing::Member(boot)) => None,
                ended = &mut gossip => Some(ended),
            };
            if let Some(ended) = ended {
                // Only a fault ends it while this life lasts: it begins anew.
                let why = ended.map_or_else(|error| error.to_string(), |()| "it ended".into());
                return Err(format!("the gossip of {boot}: {why}"));
            }
            gossip.abort();
            // Aborted: the next life starts its own.
            let _ = gossip.await;
            self.parts.hints.clear();
        }
    }

    /// The gossip of one life; what it finds unreachable is reported with the renewals.
    fn gossip_as(&self, boot: Boot) -> impl Future<Output = ()> + Send + 'static {
        let parts = &self.parts;
        let (membership, gossip) = Membership::start(MembershipParts {
            seams: parts.seams.clone(),
            links: parts.links.clone(),
            node: parts.name.clone(),
            boot,
            profile: self.profile.clone(),
            views: parts.authority.watched(),
            own: parts.said.own.watched(),
            hub: parts.hub.clone(),
            hints: parts.hints.clone(),
        });
        parts.membership.publish(Arc::new(Some(membership.clone())));
        let authority = parts.authority.clone();
        async move {
            let mut observed = membership.observed().follow();
            let report = async {
                // Not what the life before this one saw.
                authority.unreachable(membership.unreachable());
                while observed.changed().await.is_some() {
                    authority.unreachable(membership.unreachable());
                }
            };
            let mut ailing = membership.ailing().follow();
            let report_ailing = async {
                authority.ailing(BTreeSet::clone(&ailing.get()));
                while let Some(nodes) = ailing.changed().await {
                    authority.ailing(BTreeSet::clone(&nodes));
                }
            };
            tokio::select! {
                biased;
                () = gossip => {}
                () = report => {}
                () = report_ailing => {}
            }
        }
    }

    /// Says in the gossip which health probes fail, on the control runtime: that may be the one
    /// which finds all workers blocked.
    async fn health(self: Arc<Self>, stop: Stop) {
        let (control, parts) = (self.parts.seams.control.clone(), self.parts.clone());
        let says = control.spawn(async move {
            let mut failing = parts.health.watched().follow();
            loop {
                let names = failing.get();
                parts.said.change(|own| own.failing.clone_from(&names));
                if failing.changed().await.is_none() {
                    return;
                }
            }
        });
        stop.requested().await;
        says.abort();
    }

    /// Begins a new boot whenever the present one was evicted, unless the node has left.
    async fn boots(self: Arc<Self>, stop: Stop) -> Result<(), String> {
        let mut standing = self.parts.authority.standing().follow();
        loop {
            let evicted = standing.until(|now| matches!(now, Standing::Evicted(_)));
            let over = tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                now = evicted => match now.as_deref() {
                    Some(Standing::Evicted(over)) => *over,
                    _ => return Ok(()),
                },
            };
            if self.has_left(over).await {
                tracing::info!(name = %self.parts.name, boot = %over, "it has left the cluster");
                self.parts.left.publish(Arc::new(true));
                stop.requested().await;
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                begun = self.begin() => begun?,
            }
        }
    }

    /// Whether the node went of its own will in its life `over`, which the view does not have.
    async fn has_left(&self, over: Boot) -> bool {
        let name = &self.parts.name;
        let mut views = self.parts.authority.watched().follow();
        // Whoever follows the views may be a step behind the one who told.
        let view = views.until(|view| !view.has_boot(name, over)).await;
        view.is_some_and(|view| view.departure(name, over) == Some(Departure::Released))
    }

    async fn begin(&self) -> Result<(), String> {
        let name = &self.parts.name;
        loop {
            // One for each attempt: the one before may have been admitted and ended meanwhile.
            let boot = self
                .facts
                .begin_boot(&*self.parts.seams.rng)
                .map_err(|error| self.end(error.to_string()))?;
            tracing::warn!(%name, %boot, "evicted: a new boot begins");
            let deadline = self.parts.seams.clock.now() + BEGIN_WITHIN;
            let store = self.parts.store.id();
            match self.parts.authority.begin(boot, store, deadline).await {
                Ok(()) => return Ok(()),
                Err(crate::authority::StartError::NoCluster(why)) => {
                    tracing::warn!(%name, why, "not a member again yet");
                }
                Err(error) => return Err(self.end(error.to_string())),
            }
        }
    }

    /// Ends the node when its store or raft's file has failed: what they hold is then unknown.
    async fn disk(self: Arc<Self>, stop: Stop) {
        let clock = &self.parts.seams.clock;
        let stopped = self.parts.authority.core().stopped();
        let store = async {
            loop {
                if let Some(why) = self.parts.replicas.failed() {
                    return why;
                }
                clock.sleep_until(clock.next_look(DISK_ASKED_EVERY)).await;
            }
        };
        let why = tokio::select! {
            biased;
            () = stop.requested() => return,
            why = stopped => why,
            why = store => why,
        };
        self.end(why);
        stop.requested().await;
    }

    /// Measures the load on the control runtime, whatever blocks the workers.
    async fn load(self: Arc<Self>, stop: Stop) {
        let measure = self.parts.seams.control.spawn(self.parts.desk.measure());
        stop.requested().await;
        measure.abort();
        // Aborted: there is nothing to learn.
        let _ = measure.await;
    }

    /// Takes note of what changes in the views, and logs it, on the control runtime.
    async fn events(self: Arc<Self>, stop: Stop) {
        let parts = self.parts.clone();
        let follows = self.parts.seams.control.spawn(async move {
            let mut views = parts.authority.watched().follow();
            let mut view = views.get();
            loop {
                for event in parts.events.see(&view, parts.seams.clock.unix()) {
                    event.change.log(&parts.name);
                }
                match views.changed().await {
                    Some(next) => view = next,
                    None => return,
                }
            }
        });
        stop.requested().await;
        follows.abort();
        // Aborted: there is nothing to learn.
        let _ = follows.await;
    }

    fn end(&self, why: String) -> String {
        tracing::error!(name = %self.parts.name, why, "the node ends");
        self.parts.ended.publish(Arc::new(Some(why.clone())));
        why
    }
}
