//! The rules of the design that can be taken away, one at a time, and how far a run goes.

use super::state::Budget;

/// A rule. Without it the model must find a violation, or the rule is redundant within the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// `in_sync` names stores, not nodes.
    InSyncNamesStores,
    /// A write needs the acknowledgement of a store that was proposed to be added.
    PendingAddCounts,
    /// A takeover sends what not all stores have.
    TakeoverResends,
    /// A takeover serves only when every store of `in_sync` holds exactly its log.
    AllAgreeBeforeServing,
    /// The first write is numbered after a committed `HasRecords`.
    HasRecordsFirst,
    /// A node that rejoins with an empty store loses the shards it owned.
    EmptyStoreLosesShards,
    /// A grant counts for the D that it carries.
    GrantCarriesLength,
    /// A future goes on only under the tenure it began under.
    FutureKeepsTenure,
    /// A leader grants nothing before the first entry of its leadership is applied.
    FirstEntryBeforeGrants,
    /// A mark falls with its table.
    MarkFallsWithTable,
    /// A mark stays while its Evict is in flight.
    MarkOutlastsFlight,
    /// A move ends by a committed change only.
    MoveEndsByCommit,
    /// A held queue is run only under the epoch that directly followed the one it was held under.
    QueueOfThisMove,
    /// A new leader evicts nobody in its table's first D'.
    NewLeaderWaits,
    /// A leader that was deposed grants nothing: every grant has a barrier.
    GrantNeedsBarrier,
    /// A grant counts once the view it names is applied.
    GrantNamesVersion,
    /// A replica takes writes only under the epoch it is sealed to.
    SealFences,
    /// A store proposed to be removed counts until the commit is seen.
    ShrinkCountsUntilSeen,
    /// A store leaves `in_sync` only where `write_min` others stay.
    WriteMinStays,
    /// A live owner loses a shard only after it has released it.
    HandOverAfterRelease,
    /// An owner's change names the `in_sync` generation it saw.
    ChangeNamesGeneration,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    pub(crate) name: &'static str,
    /// The rule that is taken away.
    pub(crate) without: Option<Guard>,
    pub(crate) budget: Budget,
    /// Set of stores that hold the shard at first; node 0 owns it.
    pub(crate) in_sync: u8,
    pub(crate) has_records: bool,
    /// A message waits in the queue of the owner.
    pub(crate) queue: bool,
    /// D in ticks, before it is changed and after.
    pub(crate) lengths: [u8; 2],
    /// Set of nodes that never renew and are never evicted: they only hold a store and a vote.
    pub(crate) idle: u8,
    /// Renew, Grant and its arrival are steps of their own; else one.
    pub(crate) renew_in_steps: bool,
    /// Most steps of a run, one more than that; else every state is tried.
    pub(crate) depth: Option<usize>,
    /// Names of what must be possible in it.
    pub(crate) shows: &'static [&'static str],
}

impl Config {
    /// Whether `guard` is in its place.
    pub(crate) fn keeps(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}
