//! What each op does, and when it is refused. Every refusal comes before the first change.

use std::collections::BTreeSet;

use super::tables::{Head, Tables};
use super::{Number, Op, OpResult, Record, StoreError};
use crate::base::{Bug, Epoch, ShardId, planted};

/// Why an op ends early.
enum Stop {
    Refused(&'static str),
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            // Found before the first change: this op alone is not possible.
            StoreError::Corrupt { .. } => Self::Refused("a record it would replace is corrupt"),
            error => Self::Failed(error),
        }
    }
}

/// Does one op within a transaction. After an error the transaction must be given up.
pub(super) fn perform(tables: &mut Tables<'_>, op: Op) -> Result<OpResult, StoreError> {
    let shard = op.shard();
    let before = tables.head(shard)?;
    let mut step = Step { tables, shard, head: before };
    let done = match op {
        Op::Seal { epoch, .. } => step.seal(epoch),
        Op::Append { epoch, prev, acked, records, .. } => {
            step.sealed(epoch).and_then(|()| step.append(prev, acked, &records))
        }
        Op::Adopt { epoch, after, records, last, .. } => {
            step.sealed(epoch).and_then(|()| step.adopt(after, &records, last))
        }
        Op::Begin { epoch, run, keep, .. } => {
            step.sealed(epoch).and_then(|()| step.begin(run, keep))
        }
        Op::Fill { epoch, run, after, records, last, complete, .. } => {
            let part = Part { run, after, last, complete };
            step.sealed(epoch).and_then(|()| step.fill(&part, &records))
        }
        Op::Repair { epoch, record, .. } => step.sealed(epoch).and_then(|()| step.repair(&record)),
        Op::Acked { epoch, acked, .. } => step.sealed(epoch).and_then(|()| Ok(step.acked(acked)?)),
    };
    let head = step.head;
    match done {
        Ok(()) => {
            if head != before {
                tables.set_head(shard, &head)?;
            }
            Ok(OpResult::Done(head.shown))
        }
        Err(Stop::Refused(why)) => Ok(OpResult::Refused { head: before.shown, why }),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// A part of a catch-up, without its records.
struct Part {
    run: u64,
    after: Number,
    last: Number,
    complete: bool,
}

/// One op on its way: the head as it will be.
struct Step<'s, 't> {
    tables: &'s mut Tables<'t>,
    shard: ShardId,
    head: Head,
}

impl Step<'_, '_> {
    fn seal(&mut self, epoch: Epoch) -> Result<(), Stop> {
        if epoch < self.head.shown.sealed {
            return Err(Stop::Refused("sealed to a higher epoch"));
        }
        self.head.shown.sealed = epoch;
        Ok(())
    }

    fn sealed(&self, epoch: Epoch) -> Result<(), Stop> {
        let sealed = self.head.shown.sealed;
        if epoch == Epoch::NONE {
            return Err(Stop::Refused("no epoch"));
        }
        match epoch.cmp(&sealed) {
            std::cmp::Ordering::Less if planted(Bug::OldEpochStored) => Ok(()),
            std::cmp::Ordering::Less => Err(Stop::Refused("sealed to a higher epoch")),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Stop::Refused("not sealed to this epoch")),
        }
    }

    /// Whether `records` are in number order within (`after`, `last`] and not from a later epoch.
    fn in_order(&self, after: Number, records: &[Record], last: Number) -> Result<(), Stop> {
        let rises = records.is_sorted_by(|a, b| a.number < b.number);
        let inside = records.iter().all(|record| after < record.number && record.number <= last);
        if !rises || !inside {
            return Err(Stop::Refused("the records are not in order"));
        }
        if last.epoch > self.head.shown.sealed {
            return Err(Stop::Refused("a number of a later epoch"));
        }
        Ok(())
    }

    fn append(&mut self, prev: Number, acked: Number, records: &[Record]) -> Result<(), Stop> {
        if self.head.shown.filling {
            return Err(Stop::Refused("filling"));
        }
        let end = records.last().map_or(prev, |record| record.number);
        self.in_order(prev, records, end)?;
        let mut before = prev;
        for record in records {
            if !before.precedes(record.number) {
                return Err(Stop::Refused("a gap between the records"));
            }
            before = record.number;
        }
        let last = self.head.shown.last;
        let known = records.partition_point(|record| record.number <= last);
        let (there, new) = records.split_at(known);
        // Where the new ones would be put: right after our last write, or not at all.
        let joint = there.last().map_or(prev, |record| record.number);
        if joint != last && (there.is_empty() || !new.is_empty()) {
            return Err(Stop::Refused("the write before is not the last one here"));
        }
        for record in there {
            let found = self.tables.record(self.shard, &record.key)?;
            let harmless = found.is_some_and(|found| {
                found == *record || found.number > record.number && found.number <= last
            });
            if !harmless {
                return Err(Stop::Refused("another write has this number here"));
            }
        }
        self.verify_replaced(new)?;
        for record in new {
            self.tables.put(self.shard, record, true)?;
            self.head.shown.last = record.number;
        }
        Ok(self.acked(acked)?)
    }

    fn adopt(&mut self, after: Number, records: &[Record], last: Number) -> Result<(), Stop> {
        let head = self.head.shown;
        if head.filling {
            return Err(Stop::Refused("filling"));
        }
        if after > last || after > head.last {
            return Err(Stop::Refused("writes before the adopted ones are missing here"));
        }
        if after < head.acked || after != head.acked && after < self.head.solid {
            return Err(Stop::Refused("the state at that number cannot be restored"));
        }
        if head.last.epoch == head.sealed && last < head.last {
            return Err(Stop::Refused("it would undo writes of this very epoch"));
        }
        self.in_order(after, records, last)?;
        let keys: BTreeSet<&[u8]> = records.iter().map(|record| record.key.as_ref()).collect();
        if keys.len() != records.len() {
            return Err(Stop::Refused("two records of one key"));
        }
        self.tables.verify_kept(self.shard, after)?;
        self.verify_replaced(records)?;
        self.tables.undo(self.shard, after)?;
        for record in records {
            self.tables.put(self.shard, record, true)?;
        }
        self.head.shown.last = last;
        self.head.solid = last;
        Ok(())
    }

    fn begin(&mut self, run: u64, keep: Vec<(Number, u32)>) -> Result<(), Stop> {
        let this = (self.head.shown.sealed, run);
        let empty = self.head.shown.filling && self.head.shown.last == Number::ZERO;
        if this < self.head.run || this == self.head.run && !empty {
            return Err(Stop::Refused("this catch-up has begun before"));
        }
        self.tables.drop_others(self.shard, &keep.into_iter().collect())?;
        self.head.run = this;
        self.head.solid = Number::ZERO;
        self.head.shown.last = Number::ZERO;
        self.head.shown.acked = Number::ZERO;
        self.head.shown.filling = true;
        Ok(())
    }

    fn fill(&mut self, part: &Part, records: &[Record]) -> Result<(), Stop> {
        if self.head.run != (self.head.shown.sealed, part.run) {
            return Err(Stop::Refused("another catch-up has begun"));
        }
        self.in_order(part.after, records, part.last)?;
        let last = self.head.shown.last;
        if !self.head.shown.filling {
            // The answer to the last part was lost: it is asked again.
            let again = part.last <= last;
            return if again { Ok(()) } else { Err(Stop::Refused("not filling")) };
        }
        if part.after > last {
            return Err(Stop::Refused("a part before this one is missing"));
        }
        let known = records.partition_point(|record| record.number <= last);
        let (_, new) = records.split_at(known);
        self.verify_replaced(new)?;
        for record in new {
            if self.tables.key_of(self.shard, record.number)?.is_some_and(|key| key != record.key) {
                return Err(Stop::Refused("another write has this number here"));
            }
        }
        for record in new {
            self.tables.put(self.shard, record, false)?;
        }
        self.head.shown.last = last.max(part.last);
        if part.complete {
            // What was kept at the beginning and lies above the end came from elsewhere.
            self.tables.undo(self.shard, self.head.shown.last)?;
            self.head.solid = self.head.shown.last;
            self.head.shown.filling = false;
        }
        Ok(())
    }

    fn repair(&mut self, record: &Record) -> Result<(), Stop> {
        if self.tables.key_of(self.shard, record.number)?.as_ref() != Some(&record.key) {
            return Err(Stop::Refused("another write is the latest of this key"));
        }
        match self.tables.record(self.shard, &record.key) {
            Ok(Some(found)) if found == *record => Ok(()),
            Ok(Some(_)) => Err(Stop::Refused("the record here can be read")),
            Ok(None) | Err(StoreError::Corrupt { .. }) => {
                Ok(self.tables.overwrite(self.shard, record)?)
            }
            Err(error) => Err(Stop::Failed(error)),
        }
    }

    fn acked(&mut self, acked: Number) -> Result<(), StoreError> {
        let head = &mut self.head.shown;
        let acked = acked.min(head.last);
        if head.filling || acked <= head.acked || acked < self.head.solid {
            return Ok(());
        }
        head.acked = acked;
        self.tables.purge(self.shard, acked)
    }

    /// Whether the records that `records` would replace can be read.
    fn verify_replaced(&self, records: &[Record]) -> Result<(), Stop> {
        for record in records {
            self.tables.record(self.shard, &record.key)?;
        }
        Ok(())
    }
}
