//! Does what the machines of the owned shards say. One task for all of them: what many shards ask
//! for at once becomes one transaction, one frame per store and one proposal call.
//!
//! It decides nothing but when a store is offered for a copy, which is `offers`' to say.

mod jobs;
mod offers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::handle::{Command, Shared};
use super::primary::{Config, Input, Output, Part, Primary, Reading, Terms, Want};
use super::{Copies, ReplicaError, SaveError, Write};
use crate::authority::{Tenure, Wish};
use crate::base::{Epoch, Instant, ShardId, StoreId, Watch, is_sound};
use crate::placement::{Owner, Proposal, Shard, View};
use crate::storage::{Number, Op, StoreError};

use jobs::{Job, Sending};
use offers::Offers;

/// Commands taken before what they ask for is done.
const COMMANDS_BATCH: usize = 512;

/// One owned shard that has records, or is about to.
struct Active {
    machine: Primary,
    epoch: Epoch,
    /// Callers of `serving`.
    callers: Vec<oneshot::Sender<Result<(), ReplicaError>>>,
    deadline: Instant,
}

/// What one pass has gathered.
#[derive(Default)]
struct Gathered {
    ops: Vec<(ShardId, Epoch, Op)>,
    sends: BTreeMap<(StoreId, bool), Vec<Sending>>,
    proposals: Vec<(ShardId, Epoch, Proposal)>,
    silent: BTreeSet<StoreId>,
}

pub(super) struct Driver {
    shared: Arc<Shared>,
    view: Arc<View>,
    watch: Watch<View>,
    shards: BTreeMap<ShardId, Active>,
    /// By instant: when a machine must be stepped.
    deadlines: BTreeSet<(Instant, ShardId)>,
    tokens: BTreeMap<u64, oneshot::Sender<Result<(), SaveError>>>,
    next_token: u64,
    gathered: Gathered,
    /// The own store has been given a transaction and has not answered yet.
    applying: bool,
    jobs: FuturesUnordered<Job>,
    offers: Offers,
    /// What the leader wishes of this owner.
    wishes: Watch<Vec<Wish>>,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let watch = shared.parts.authority.watched().follow();
        let wishes = shared.parts.authority.wishes().follow();
        Self {
            shared,
            view: Arc::new(View::default()),
            watch,
            shards: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            tokens: BTreeMap::new(),
            next_token: 0,
            gathered: Gathered::default(),
            applying: false,
            jobs: FuturesUnordered::new(),
            offers: Offers::default(),
            wishes,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.shared.parts.seams.clock.now()
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let view = self.watch.get();
        self.applied(&view);
        let mut commands = Vec::new();
        loop {
            self.flush();
            let due = self.deadlines.first().map_or(Instant::NEVER, |&(at, _)| at);
            let due = due.min(self.offers.next_deadline());
            let timer = self.shared.parts.seams.clock.sleep_until(due);
            tokio::select! {
                biased;
                view = self.watch.changed() => match view {
                    Some(view) => self.applied(&view),
                    None => break,
                },
                Some(ended) = self.jobs.next() => self.ended(ended),
                count = inbox.recv_many(&mut commands, COMMANDS_BATCH) => {
                    if count == 0 || !self.take(&mut commands) {
                        break;
                    }
                }
                Some(wishes) = self.wishes.changed() => self.wished(&wishes),
                () = timer => {}
            }
            if self.shared.failed.lock().is_some() {
                break;
            }
            self.step_due();
        }
        self.end_all();
    }

    fn take(&mut self, commands: &mut Vec<Command>) -> bool {
        for command in commands.drain(..) {
            match command {
                Command::Save { tenure, write, reply } => self.save(tenure, write, reply),
                Command::Serve { tenure, reply } => self.serve(tenure, reply),
                Command::Stop => return false,
            }
        }
        true
    }

    fn end_all(&mut self) {
        let all: Vec<ShardId> = self.shards.keys().copied().collect();
        for shard in all {
            self.end(shard);
        }
        self.shared.copies.lock().clear();
    }

    /// This node's life, if it owns `shard` in the view.
    pub(super) fn ownership<'a>(&self, shard: &'a Shard) -> Option<&'a Owner> {
        let boot = self.shared.parts.lease.boot();
        let mine = |owner: &&Owner| owner.node == self.shared.parts.node && owner.boot == boot;
        shard.owner.as_ref().filter(mine)
    }

    /// Follows a view: ends what moved on, takes over what came, tells the others what is new of
    /// them; where the constants are others, it is all of them.
    fn applied(&mut self, view: &Arc<View>) {
        let before = std::mem::replace(&mut self.view, view.clone());
        let now = self.now();
        self.offers.applied(view);
        let terms = Self::terms_of(view);
        let other_terms = terms != Self::terms_of(&before);
        for (number, shard) in view.numbered() {
            let index = usize::from(number.0);
            let same = match (before.shards.get(index), view.shards.get(index)) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                _ => false,
            };
            let active = self.shards.get(&number).map(|active| active.epoch);
            let mine = self.ownership(shard).is_some();
            if active.is_some_and(|epoch| !mine || epoch != shard.epoch) {
                self.end(number);
            } else if active.is_some() {
                if let Some(terms) = terms.filter(|_| !same || other_terms) {
                    self.step(now, number, Input::Viewed(shard.into(), terms));
                }
                continue;
            }
            if mine && shard.has_records {
                self.begin(now, number, shard);
            }
        }
    }

    /// What the machines run with under `view`; a view without shards has nothing of it.
    fn terms_of(view: &View) -> Option<Terms> {
        view.constants.as_ref().map(Terms::from)
    }

    fn begin(&mut self, now: Instant, number: ShardId, shard: &Shard) {
        let Some(terms) = Self::terms_of(&self.view) else { return };
        let Some(owner) = self.ownership(shard) else { return };
        let parts = &self.shared.parts;
        let config = Config {
            shard: number,
            epoch: shard.epoch,
            owner: owner.clone(),
            own: parts.store.id(),
            ids: parts.seams.rng.next_u128(),
        };
        let mut out = Vec::new();
        let machine = Primary::new(config, shard.into(), terms, now, &mut out);
        let deadline = machine.next_deadline();
        self.deadlines.insert((deadline, number));
        let active = Active { machine, epoch: shard.epoch, callers: Vec::new(), deadline };
        self.shards.insert(number, active);
        self.perform(now, number, out);
    }

    fn end(&mut self, shard: ShardId) {
        let Some(mut active) = self.shards.remove(&shard) else { return };
        self.deadlines.remove(&(active.deadline, shard));
        let mut out = Vec::new();
        active.machine.end(&mut out);
        let now = self.now();
        self.perform(now, shard, out);
        self.shared.copies.lock().remove(&shard);
        for caller in active.callers {
            // A caller that is gone does not want to know.
            let _ = caller.send(Err(ReplicaError::Lapsed));
        }
    }

    fn save(
        &mut self,
        tenure: Tenure,
        write: Write,
        reply: oneshot::Sender<Result<(), SaveError>>,
    ) {
        self.catch_up_with_view();
        let now = self.now();
        match self.saving(now, tenure, write) {
            Ok(input) => {
                self.tokens.insert(self.next_token, reply);
                self.step(now, tenure.shard, input);
            }
            Err(error) => {
                // A caller that is gone does not want to know.
                let _ = reply.send(Err(error));
            }
        }
    }

    /// The caller may have seen a newer view than this task.
    pub(super) fn catch_up_with_view(&mut self) {
        let view = self.watch.get();
        if view.version > self.view.version {
            self.applied(&view);
        }
    }

    /// The write as an input of its machine, under the next token.
    fn saving(&mut self, now: Instant, tenure: Tenure, write: Write) -> Result<Input, SaveError> {
        let view = self.view.clone();
        let shard = view.shard(tenure.shard).ok_or(SaveError::Lapsed)?;
        let mine = self.ownership(shard).is_some_and(|owner| owner.boot == tenure.boot);
        if !mine || shard.epoch != tenure.epoch {
            return Err(SaveError::Lapsed);
        }
        let stored = self.shared.parts.store.get(tenure.shard, &write.key);
        let current = stored.map_err(|error| SaveError::Store(error.to_string()))?;
        let current = current.map_or(0, |record| record.revision);
        if !self.shards.contains_key(&tenure.shard) {
            self.begin(now, tenure.shard, shard);
        }
        self.next_token += 1;
        Ok(Input::Save { token: self.next_token, write, current })
    }

    fn serve(&mut self, tenure: Tenure, reply: oneshot::Sender<Result<(), ReplicaError>>) {
        self.catch_up_with_view();
        let owned = self.view.shard(tenure.shard).filter(|shard| shard.epoch == tenure.epoch);
        let mine = owned.is_some_and(|shard| self.ownership(shard).is_some());
        let answer = match self.shards.get_mut(&tenure.shard) {
            Some(active) if active.epoch == tenure.epoch && !active.machine.is_serving() => {
                active.callers.retain(|caller| !caller.is_closed());
                active.callers.push(reply);
                return;
            }
            Some(active) if active.epoch == tenure.epoch => Ok(()),
            None if mine => Ok(()),
            Some(_) | None => Err(ReplicaError::Lapsed),
        };
        // A caller that is gone does not want to know.
        let _ = reply.send(answer);
    }

    fn step(&mut self, now: Instant, shard: ShardId, input: Input) {
        let Some(active) = self.shards.get_mut(&shard) else { return };
        let mut out = Vec::new();
        active.machine.step(now, input, &mut out);
        if is_sound() {
            debug_assert_eq!(active.machine.check(), Ok(()), "{shard}");
        }
        let deadline = active.machine.next_deadline();
        if deadline != active.deadline {
            self.deadlines.remove(&(active.deadline, shard));
            active.deadline = deadline;
            self.deadlines.insert((deadline, shard));
        }
        self.perform(now, shard, out);
    }

    fn step_due(&mut self) {
        let now = self.now();
        let due: Vec<ShardId> = self
            .deadlines
            .iter()
            .take_while(|&&(at, _)| at <= now)
            .map(|&(_, shard)| shard)
            .collect();
        for shard in due {
            self.step(now, shard, Input::TimePassed);
        }
        while let Some(store) = self.gathered.silent.pop_first() {
            self.offers.fell_silent(now, store);
            let others: Vec<ShardId> = self.shards.keys().copied().collect();
            for shard in others {
                self.step(now, shard, Input::Silent(store));
            }
        }
        self.offer(now);
    }

    /// Does the outputs of one step in order. Reads are done at once, the rest is gathered.
    fn perform(&mut self, now: Instant, shard: ShardId, out: Vec<Output>) {
        let Some(epoch) = self.shards.get(&shard).map(|active| active.epoch) else {
            // Its epoch ended: nothing more leaves but what callers are told.
            for output in out {
                self.conclude(now, shard, output);
            }
            return;
        };
        let mut reads = Vec::new();
        let mut probes = Vec::new();
        for output in out {
            match output {
                Output::Store(op) => self.gathered.ops.push((shard, epoch, op)),
                Output::Send { store, order, body } => {
                    let sending = Sending { shard, epoch, order, body };
                    let lane = (store, sending.is_bulk());
                    self.gathered.sends.entry(lane).or_default().push(sending);
                }
                Output::Propose(proposal) => self.gathered.proposals.push((shard, epoch, proposal)),
                Output::Silence(store) => {
                    self.gathered.silent.insert(store);
                }
                Output::Read(want) => reads.push(want),
                Output::Probe(store) => probes.push(store),
                Output::Serving | Output::Resolve { .. } | Output::CopyEnded { .. } => {
                    self.conclude(now, shard, output);
                }
            }
        }
        self.note_copies(shard);
        for want in reads {
            let reading = self.read(shard, want);
            self.step(now, shard, Input::Read(reading));
        }
        for store in probes {
            let known = self.shards.get(&shard).and_then(|active| active.machine.heard(store));
            if let Some(at) = self.offers.probe_for((now, known), store, shard) {
                self.step(now, shard, Input::Heard { store, at });
            }
        }
    }

    fn conclude(&mut self, now: Instant, shard: ShardId, output: Output) {
        match output {
            Output::Resolve { token, result } => {
                if let Some(reply) = self.tokens.remove(&token) {
                    // A caller that is gone does not want to know.
                    let _ = reply.send(result);
                }
            }
            Output::Serving => {
                let callers = self.shards.get_mut(&shard).map(|a| std::mem::take(&mut a.callers));
                for caller in callers.into_iter().flatten() {
                    // As above.
                    let _ = caller.send(Ok(()));
                }
            }
            Output::CopyEnded { store, joined } => {
                self.offers.ended(now, shard, store, joined);
            }
            Output::Store(_)
            | Output::Send { .. }
            | Output::Propose(_)
            | Output::Silence(_)
            | Output::Read(_)
            | Output::Probe(_) => {}
        }
    }

    fn note_copies(&mut self, shard: ShardId) {
        let Some(active) = self.shards.get(&shard).filter(|one| one.machine.has_records()) else {
            return;
        };
        let (in_sync, complete) = active.machine.copies();
        let serving = active.machine.is_serving();
        let epoch = active.epoch;
        let waits_for = active.machine.waits_for();
        let copies = Copies { shard, epoch, serving, waits_for, in_sync, complete };
        self.shared.copies.lock().insert(shard, copies);
    }

    fn read(&self, shard: ShardId, want: Want) -> Reading {
        let store = &self.shared.parts.store;
        let noted = |error: StoreError| tracing::error!(%shard, %error, "a shard cannot be copied");
        match want {
            Want::Tail { store: to, after, upto } => {
                let most = super::primary::ADOPT_BYTES_MAX;
                let records = store.since(shard, after, upto, most).map_err(noted).ok();
                let whole = |records: &Vec<_>| {
                    let last = records
                        .last()
                        .map_or(after, |record: &crate::storage::Record| record.number);
                    let rest = store.since(shard, last, upto, 1);
                    rest.is_ok_and(|rest| rest.is_empty())
                };
                let fits = super::primary::fits_one_frame;
                let records = records.filter(whole).and_then(fits);
                Reading::Tail { store: to, records }
            }
            Want::Inventory { store: to } => {
                let list = store.inventory(shard).map_err(noted).unwrap_or_default();
                Reading::Inventory { store: to, list }
            }
            Want::Part { store: to, after, upto } => {
                let part = self.read_part(shard, after, upto).map_err(noted).ok();
                Reading::Part { store: to, part }
            }
        }
    }

    fn read_part(&self, shard: ShardId, after: Number, upto: Number) -> Result<Part, StoreError> {
        let store = &self.shared.parts.store;
        let records = store.since(shard, after, upto, super::primary::PART_BYTES)?;
        let end = match records.last() {
            None => true,
            Some(last) => store.since(shard, last.number, upto, 1)?.is_empty(),
        };
        Ok(Part { records, upto, end })
    }
}
