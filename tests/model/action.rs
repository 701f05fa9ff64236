//! What can happen, in words.

use std::fmt;

use super::state::{Kind, NOBODY};

/// One step. Numbers are nodes, or stores where the field says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Lease(LeaseStep),
    Member(MemberStep),
    Owner(OwnerStep),
    Move(MoveStep),
}

/// Leases, leaders, evictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseStep {
    Tick,
    Renew(u8),
    SendRenew(u8),
    Grant(u8),
    GrantOfDeposed(u8),
    TakeGrant(u8),
    Elect { node: u8, inherits: bool },
    FirstEntry,
    Mark(u8),
    LoseEvict(u8),
    ProposeEvictAgain(u8),
    MarkFalls(u8),
    Evict { node: u8, to: u8 },
    Assign { to: u8 },
    SetLength,
    SettleLength,
}

/// Processes and memberships.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberStep {
    Crash { node: u8, torn: bool },
    Restart { node: u8, empty: bool },
    Rejoin { node: u8, to: u8 },
    Join(u8),
    Apply(u8),
}

/// What an owner does, and its proposals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerStep {
    Propose { node: u8, kind: Kind, store: u8 },
    ProposeAgain(u8),
    Commit(u8),
    Lose(u8),
    Seal { node: u8, store: u8 },
    Resend { node: u8, store: u8 },
    Serve(u8),
    CatchUp { node: u8, store: u8 },
    Write(u8),
    Append { node: u8, store: u8 },
    Acknowledge(u8),
    Read(u8),
    BeginTurn(u8),
    EndTurn(u8),
}

/// Planned moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MoveStep {
    Move { to: u8 },
    HandQueue(u8),
    Release(u8),
    HandOver,
    AbortMove,
    RunQueue(u8),
}

fn name(node: u8) -> char {
    if node >= NOBODY { '-' } else { char::from(b'a' + node) }
}

fn store(store: u8) -> String {
    let node = store % NOBODY;
    if store >= NOBODY {
        format!("{}'s new store", name(node))
    } else {
        format!("{}'s store", name(node))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease(step) => step.fmt(f),
            Self::Member(step) => step.fmt(f),
            Self::Owner(step) => step.fmt(f),
            Self::Move(step) => step.fmt(f),
        }
    }
}

impl fmt::Display for LeaseStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tick => write!(f, "a tick passes"),
            Self::Renew(n) => write!(f, "{} renews its lease", name(n)),
            Self::SendRenew(n) => write!(f, "{} sends a Renew", name(n)),
            Self::Grant(n) => write!(f, "the leader grants {}'s Renew", name(n)),
            Self::GrantOfDeposed(n) => write!(f, "a deposed leader grants {}'s Renew", name(n)),
            Self::TakeGrant(n) => write!(f, "{} receives its grant", name(n)),
            Self::Elect { node, inherits: true } => {
                write!(f, "{} is elected; what is in flight is in its log", name(node))
            }
            Self::Elect { node, inherits: false } => {
                write!(f, "{} is elected; Evicts in flight are lost", name(node))
            }
            Self::FirstEntry => write!(f, "the leader's first entry is applied"),
            Self::Mark(n) => write!(f, "the leader marks {} and proposes its Evict", name(n)),
            Self::LoseEvict(n) => write!(f, "the Evict of {} is lost", name(n)),
            Self::ProposeEvictAgain(n) => {
                write!(f, "the leader proposes the Evict of {} again", name(n))
            }
            Self::MarkFalls(n) => write!(f, "the leader takes back its mark of {}", name(n)),
            Self::Evict { node, to } => {
                write!(f, "Evict({}) is committed, owner {}", name(node), name(to))
            }
            Self::Assign { to } => write!(f, "Assign to {} is committed", name(to)),
            Self::SetLength => write!(f, "a change of D is committed"),
            Self::SettleLength => write!(f, "LeaseSettled is committed"),
        }
    }
}

impl fmt::Display for MemberStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Crash { node, torn: false } => write!(f, "{} crashes", name(node)),
            Self::Crash { node, torn: true } => {
                write!(f, "{} crashes before its store has its last writes", name(node))
            }
            Self::Restart { node, empty: false } => write!(f, "{} starts again", name(node)),
            Self::Restart { node, empty: true } => {
                write!(f, "{} starts again with an empty store", name(node))
            }
            Self::Rejoin { node, to } => {
                write!(f, "Rejoin({}) is committed, owner {}", name(node), name(to))
            }
            Self::Join(n) => write!(f, "Join({}) is committed, under a new boot", name(n)),
            Self::Apply(n) => write!(f, "{} applies the newest view", name(n)),
        }
    }
}

impl fmt::Display for OwnerStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Propose { node, kind: Kind::HasRecords, .. } => {
                write!(f, "{} proposes HasRecords", name(node))
            }
            Self::Propose { node, kind, store: of } => {
                write!(f, "{} proposes {kind:?} of {}", name(node), store(of))
            }
            Self::ProposeAgain(n) => write!(f, "{} proposes its change again", name(n)),
            Self::Commit(n) => write!(f, "the change proposed by {} is committed", name(n)),
            Self::Lose(n) => write!(f, "the change proposed by {} is lost", name(n)),
            Self::Seal { node, store: of } => write!(f, "{} seals {}", name(node), store(of)),
            Self::Resend { node, store: of } => {
                write!(f, "{} makes {} hold its log", name(node), store(of))
            }
            Self::Serve(n) => write!(f, "{} serves", name(n)),
            Self::CatchUp { node, store: of } => {
                write!(f, "{} catches up {}", name(node), store(of))
            }
            Self::Write(n) => write!(f, "{} numbers a write", name(n)),
            Self::Append { node, store: of } => {
                write!(f, "{} sends its next write to {}", name(node), store(of))
            }
            Self::Acknowledge(n) => write!(f, "{} acknowledges a write", name(n)),
            Self::Read(n) => write!(f, "{} answers a read", name(n)),
            Self::BeginTurn(n) => write!(f, "a turn at {} reads and suspends", name(n)),
            Self::EndTurn(n) => write!(f, "the turn at {} goes on and answers", name(n)),
        }
    }
}

impl fmt::Display for MoveStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Move { to } => write!(f, "a move to {} is committed", name(to)),
            Self::HandQueue(n) => write!(f, "{} hands the queue over", name(n)),
            Self::Release(n) => write!(f, "{} releases the shard", name(n)),
            Self::HandOver => write!(f, "HandOver is committed"),
            Self::AbortMove => write!(f, "MoveAborted is committed"),
            Self::RunQueue(n) => write!(f, "{} runs the queue", name(n)),
        }
    }
}
