//! The event log of one process: a line for everything that it did under its tenures, asked and
//! saw.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use evertree::base::{BootClock, Clock as _, Instant};
use serde::{Deserialize, Serialize};

/// The right under which a line was appended: (boot, shard, epoch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Right {
    pub(crate) boot: u64,
    pub(crate) shard: u16,
    pub(crate) epoch: u64,
}

/// Whether a message that was not answered may have been handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    NotExecuted,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fact {
    /// In which shard a counter is.
    Counter {
        counter: u16,
        shard: u16,
    },
    /// The `n`th append under a right, which passed the gate; the lease ran at least `until` then.
    Tick {
        right: Right,
        n: u64,
        until: Instant,
    },
    /// The gate closed for good.
    End {
        right: Right,
    },
    /// A view was applied: boots by name, and the owner of each shard, by the last letter of its
    /// name, or `-`.
    View {
        version: u64,
        members: BTreeMap<String, u64>,
        owners: String,
    },
    /// Who leads, as far as the process knows.
    Leader {
        node: Option<String>,
    },
    /// The lease ran out, at the instant `until` if none was granted since.
    Lapse {
        until: Instant,
    },
    /// The lease holds, for the first time or again.
    Resume,
    /// A counter was asked to add one.
    Ask {
        counter: u16,
        number: u64,
    },
    /// It has: its value then.
    Answer {
        counter: u16,
        number: u64,
        value: u64,
    },
    NoAnswer {
        counter: u16,
        number: u64,
        fate: Fate,
        why: String,
    },
    /// Nothing is asked any more, and nothing under way.
    Quiet,
    /// What a counter was in the end.
    Final {
        counter: u16,
        value: u64,
    },
}

/// A line: when, on the clock that all processes of one host share, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    pub(crate) fact: Fact,
}

/// Appends lines, each by one write: a kill loses at most the last.
#[derive(Debug)]
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn create(path: &Path) -> Self {
        let file = File::options().append(true).create_new(true).open(path);
        Self(file.expect("a log of its own"))
    }

    pub(crate) fn note(&self, fact: Fact) {
        self.note_at(BootClock.now(), fact);
    }

    pub(crate) fn note_at(&self, at: Instant, fact: Fact) {
        let mut line = serde_json::to_vec(&Entry { at, fact }).expect("it encodes");
        line.push(b'\n');
        (&self.0).write_all(&line).expect("the disk takes it");
    }
}
