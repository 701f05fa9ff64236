//! Which generation a child restores. PURE.
#![deny(clippy::wildcard_enum_match_arm, clippy::float_arithmetic)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::Instant;

/// Most generations that a checkpoint can keep.
pub const GENERATIONS_MAX: usize = 1_000;

/// Why a checkpoint is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It would keep nothing.
    #[error("generations must not be zero")]
    NoGenerations,
    /// So many are never looked at.
    #[error("generations is {0}, more than {GENERATIONS_MAX}")]
    TooManyGenerations(usize),
    /// A generation would be given up without a crash.
    #[error("strikes must not be zero")]
    NoStrikes,
    /// No crash would ever count.
    #[error("probation must not be zero")]
    NoProbation,
}

impl CheckpointError {
    /// The field that is wrong.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NoGenerations | Self::TooManyGenerations(_) => "checkpoint.generations",
            Self::NoStrikes => "checkpoint.strikes",
            Self::NoProbation => "checkpoint.probation",
        }
    }
}

/// A generation was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::supervisor) struct RolledBack {
    /// Which.
    pub(in crate::supervisor) from: u64,
    /// The one that is restored next; none: the child begins anew.
    pub(in crate::supervisor) to: Option<u64>,
}

/// How an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// By itself, and not as it should.
    Crashed,
    /// As it should, or because somebody wanted it to.
    Left,
}

struct Generation<S> {
    number: u64,
    strikes: u32,
    state: Arc<S>,
}

/// The present incarnation and the generation it was given.
#[derive(Debug, Clone, Copy)]
struct Trial {
    generation: u64,
    begun: Instant,
}

/// The states a child may restore, newest last.
pub(super) struct Generations<S> {
    kept_max: usize,
    pub(super) strikes_max: u32,
    pub(super) probation: Duration,
    kept: VecDeque<Generation<S>>,
    /// The number of the newest one ever; no number is used twice.
    last: u64,
    trial: Option<Trial>,
    /// States given up and not yet dropped: that is left to the child, for it is its code.
    gone: Vec<Arc<S>>,
}

impl<S> Generations<S> {
    pub(super) fn new(kept_max: usize, strikes_max: u32, probation: Duration) -> Self {
        let (kept, gone) = (VecDeque::new(), Vec::new());
        Self { kept_max, strikes_max, probation, kept, last: 0, trial: None, gone }
    }

    pub(super) fn validate(&self) -> Result<(), CheckpointError> {
        if self.kept_max == 0 {
            return Err(CheckpointError::NoGenerations);
        }
        if self.kept_max > GENERATIONS_MAX {
            return Err(CheckpointError::TooManyGenerations(self.kept_max));
        }
        if self.strikes_max == 0 {
            return Err(CheckpointError::NoStrikes);
        }
        if self.probation.is_zero() {
            return Err(CheckpointError::NoProbation);
        }
        Ok(())
    }

    /// Keeps `state` as a new generation: its number, and what must be dropped for it.
    pub(super) fn save(&mut self, state: Arc<S>) -> (u64, Vec<Arc<S>>) {
        self.last += 1;
        self.kept.push_back(Generation { number: self.last, strikes: 0, state });
        let mut gone = std::mem::take(&mut self.gone);
        if self.kept.len() > self.kept_max {
            gone.extend(self.kept.pop_front().map(|oldest| oldest.state));
        }
        debug_assert!(self.kept.len() <= self.kept_max, "too many generations");
        (self.last, gone)
    }

    /// The newest state, and what must be dropped.
    pub(super) fn newest(&mut self) -> (Option<Arc<S>>, Vec<Arc<S>>) {
        let newest = self.kept.back().map(|newest| newest.state.clone());
        (newest, std::mem::take(&mut self.gone))
    }

    /// The number of the newest state.
    pub(super) fn generation(&self) -> Option<u64> {
        self.kept.back().map(|newest| newest.number)
    }

    /// An incarnation begins at `now`, with the newest state.
    pub(super) fn begun(&mut self, now: Instant) {
        let trial = |generation| Trial { generation, begun: now };
        self.trial = self.generation().map(trial);
    }

    /// The incarnation ended at `now`: whether its generation is given up.
    pub(super) fn ended(&mut self, outcome: Outcome, now: Instant) -> Option<RolledBack> {
        let Trial { generation, begun } = self.trial.take()?;
        let is_newest = self.generation() == Some(generation);
        // It may have fallen out: then there is nothing left to blame.
        let blamed = self.kept.iter_mut().rev().find(|kept| kept.number == generation)?;
        if now.since(begun) > self.probation {
            blamed.strikes = 0;
            return None;
        }
        match outcome {
            Outcome::Crashed if is_newest => blamed.strikes += 1,
            Outcome::Crashed | Outcome::Left => return None,
        }
        if blamed.strikes < self.strikes_max {
            return None;
        }
        self.gone.extend(self.kept.pop_back().map(|newest| newest.state));
        debug_assert!(self.generation().is_none_or(|to| to < generation), "back is backwards");
        Some(RolledBack { from: generation, to: self.generation() })
    }
}

impl<S> fmt::Debug for Generations<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.kept.iter().map(|kept| (kept.number, kept.strikes));
        f.debug_map().entries(numbers).finish()
    }
}
