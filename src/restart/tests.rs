use std::time::Duration;

use proptest::prelude::{Just, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Strategy_;

use super::*;
use crate::base::{ExitReason, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn crash() -> ExitReason {
    ExitReason::Crashed("boom".into())
}

fn config(strategy: Strategy, restarts: u32, children: &[Restart]) -> Config {
    let rule = |restart: &Restart| Rule { restart: *restart, shutdown: Shutdown::WORKER };
    let intensity = Intensity { restarts, period: SECOND };
    Config { strategy, intensity, children: children.iter().map(rule).collect() }
}

/// A machine that is stepped, checked, and whose outputs are shown one per word.
struct Bench {
    machine: Restarts,
    now: Instant,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self { machine: Restarts::new(config), now: at(0) }
    }

    /// Started, all children up.
    fn up(config: Config) -> Self {
        let children = config.children.len();
        let mut bench = Self::new(config);
        let mut out = bench.step(Input::Begin);
        for child in 0..children {
            assert_eq!(out, [Output::Start(child)]);
            out = bench.step(Input::Started(child));
        }
        assert_eq!(out, [Output::Ready]);
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.machine.step(self.now, input, &mut out);
        self.machine.check();
        out
    }

    fn at(&mut self, millis: u64) -> &mut Self {
        self.now = at(millis);
        self
    }

    /// Feeds `input`, then obeys at once until nothing more is wanted. What was done, in order.
    fn settle(&mut self, input: Input) -> Vec<Output> {
        let mut done = Vec::new();
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.step(input) {
                match &output {
                    Output::Start(child) => inputs.push_back(Input::Started(*child)),
                    Output::Stop(child) => {
                        inputs.push_back(Input::Exited(*child, ExitReason::Shutdown));
                    }
                    Output::Kill(child) => {
                        inputs.push_back(Input::Exited(*child, ExitReason::Killed));
                    }
                    Output::Restarting(..)
                    | Output::Rest(_)
                    | Output::Forget(_)
                    | Output::Stuck(_)
                    | Output::Ready
                    | Output::Escalate
                    | Output::End(_) => {}
                }
                done.push(output);
            }
        }
        done
    }
}

#[test]
fn the_table_of_restart_type_and_exit_reason() {
    use ExitReason::{GaveUp, Hung, Killed, Normal, Shutdown, StartFailed};
    use Restart::{Permanent, Temporary, Transient};
    let abnormal = [Killed, crash(), StartFailed("no".into()), Hung, GaveUp];
    let normal = [Normal, Shutdown];
    let back = vec![Output::Restarting(0, 1), Output::Start(0)];
    for reason in abnormal.iter().chain(&normal) {
        let after = |restart| {
            let mut bench = Bench::up(config(Strategy::OneForOne, 1, &[restart]));
            bench.step(Input::Exited(0, reason.clone()))
        };
        assert_eq!(after(Permanent), back, "{reason}");
        let rests = normal.contains(reason);
        let expected = if rests { vec![Output::Rest(0)] } else { back.clone() };
        assert_eq!(after(Transient), expected, "{reason}");
        assert_eq!(after(Temporary), [Output::Forget(0)], "{reason}");
    }
}

#[test]
fn the_window_slides_and_its_edge_is_exact() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 2, &[Restart::Permanent]));
    let mut crash_at = |millis| bench.at(millis).settle(Input::Exited(0, crash()));
    let restarted = |count| vec![Output::Restarting(0, count), Output::Start(0)];
    assert_eq!(crash_at(0), restarted(1));
    assert_eq!(crash_at(500), restarted(2));
    assert_eq!(crash_at(1001), restarted(2), "the first is more than a second ago");
    // 500 is exactly one second ago and still counts.
    assert_eq!(crash_at(1500), [Output::Escalate, Output::End(End::GaveUp)]);
}

#[test]
fn an_intensity_of_zero_gives_up_at_the_first() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 0, &[Restart::Permanent; 2]));
    let done = bench.settle(Input::Exited(0, crash()));
    assert_eq!(done, [Output::Escalate, Output::Stop(1), Output::End(End::GaveUp)]);
}

#[test]
fn groups_stop_right_to_left_and_start_left_to_right() {
    let children = [Restart::Permanent, Restart::Permanent, Restart::Temporary, Restart::Transient];
    let mut all = Bench::up(config(Strategy::OneForAll, 9, &children));
    assert_eq!(
        all.settle(Input::Exited(1, crash())),
        [
            Output::Restarting(1, 1),
            Output::Stop(3),
            Output::Stop(2),
            Output::Forget(2),
            Output::Stop(0),
            Output::Start(0),
            Output::Start(1),
            Output::Start(3),
        ]
    );
    let mut rest = Bench::up(config(Strategy::RestForOne, 9, &children));
    assert_eq!(
        rest.settle(Input::Exited(1, crash())),
        [
            Output::Restarting(1, 1),
            Output::Stop(3),
            Output::Stop(2),
            Output::Forget(2),
            Output::Start(1),
            Output::Start(3),
        ]
    );
}

#[test]
fn a_group_waits_for_each_exit_before_the_next_order() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 9, &[Restart::Permanent; 3]));
    let crashed = bench.step(Input::Exited(0, crash()));
    assert_eq!(crashed, [Output::Restarting(0, 1), Output::Stop(2)]);
    // 1 dies on its own meanwhile: no further cost, no second order.
    assert_eq!(bench.step(Input::Exited(1, crash())), []);
    assert_eq!(bench.step(Input::Exited(2, ExitReason::Shutdown)), [Output::Start(0)]);
    assert_eq!(bench.step(Input::Started(0)), [Output::Start(1)]);
    assert_eq!(bench.machine.restarts_left(at(0)), 8);
}

#[test]
fn a_crash_to_the_left_widens_a_group_restart() {
    let mut bench = Bench::up(config(Strategy::RestForOne, 9, &[Restart::Permanent; 4]));
    bench.step(Input::Exited(2, crash()));
    assert_eq!(bench.step(Input::Exited(0, crash())), [Output::Restarting(0, 2)]);
    let exited = |child| Input::Exited(child, ExitReason::Shutdown);
    assert_eq!(bench.step(exited(3)), [Output::Stop(1)]);
    assert_eq!(bench.step(exited(1)), [Output::Start(0)]);
    for child in 0..3 {
        assert_eq!(bench.step(Input::Started(child)), [Output::Start(child + 1)]);
    }
    assert_eq!(bench.step(Input::Started(3)), []);
}

#[test]
fn a_failed_restart_costs_budget_and_a_failed_first_start_ends_the_supervisor() {
    let failed = |child| Input::Exited(child, ExitReason::StartFailed("no".into()));
    let mut bench = Bench::up(config(Strategy::OneForOne, 2, &[Restart::Permanent; 2]));
    assert_eq!(bench.step(Input::Exited(0, crash()))[0], Output::Restarting(0, 1));
    assert_eq!(bench.step(failed(0)), [Output::Restarting(0, 2), Output::Start(0)]);
    assert_eq!(bench.step(failed(0)), [Output::Escalate, Output::Stop(1)]);

    let mut bench = Bench::new(config(Strategy::OneForOne, 2, &[Restart::Temporary; 3]));
    bench.step(Input::Begin);
    bench.step(Input::Started(0));
    assert_eq!(bench.step(failed(1)), [Output::Stop(0)]);
    let end = bench.step(Input::Exited(0, ExitReason::Shutdown));
    assert_eq!(end, [Output::End(End::StartFailed(1))]);
}

#[test]
fn one_for_one_restarts_do_not_wait_for_each_other() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 9, &[Restart::Permanent; 2]));
    assert_eq!(bench.step(Input::Exited(0, crash()))[1], Output::Start(0));
    assert_eq!(bench.step(Input::Exited(1, crash()))[1], Output::Start(1));
}

#[test]
fn a_stop_takes_its_time_then_kills_then_gives_the_child_up() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 9, &[Restart::Permanent; 2]));
    assert_eq!(bench.step(Input::Shutdown), [Output::Stop(1)]);
    assert_eq!(bench.machine.next_deadline(), Some(at(5_000)));
    assert_eq!(bench.at(4_999).step(Input::Tick), []);
    assert_eq!(bench.at(5_000).step(Input::Tick), [Output::Kill(1)]);
    assert_eq!(bench.step(Input::Tick), [], "a timer that comes twice");
    // Late, and with another input.
    assert_eq!(bench.at(20_000).step(Input::Shutdown), [Output::Stuck(1), Output::Stop(0)]);
    let last = bench.step(Input::Exited(0, ExitReason::Shutdown));
    assert_eq!(last, [Output::End(End::Stuck)]);
    assert_eq!(bench.step(Input::Exited(1, ExitReason::Killed)), []);
}

#[test]
fn brutal_kill_is_at_once_and_patience_has_no_deadline() {
    let mut config = config(Strategy::OneForOne, 9, &[Restart::Permanent; 2]);
    config.children[0].shutdown = Shutdown::Patient;
    config.children[1].shutdown = Shutdown::Kill;
    let mut bench = Bench::up(config);
    assert_eq!(bench.step(Input::Shutdown), [Output::Kill(1)]);
    assert_eq!(bench.step(Input::Exited(1, ExitReason::Killed)), [Output::Stop(0)]);
    assert_eq!(bench.machine.next_deadline(), None);
}

#[test]
fn a_stuck_member_of_a_group_escalates_and_nothing_is_started() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 9, &[Restart::Permanent; 3]));
    assert_eq!(bench.step(Input::Exited(0, crash()))[1], Output::Stop(2));
    bench.at(5_000).step(Input::Tick);
    let stuck = bench.at(10_000).step(Input::Tick);
    assert_eq!(stuck, [Output::Stuck(2), Output::Escalate, Output::Stop(1)]);
    let end = bench.step(Input::Exited(1, ExitReason::Shutdown));
    assert_eq!(end, [Output::End(End::Stuck)]);
}

#[test]
fn a_fallen_supervisor_is_waited_for_before_it_is_replaced() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 9, &[Restart::Permanent]));
    assert_eq!(bench.step(Input::Fell(0)), []);
    assert_eq!(bench.machine.next_deadline(), Some(at(5_000)));
    let back = bench.step(Input::Exited(0, ExitReason::Killed));
    assert_eq!(back, [Output::Restarting(0, 1), Output::Start(0)]);
    bench.step(Input::Started(0));
    bench.step(Input::Fell(0));
    let stuck = bench.at(5_000).step(Input::Tick);
    assert_eq!(stuck, [Output::Stuck(0), Output::Escalate, Output::End(End::Stuck)]);
}

#[test]
fn a_resting_sibling_comes_back_with_its_group() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 9, &[Restart::Transient; 2]));
    assert_eq!(bench.step(Input::Exited(1, ExitReason::Normal)), [Output::Rest(1)]);
    let done = bench.settle(Input::Exited(0, crash()));
    assert_eq!(done, [Output::Restarting(0, 1), Output::Start(0), Output::Start(1)]);
}

#[test]
fn a_bad_intensity_is_named() {
    let good = Intensity::default();
    assert_eq!((good.restarts, good.period), (3, Duration::from_secs(5)));
    assert_eq!(good.validate(), Ok(()));
    let zero = Intensity { period: Duration::ZERO, ..good };
    assert_eq!(zero.validate(), Err(IntensityError::PeriodZero));
    let many = Intensity { restarts: u32::MAX, ..good };
    assert_eq!(many.validate(), Err(IntensityError::TooMany(u32::MAX)));
}

/// What a supervisor does, said as plainly as possible and as slowly: all at once, on a list.
struct Naive {
    strategy: Strategy,
    restarts: u32,
    rules: Vec<Restart>,
    alive: Vec<bool>,
    listed: Vec<bool>,
    history: Vec<u64>,
    ended: bool,
}

impl Naive {
    fn new(config: &Config) -> Self {
        let count = config.children.len();
        Self {
            strategy: config.strategy,
            restarts: config.intensity.restarts,
            rules: config.children.iter().map(|rule| rule.restart).collect(),
            alive: vec![true; count],
            listed: vec![true; count],
            history: Vec::new(),
            ended: false,
        }
    }

    /// The stops and starts after the child ended, in order.
    fn exit(&mut self, now: u64, child: usize, abnormal: bool) -> Vec<Output> {
        if self.ended || !self.alive[child] {
            return Vec::new();
        }
        self.alive[child] = false;
        let wanted = match self.rules[child] {
            Restart::Permanent => true,
            Restart::Transient => abnormal,
            Restart::Temporary => false,
        };
        if !wanted {
            if self.rules[child] == Restart::Temporary {
                self.listed[child] = false;
            }
            return Vec::new();
        }
        self.history.push(now);
        let recent = self.history.iter().filter(|then| now - **then <= 1_000).count();
        if recent > self.restarts as usize {
            self.ended = true;
            let alive = (0..self.rules.len()).rev().filter(|other| self.alive[*other]);
            return alive.map(Output::Stop).collect();
        }
        let group = match self.strategy {
            Strategy::OneForOne => child..child + 1,
            Strategy::OneForAll => 0..self.rules.len(),
            Strategy::RestForOne => child..self.rules.len(),
        };
        let mut done = Vec::new();
        for other in group.clone().rev().filter(|other| self.alive[*other]) {
            done.push(Output::Stop(other));
        }
        for other in group {
            if self.rules[other] == Restart::Temporary {
                self.listed[other] &= !self.alive[other];
                self.alive[other] = false;
            } else {
                self.alive[other] = true;
                done.push(Output::Start(other));
            }
        }
        done
    }
}

fn strategies() -> impl Strategy_<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

fn configs() -> impl Strategy_<Value = Config> {
    let restart =
        prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)];
    (strategies(), 0_u32..6, proptest::collection::vec(restart, 1..7))
        .prop_map(|(strategy, restarts, children)| config(strategy, restarts, &children))
}

proptest! {
    /// Whatever ends, when and why: the same stops and starts as the naive model, in its order.
    #[test]
    fn as_the_naive_model(
        config in configs(),
        exits in proptest::collection::vec((0_u64..700, 0_usize..7, 0_usize..4), 0..60),
    ) {
        let mut naive = Naive::new(&config);
        let count = config.children.len();
        let mut bench = Bench::up(config);
        let mut now = 0;
        for (later, child, reason) in exits {
            now += later;
            let child = child % count;
            let reasons =
                [ExitReason::Normal, ExitReason::Shutdown, ExitReason::Killed, crash()];
            let expected = naive.exit(now, child, reason >= 2);
            let done = bench.at(now).settle(Input::Exited(child, reasons[reason].clone()));
            let ended = done.contains(&Output::End(End::GaveUp));
            let orders: Vec<_> = done
                .into_iter()
                .filter(|one| matches!(one, Output::Start(_) | Output::Stop(_)))
                .collect();
            prop_assert_eq!(orders, expected);
            prop_assert!(!ended || naive.ended);
            let alive = |child| bench.machine.status(child) == Status::Up;
            if !naive.ended {
                prop_assert_eq!((0..count).map(alive).collect::<Vec<_>>(), naive.alive.clone());
            }
        }
    }

    /// Whatever comes when, in any order and late: no child is started while it lives, orders go
    /// only to the living, and a shutdown always ends.
    #[test]
    fn no_overlap_and_an_end_whatever_comes(
        config in configs(),
        chaos in proptest::collection::vec((0_u64..4_000, 0_usize..7, 0_usize..7), 0..80),
    ) {
        let count = config.children.len();
        let mut bench = Bench::new(config);
        let mut living = vec![false; count];
        let mut now = 0;
        let mut ended = false;
        let begin = std::iter::once((0, 0, Input::Begin));
        let inputs = chaos.into_iter().map(|(later, child, what)| {
            let child = child % count;
            let input = match what {
                0 | 1 => Input::Started(child),
                2 => Input::Exited(child, crash()),
                3 => Input::Exited(child, ExitReason::Normal),
                4 => Input::Exited(child, ExitReason::StartFailed("no".into())),
                5 => Input::Fell(child),
                _ => Input::Tick,
            };
            (later, child, input)
        });
        // Then all is well again, and a shutdown must end it.
        let heal = (0..=count).rev().flat_map(|_| {
            (0..count).rev().map(|child| (6_000, child, Input::Exited(child, crash())))
        });
        let all = begin.chain(inputs).chain(std::iter::once((0, 0, Input::Shutdown))).chain(heal);
        for (later, child, input) in all {
            now += later;
            if let Input::Exited(..) = input {
                living[child] = false;
            }
            for output in bench.at(now).step(input) {
                prop_assert!(!ended, "{:?} after the end", output);
                match output {
                    Output::Start(child) => {
                        prop_assert!(!living[child], "overlap of {}", child);
                        living[child] = true;
                    }
                    Output::Stop(child) | Output::Kill(child) | Output::Stuck(child) => {
                        prop_assert!(living[child], "an order to {} which is gone", child);
                    }
                    Output::Restarting(child, _) | Output::Rest(child) | Output::Forget(child) => {
                        prop_assert!(!living[child]);
                    }
                    Output::Ready | Output::Escalate => {}
                    Output::End(_) => ended = true,
                }
            }
        }
        prop_assert!(ended);
    }
}
