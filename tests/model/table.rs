//! What is explored: one slice of the budget per idea, and per guard the slice that misses it.

use super::guard::{Config, Guard};
use super::state::Budget;

/// Nothing may happen but ticks, renewals and what follows from them.
const CALM: Budget = Budget {
    elections: 0,
    marks: 0,
    joins: 0,
    crashes: 0,
    losses: 0,
    changes: 0,
    writes: 0,
    turns: 0,
    moves: 0,
    lengths: 0,
};

const PLAIN: Config = Config {
    name: "",
    without: None,
    budget: CALM,
    in_sync: 0b011,
    has_records: true,
    queue: false,
    lengths: [1, 1],
    idle: 0,
    renew_in_steps: false,
    depth: None,
    shows: &[],
};

/// Leases step by step, with a change of leader.
const LEASE: Config = Config {
    name: "leases",
    budget: Budget { elections: 1, marks: 1, ..CALM },
    renew_in_steps: true,
    shows: &["a new leader evicts"],
    ..PLAIN
};

/// Changes of leader, and a node that comes back.
const LEADERS: Config = Config {
    name: "leaders",
    budget: Budget { elections: 2, marks: 1, joins: 1, ..CALM },
    shows: &["a new leader evicts", "an evicted node owns again"],
    ..PLAIN
};

const LONGER: Config = Config {
    name: "a longer D",
    budget: Budget { marks: 1, lengths: 1, ..CALM },
    lengths: [1, 2],
    idle: 0b100,
    renew_in_steps: true,
    shows: &["another D holds"],
    ..PLAIN
};

const SHORTER: Config = Config { name: "a shorter D", lengths: [2, 1], ..LONGER };

const FIRST_WRITE: Config = Config {
    name: "the first write",
    budget: Budget { marks: 1, writes: 1, changes: 1, crashes: 1, ..CALM },
    has_records: false,
    shows: &["a change is committed after its proposer died"],
    ..PLAIN
};

const LOSSES: Config = Config {
    name: "lost stores",
    budget: Budget { marks: 1, writes: 1, crashes: 2, losses: 1, ..CALM },
    idle: 0b100,
    shows: &["a node rejoins with an empty store", "a takeover serves"],
    ..PLAIN
};

const TAKEOVER: Config = Config {
    name: "takeover",
    budget: Budget { marks: 1, writes: 2, crashes: 1, ..CALM },
    in_sync: 0b111,
    idle: 0b100,
    shows: &[
        "a takeover serves",
        "a store holds what its new owner lacks",
        "writes of two epochs are acknowledged",
    ],
    ..PLAIN
};

const CHANGES: Config = Config {
    name: "changes of in_sync",
    budget: Budget { marks: 1, writes: 1, changes: 2, ..CALM },
    idle: 0b010,
    shows: &["a change is committed and proposed again"],
    ..PLAIN
};

/// A lost store is replaced by a copy.
const COPIES: Config = Config {
    name: "copies",
    budget: Budget { writes: 1, crashes: 1, losses: 1, changes: 2, ..CALM },
    idle: 0b100,
    shows: &["a new store is in sync"],
    ..PLAIN
};

/// A change that is proposed again, and a holder that goes and comes back.
const REPEATS: Config = Config {
    name: "repeats",
    budget: Budget { marks: 1, joins: 1, writes: 1, changes: 1, ..CALM },
    idle: 0b010,
    ..PLAIN
};

/// A turn that outlives its tenure.
const TURNS: Config = Config {
    name: "turns",
    budget: Budget { marks: 2, joins: 1, writes: 1, turns: 1, ..CALM },
    idle: 0b100,
    shows: &["an evicted node owns again"],
    ..PLAIN
};

const MOVES: Config = Config {
    name: "moves",
    budget: Budget { marks: 1, moves: 1, crashes: 1, ..CALM },
    queue: true,
    idle: 0b100,
    shows: &["a move completes"],
    ..PLAIN
};

/// Moves of a shard that has no records, back and forth.
const BARE_MOVES: Config = Config {
    name: "moves without records",
    budget: Budget { marks: 1, moves: 2, ..CALM },
    has_records: false,
    shows: &["a move completes", "a released shard comes back"],
    ..MOVES
};

/// Everything at once, but not to its end.
const ALL: Config = Config {
    name: "everything",
    budget: Budget {
        elections: 1,
        marks: 1,
        joins: 1,
        crashes: 1,
        losses: 1,
        changes: 1,
        writes: 2,
        turns: 1,
        moves: 1,
        lengths: 0,
    },
    queue: true,
    depth: Some(9),
    ..PLAIN
};

/// All of them are sound.
pub(crate) const SLICES: &[Config] = &[
    LEASE,
    LEADERS,
    LONGER,
    SHORTER,
    FIRST_WRITE,
    LOSSES,
    TAKEOVER,
    CHANGES,
    COPIES,
    REPEATS,
    TURNS,
    MOVES,
    BARE_MOVES,
    ALL,
];

/// The same with more faults; sound too, and too long for every run.
pub(crate) const WIDE: &[Config] = &[
    Config { name: "leases, wide", budget: Budget { joins: 1, ..LEASE.budget }, ..LEASE },
    Config { name: "a longer D, wide", budget: Budget { elections: 1, ..LONGER.budget }, ..LONGER },
    Config {
        name: "a shorter D, wide",
        budget: Budget { elections: 1, ..LONGER.budget },
        ..SHORTER
    },
    Config { name: "lost stores, wide", idle: 0, ..LOSSES },
    Config {
        name: "takeover, wide",
        budget: Budget { joins: 1, ..TAKEOVER.budget },
        idle: 0,
        ..TAKEOVER
    },
    Config {
        name: "changes of in_sync, wide",
        budget: Budget { crashes: 1, ..CHANGES.budget },
        ..CHANGES
    },
];

/// The guard that is missed, the slice that shows it, and how the rule that breaks begins.
pub(crate) const MISSED: &[(Guard, Config, &str)] = &[
    (Guard::InSyncNamesStores, LOSSES, "I3"),
    (Guard::PendingAddCounts, CHANGES, "I3"),
    (Guard::TakeoverResends, TAKEOVER, "I3"),
    (Guard::AllAgreeBeforeServing, TAKEOVER, "I3"),
    (Guard::HasRecordsFirst, FIRST_WRITE, "I3"),
    (Guard::EmptyStoreLosesShards, LOSSES, "I3"),
    (Guard::GrantCarriesLength, LONGER, "I1"),
    (Guard::FutureKeepsTenure, TURNS, "an answer"),
    (Guard::FirstEntryBeforeGrants, LEADERS, "I1"),
    (Guard::MarkFallsWithTable, LEADERS, "I1"),
    (Guard::MarkOutlastsFlight, LEADERS, "I1"),
    (Guard::MoveEndsByCommit, MOVES, "the queue"),
    (Guard::QueueOfThisMove, BARE_MOVES, "the queue"),
    (Guard::NewLeaderWaits, LEADERS, "I1"),
    (Guard::GrantNeedsBarrier, LEASE, "I1"),
    (Guard::SealFences, TAKEOVER, "I2"),
    (Guard::ShrinkCountsUntilSeen, CHANGES, "I3"),
    (Guard::WriteMinStays, LOSSES, "I3"),
    (Guard::HandOverAfterRelease, BARE_MOVES, "I1"),
    (Guard::ChangeNamesGeneration, REPEATS, "I3"),
];

/// Guards of the design without which no rule of the model breaks.
pub(crate) const REDUNDANT: &[(Guard, Config)] = &[(Guard::GrantNamesVersion, LEASE)];
