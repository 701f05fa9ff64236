//! A naive store: every state of a shard that can still be restored, whole, in memory.

use std::collections::BTreeMap;

use super::*;
use crate::base::Rng;

type State = BTreeMap<Bytes, Record>;

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Model {
    pub(super) head: ShardHead,
    state: State,
    /// State after each write since `acked`; missing inside adopted and filled stretches.
    history: BTreeMap<Number, State>,
    run: (Epoch, u64),
}

impl Model {
    pub(super) fn new() -> Self {
        let history = BTreeMap::from([(Number::ZERO, State::new())]);
        Self { history, ..Self::default() }
    }

    fn acked(&mut self, acked: Number) {
        let acked = acked.min(self.head.last);
        if acked > self.head.acked && self.history.contains_key(&acked) {
            self.head.acked = acked;
            self.history = self.history.split_off(&acked);
        }
    }

    /// Does `op`, or changes nothing and says no.
    pub(super) fn apply(&mut self, op: &Op) -> bool {
        let before = self.clone();
        let done = self.attempt(op);
        if !done {
            *self = before;
        }
        done
    }

    fn attempt(&mut self, op: &Op) -> bool {
        let sealed = self.head.sealed;
        match op {
            Op::Seal { epoch, .. } => {
                self.head.sealed = *epoch;
                *epoch >= sealed
            }
            Op::Append { .. } => self.append(op),
            Op::Adopt { .. } => self.adopt(op),
            Op::Begin { .. } => self.begin(op),
            Op::Fill { .. } => self.fill(op),
            // Nothing is corrupt here.
            Op::Repair { .. } => false,
            Op::Acked { epoch, acked, .. } => {
                if !self.head.filling && *epoch == sealed {
                    self.acked(*acked);
                }
                *epoch == sealed
            }
        }
    }

    fn append(&mut self, op: &Op) -> bool {
        let Op::Append { epoch, prev, acked, records, .. } = op else { return false };
        let sealed = self.head.sealed;
        if *epoch != sealed || self.head.filling {
            return false;
        }
        let was = self.head.last;
        let end = records.last().map_or(*prev, |record| record.number);
        let joins = *prev == was
            || records.iter().any(|record| record.number == was)
            || !records.is_empty() && end < was;
        for record in records {
            if record.number <= was {
                let same = self
                    .state
                    .get(&record.key)
                    .is_some_and(|found| found == record || found.number > record.number);
                if !same {
                    return false;
                }
            } else {
                self.state.insert(record.key.clone(), record.clone());
                self.history.insert(record.number, self.state.clone());
                self.head.last = record.number;
            }
        }
        self.acked(*acked);
        joins
    }

    fn adopt(&mut self, op: &Op) -> bool {
        let Op::Adopt { epoch, after, records, last, .. } = op else { return false };
        let sealed = self.head.sealed;
        let own = self.head.last.epoch == sealed && *last < self.head.last;
        if *epoch != sealed || self.head.filling || *after > self.head.last || own {
            return false;
        }
        let Some(state) = self.history.get(after).cloned() else { return false };
        self.history = self.history.split_off(&self.head.acked);
        self.history.retain(|number, _| *number == self.head.acked);
        self.state = state;
        self.state.extend(records.iter().map(|new| (new.key.clone(), new.clone())));
        self.history.insert(*last, self.state.clone());
        self.head.last = *last;
        true
    }

    fn begin(&mut self, op: &Op) -> bool {
        let Op::Begin { epoch, run, keep, .. } = op else { return false };
        let sealed = self.head.sealed;
        let empty = self.head.filling && self.head.last == Number::ZERO;
        let this = (*epoch, *run);
        if *epoch != sealed || this < self.run || this == self.run && !empty {
            return false;
        }
        self.run = this;
        self.state.retain(|_, record| keep.contains(&(record.number, record.checksum(S))));
        self.history = BTreeMap::new();
        self.head = ShardHead { sealed, filling: true, ..ShardHead::default() };
        true
    }

    fn fill(&mut self, op: &Op) -> bool {
        let Op::Fill { epoch, run, after, records, last, complete, .. } = op else { return false };
        let sealed = self.head.sealed;
        if *epoch != sealed || self.run != (sealed, *run) {
            return false;
        }
        if !self.head.filling {
            return *last <= self.head.last;
        }
        let was = self.head.last;
        let clash = |new: &Record| {
            let taken = |found: &Record| found.number == new.number && found.key != new.key;
            new.number > was && self.state.values().any(taken)
        };
        if records.iter().any(clash) {
            return false;
        }
        let new = records.iter().filter(|record| record.number > was);
        self.state.extend(new.map(|record| (record.key.clone(), record.clone())));
        self.head.last = was.max(*last);
        if *complete {
            let end = self.head.last;
            self.state.retain(|_, record| record.number <= end);
            self.history.insert(Number::ZERO, State::new());
            self.history.insert(end, self.state.clone());
            self.head.filling = false;
        }
        *after <= was
    }

    /// A random op: most can be done, some cannot.
    pub(super) fn random_op(&self, rng: &dyn Rng, fresh: &mut u64) -> Op {
        let pick = |most: u64| rng.next_u64() % most;
        let head = self.head;
        let shard = S;
        let epoch = if pick(20) == 0 { Epoch(head.sealed.0 + 1) } else { head.sealed };
        let known: Vec<_> = self.history.keys().copied().chain([head.acked, head.last]).collect();
        let point = known[usize::try_from(pick(known.len() as u64)).expect("small")];
        match pick(if head.filling { 9 } else { 20 }) {
            0 | 9 => Op::Seal { shard, epoch: Epoch(head.sealed.0 + pick(2)) },
            1 => Op::Acked { shard, epoch, acked: point },
            2 if head.filling || pick(2) == 0 => {
                let keep = self.state.values().filter(|_| pick(2) == 0);
                let keep = keep.map(|record| (record.number, record.checksum(S))).collect();
                let again = u64::from(pick(3) > 0);
                let run = if self.run.0 == head.sealed { self.run.1 + again } else { 1 };
                Op::Begin { shard, epoch, run, keep }
            }
            3..=8 if head.filling => {
                let records = self.records(head.last, pick(4), rng, fresh);
                let last = records.last().map_or(head.last, |record| record.number);
                let after = if pick(4) == 0 { Number::ZERO } else { head.last };
                let complete = pick(2) == 0;
                Op::Fill { shard, epoch, run: self.run.1, after, records, last, complete }
            }
            3..=6 => {
                let mut records = self.records(point, pick(4), rng, fresh);
                let mut seen = std::collections::BTreeSet::new();
                records.retain(|record| seen.insert(record.key.clone()));
                let last = records.last().map_or(point, |record| record.number);
                Op::Adopt { shard, epoch, after: point, records, last }
            }
            7 => {
                // One that was sent before.
                let latest = self.state.values().max_by_key(|found| found.number).cloned();
                let records: Vec<_> = latest.into_iter().collect();
                let prev = records.first().map_or(head.last, |record| before(record.number));
                Op::Append { shard, epoch, prev, acked: point, records }
            }
            _ => {
                let prev = if pick(10) == 0 { point } else { head.last };
                let records = self.records(prev, pick(4), rng, fresh);
                let acked = if pick(6) == 0 { point } else { head.acked };
                Op::Append { shard, epoch, prev, acked, records }
            }
        }
    }

    /// New writes after `prev`, of a handful of keys.
    fn records(&self, prev: Number, count: u64, rng: &dyn Rng, fresh: &mut u64) -> Vec<Record> {
        let mut number = prev;
        let sealed = self.head.sealed;
        let next = |_| {
            number = if number.epoch == sealed {
                at(number.epoch.0, number.seq + 1)
            } else {
                at(sealed.0, 1)
            };
            *fresh += 1;
            let key = format!("key{}", rng.next_u64() % 6);
            let size = usize::try_from(rng.next_u64() % 900).expect("small");
            let mut new = record(&key, number, &format!("{fresh} {}", "x".repeat(size)));
            new.deleted = rng.next_u64().is_multiple_of(8);
            new
        };
        (0..count).map(next).collect()
    }

    /// Whether `store` holds exactly this.
    pub(super) fn holds(&self, store: &Store) -> bool {
        if store.head(S) != Ok(self.head) {
            return false;
        }
        let mut all: Vec<_> = self.state.values().cloned().collect();
        all.sort_by_key(|record| record.number);
        let sums: Vec<_> = all.iter().map(|record| (record.number, record.checksum(S))).collect();
        let last = at(u64::MAX, u64::MAX);
        let live: Vec<_> = self
            .state
            .values()
            .filter(|found| !found.deleted)
            .map(|found| found.key.clone())
            .collect();
        store.since(S, Number::ZERO, last, usize::MAX) == Ok(all)
            && store.inventory(S) == Ok(sums)
            && store.keys(S) == Ok(live)
            && (0..6).map(|key| format!("key{key}")).all(|key| {
                store.get(S, key.as_bytes()) == Ok(self.state.get(key.as_bytes()).cloned())
            })
            && self.remembers(store)
    }

    /// Whether `store` can still tell every state since `acked`, page by page.
    fn remembers(&self, store: &Store) -> bool {
        self.history.iter().filter(|_| !self.head.filling).all(|(number, state)| {
            let mut seen: Vec<Record> = Vec::new();
            loop {
                let after = seen.last().map_or(Number::ZERO, |record| record.number);
                let page = store.since(S, after, *number, 700).expect("since");
                if page.is_empty() {
                    break;
                }
                seen.extend(page);
            }
            let mut all: Vec<_> = state.values().cloned().collect();
            all.sort_by_key(|record| record.number);
            seen == all
        })
    }
}

fn before(number: Number) -> Number {
    if number.seq > 1 { at(number.epoch.0, number.seq - 1) } else { Number::ZERO }
}

#[test]
fn random_ops_do_what_the_model_does() {
    let mut refusals = 0;
    let mut undone = 0;
    for seed in 0..40 {
        let rng = SeededRng::new(seed);
        let store = memory(seed);
        let mut model = Model::new();
        let mut fresh = 0;
        assert!(model.apply(&Op::Seal { shard: S, epoch: Epoch(1) }));
        done(&store, Op::Seal { shard: S, epoch: Epoch(1) });
        for step in 0..120 {
            let op = model.random_op(&rng, &mut fresh);
            let was = model.head.last;
            let expected = model.apply(&op);
            let result = one(&store, op.clone());
            assert_eq!(result.is_done(), expected, "seed {seed}, step {step}: {op:?} {result:?}");
            assert!(model.holds(&store), "seed {seed}, step {step}: {op:?} {result:?}");
            refusals += u64::from(!expected);
            let adopted = matches!(op, Op::Adopt { after, .. } if after < was);
            undone += u64::from(expected && adopted);
        }
    }
    assert!(refusals > 100 && undone > 100, "{refusals} refused, {undone} undone");
}
