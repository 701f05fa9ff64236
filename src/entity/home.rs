//! The entities of one kind in one owned shard, and the turns in which they handle messages.
//!
//! A home belongs to one tenure: under another epoch there is another home, and nothing goes over
//! but what was saved. A push into an idle lane puts its slot on the ready list; one *runner* task
//! polls the turns of that list in line. A turn that suspends keeps the task as its host, and a
//! fresh runner takes the rest of the list: one that waits keeps nobody waiting.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use futures::FutureExt as _;
use parking_lot::Mutex;

use super::frame::Refusal;
use super::kind::Policy;
use super::lane::{Envelope, Fate, Loaded, Slot, Untaken};
use super::records::{key, state};
use super::refs::{Bound, TURN};
use super::{ASK_WITHIN, Cx, Entity, Failure, Hosts, NotExecuted};
use crate::authority::Tenure;
use crate::base::Instant;
use crate::replica::ReplicaError;

/// Messages of one lane handled before the next lane has its turn.
const TURN_MESSAGES_MAX: usize = 32;
/// Turns polled in a row before the runner lets other tasks run.
const RUN_TURNS_MAX: usize = 16;

struct Table<E: Entity> {
    open: bool,
    slots: BTreeMap<Arc<str>, Arc<Slot<E>>>,
}

struct Ready<E: Entity> {
    queue: VecDeque<Arc<Slot<E>>>,
    /// A runner is at work on the list.
    running: bool,
}

pub(super) struct Home<E: Entity> {
    hosts: Hosts,
    env: Arc<E::Env>,
    policy: Policy,
    pub(super) tenure: Tenure,
    table: Mutex<Table<E>>,
    ready: Mutex<Ready<E>>,
    /// No turn begins: the shard is on its way to another node. What waits stays in its lane.
    held: AtomicBool,
    /// Turns that run, or wait in their middle.
    turns: AtomicUsize,
}

/// How a turn ended.
enum End {
    Idle,
    /// Messages wait for the next turn.
    More,
    /// The tenure is over.
    Moved,
}

impl<E: Entity> Home<E> {
    pub(super) fn new(hosts: Hosts, env: Arc<E::Env>, policy: Policy, tenure: Tenure) -> Self {
        Self {
            hosts,
            env,
            policy,
            tenure,
            table: Mutex::new(Table { open: true, slots: BTreeMap::new() }),
            ready: Mutex::new(Ready { queue: VecDeque::new(), running: false }),
            held: AtomicBool::new(false),
            turns: AtomicUsize::new(0),
        }
    }

    /// Begins no turn any more; a turn that runs ends with the message in hand.
    pub(super) fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Whether the newest view still has the shard with this node, under this home's tenure.
    fn is_own(&self) -> bool {
        let own = self.hosts.own(self.tenure.shard);
        own.is_some_and(|(tenure, _)| tenure == self.tenure)
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Whether no turn runs. Once it is held that stays so.
    pub(super) fn is_quiet(&self) -> bool {
        self.turns.load(Ordering::SeqCst) == 0
    }

    /// Puts a message into the lane of `id`, which starts the entity if need be.
    pub(super) fn push(
        self: &Arc<Self>,
        id: &str,
        envelope: Envelope<E::Msg>,
    ) -> Result<(), Untaken<E::Msg>> {
        let now = self.hosts.now();
        let slot = {
            let mut table = self.table.lock();
            if !table.open {
                drop(table);
                return Err((envelope, Refusal::NotOwner(self.hosts.version())));
            }
            let known = table.slots.get(id).cloned();
            let slot = known.unwrap_or_else(|| {
                let slot = Arc::new(Slot::new(id, now));
                table.slots.insert(slot.id.clone(), slot.clone());
                self.hosts.counts().activated.add(1);
                slot
            });
            // Under the table's lock, so that the slot is not passivated in between.
            slot.push(now, &self.policy, envelope)?.then_some(slot)
        };
        if let Some(slot) = slot {
            self.make_ready(slot);
        }
        Ok(())
    }

    fn make_ready(self: &Arc<Self>, slot: Arc<Slot<E>>) {
        let starts = {
            let mut ready = self.ready.lock();
            ready.queue.push_back(slot);
            !std::mem::replace(&mut ready.running, true)
        };
        if starts {
            self.start_runner();
        }
    }

    fn start_runner(self: &Arc<Self>) {
        self.hosts.spawn(self.clone().run());
    }

    async fn run(self: Arc<Self>) {
        let mut turns = 0;
        loop {
            let slot = {
                let mut ready = self.ready.lock();
                let slot = ready.queue.pop_front();
                ready.running = slot.is_some();
                slot
            };
            let Some(slot) = slot else { return };
            let mut turn = pin!(self.gated_turn(slot));
            if poll_fn(|cx| Poll::Ready(turn.as_mut().poll(cx))).await.is_pending() {
                self.start_runner();
                return turn.await;
            }
            turns += 1;
            if turns % RUN_TURNS_MAX == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// One turn behind the gate: polled only while this node may run the entity, and dropped with
    /// its state when the shard moves.
    async fn gated_turn(self: &Arc<Self>, slot: Arc<Slot<E>>) {
        // Counted first: whoever holds the home sees this turn, or this turn that it is held.
        let _running = Running::begin(self);
        if self.is_held() {
            return;
        }
        // Handlers are caught where they are called; this is for a user's `drop` and `default`.
        let turn = AssertUnwindSafe(self.turn(&slot)).catch_unwind();
        let end = match self.hosts.lease().through(self.tenure, turn).await {
            Ok(Ok(end)) => end,
            Ok(Err(panic)) => {
                tracing::error!("{}: {}", slot.name(), Failure::panicked(&*panic));
                self.crashed(&slot);
                if slot.put_state(self.hosts.now(), None) { End::More } else { End::Idle }
            }
            Err(_) => End::Moved,
        };
        match end {
            End::Idle => {}
            End::More => self.make_ready(slot),
            // What waits stays, if the shard was given up and has no other owner yet.
            End::Moved if self.is_own() => {}
            End::Moved => self.stop(),
        }
    }

    async fn turn(&self, slot: &Slot<E>) -> End {
        let (mut loaded, mut handled) = (slot.take_state(), 0);
        for _ in 0..TURN_MESSAGES_MAX {
            if self.hosts.gate(self.tenure).await.is_err() {
                return End::Moved;
            }
            if self.is_held() {
                break;
            }
            let Some(deadline) = slot.front() else { break };
            let ready = match loaded.take() {
                Some(ready) => Ok(ready),
                None => self.load(&slot.id, deadline).await,
            };
            let Some(envelope) = slot.pop() else {
                loaded = ready.ok();
                break;
            };
            let ready = match ready {
                Ok(ready) => ready,
                Err(why) => {
                    self.hosts.refuse(envelope, why);
                    continue;
                }
            };
            loaded = match envelope.take(self.hosts.now(), self.hosts.lease(), self.tenure) {
                Some(envelope) => {
                    handled += 1;
                    self.handle(slot, ready, envelope).await
                }
                None => Some(ready),
            };
        }
        self.hosts.counts().turns.add(self.tenure.shard, handled);
        if slot.put_state(self.hosts.now(), loaded) { End::More } else { End::Idle }
    }

    /// The state as it was saved last, or the default. A message that waits for it was not taken
    /// yet.
    async fn load(&self, id: &str, deadline: Instant) -> Result<Loaded<E>, Refusal> {
        let not_serving = |why: String| Refusal::Because(NotExecuted::NotServing(why));
        let record = if self.policy.durable {
            let records = self.hosts.records();
            let records = records.ok_or_else(|| not_serving("this node keeps none".into()))?;
            let until = deadline.min(self.hosts.now() + ASK_WITHIN);
            match records.load(self.tenure, key::<E>(id), until).await {
                Ok(record) => record,
                Err(ReplicaError::Lapsed) => return Err(Refusal::NotOwner(self.hosts.version())),
                Err(error) => return Err(not_serving(error.to_string())),
            }
        } else {
            None
        };
        let revision = record.as_ref().map_or(0, |record| record.revision);
        let made = catch_unwind(|| match record {
            Some(record) if !record.deleted => state::<E>(&record.value),
            Some(_) | None => Ok(E::default()),
        });
        let made = made.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)));
        made.map(|state| Loaded { state, revision }).map_err(|why| not_serving(why.to_string()))
    }

    /// Handles one message; gives the state back unless it must be loaded again.
    async fn handle(
        &self,
        slot: &Slot<E>,
        mut loaded: Loaded<E>,
        envelope: Envelope<E::Msg>,
    ) -> Option<Loaded<E>> {
        let Envelope { msg, deadline, fate, .. } = envelope;
        // What a tell sets in motion has a deadline too.
        let patience = || self.hosts.now() + ASK_WITHIN;
        let deadline = if deadline == Instant::NEVER { patience() } else { deadline };
        let mut cx = Cx {
            hosts: &self.hosts,
            env: &*self.env,
            id: &slot.id,
            tenure: self.tenure,
            deadline,
            durable: self.policy.durable,
            revision: loaded.revision,
            saving: None,
            stale: false,
            excused: false,
        };
        let result = step(&mut loaded.state, msg, &mut cx).await;
        // A handler may drop the save it began. Its outcome decides what is handled next.
        let settled = cx.settle().await;
        loaded.revision = cx.revision;
        let (stale, excused) = (cx.stale, cx.excused);
        match result {
            Ok(()) => {
                fate.handled();
                if let Err(why) = settled {
                    tracing::warn!("{}: a save nobody waited for failed: {why}", slot.name());
                }
                (!stale).then_some(loaded)
            }
            Err(why) => {
                tracing::warn!("{} crashed: {why}", slot.name());
                drop(loaded);
                fate.crashed(why.to_string());
                if !excused {
                    self.crashed(slot);
                }
                None
            }
        }
    }

    fn crashed(&self, slot: &Slot<E>) {
        self.hosts.counts().crashed.add(1);
        for (envelope, why) in slot.crashed(self.hosts.now(), &self.policy) {
            self.hosts.refuse(envelope, why);
        }
    }

    /// Drops what nobody used for the kind's time.
    pub(super) fn sweep(&self) {
        let Some(idle) = self.policy.passivate_after else { return };
        let now = self.hosts.now();
        let before = now - idle;
        let gone: Vec<_> =
            self.table.lock().slots.extract_if(.., |_, slot| slot.is_idle(now, before)).collect();
        self.hosts.counts().passivated.add(gone.len());
    }

    /// Entities in memory.
    pub(super) fn len(&self) -> usize {
        self.table.lock().slots.len()
    }

    /// The tenure is over, or the node stops: gives back what waits.
    pub(super) fn stop(&self) {
        let slots = {
            let mut table = self.table.lock();
            table.open = false;
            std::mem::take(&mut table.slots)
        };
        self.ready.lock().queue.clear();
        let why = if self.hosts.is_stopping() {
            Refusal::Because(NotExecuted::Stopping)
        } else {
            Refusal::NotOwner(self.hosts.version())
        };
        for slot in slots.into_values() {
            for envelope in slot.drain() {
                self.give_back(&slot.id, envelope, why.clone());
            }
        }
    }

    /// Gives one message back that no turn took. An ask is sent again by whoever sent it; a tell is
    /// told again from here, to the owner that the view names now.
    fn give_back(&self, id: &str, envelope: Envelope<E::Msg>, why: Refusal) {
        let is_tell = matches!(envelope.fate, Fate::Nobody);
        if !is_tell || self.hosts.is_stopping() {
            return self.hosts.refuse(envelope, why);
        }
        if self.hosts.entities::<E>().get(id).tell(envelope.msg).is_err() {
            self.hosts.counts().tells_lost.add(1);
        }
    }
}

/// A turn that runs, until it is dropped.
struct Running<'a, E: Entity>(&'a Home<E>);

impl<'a, E: Entity> Running<'a, E> {
    fn begin(home: &'a Home<E>) -> Self {
        home.turns.fetch_add(1, Ordering::SeqCst);
        Self(home)
    }
}

impl<E: Entity> Drop for Running<'_, E> {
    fn drop(&mut self) {
        if self.0.turns.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.is_held() {
            self.0.hosts.moving().quiet.notify_one();
        }
    }
}

/// Runs the handler, and catches panics at each poll.
async fn step<E: Entity>(state: &mut E, msg: E::Msg, cx: &mut Cx<'_, E>) -> Result<(), Failure> {
    let bound = Bound { tenure: cx.tenure, deadline: cx.deadline };
    // In a block of its own, so that a handler that is no `async fn` is caught as well.
    let mut handler = pin!(TURN.scope(bound, async { state.handle(msg, cx).await }));
    poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(task))) {
        Ok(poll) => poll,
        Err(panic) => Poll::Ready(Err(Failure::panicked(&*panic))),
    })
    .await
}
