//! The deadlines of the asks of one connection: no timer and no task per ask. PURE.
//!
//! Time is cut into slots; a slot lists the asks whose deadline lies in it, linked by their places.
//! Few slots have any: entering and leaving cost the same however many asks there are. An ask ends
//! at its deadline or at most one slot later.
//!
//! Source: Varghese and Lauck, SOSP 1987; a sorted map of slots instead of their wheel, so that
//! there is no horizon.

use std::collections::BTreeMap;

use crate::base::Instant;

/// Nanoseconds of a slot, about four milliseconds: how exact a deadline is.
const SLOT_NANOS: u64 = 1 << 22;
const NONE: u32 = u32::MAX;

/// See the module. Names asks by the index of their place.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// The first ask of each slot that has one.
    slots: BTreeMap<u64, u32>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The slot it is in; `u64::MAX` if it is in none.
    slot: u64,
    before: u32,
    after: u32,
}

impl Entry {
    const OUT: Self = Self { slot: u64::MAX, before: NONE, after: NONE };
}

/// When all deadlines of a slot have passed.
fn end_of(slot: u64) -> Instant {
    Instant::from_nanos((slot + 1).saturating_mul(SLOT_NANOS))
}

impl Deadlines {
    /// Enters the ask at `place`, which is in no slot.
    pub(super) fn enter(&mut self, place: u32, deadline: Instant) {
        let slot = deadline.as_nanos() / SLOT_NANOS;
        let index = place as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, Entry::OUT);
        }
        let after = self.slots.insert(slot, place).unwrap_or(NONE);
        self.entries[index] = Entry { slot, before: NONE, after };
        if after != NONE {
            self.entries[after as usize].before = place;
        }
    }

    /// Takes the ask at `place` out, if it is in.
    pub(super) fn leave(&mut self, place: u32) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        let Entry { slot, before, after } = std::mem::replace(entry, Entry::OUT);
        if slot == u64::MAX {
            return;
        }
        if after != NONE {
            self.entries[after as usize].before = before;
        }
        if before != NONE {
            self.entries[before as usize].after = after;
        } else if after != NONE {
            self.slots.insert(slot, after);
        } else {
            self.slots.remove(&slot);
        }
    }

    /// When to look again; never, if none is in.
    pub(super) fn next(&self) -> Instant {
        self.slots.first_key_value().map_or(Instant::NEVER, |(slot, _)| end_of(*slot))
    }

    /// Takes one ask out whose deadline has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Option<u32> {
        let (&slot, &place) = self.slots.first_key_value()?;
        let passed = end_of(slot) <= now;
        passed.then(|| self.leave(place)).map(|()| place)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SLOT: Duration = Duration::from_nanos(SLOT_NANOS);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn an_ask_ends_at_its_deadline_or_a_slot_later() {
        let mut wheel = Deadlines::default();
        assert_eq!(wheel.next(), Instant::NEVER);
        wheel.enter(3, at(1_000));
        wheel.enter(1, at(500));
        let next = wheel.next();
        assert!(next >= at(500) && next <= at(500) + SLOT);
        assert_eq!(wheel.expired(at(499)), None);
        assert_eq!(wheel.expired(next), Some(1));
        assert_eq!(wheel.expired(next), None);
        wheel.leave(3);
        wheel.leave(3);
        assert_eq!((wheel.next(), wheel.expired(Instant::NEVER)), (Instant::NEVER, None));
    }

    proptest! {
        /// Beside a map of deadlines: whatever comes, goes and expires, and however far apart.
        #[test]
        fn nothing_expires_early_or_late_or_twice(
            steps in prop::collection::vec((0..3_u8, 0..40_u32, 0..100_000_u64), 1..300),
        ) {
            let (mut wheel, mut naive, mut now) =
                (Deadlines::default(), BTreeMap::new(), Instant::ZERO);
            for (step, place, millis) in steps {
                match step {
                    0 if !naive.contains_key(&place) => {
                        let deadline = now + Duration::from_millis(millis);
                        wheel.enter(place, deadline);
                        naive.insert(place, deadline);
                    }
                    1 => {
                        wheel.leave(place);
                        naive.remove(&place);
                    }
                    _ => {
                        now = now + Duration::from_millis(millis / 20);
                        while let Some(place) = wheel.expired(now) {
                            let deadline = naive.remove(&place).expect("it was entered");
                            prop_assert!(deadline <= now, "not early");
                        }
                        prop_assert!(naive.values().all(|deadline| *deadline + SLOT > now), "late");
                        prop_assert!(wheel.next() > now);
                        let first = naive.values().min().map(|deadline| *deadline + SLOT);
                        prop_assert!(wheel.next() <= first.unwrap_or(Instant::NEVER), "asleep");
                    }
                }
            }
        }
    }
}
