//! One state of the model: small integers and bit sets, cheap to copy and to hash.

/// Nodes are numbered from 0.
pub(crate) const NODES: u8 = 3;
/// Every node may lose its store once: node n runs on store n, or on its second store n + 3.
pub(crate) const STORES: u8 = 2 * NODES;
/// In the place of a node: none.
pub(crate) const NOBODY: u8 = NODES;
/// Most writes that are numbered in one run.
pub(crate) const WRITES_MAX: usize = 3;
/// Stores that must hold a write before it is acknowledged.
pub(crate) const WRITE_MIN: u32 = 2;

/// Which D holds. A change of D is agreed first, and counts as settled later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Length {
    First,
    Changing,
    Second,
}

/// The agreed view, of one shard. An epoch is the version of the entry that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) version: u8,
    pub(crate) epoch: u8,
    /// Always a member in its present boot, or [`NOBODY`].
    pub(crate) owner: u8,
    /// Set of stores.
    pub(crate) in_sync: u8,
    /// Of `in_sync`.
    pub(crate) generation: u8,
    pub(crate) has_records: bool,
    pub(crate) lost: bool,
    /// The node it is on its way to, or [`NOBODY`].
    pub(crate) moving: u8,
    /// The epoch before this one.
    pub(crate) previous: u8,
    /// Boot of each member; 0: the node is none.
    pub(crate) boots: [u8; NODES as usize],
    /// Set of nodes whose member runs on its second store.
    pub(crate) second: u8,
    pub(crate) length: Length,
}

/// The one request for a lease that a node has under way. Ages are ticks since it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renew {
    Idle,
    Sent { age: u8 },
    Granted { age: u8, lease: u8, version: u8 },
}

/// How far an owner is under the epoch it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It does not own the shard, or has found a later seal.
    Idle,
    /// It owns a shard without records.
    Bare,
    TakingOver,
    Serving,
}

/// What an owner knows, under one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) phase: Phase,
    /// Writes of its log that it has acknowledged, or finds to be so.
    pub(crate) acked: u8,
    /// Set of stores that said they are sealed to this epoch.
    pub(crate) sealed: u8,
    /// Set of stores that hold a prefix of its log.
    pub(crate) live: u8,
    /// How long that prefix is, as far as it knows.
    pub(crate) held: [u8; STORES as usize],
}

/// What an owner proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    HasRecords,
    Add,
    Shrink,
}

/// A proposed change, with the `in_sync` generation it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proposed {
    pub(crate) kind: Kind,
    pub(crate) store: u8,
    pub(crate) epoch: u8,
    pub(crate) generation: u8,
}

/// A turn that waits for something, with what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) epoch: u8,
    /// Set of writes it saw.
    pub(crate) saw: u8,
}

/// A node's process, and what its store is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) boot: u8,
    /// This boot was never a member.
    pub(crate) fresh: bool,
    /// Whether it runs on its second store.
    pub(crate) second: bool,
    /// The newest view it has applied.
    pub(crate) seen: View,
    /// Ticks until its lease is over.
    pub(crate) lease: u8,
    pub(crate) renew: Renew,
    pub(crate) primary: Primary,
    /// What it has proposed and not yet seen.
    pub(crate) pending: Option<Proposed>,
    /// A proposal of its own on its way to the log; outlives the process.
    pub(crate) flight: Option<Proposed>,
    pub(crate) turn: Option<Turn>,
    /// It holds the queue, under this epoch; 0: it does not.
    pub(crate) queue: u8,
    /// It has released the shard under this epoch. Also the message that says so: it may still
    /// arrive after the process has died.
    pub(crate) released: u8,
}

/// A store. Writes are named 1, 2, ..; the log is the list of those it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Store {
    pub(crate) sealed: u8,
    pub(crate) log: [u8; WRITES_MAX],
    /// Length of the log.
    pub(crate) len: u8,
    /// How much of it the store knows to be acknowledged.
    pub(crate) acked: u8,
}

/// Who leads, and its lease table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Office {
    pub(crate) leader: u8,
    /// The first entry of this leadership is applied: the table has begun.
    pub(crate) ready: bool,
    /// Ticks until the table's first D' is over.
    pub(crate) first: u8,
    /// Ticks until the lease of each member is over at the leader.
    pub(crate) expiry: [u8; NODES as usize],
    /// Set of nodes marked *evicting*.
    pub(crate) marks: u8,
    /// Set of nodes whose Evict is in the log and not yet committed.
    pub(crate) evicts: u8,
    /// Marks that each node keeps while it does not lead: only without a guard.
    pub(crate) kept: [u8; NODES as usize],
    /// Ticks until a change of D may be called settled.
    pub(crate) settling: u8,
}

/// What an onlooker who sees everything has noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct History {
    /// How many writes were numbered, and under which epoch each.
    pub(crate) numbered: u8,
    pub(crate) epochs: [u8; WRITES_MAX],
    /// Set of writes that were acknowledged, or shown to a reader.
    pub(crate) acked: u8,
    /// How often the queue was run.
    pub(crate) runs: u8,
    /// A turn answered with a state that lacked an acknowledged write.
    pub(crate) stale: bool,
    /// A boot was evicted though its Renew had reached the leader within D'.
    pub(crate) unheard: bool,
    /// A store took a write of an earlier epoch after one of a later epoch.
    pub(crate) backwards: bool,
}

/// How often things may still happen in a run; this alone makes the model finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Budget {
    pub(crate) elections: u8,
    pub(crate) marks: u8,
    pub(crate) joins: u8,
    pub(crate) crashes: u8,
    /// Restarts with an empty store.
    pub(crate) losses: u8,
    /// Proposals of owners.
    pub(crate) changes: u8,
    pub(crate) writes: u8,
    pub(crate) turns: u8,
    pub(crate) moves: u8,
    /// Changes of D.
    pub(crate) lengths: u8,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) view: View,
    pub(crate) nodes: [Node; NODES as usize],
    pub(crate) stores: [Store; STORES as usize],
    /// Set of stores that are gone for good.
    pub(crate) destroyed: u8,
    pub(crate) office: Office,
    pub(crate) history: History,
    pub(crate) left: Budget,
}

/// The set of `one` alone.
pub(crate) fn bit(one: u8) -> u8 {
    1 << one
}

/// Whether `set` contains `one`.
pub(crate) fn has(set: u8, one: u8) -> bool {
    set & bit(one) != 0
}

/// The store that node `node` runs on.
pub(crate) fn store_of(node: u8, second: bool) -> u8 {
    if second { node + NODES } else { node }
}

/// The node whose directory `store` is.
pub(crate) fn node_of(store: u8) -> u8 {
    if store < NODES { store } else { store - NODES }
}

impl View {
    /// A view before any.
    pub(crate) const NONE: Self = Self {
        version: 0,
        epoch: 0,
        owner: NOBODY,
        in_sync: 0,
        generation: 0,
        has_records: false,
        lost: false,
        moving: NOBODY,
        previous: 0,
        boots: [0; NODES as usize],
        second: 0,
        length: Length::First,
    };

    pub(crate) fn boot(&self, node: u8) -> u8 {
        self.boots[usize::from(node)]
    }

    pub(crate) fn is_member(&self, node: u8) -> bool {
        self.boot(node) != 0
    }

    /// The store that member `node` runs on.
    pub(crate) fn store(&self, node: u8) -> u8 {
        store_of(node, has(self.second, node))
    }

    /// Set of the stores that members run on.
    pub(crate) fn live(&self) -> u8 {
        let mut live = 0;
        for node in 0..NODES {
            if self.is_member(node) {
                live |= bit(self.store(node));
            }
        }
        live
    }
}

impl Primary {
    pub(crate) const IDLE: Self =
        Self { phase: Phase::Idle, acked: 0, sealed: 0, live: 0, held: [0; STORES as usize] };
}

impl Node {
    pub(crate) fn own(&self, node: u8) -> u8 {
        store_of(node, self.second)
    }

    /// Whether the newest view it has applied says that this life owns the shard.
    pub(crate) fn is_owner(&self, node: u8) -> bool {
        self.up && self.seen.owner == node && self.boot != 0 && self.seen.boot(node) == self.boot
    }

    /// Whether the gate is open: entity code may run.
    pub(crate) fn gate(&self, node: u8) -> bool {
        self.lease > 0 && self.is_owner(node) && self.released != self.seen.epoch
    }

    /// Stores that must have a write before it is acknowledged: those of `in_sync` as seen, and
    /// one that it proposed to add.
    pub(crate) fn required(&self, with_pending: bool) -> u8 {
        match self.pending {
            Some(Proposed { kind: Kind::Add, store, .. }) if with_pending => {
                self.seen.in_sync | bit(store)
            }
            Some(_) | None => self.seen.in_sync,
        }
    }
}

impl Store {
    /// The last write; 0: none.
    pub(crate) fn last(self) -> u8 {
        self.nth(self.len)
    }

    /// The write at place `nth`, counted from 1; 0: none.
    pub(crate) fn nth(self, nth: u8) -> u8 {
        if nth == 0 { 0 } else { self.log[usize::from(nth) - 1] }
    }

    pub(crate) fn push(&mut self, write: u8) {
        self.log[usize::from(self.len)] = write;
        self.len += 1;
    }

    /// Forgets all but the first `len` writes.
    pub(crate) fn cut(&mut self, len: u8) {
        for at in len..self.len {
            self.log[usize::from(at)] = 0;
        }
        self.len = len;
        self.acked = self.acked.min(len);
    }

    /// Set of the writes it holds; write 1 is bit 0.
    pub(crate) fn writes(self) -> u8 {
        self.first(self.len)
    }

    /// Set of its first `len` writes.
    pub(crate) fn first(self, len: u8) -> u8 {
        let mut set = 0;
        for at in 0..len {
            set |= bit(self.log[usize::from(at)] - 1);
        }
        set
    }
}

impl State {
    pub(crate) fn node(&self, node: u8) -> &Node {
        &self.nodes[usize::from(node)]
    }

    pub(crate) fn node_mut(&mut self, node: u8) -> &mut Node {
        &mut self.nodes[usize::from(node)]
    }

    pub(crate) fn store(&self, store: u8) -> &Store {
        &self.stores[usize::from(store)]
    }

    pub(crate) fn store_mut(&mut self, store: u8) -> &mut Store {
        &mut self.stores[usize::from(store)]
    }

    /// Whether a process runs on `store`.
    pub(crate) fn is_running(&self, store: u8) -> bool {
        let node = self.node(node_of(store));
        node.up && node.own(node_of(store)) == store
    }

    /// Where a write stands among all: by epoch, then by the order in it.
    pub(crate) fn number(&self, write: u8) -> (u8, u8) {
        if write == 0 { (0, 0) } else { (self.history.epochs[usize::from(write) - 1], write) }
    }
}
