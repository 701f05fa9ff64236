//! What a node hosts: its kinds, the homes of their entities, and the door for messages of others.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::task::AbortHandle;

use super::counts::{EntityCounts, Tally};
use super::door::Door;
use super::frame::Refusal;
use super::hosted::{AnyKind, Arrived, Host};
use super::lane::Envelope;
use super::moving::{Moving, follow};
use super::parts::HostParts;
use super::records::Records;
use super::{Entities, Entity, NotExecuted};
use crate::authority::{Lapsed, Lease, Tenure, ViewAuthority};
use crate::base::{Clock, Instant, NodeId, Seams, ShardId, Version, Watched, within};
use crate::membership::Hints;
use crate::placement::View;
use crate::transport::{Links, Service};
use crate::wire::Codec;
use crate::wire::negotiate::Schemas;

/// How often idle entities and held frames are looked through.
pub(super) const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How long an ask waits that does not say.
pub const ASK_WITHIN: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Tasks {
    next: u64,
    running: BTreeMap<u64, AbortHandle>,
    closed: bool,
    /// Whoever waits for the last of them.
    at_end: Option<Waker>,
}

struct Inner {
    seams: Seams,
    links: Links,
    authority: Arc<dyn ViewAuthority>,
    lease: Lease,
    records: Option<Arc<dyn Records>>,
    me: NodeId,
    kinds: BTreeMap<&'static str, Arc<dyn AnyKind>>,
    door: Door,
    counts: Tally,
    calls: AtomicU64,
    stopping: AtomicBool,
    /// What other nodes said of their kinds.
    schemas: RwLock<BTreeMap<NodeId, Schemas>>,
    tasks: Mutex<Tasks>,
    follower: Mutex<Option<AbortHandle>>,
    hints: Hints,
    moving: Moving,
}

/// The entities of one node. Cheap to clone; ends with [`Hosts::stop`].
#[derive(Clone)]
pub struct Hosts(Arc<Inner>);

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hosts of {}", self.0.me)
    }
}

impl Hosts {
    /// Serves [`Service::Entity`] and follows the view from now on.
    #[must_use]
    pub fn start(parts: HostParts) -> Self {
        let hosts = Self(Arc::new(Inner {
            seams: parts.seams,
            links: parts.links,
            authority: parts.authority,
            lease: parts.lease,
            records: parts.records,
            me: parts.me,
            kinds: parts.kinds.0,
            hints: parts.hints,
            door: Door::default(),
            counts: Tally::default(),
            calls: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            schemas: RwLock::default(),
            tasks: Mutex::default(),
            follower: Mutex::default(),
            moving: Moving::default(),
        }));
        hosts.links().serve(Service::Entity, Arc::new(super::door::Inlet(hosts.downgrade())));
        let follower = follow(
            hosts.downgrade(),
            hosts.watched(),
            hosts.0.seams.clock.clone(),
            hosts.moving().quiet.clone(),
        );
        let follower = hosts.0.seams.work.spawn(follower);
        *hosts.0.follower.lock() = Some(follower.abort_handle());
        let inner = Arc::downgrade(&hosts.0);
        hosts.0.links.on_met(move |node, schemas| {
            if let Some(inner) = inner.upgrade() {
                Self(inner).learn_schemas(node.clone(), schemas.clone());
            }
        });
        hosts
    }

    /// All entities of a kind, on whichever node; this one need not host it.
    #[must_use]
    pub fn entities<E: Entity>(&self) -> Entities<E> {
        Entities::new(self.clone())
    }

    /// The shard of `kind/id`; `None` before the cluster is formed.
    #[must_use]
    pub fn shard_of(&self, kind: &str, id: &str) -> Option<ShardId> {
        let view = self.view();
        let shards = view.constants.as_ref()?.shards;
        Some(crate::ring::shard_of(kind, id.as_bytes(), shards))
    }

    /// What happened since the start.
    #[must_use]
    pub fn counted(&self) -> EntityCounts {
        let in_memory = self.0.kinds.values().map(|kind| kind.len()).sum();
        self.0.counts.read(in_memory)
    }

    /// Notes what `node` said of its kinds when the link to it was made. From then on messages to
    /// it are written in postcard where both know the kind under the same schema; before that, and
    /// where they do not, in `MessagePack`. Out of date it costs a tell, or a repeat of an ask.
    pub(super) fn learn_schemas(&self, node: NodeId, schemas: Schemas) {
        self.0.schemas.write().insert(node, schemas);
    }

    /// Refuses new messages, gives turns that run until `deadline` to end, and drops the rest.
    pub async fn stop(&self, deadline: Instant) {
        self.0.stopping.store(true, Ordering::Release);
        if let Some(follower) = self.0.follower.lock().take() {
            follower.abort();
        }
        self.refuse_held();
        for kind in self.0.kinds.values() {
            kind.stop();
        }
        let ended = poll_fn(|cx| {
            let mut tasks = self.0.tasks.lock();
            if tasks.running.is_empty() {
                return Poll::Ready(());
            }
            tasks.at_end = Some(cx.waker().clone());
            Poll::Pending
        });
        let _ = within(&*self.0.seams.clock, deadline, ended).await;
        let left = {
            let mut tasks = self.0.tasks.lock();
            tasks.closed = true;
            std::mem::take(&mut tasks.running)
        };
        for task in left.into_values() {
            task.abort();
        }
    }
}

/// What the parts of this module use.
impl Hosts {
    pub(super) fn downgrade(&self) -> WeakHosts {
        WeakHosts(Arc::downgrade(&self.0))
    }

    pub(super) fn now(&self) -> Instant {
        self.0.seams.clock.now()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.seams.clock
    }

    pub(super) fn me(&self) -> &NodeId {
        &self.0.me
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.0.lease
    }

    pub(super) fn hints(&self) -> &Hints {
        &self.0.hints
    }

    pub(super) fn moving(&self) -> &Moving {
        &self.0.moving
    }

    pub(super) fn authority(&self) -> &dyn ViewAuthority {
        &*self.0.authority
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &Arc<dyn AnyKind>> {
        self.0.kinds.values()
    }

    pub(super) fn links(&self) -> &Links {
        &self.0.links
    }

    pub(super) fn records(&self) -> Option<&Arc<dyn Records>> {
        self.0.records.as_ref()
    }

    pub(super) fn door(&self) -> &Door {
        &self.0.door
    }

    pub(super) fn counts(&self) -> &Tally {
        &self.0.counts
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.0.authority.view()
    }

    pub(super) fn version(&self) -> Version {
        self.view().version
    }

    pub(super) fn watched(&self) -> Watched<View> {
        self.0.authority.watched()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// What a message of `E` to `node` is written in.
    pub(super) fn codec<E: Entity>(&self, node: &NodeId) -> Codec {
        let schemas = self.0.schemas.read();
        schemas.get(node).map_or(Codec::Named, |theirs| theirs.codec(E::KIND, E::SCHEMA))
    }

    pub(super) fn next_call(&self) -> u64 {
        self.0.calls.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn kind(&self, name: &str) -> Option<&Arc<dyn AnyKind>> {
        self.0.kinds.get(name)
    }

    pub(super) fn host<E: Entity>(&self) -> Option<&Host<E>> {
        self.kind(E::KIND)?.as_any().downcast_ref()
    }

    /// Says no to whoever sent it; a tell is counted as lost.
    pub(super) fn refuse<M>(&self, envelope: Envelope<M>, why: Refusal) {
        self.count(&why);
        if envelope.refuse(why) {
            self.0.counts.tells_lost.add(1);
        }
    }

    fn count(&self, why: &Refusal) {
        match why {
            Refusal::NotOwner(_) => self.0.counts.not_owner.add(1),
            Refusal::Because(NotExecuted::Overloaded { .. }) => self.0.counts.overloaded.add(1),
            Refusal::Because(_) | Refusal::OtherSchema { .. } => {}
        }
    }

    pub(super) fn refuse_arrived(&self, arrived: &Arrived, why: &Refusal) {
        self.count(why);
        if arrived.refuse(why) {
            self.0.counts.tells_lost.add(1);
        }
    }

    /// Passes when the gate is open, and waits for a new grant where it may come.
    ///
    /// Only for futures that run inside [`Lease::through`]: that one parks them.
    pub(super) async fn gate(&self, tenure: Tenure) -> Result<(), Lapsed> {
        poll_fn(|cx| match self.0.lease.check(&tenure) {
            Err(Lapsed::Expired) => {
                // Polled again at once, by the gate around us, which parks.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            passed => Poll::Ready(passed),
        })
        .await
    }

    /// Starts a task that [`Hosts::stop`] ends at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks.lock();
        if tasks.closed {
            return;
        }
        tasks.next += 1;
        let number = tasks.next;
        let hosts = self.downgrade();
        let task = self.0.seams.work.spawn(async move {
            // Also when the task is aborted or panics.
            let _done = Done(hosts, number);
            task.await;
        });
        tasks.running.insert(number, task.abort_handle());
    }
}

/// Does not keep the entities alive.
#[derive(Clone)]
pub(super) struct WeakHosts(Weak<Inner>);

impl WeakHosts {
    pub(super) fn upgrade(&self) -> Option<Hosts> {
        self.0.upgrade().map(Hosts)
    }
}

struct Done(WeakHosts, u64);

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(hosts) = self.0.upgrade() {
            let at_end = {
                let mut tasks = hosts.0.tasks.lock();
                tasks.running.remove(&self.1);
                if tasks.running.is_empty() { tasks.at_end.take() } else { None }
            };
            if let Some(waker) = at_end {
                waker.wake();
            }
        }
    }
}
