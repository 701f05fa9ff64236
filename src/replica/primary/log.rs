//! Numbers, the tail that is not acknowledged everywhere, and the callers that wait.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Output, Phase, Primary, Stage};
use crate::base::{Bug, Epoch, Instant, StoreId, planted};
use crate::replica::frame::record_bytes;
use crate::replica::{SaveError, Write};
use crate::storage::{Number, Op, Record, ShardHead};

/// Bytes of writes under way in one shard; further ones wait.
const WINDOW_BYTES: usize = 2 << 20;
/// Writes that wait for a number in one shard; further ones are refused.
const WAITING_MAX: usize = 1_024;
/// Bytes kept in memory for a store that catches up; beyond, its catch-up is given up.
pub(super) const RETAINED_BYTES_MAX: usize = 8 << 20;

/// The owner's log, as far as it matters now.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The last number given, or taken over.
    pub(super) last: Number,
    /// Up to here the own store has it.
    pub(super) stored: Number,
    /// Up to here every required store has it.
    pub(super) acked: Number,
    /// Numbered writes in order: all above `floor`.
    tail: VecDeque<Entry>,
    /// What was taken over, or is forgotten here: never above `acked` while serving.
    floor: Number,
    /// Bytes of `tail`.
    bytes: usize,
    waiting: VecDeque<Waiting>,
    /// Revision that each key will have when all that waits or is under way is done.
    revisions: BTreeMap<Bytes, u64>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    token: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    token: u64,
    write: Write,
    since: Instant,
}

impl Log {
    /// Starts from the own store's head.
    pub(super) fn begin(&mut self, head: &ShardHead) {
        self.last = head.last;
        self.stored = head.last;
        self.acked = head.acked;
        self.floor = head.last;
    }

    fn next(&self, epoch: Epoch) -> Number {
        let seq = if self.last.epoch == epoch { self.last.seq + 1 } else { 1 };
        Number { epoch, seq }
    }

    /// When the writes that wait began to.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.since)
    }

    /// Takes the tokens of all callers.
    pub(super) fn drain_tokens(&mut self) -> Vec<u64> {
        self.revisions.clear();
        let tail = self.tail.iter_mut().filter_map(|entry| entry.token.take());
        tail.chain(self.waiting.drain(..).map(|waiting| waiting.token)).collect()
    }

    /// The writes above `after`, as many as fit `bytes_max`, but one; `None` if some of them are
    /// no longer in memory.
    pub(super) fn above(&self, after: Number, bytes_max: usize) -> Option<Vec<Record>> {
        if after < self.floor {
            return None;
        }
        let start = self.tail.partition_point(|entry| entry.record.number <= after);
        let mut bytes = 0;
        let fits = self.tail.iter().skip(start).take_while(|entry| {
            let first = bytes == 0;
            bytes += record_bytes(&entry.record);
            first || bytes <= bytes_max
        });
        Some(fits.map(|entry| entry.record.clone()).collect())
    }

    /// Whether a store may stand at `number` under this epoch: all above it is in memory.
    pub(super) fn reaches_down_to(&self, number: Number) -> bool {
        self.floor <= number && number <= self.last
    }

    /// Forgets what every required store has, except what a joiner still needs.
    pub(super) fn trim(&mut self, keep_above: Number) {
        let upto = self.acked.min(keep_above);
        while let Some(entry) = self.tail.pop_front_if(|entry| entry.record.number <= upto) {
            self.bytes -= record_bytes(&entry.record);
            self.floor = entry.record.number;
            let record = entry.record;
            if self.revisions.get(&record.key) == Some(&record.revision) {
                self.revisions.remove(&record.key);
            }
        }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of what is not acknowledged.
    fn bytes_under_way(&self) -> usize {
        let start = self.tail.partition_point(|entry| entry.record.number <= self.acked);
        self.tail.iter().skip(start).map(|entry| record_bytes(&entry.record)).sum()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.acked > self.last || self.stored > self.last || self.floor > self.last {
            return Err(format!("acked {:?} or stored past {:?}", self.acked, self.last));
        }
        let numbers: Vec<Number> = self.tail.iter().map(|entry| entry.record.number).collect();
        if !numbers.windows(2).all(|pair| pair[0].precedes(pair[1])) {
            return Err(format!("the tail has a gap: {numbers:?}"));
        }
        if numbers.last().is_some_and(|&last| last != self.last) {
            return Err("the tail does not end at the last number".into());
        }
        Ok(())
    }
}

impl Primary {
    pub(super) fn save(
        &mut self,
        now: Instant,
        (token, write, stored): (u64, Write, u64),
        out: &mut Vec<Output>,
    ) {
        let current = self.log.revisions.get(&write.key).copied().unwrap_or(stored);
        let refused = if current.checked_add(1) != Some(write.revision) {
            Some(SaveError::Conflict { given: write.revision, current })
        } else if self.log.waiting.len() >= WAITING_MAX {
            Some(SaveError::Overloaded)
        } else {
            None
        };
        if let Some(error) = refused {
            out.push(Output::Resolve { token, result: Err(error) });
            return;
        }
        self.log.revisions.insert(write.key.clone(), write.revision);
        self.log.waiting.push_back(Waiting { token, write, since: now });
    }

    /// Stores of `in_sync` heard within `ack_timeout`, the own included.
    pub(super) fn live(&self, now: Instant) -> usize {
        self.holders.in_sync.iter().filter(|store| self.is_live(now, **store)).count()
    }

    /// Whether a store was heard within `ack_timeout`.
    pub(super) fn is_live(&self, now: Instant, store: StoreId) -> bool {
        let fresh = |&at: &Instant| now.since(at) < self.terms.ack_timeout;
        store == self.config.own || self.heard.get(&store).is_some_and(fresh)
    }

    /// Gives numbers to the writes that wait, or says that it cannot.
    pub(super) fn admit(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.look_again = Instant::NEVER;
        let Some(since) = self.log.waiting_since() else { return };
        let (live, needed) = (self.live(now), self.terms.write_min);
        if live >= needed {
            if self.phase == Phase::Serving {
                self.number(out);
            }
        } else if now >= since + self.terms.ack_timeout {
            let shard = self.config.shard;
            for waiting in std::mem::take(&mut self.log.waiting) {
                let error = SaveError::UnderReplicated { shard, live, needed };
                // Back to what is under way, or else to what is stored.
                self.log.revisions.remove(&waiting.write.key);
                out.push(Output::Resolve { token: waiting.token, result: Err(error) });
            }
            for entry in &self.log.tail {
                self.log.revisions.insert(entry.record.key.clone(), entry.record.revision);
            }
        }
        if !self.log.waiting.is_empty() {
            self.probe(now, out);
            let half = self.terms.ack_timeout / 2;
            let due = [since + half, since + half * 2, now + half];
            self.look_again = due.into_iter().find(|&at| at > now).unwrap_or(Instant::NEVER);
        }
    }

    /// Numbers what waits, as far as the window allows. From here on the writes are never given up.
    fn number(&mut self, out: &mut Vec<Output>) {
        let (prev, mut records) = (self.log.last, Vec::new());
        let mut under_way = self.log.bytes_under_way();
        while under_way < WINDOW_BYTES {
            let Some(Waiting { token, write, .. }) = self.log.waiting.pop_front() else { break };
            let Write { key, revision, value, deleted } = write;
            let number = self.log.next(self.config.epoch);
            let record = Record { key, number, revision, deleted, value };
            self.log.last = number;
            self.log.bytes += record_bytes(&record);
            under_way += record_bytes(&record);
            records.push(record.clone());
            self.log.tail.push_back(Entry { record, token: Some(token) });
        }
        if !records.is_empty() {
            let (shard, epoch, acked) = (self.config.shard, self.config.epoch, self.log.acked);
            out.push(Output::Store(Op::Append { shard, epoch, prev, acked, records }));
        }
    }

    /// When `store` was last heard, as far as was told.
    pub(in crate::replica) fn heard(&self, store: StoreId) -> Option<Instant> {
        self.heard.get(&store).copied()
    }

    /// Asks when stores were last heard, while that matters.
    fn probe(&self, now: Instant, out: &mut Vec<Output>) {
        let stale = |store: &&_| {
            let at = self.heard.get(*store).copied();
            at.is_none_or(|at| now.since(at) * 2 >= self.terms.ack_timeout)
        };
        let others = self.holders.in_sync.iter().filter(|&&store| store != self.config.own);
        out.extend(others.filter(stale).map(|&store| Output::Probe(store)));
    }

    /// Acknowledges what every required store has.
    pub(super) fn acknowledge(&mut self, out: &mut Vec<Output>) {
        let enough = self.holders.in_sync.len() >= self.terms.write_min && self.holds();
        if self.phase != Phase::Serving || !enough {
            return;
        }
        let own = self.config.own;
        let held = self.required().map(|store| match self.peers.get(&store) {
            Some(peer) if peer.stage == Stage::Live => peer.head.last,
            None if store == own => self.log.stored,
            Some(_) | None => Number::ZERO,
        });
        let held = held.min().unwrap_or_default();
        let held = if planted(Bug::AckEarly) { self.log.stored } else { held };
        if held > self.log.acked {
            self.log.acked = held;
            for entry in self.log.tail.iter_mut().take_while(|e| e.record.number <= held) {
                if let Some(token) = entry.token.take() {
                    out.push(Output::Resolve { token, result: Ok(()) });
                }
            }
        }
        let needed = self.peers.values().filter_map(super::peer::Peer::needs_above).min();
        self.log.trim(needed.unwrap_or(self.log.acked));
    }
}
