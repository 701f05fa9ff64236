//! The owner's half of replication for one shard, under one epoch. PURE.
//!
//! It decides; a driver does what it says. It lives as long as the epoch: the takeover comes first,
//! then writes are numbered, sent and acknowledged, silent stores are proposed away and new ones
//! caught up and proposed in. Every rule is level-triggered: after each input [`Primary::step`]
//! looks at the whole state and does what is due, so that a lost answer or an early timer does no
//! harm. Per store at most one frame is under way, so frames of one shard never overtake.
//!
//! Source: PacificA (Lin et al., MSR-TR-2008-25), 2.3 and 3; rules in `docs/invariants.md`.

mod change;
mod copy;
mod log;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{Bug, Epoch, Instant, ShardId, StoreId, is_sound, planted};
use crate::placement::{ChangeId, Constants, Outcome, Owner, Proposal, Shard};
use crate::replica::frame::{Body, Verdict};
use crate::replica::{SaveError, Write};
use crate::storage::{Number, Op, OpResult, Record};

use change::Pending;
use log::Log;
pub(crate) use peer::fits_one_frame;
use peer::{Peer, Stage};

/// Bytes of one adopted tail at most: it must be one frame, because an adoption is all or nothing.
pub(crate) const ADOPT_BYTES_MAX: usize = 7 << 20;
/// Bytes of one part of a catch-up.
pub(crate) const PART_BYTES: usize = 256 << 10;

/// What does not change while the epoch lasts.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Which shard.
    pub shard: ShardId,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Who owns it: this node's life.
    pub owner: Owner,
    /// The owner's store.
    pub own: StoreId,
    /// Ids of changes count up from here; random.
    pub ids: u128,
}

/// The cluster's constants, as far as they matter here. An operator may set others at any time:
/// they hold for all that is decided from the view on that has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    /// A store asked for so long without an answer is silent.
    pub ack_timeout: Duration,
    /// R.
    pub copies: usize,
    /// Stores that must hold a write before it is acknowledged.
    pub write_min: usize,
}

impl From<&Constants> for Terms {
    fn from(constants: &Constants) -> Self {
        Self {
            ack_timeout: constants.profile.ack_timeout(),
            copies: usize::from(constants.copies),
            write_min: usize::from(constants.write_min).max(1),
        }
    }
}

/// What the newest applied view says of the shard, under this epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holders {
    /// The stores that hold every acknowledged write.
    pub in_sync: Vec<StoreId>,
    /// Of `in_sync`.
    pub generation: u64,
    /// A first write may have been numbered.
    pub has_records: bool,
}

impl From<&Shard> for Holders {
    fn from(shard: &Shard) -> Self {
        Self {
            in_sync: shard.in_sync.clone(),
            generation: shard.in_sync_generation,
            has_records: shard.has_records,
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A view was applied; the shard's epoch in it is still ours. Both at once: nothing is decided
    /// by the holders of one view and the terms of another.
    Viewed(Holders, Terms),
    /// A caller wants a write; `current` is the key's revision in the own store.
    Save { token: u64, write: Write, current: u64 },
    /// The own store did an [`Output::Store`]; answers come in order.
    Stored(OpResult),
    /// The own store was read.
    Read(Reading),
    /// A store answered the frame numbered `order`.
    Answered { store: StoreId, order: u64, verdict: Verdict },
    /// It did not, or it is not known to have got it.
    Unanswered { store: StoreId, order: u64 },
    /// A store was last heard, about anything, at `at`.
    Heard { store: StoreId, at: Instant },
    /// Another shard of this owner found the store silent.
    Silent(StoreId),
    /// The authority answered; `None`: it did not, or said that nothing was executed.
    Proposed { id: ChangeId, outcome: Option<Outcome> },
    /// This store may be caught up now.
    Offered(StoreId),
    /// The leader wishes that this store holds the shard, whether or not others lack it.
    Wished(StoreId),
    /// The leader finds this store one too many.
    Surplus(StoreId),
    /// Time passed.
    TimePassed,
}

/// What the own store is to be read for. Read at once: before any further input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The records of the own log above `after`, for a takeover: all or nothing.
    Tail { store: StoreId, after: Number, upto: Number },
    /// Numbers and checksums, for a catch-up.
    Inventory { store: StoreId },
    /// The next part of the state as of `upto`, for a catch-up.
    Part { store: StoreId, after: Number, upto: Number },
}

/// What was read.
#[derive(Debug, Clone)]
pub(crate) enum Reading {
    /// `None`: more than [`ADOPT_BYTES_MAX`], or not readable.
    Tail { store: StoreId, records: Option<Vec<Record>> },
    /// Of the own store.
    Inventory { store: StoreId, list: Vec<(Number, u32)> },
    /// `end`: nothing lies above these up to `upto`. `None`: not readable.
    Part { store: StoreId, part: Option<Part> },
}

/// One part of a catch-up.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// In number order.
    pub records: Vec<Record>,
    /// Up to where the state was read.
    pub upto: Number,
    /// Nothing lies above these up to `upto`.
    pub end: bool,
}

/// What the driver must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Do this in the own store.
    Store(Op),
    /// Send this to a store, and report the answer under `order`.
    Send { store: StoreId, order: u64, body: Body },
    /// Read the own store.
    Read(Want),
    /// Say when the store was last heard; ask it if that was long ago.
    Probe(StoreId),
    /// The store is silent: tell every shard of this owner.
    Silence(StoreId),
    /// Propose a change.
    Propose(Proposal),
    /// A caller's write is decided.
    Resolve { token: u64, result: Result<(), SaveError> },
    /// The takeover is finished: the shard may be read and written.
    Serving,
    /// A catch-up ended; the store joined `in_sync`, or it is to be tried again later.
    CopyEnded { store: StoreId, joined: bool },
}

/// How far the epoch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The shard has no records: nothing to take over.
    Bare,
    /// The own store is being sealed.
    Sealing,
    /// Stores are made to hold exactly the own log.
    TakingOver,
    /// Writes are numbered.
    Serving,
    /// A store is sealed by a later owner: nothing more is done.
    Deposed,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Primary {
    config: Config,
    terms: Terms,
    phase: Phase,
    holders: Holders,
    /// Every store that is sent to: those of `in_sync` but the own, and at most one joiner.
    peers: BTreeMap<StoreId, Peer>,
    log: Log,
    /// When each store was last heard.
    heard: BTreeMap<StoreId, Instant>,
    change: Option<Pending>,
    /// A store that need not hold the shard, as of this generation of `in_sync`.
    surplus: Option<(StoreId, u64)>,
    /// Numbers frames.
    orders: u64,
    /// Numbers catch-ups.
    runs: u64,
    /// Numbers changes.
    changes: u64,
    /// When writes that wait must be looked at again.
    look_again: Instant,
    /// No change is proposed before: one was just refused.
    changes_pause: Instant,
}

impl Primary {
    /// Starts the epoch: with records, by sealing the stores that hold the shard.
    pub(crate) fn new(
        config: Config,
        holders: Holders,
        terms: Terms,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut primary = Self {
            config,
            terms,
            phase: Phase::Bare,
            holders: Holders { in_sync: Vec::new(), generation: 0, has_records: false },
            peers: BTreeMap::new(),
            log: Log::default(),
            heard: BTreeMap::new(),
            change: None,
            surplus: None,
            orders: 0,
            runs: 0,
            changes: 0,
            look_again: Instant::NEVER,
            changes_pause: Instant::ZERO,
        };
        primary.step(now, Input::Viewed(holders, terms), out);
        primary
    }

    /// Takes one input at `now` and appends what must be done.
    pub(crate) fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        if self.phase == Phase::Deposed {
            if let Input::Save { token, .. } = input {
                out.push(Output::Resolve { token, result: Err(SaveError::Lapsed) });
            }
            return;
        }
        match input {
            Input::Viewed(holders, terms) => self.viewed(holders, terms, out),
            Input::Save { token, write, current } => self.save(now, (token, write, current), out),
            Input::Stored(result) => self.stored(&result, out),
            Input::Read(reading) => self.read(now, reading, out),
            Input::Answered { store, order, verdict } => {
                self.answered(now, (store, order, verdict), out);
            }
            Input::Unanswered { store, order } => self.unanswered(now, store, order),
            Input::Heard { store, at } => {
                let heard = self.heard.entry(store).or_insert(at);
                *heard = at.max(*heard);
            }
            Input::Silent(store) => self.found_silent(store, out),
            Input::Proposed { id, outcome } => self.proposed(now, id, outcome.as_ref(), out),
            Input::Offered(store) => self.offered(store, self.wants_copy().is_some(), out),
            Input::Wished(store) => self.offered(store, self.may_copy(store), out),
            Input::Surplus(store) => self.surplus = Some((store, self.holders.generation)),
            Input::TimePassed => {}
        }
        self.proceed(now, out);
    }

    /// Ends the epoch: what waits or is under way is unknown to its callers.
    pub(crate) fn end(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Deposed;
        for token in self.log.drain_tokens() {
            out.push(Output::Resolve { token, result: Err(SaveError::Lapsed) });
        }
        for (store, _) in std::mem::take(&mut self.peers).into_iter().filter(|(_, p)| p.joining) {
            out.push(Output::CopyEnded { store, joined: false });
        }
    }

    /// When to step again at the latest.
    pub(crate) fn next_deadline(&self) -> Instant {
        if self.phase == Phase::Deposed {
            return Instant::NEVER;
        }
        let peers = self.peers.values().map(|peer| peer.next_deadline(self.terms.ack_timeout));
        let change = self.change.as_ref().map(Pending::next_deadline);
        let pause = (self.changes_pause > Instant::ZERO).then_some(self.changes_pause);
        peers.chain(change).chain(pause).min().unwrap_or(Instant::NEVER).min(self.look_again)
    }

    /// Whether entities of the shard may read and write.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Bare | Phase::Serving)
    }

    /// What `serving` waits for.
    pub(crate) fn waits_for(&self) -> &'static str {
        match self.phase {
            Phase::Sealing => "the own store is being sealed",
            Phase::TakingOver if !self.holds() => "the own store does not hold the shard",
            Phase::TakingOver if self.live_unheard() => "stores that hold the shard are silent",
            Phase::TakingOver => "stores are made to hold the owner's log",
            Phase::Deposed => "the view: a later owner has sealed the shard",
            Phase::Bare | Phase::Serving => "nothing",
        }
    }

    /// Stores in `in_sync`, and whether these are as many as wanted and all in contact.
    pub(crate) fn copies(&self) -> (usize, bool) {
        let count = self.holders.in_sync.len();
        let silent = self.peers.values().any(|peer| peer.silent && !peer.joining);
        (count, count >= self.terms.copies && !silent && self.is_serving())
    }

    /// Whether the shard has records: without, nothing needs to be kept of it.
    pub(crate) fn has_records(&self) -> bool {
        self.holders.has_records
    }

    fn holds(&self) -> bool {
        self.holders.in_sync.contains(&self.config.own)
    }

    fn live_unheard(&self) -> bool {
        self.peers.values().any(|peer| peer.silent)
    }

    /// The stores that must have a write before it is acknowledged: those of `in_sync` as *seen*,
    /// a proposed one more, a proposed one less not yet less.
    fn required(&self) -> impl Iterator<Item = StoreId> + '_ {
        let adding = self.change.as_ref().and_then(Pending::adds);
        let adding = adding.filter(|store| !self.holders.in_sync.contains(store));
        self.holders.in_sync.iter().copied().chain(adding)
    }

    fn viewed(&mut self, holders: Holders, terms: Terms, out: &mut Vec<Output>) {
        if holders.generation < self.holders.generation {
            return; // An older view, told late.
        }
        (self.holders, self.terms) = (holders, terms);
        // Each change of `in_sync` raises its generation by one, and a proposal names the one it
        // saw: past that, it has been applied or never will be.
        let generation = self.holders.generation;
        self.change.take_if(|change| generation > change.generation);
        if self.phase == Phase::Bare && self.holders.has_records {
            self.phase = Phase::Sealing;
            let (shard, epoch) = (self.config.shard, self.config.epoch);
            out.push(Output::Store(Op::Seal { shard, epoch }));
        }
        if self.phase != Phase::Bare {
            self.meet_peers(out);
        }
        // Kept only while it was open whether they are members.
        let lame = |(&store, peer): (&StoreId, &Peer)| {
            (peer.joining && (peer.silent || peer.stage == Stage::Broken)).then_some(store)
        };
        if let Some(store) = self.peers.iter().find_map(lame) {
            self.give_up(store, out);
        }
    }

    /// Follows `in_sync`: sends to all of it, and no longer to who left.
    fn meet_peers(&mut self, out: &mut Vec<Output>) {
        let adding = self.change.as_ref().and_then(Pending::adds);
        let in_sync = &self.holders.in_sync;
        self.peers.retain(|store, peer| {
            peer.joining || in_sync.contains(store) || Some(*store) == adding
        });
        for &store in in_sync.iter().filter(|&&store| store != self.config.own) {
            let serving = self.phase == Phase::Serving;
            let peer = self.peers.entry(store).or_insert_with(|| {
                // While serving only our own additions can come, and those are known.
                debug_assert!(!serving || !is_sound(), "{store} joined in_sync unasked");
                Peer::new(Stage::Sealing)
            });
            if std::mem::take(&mut peer.joining) {
                out.push(Output::CopyEnded { store, joined: true });
            }
        }
    }

    /// Another shard found a store silent: one that catches up here is given up, unless it may be
    /// a member already.
    fn found_silent(&mut self, store: StoreId, out: &mut Vec<Output>) {
        let adding = self.change.as_ref().and_then(Pending::adds) == Some(store);
        let Some(peer) = self.peers.get_mut(&store) else { return };
        if peer.joining && !adding {
            self.give_up(store, out);
        } else {
            peer.silent = true;
        }
    }

    fn stored(&mut self, result: &OpResult, out: &mut Vec<Output>) {
        let head = *result.head();
        if !result.is_done() || head.filling {
            // Another owner has sealed this store, or it is no in-sync store at all.
            self.end(out);
            return;
        }
        if self.phase == Phase::Sealing {
            self.phase = Phase::TakingOver;
            self.log.begin(&head);
        }
        self.log.stored = head.last;
    }

    /// Does all that is due.
    fn proceed(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.phase == Phase::Deposed {
            return;
        }
        self.note_silence(now, out);
        self.compare_heads();
        self.serve_when_all_agree(out);
        self.acknowledge(out);
        self.admit(now, out);
        self.feed(now, out);
        self.decide_change(now, out);
    }

    /// A sealed store whose last write is the own one holds the own log: a number names one write,
    /// and the owner that gave it had fixed everything below.
    fn compare_heads(&mut self) {
        if self.phase != Phase::TakingOver && self.phase != Phase::Serving {
            return;
        }
        let last = self.log.last;
        for peer in self.peers.values_mut().filter(|peer| peer.stage == Stage::Sealed) {
            if peer.head.acked > last {
                // The own store lacks what was acknowledged: it must not be made the truth.
                continue;
            }
            let same = peer.head.last == last && !peer.head.filling;
            peer.stage = if same { Stage::Live } else { Stage::Adopting(None) };
        }
    }

    /// Serves only when every store of `in_sync`, and one being added, holds exactly the own log.
    fn serve_when_all_agree(&mut self, out: &mut Vec<Output>) {
        let own = self.config.own;
        let agree = |store: StoreId| {
            store == own
                || self.peers.get(&store).is_some_and(|peer| {
                    peer.stage == Stage::Live && peer.head.last == self.log.last
                })
        };
        let all_agree = planted(Bug::ServeEarly) || self.required().all(agree);
        if self.phase == Phase::TakingOver && self.holds() && all_agree {
            self.phase = Phase::Serving;
            self.log.acked = self.log.last;
            out.push(Output::Serving);
        }
    }

    /// What holds after every step.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.log.check()?;
        let joiners = self.peers.values().filter(|peer| peer.joining).count();
        if joiners > 1 {
            return Err(format!("{joiners} stores are caught up at once"));
        }
        if self.phase != Phase::Serving {
            return Ok(());
        }
        for store in self.required().filter(|&store| store != self.config.own) {
            let held = self.peers.get(&store).map(|peer| peer.head.last);
            if held.is_none_or(|held| held < self.log.acked) {
                return Err(format!("{store} lacks what is acknowledged: {held:?}"));
            }
        }
        if self.log.stored < self.log.acked {
            return Err("the own store lacks what is acknowledged".into());
        }
        Ok(())
    }
}
