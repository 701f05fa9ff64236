//! The event logs of all processes, merged, and the rules that hold over them. Pure.
//!
//! All processes run on one host, so their lines are on one clock.
//!
//! | rule | of the design |
//! |---|---|
//! | an epoch of a shard belongs to one life of one process | I1, I4 |
//! | appends of a shard, in the order of time, have epochs that never fall | I2 |
//! | nobody appends before the tenure before has ended, or its lease has run out | I1 |
//! | appends of a tenure are counted without a gap: the log is whole | |
//! | versions of a process never fall, and a version is the same at all | I4 |
//! | answered additions are distinct, in order, and none is missing in the last value | I3 |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use evertree::base::Instant;

use super::entry::{Entry, Fact, Fate, Right};

/// One process from its start to its end, and its log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) number: u32,
    /// It ran at least until then.
    pub(crate) killed: Option<Instant>,
    pub(crate) entries: Vec<Entry>,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of {}", self.number, self.name)
    }
}

/// What the logs hold, and which rules they break.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) broken: Vec<String>,
    ticks: u64,
    tenures: u64,
    /// Tenures that began after one of another process whose lease ran out, and the shortest time
    /// from the end of that lease to the first append.
    takeovers: u64,
    closest: Option<Duration>,
    answered: u64,
    not_executed: u64,
    unknown: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ticks, tenures, takeovers, answered, not_executed, unknown, .. } = self;
        write!(
            f,
            "{ticks} appends under {tenures} tenures, {takeovers} of them after the lease of \
             another process had run out, the soonest {:?} after that; {answered} additions \
             answered, {not_executed} not executed, {unknown} unknown; {} rules broken",
            self.closest.unwrap_or_default(),
            self.broken.len()
        )
    }
}

impl AddAssign for Verdict {
    /// Takes in what came of another group of processes.
    fn add_assign(&mut self, other: Self) {
        self.broken.extend(other.broken);
        self.ticks += other.ticks;
        self.tenures += other.tenures;
        self.takeovers += other.takeovers;
        self.closest = self.closest.into_iter().chain(other.closest).min();
        self.answered += other.answered;
        self.not_executed += other.not_executed;
        self.unknown += other.unknown;
    }
}

/// All that one life appended under one right.
#[derive(Debug)]
struct Tenure {
    life: usize,
    right: Right,
    first: Instant,
    last: Instant,
    until: Instant,
    end: Option<Instant>,
}

impl Tenure {
    /// Until when nobody else may append, and whether a lease says so. A gate that closed before
    /// its lease ran out was closed by a view: it held at least at the last append.
    fn holds_until(&self, life: &Life) -> (Instant, bool) {
        match (self.end, life.killed) {
            (Some(end), _) if end < self.until => (self.last, false),
            (None, Some(killed)) if killed < self.until => (self.last.max(killed), false),
            (Some(_) | None, _) => (self.last.max(self.until), true),
        }
    }
}

/// Judges the logs of all processes.
pub(crate) fn judge(lives: &[Life]) -> Verdict {
    let mut verdict = Verdict::default();
    let tenures = tenures(lives, &mut verdict);
    tenures_follow_each_other(lives, &tenures, &mut verdict);
    epochs_never_fall(lives, &mut verdict);
    views_agree(lives, &mut verdict);
    let mut counters = BTreeSet::new();
    for fact in lives.iter().flat_map(|life| &life.entries).map(|entry| &entry.fact) {
        if let Fact::Ask { counter, .. } | Fact::Final { counter, .. } = fact {
            counters.insert(*counter);
        }
    }
    for counter in counters {
        additions_stay(lives, counter, &mut verdict);
    }
    verdict
}

/// By shard, in the order of their epochs. Each belongs to one life, and its appends are whole.
fn tenures(lives: &[Life], verdict: &mut Verdict) -> BTreeMap<u16, Vec<Tenure>> {
    let mut all: BTreeMap<(u16, u64), Tenure> = BTreeMap::new();
    for (index, life) in lives.iter().enumerate() {
        let mut counts: BTreeMap<Right, u64> = BTreeMap::new();
        for Entry { at, fact } in &life.entries {
            match fact {
                Fact::Tick { right, n, until } => {
                    verdict.ticks += 1;
                    let count = counts.entry(*right).or_default();
                    *count += 1;
                    if n != count {
                        let said = format!("{life}: {right:?}: append {n} is line {count}");
                        verdict.broken.push(said);
                    }
                    let (first, last, until) = (*at, *at, *until);
                    let new = Tenure { life: index, right: *right, first, last, until, end: None };
                    let tenure = all.entry((right.shard, right.epoch)).or_insert(new);
                    if (tenure.life, tenure.right) == (index, *right) {
                        tenure.last = tenure.last.max(*at);
                        tenure.until = tenure.until.max(until);
                    } else {
                        let (one, other) = (&lives[tenure.life], tenure.right);
                        let said =
                            format!("two hold one epoch: {one}: {other:?}, {life}: {right:?}");
                        verdict.broken.push(said);
                    }
                }
                Fact::End { right } => {
                    let tenure = all.get_mut(&(right.shard, right.epoch));
                    if let Some(tenure) = tenure.filter(|tenure| tenure.life == index) {
                        tenure.end = Some(*at);
                    }
                }
                _ => {}
            }
        }
    }
    let mut by_shard: BTreeMap<u16, Vec<Tenure>> = BTreeMap::new();
    for ((shard, _), tenure) in all {
        verdict.tenures += 1;
        by_shard.entry(shard).or_default().push(tenure);
    }
    by_shard
}

fn tenures_follow_each_other(
    lives: &[Life],
    by_shard: &BTreeMap<u16, Vec<Tenure>>,
    verdict: &mut Verdict,
) {
    for tenures in by_shard.values() {
        for (index, later) in tenures.iter().enumerate() {
            // Within one process a new tenure ends the one before, whatever its lease.
            for earlier in tenures[..index].iter().filter(|one| one.life != later.life) {
                let (until, _) = earlier.holds_until(&lives[earlier.life]);
                if later.first < until {
                    verdict.broken.push(format!(
                        "two at one time: {}: {:?} until {until}, {}: {:?} from {}",
                        lives[earlier.life],
                        earlier.right,
                        lives[later.life],
                        later.right,
                        later.first
                    ));
                }
            }
            let before = index.checked_sub(1).map(|before| &tenures[before]);
            let before = before.filter(|one| lives[one.life].name != lives[later.life].name);
            if let Some((until, true)) = before.map(|one| one.holds_until(&lives[one.life])) {
                let after = later.first.since(until);
                verdict.takeovers += 1;
                verdict.closest = Some(verdict.closest.map_or(after, |least| least.min(after)));
            }
        }
    }
}

fn epochs_never_fall(lives: &[Life], verdict: &mut Verdict) {
    let mut ticks = Vec::new();
    for life in lives {
        for Entry { at, fact } in &life.entries {
            if let Fact::Tick { right, .. } = fact {
                ticks.push((right.shard, *at, right.epoch, life));
            }
        }
    }
    // Two appends at one instant: whichever order is right.
    ticks.sort_by_key(|(shard, at, epoch, _)| (*shard, *at, *epoch));
    for pair in ticks.windows(2) {
        let [(shard, _, before, one), (other, at, epoch, life)] = pair else { continue };
        if shard == other && epoch < before {
            verdict.broken.push(format!(
                "epochs of shard {shard} fall at {at}: {before} of {one}, then {epoch} of {life}"
            ));
        }
    }
}

fn views_agree(lives: &[Life], verdict: &mut Verdict) {
    let mut seen = BTreeMap::new();
    for life in lives {
        let mut newest = 0;
        for Entry { at, fact } in &life.entries {
            let Fact::View { version, members, owners } = fact else { continue };
            if *version < newest {
                let said = format!("{life}: version {version} at {at} after {newest}");
                verdict.broken.push(said);
            }
            newest = newest.max(*version);
            let (first, what) = seen.entry(*version).or_insert((life, (members, owners)));
            if *what != (members, owners) {
                verdict.broken.push(format!(
                    "version {version} differs: {first} has {what:?}, {life} {:?}",
                    (members, owners)
                ));
            }
        }
    }
}

/// One counter's life as its askers saw it.
fn additions_stay(lives: &[Life], counter: u16, verdict: &mut Verdict) {
    // In the order of time; at one instant a begin comes before an end, which asks for less.
    let mut events = Vec::new();
    let mut last = None;
    let (mut begun, mut not_executed) = (0, 0);
    for (index, life) in lives.iter().enumerate() {
        for Entry { at, fact } in &life.entries {
            match fact {
                Fact::Ask { counter: of, number } if *of == counter => {
                    begun += 1;
                    events.push((*at, false, (index, *number), 0));
                }
                Fact::Answer { counter: of, number, value } if *of == counter => {
                    verdict.answered += 1;
                    events.push((*at, true, (index, *number), *value));
                }
                Fact::NoAnswer { counter: of, fate: Fate::NotExecuted, .. } if *of == counter => {
                    not_executed += 1;
                }
                Fact::NoAnswer { counter: of, fate: Fate::Unknown, .. } if *of == counter => {
                    verdict.unknown += 1;
                }
                Fact::Final { counter: of, value } if *of == counter => {
                    last = last.max(Some((*at, *value)));
                }
                _ => {}
            }
        }
    }
    verdict.not_executed += not_executed;
    events.sort_unstable();
    let (mut most, mut values, mut floors) = (0, BTreeSet::new(), BTreeMap::new());
    for (at, is_answer, key, value) in events {
        if !is_answer {
            floors.insert(key, most);
            continue;
        }
        if !values.insert(value) {
            verdict.broken.push(format!("counter {counter} answered {value} twice, at {at}"));
        }
        let floor = floors.get(&key).copied().unwrap_or(0);
        if value <= floor {
            verdict.broken.push(format!(
                "counter {counter} answered {value} at {at}, asked when {floor} was answered"
            ));
        }
        most = most.max(value);
    }
    let Some((at, last)) = last else { return };
    let answered = values.len() as u64;
    let possible = begun - not_executed;
    if last < most.max(answered) || last > possible {
        verdict.broken.push(format!(
            "counter {counter} is {last} at {at}: {answered} were answered, up to {most}, \
             and {possible} may have been executed"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn life(name: &str, facts: Vec<(u64, Fact)>) -> Life {
        let entries = facts.into_iter().map(|(millis, fact)| Entry { at: at(millis), fact });
        Life { name: name.into(), number: 1, killed: None, entries: entries.collect() }
    }

    fn right(boot: u64, epoch: u64) -> Right {
        Right { boot, shard: 7, epoch }
    }

    fn tick(boot: u64, epoch: u64, n: u64, until: u64) -> Fact {
        Fact::Tick { right: right(boot, epoch), n, until: at(until) }
    }

    fn end(boot: u64, epoch: u64) -> Fact {
        Fact::End { right: right(boot, epoch) }
    }

    fn view(version: u64, owners: &str) -> Fact {
        let members = [("n1".to_owned(), 1)].into();
        Fact::View { version, members, owners: owners.into() }
    }

    fn ask(number: u64) -> Fact {
        Fact::Ask { counter: 0, number }
    }

    fn answer(number: u64, value: u64) -> Fact {
        Fact::Answer { counter: 0, number, value }
    }

    fn none(number: u64, fate: Fate) -> Fact {
        Fact::NoAnswer { counter: 0, number, fate, why: String::new() }
    }

    fn last(value: u64) -> Fact {
        Fact::Final { counter: 0, value }
    }

    fn breaks(lives: &[Life], words: &str) {
        let broken = judge(lives).broken;
        assert!(broken.iter().any(|rule| rule.contains(words)), "{words}: {broken:?}");
    }

    fn holds(lives: &[Life]) -> Verdict {
        let verdict = judge(lives);
        assert_eq!(verdict.broken, Vec::<String>::new());
        verdict
    }

    #[test]
    fn a_takeover_after_the_lease_is_right_and_one_before_it_is_not() {
        let stopped =
            life("n1", vec![(0, tick(1, 3, 1, 100)), (10, tick(1, 3, 2, 110)), (900, end(1, 3))]);
        let verdict = holds(&[stopped.clone(), life("n2", vec![(112, tick(1, 4, 1, 200))])]);
        assert_eq!((verdict.takeovers, verdict.closest), (1, Some(Duration::from_millis(2))));
        breaks(&[stopped, life("n2", vec![(109, tick(1, 4, 1, 200))])], "two at one time");
    }

    #[test]
    fn a_gate_that_was_closed_and_a_process_that_was_killed_hold_nothing_longer() {
        let later = |from| life("n2", vec![(from, tick(1, 4, 1, 200))]);
        let moved = life("n1", vec![(0, tick(1, 3, 1, 100)), (9, end(1, 3))]);
        holds(&[moved, later(5)]);
        let alive = life("n1", vec![(0, tick(1, 3, 1, 100))]);
        breaks(&[alive.clone(), later(5)], "two at one time");
        let killed = Life { killed: Some(at(4)), ..alive };
        holds(&[killed.clone(), later(5)]);
        breaks(&[killed, later(3)], "two at one time");
    }

    #[test]
    fn an_append_under_an_older_epoch_is_found() {
        let old = life("n1", vec![(0, tick(1, 3, 1, 5)), (20, tick(1, 3, 2, 30))]);
        breaks(&[old, life("n2", vec![(10, tick(1, 4, 1, 50))])], "epochs of shard 7 fall");
    }

    #[test]
    fn one_epoch_at_two_processes_or_in_two_boots_is_found() {
        let one = life("n1", vec![(0, tick(1, 3, 1, 5))]);
        breaks(&[one.clone(), life("n2", vec![(10, tick(1, 3, 1, 50))])], "two hold one epoch");
        breaks(&[life("n1", vec![(0, tick(1, 3, 1, 5)), (9, tick(2, 3, 1, 50))])], "two hold");
        holds(&[one, life("n1", vec![(10, tick(2, 4, 1, 50))])]);
    }

    #[test]
    fn a_missing_line_is_found() {
        breaks(&[life("n1", vec![(0, tick(1, 3, 1, 9)), (5, tick(1, 3, 3, 9))])], "is line 2");
    }

    #[test]
    fn versions_that_fall_or_differ_are_found() {
        breaks(&[life("n1", vec![(0, view(5, "1")), (1, view(4, "1"))])], "version 4 at");
        let other = |owners| life("n2", vec![(0, view(5, owners))]);
        holds(&[life("n1", vec![(0, view(5, "1"))]), other("1")]);
        breaks(&[life("n1", vec![(0, view(5, "1"))]), other("2")], "version 5 differs");
    }

    #[test]
    fn additions_that_are_lost_doubled_or_too_many_are_found() {
        let one = vec![(0, ask(1)), (1, answer(1, 1)), (2, ask(2)), (3, answer(2, 2))];
        let with = |more: Vec<(u64, Fact)>| [life("n1", [one.clone(), more].concat())];
        holds(&with(vec![(9, last(2))]));
        breaks(&with(vec![(9, last(1))]), "counter 0 is 1");
        breaks(&with(vec![(9, last(3))]), "2 may have been executed");
        holds(&with(vec![(4, ask(3)), (5, none(3, Fate::Unknown)), (9, last(3))]));
        breaks(&with(vec![(4, ask(3)), (5, none(3, Fate::NotExecuted)), (9, last(3))]), "is 3");
        breaks(&with(vec![(4, ask(3)), (5, answer(3, 2))]), "answered 2 twice");
        breaks(&with(vec![(4, ask(3)), (5, answer(3, 1))]), "when 2 was answered");
        // Asked while another was under way: either order is right.
        let other = |value| life("n2", vec![(1, ask(1)), (9, answer(1, value)), (10, last(3))]);
        let [first] = with(vec![]);
        holds(&[first.clone(), other(3)]);
        let late =
            life("n1", vec![(0, ask(1)), (8, answer(1, 2)), (11, ask(2)), (12, answer(2, 3))]);
        holds(&[late, other(1)]);
    }
}
