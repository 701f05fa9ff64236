//! Whatever comes when, the machine does what the naive model does.

use std::collections::BTreeSet;

use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Strategy_;
use proptest::test_runner::TestCaseError;

use super::naive::Naive;
use super::*;

const NANO: Duration = Duration::from_nanos(1);

fn restarts() -> impl Strategy_<Value = Restart> {
    prop_oneof![
        3 => Just(Restart::Permanent),
        2 => Just(Restart::Transient),
        2 => Just(Restart::Temporary),
    ]
}

fn shutdowns() -> impl Strategy_<Value = Shutdown> {
    prop_oneof![
        3 => Just(Shutdown::WORKER),
        1 => Just(Shutdown::Within(Duration::ZERO)),
        1 => Just(Shutdown::Kill),
        1 => Just(Shutdown::Patient),
    ]
}

fn backoffs() -> impl Strategy_<Value = Backoff> {
    // Odd, so that halves do not come out even.
    (1_u64..400_000_001, 1_u32..9, 0_u64..900_000_000).prop_map(|(min, times, more)| {
        let min = Duration::from_nanos(min);
        let reset_after = min + Duration::from_nanos(more);
        Backoff { min, max: min * times, reset_after }
    })
}

fn budgets() -> impl Strategy_<Value = Intensity> {
    (0_u32..4, 1_u64..4).prop_map(|(restarts, seconds)| Intensity {
        restarts,
        period: Duration::from_secs(seconds),
    })
}

fn rules() -> impl Strategy_<Value = Rule> {
    let backoff = proptest::option::weighted(0.4, backoffs());
    let budget = proptest::option::weighted(0.2, budgets());
    let flags = (any::<bool>(), proptest::bool::weighted(0.2));
    (restarts(), shutdowns(), backoff, budget, flags).prop_map(
        |(restart, shutdown, backoff, budget, (significant, abandon_stuck))| {
            let significant = significant && restart != Restart::Permanent;
            Rule { restart, shutdown, significant, backoff, budget, abandon_stuck }
        },
    )
}

fn configs() -> impl Strategy_<Value = Config> {
    let strategy = prop_oneof![
        Just(Strategy::OneForOne),
        Just(Strategy::OneForAll),
        Just(Strategy::RestForOne)
    ];
    let auto_shutdown = prop_oneof![
        4 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        2 => Just(AutoShutdown::AllSignificant),
    ];
    let children = proptest::collection::vec(rules(), 0..6);
    (strategy, 0_u32..12, auto_shutdown, any::<u64>(), children).prop_map(
        |(strategy, restarts, auto_shutdown, seed, children)| {
            let intensity = Intensity { restarts, period: SECOND };
            Config { strategy, intensity, auto_shutdown, seed, children }
        },
    )
}

/// Numbers from which an input and its time are made when it is known how the machine stands.
type Event = (u8, u8, u8, Rule);

fn events() -> impl Strategy_<Value = Vec<Event>> {
    let event = (any::<u8>(), any::<u8>(), any::<u8>(), rules());
    proptest::collection::vec(event, 0..120)
}

/// The machine beside the model, and what lives because of it.
struct Pair {
    machine: Restarts,
    naive: Naive,
    now: Instant,
    living: BTreeSet<usize>,
    ended: bool,
}

impl Pair {
    fn new(config: Config) -> Self {
        let naive = Naive::new(&config);
        let machine = Restarts::new(config);
        Self { machine, naive, now: Instant::ZERO, living: BTreeSet::new(), ended: false }
    }

    /// Some time later, at the edges of things more often than not.
    fn later(&mut self, gap: u8) {
        let next = self.machine.next_deadline().unwrap_or(self.now);
        let span = match gap % 12 {
            0..=3 => Duration::ZERO,
            4 => NANO,
            5 => SECOND / 7,
            6 => SECOND,
            7 => SECOND + NANO,
            8 => Duration::from_nanos(999_999_999),
            9 => next.since(self.now),
            10 => (next - NANO).since(self.now),
            _ => next.since(self.now) + SECOND / 9,
        };
        self.now = self.now + span;
    }

    /// An input that mostly fits how a child stands.
    fn input(&self, who: u8, what: u8, rule: Rule) -> Input {
        let all = self.machine.next_key() + 1;
        let mut child = usize::from(who) % all;
        if what < 200 {
            // One of those who owe an answer, if any does.
            let owes = |key: &usize| {
                !matches!(self.machine.status(*key), None | Some(Status::Up | Status::Resting))
            };
            let owing: Vec<usize> = (0..all).filter(owes).collect();
            child = owing.get(usize::from(who) % owing.len().max(1)).copied().unwrap_or(child);
        }
        if self.machine.status(child) == Some(Status::Starting) && what < 120 {
            return Input::Started(child);
        }
        match what % 20 {
            0 => Input::Started(child),
            1 | 2 => Input::Declined(child),
            3..=5 => Input::Exited(child, crash()),
            6 => Input::Exited(child, ExitReason::Normal),
            7 => Input::Exited(child, ExitReason::Shutdown),
            8 => Input::Exited(child, ExitReason::Killed),
            9 => Input::Exited(child, ExitReason::Hung),
            10 => Input::Exited(child, no_start()),
            11 => Input::Fell(child),
            12 => Input::Hung(child),
            13 => Input::Terminate(child),
            14 => Input::Restart(child),
            15 => Input::Delete(child),
            16 | 17 => Input::Add(rule),
            18 => Input::Tick,
            _ if what > 240 => Input::Shutdown,
            _ => Input::Begin,
        }
    }

    fn step(&mut self, input: Input) -> Result<Vec<Output>, TestCaseError> {
        if let Input::Exited(child, _) | Input::Declined(child) = input {
            // One that is up has not declined.
            let is_misfit = matches!(input, Input::Declined(_))
                && self.machine.status(child) == Some(Status::Up);
            if !is_misfit {
                self.living.remove(&child);
            }
        }
        let mut out = Vec::new();
        self.machine.step(self.now, input.clone(), &mut out);
        self.machine.check();
        let shown = format!("{input:?} at {}", self.now);
        prop_assert_eq!(&self.naive.step(self.now, input, &out), &out, "after {}", shown);
        self.same(&shown)?;
        out.iter().try_for_each(|output| self.obey(*output))?;
        Ok(out)
    }

    /// What can be asked of the machine is what the model says.
    fn same(&self, shown: &str) -> Result<(), TestCaseError> {
        let (machine, naive) = (&self.machine, &self.naive);
        prop_assert_eq!(machine.next_deadline(), naive.next_deadline(), "after {}", shown);
        for ago in [Duration::ZERO, SECOND / 2, SECOND] {
            let then = self.now + ago;
            prop_assert_eq!(machine.restarts_left(then), naive.restarts_left(then));
        }
        for key in 0..=machine.next_key() {
            prop_assert_eq!(machine.status(key), naive.status(key), "{} after {}", key, shown);
            prop_assert_eq!(machine.budget_left(key, self.now), naive.budget_left(key, self.now));
            prop_assert_eq!(machine.may_restart(key), naive.may(key));
            prop_assert_eq!(machine.may_delete(key), naive.may(key));
            let listed = match naive.may(key) {
                Err(Denied::Running | Denied::Restarting) | Ok(()) => Ok(()),
                Err(denied) => Err(denied),
            };
            prop_assert_eq!(machine.may_terminate(key), listed);
        }
        Ok(())
    }

    /// No child lives twice, orders go to the living, and nothing comes after the end.
    fn obey(&mut self, output: Output) -> Result<(), TestCaseError> {
        prop_assert!(!self.ended, "{:?} after the end", output);
        let lives = |child| self.living.contains(&child);
        match output {
            Output::Start(child) => prop_assert!(self.living.insert(child), "overlap of {}", child),
            Output::Stop(child) | Output::Kill(child) | Output::Stuck(child) => {
                prop_assert!(lives(child), "an order to {} which is gone", child);
            }
            Output::Abandon(child) => prop_assert!(self.living.remove(&child)),
            Output::Restarting(child, _)
            | Output::BackingOff(child, _)
            | Output::Rest(child)
            | Output::Forget(child)
            | Output::AutoShutdown(child) => prop_assert!(!lives(child), "{} lives", child),
            Output::Ready | Output::Escalate => {}
            Output::End(_) => self.ended = true,
        }
        Ok(())
    }
}

fn run(config: Config, events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(config);
    // Sometimes something comes before the beginning.
    let mut begins = usize::from(events.first().is_some_and(|event| event.0 > 250));
    for (gap, who, what, rule) in events {
        if begins == 0 {
            pair.step(Input::Begin)?;
        }
        begins = begins.saturating_sub(1);
        pair.later(gap);
        let input = pair.input(who, what, rule);
        pair.step(input)?;
    }
    // Then all is well again, and a shutdown ends it: each step ends one child.
    pair.step(Input::Shutdown)?;
    for _ in 0..=pair.machine.next_key() {
        let lives = |key: &usize| pair.machine.status(*key).is_some_and(Status::live);
        let Some(child) = (0..pair.machine.next_key()).rev().find(lives) else { break };
        pair.step(Input::Exited(child, ExitReason::Shutdown))?;
    }
    prop_assert!(pair.ended, "a shutdown did not end it");
    prop_assert_eq!(pair.machine.next_deadline(), None);
    Ok(())
}

proptest! {
    /// The same words in the same order, and the same standing of all; 256 cases, or
    /// `PROPTEST_CASES`.
    #[test]
    fn as_the_naive_model(config in configs(), events in events()) {
        run(config, events)?;
    }

    /// However many restarts within a period are survived, one more is not; to the nanosecond.
    #[test]
    fn the_budget_is_exact(
        restarts in 0_u32..40,
        gaps in proptest::collection::vec(0_u64..60_000_000, 0..80),
        of_child in any::<bool>(),
    ) {
        let mut config = config(Strategy::OneForOne, restarts, &[Restart::Permanent]);
        if of_child {
            config.children[0].budget = Some(config.intensity);
            config.intensity.restarts = RESTARTS_MAX;
        }
        let mut bench = Bench::up(config);
        let mut crashes: Vec<Instant> = Vec::new();
        for gap in gaps {
            bench.now = bench.now + Duration::from_nanos(gap);
            let floor = bench.now - SECOND;
            let within = crashes.iter().filter(|then| **then >= floor);
            let survives = within.count() < restarts as usize;
            let done = bench.settle(Input::Exited(0, crash()));
            prop_assert_eq!(done.contains(&Output::Start(0)), survives);
            prop_assert_eq!(done.contains(&Output::Escalate), !survives);
            if !survives {
                break;
            }
            crashes.push(bench.now);
        }
    }
}
