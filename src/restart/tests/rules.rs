//! The rules one by one: what OTP's supervisor does, then what it has not.

use super::*;

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

/// OTP: `supervisor:terminate_children/2` removes temporary children from the list.
#[test]
fn a_temporary_child_leaves_the_list_for_good() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 0, &[Restart::Temporary; 2]));
    assert_eq!(bench.step(Input::Exited(0, crash())), [Output::Forget(0)]);
    assert_eq!((bench.machine.status(0), bench.machine.listed()), (None, 1));
    assert_eq!(bench.machine.next_key(), 2, "its key is not used again");
    assert_eq!(bench.step(Input::Exited(0, crash())), [], "late");
}

/// OTP: `supervisor:start_children/2` goes on past `{ok, undefined}`, and removes the child if it
/// is temporary.
#[test]
fn a_declared_child_that_declines_fails_no_start() {
    let children = [Restart::Permanent, Restart::Temporary, Restart::Transient];
    let mut bench = Bench::new(config(Strategy::OneForAll, 0, &children));
    assert_eq!(bench.step(Input::Begin), [Output::Start(0)]);
    assert_eq!(bench.step(Input::Declined(0)), [Output::Rest(0), Output::Start(1)]);
    assert_eq!(bench.step(Input::Declined(1)), [Output::Forget(1), Output::Start(2)]);
    assert_eq!(bench.step(Input::Declined(2)), [Output::Rest(2), Output::Ready]);
    assert_eq!(bench.machine.status(0), Some(Status::Resting));
}

/// OTP: `supervisor:restart/3` takes `{ok, undefined}` for a start that is done.
#[test]
fn a_restart_that_declines_costs_once_and_rests() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 1, &[Restart::Permanent]));
    bench.step(Input::Exited(0, crash()));
    assert_eq!(bench.step(Input::Declined(0)), [Output::Rest(0)]);
    assert_eq!(bench.machine.restarts_left(at(0)), 0);
    assert_eq!(bench.step(Input::Declined(0)), [], "a second time");
}

/// OTP: `supervisor:restart_multiple_children/3`: the failed child is the next to be restarted, and
/// a `rest_for_one` group then begins with it.
#[test]
fn a_start_that_fails_in_a_group_restarts_the_group_of_that_child() {
    let mut bench = Bench::up(config(Strategy::RestForOne, 9, &[Restart::Permanent; 3]));
    let mut done = bench.step(Input::Exited(0, crash()));
    for child in [2, 1] {
        done.extend(bench.step(Input::Exited(child, ExitReason::Shutdown)));
    }
    assert_eq!(done[1..], [Output::Stop(2), Output::Stop(1), Output::Start(0)]);
    assert_eq!(bench.step(Input::Started(0)), [Output::Start(1)]);
    let again = bench.step(Input::Exited(1, no_start()));
    assert_eq!(again, [Output::Restarting(1, 2), Output::Start(1)], "0 stays up");
    assert_eq!(bench.step(Input::Started(1)), [Output::Start(2)]);

    let mut bench = Bench::up(config(Strategy::OneForAll, 9, &[Restart::Permanent; 2]));
    bench.step(Input::Exited(1, crash()));
    bench.step(Input::Exited(0, ExitReason::Shutdown));
    assert_eq!(bench.step(Input::Started(0)), [Output::Start(1)]);
    let again = bench.step(Input::Exited(1, no_start()));
    assert_eq!(again, [Output::Restarting(1, 2), Output::Stop(0)], "0 goes down again");
}

/// Ours: a child that is hung is killed, and then decided like one that crashed.
#[test]
fn a_hung_child_is_killed_and_restarted_when_it_is_gone() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 9, &[Restart::Transient; 2]));
    assert_eq!(bench.step(Input::Hung(0)), [Output::Kill(0)]);
    assert_eq!(bench.step(Input::Hung(0)), [], "said twice");
    assert_eq!(bench.machine.next_deadline(), Some(at(5_000)));
    let back = bench.step(Input::Exited(0, ExitReason::Hung));
    assert_eq!(back, [Output::Restarting(0, 1), Output::Start(0)]);
    // One that is being stopped has the time it was given.
    bench.step(Input::Terminate(1));
    assert_eq!(bench.step(Input::Hung(1)), []);
    // And one that hangs while it starts has not started.
    let mut bench = Bench::new(config(Strategy::OneForOne, 9, &[Restart::Permanent; 2]));
    bench.step(Input::Begin);
    assert_eq!(bench.step(Input::Hung(0)), [Output::Kill(0)], "its sibling waits");
    let end = bench.step(Input::Exited(0, ExitReason::Hung));
    assert_eq!(end, [Output::End(End::StartFailed(0))]);
}

/// Ours: a child may be replaced though its task lives on.
#[test]
fn a_stuck_child_that_may_be_abandoned_is_decided_as_killed() {
    let mut config = config(Strategy::OneForOne, 9, &[Restart::Permanent; 3]);
    for child in &mut config.children {
        child.abandon_stuck = true;
    }
    config.children[1].restart = Restart::Temporary;
    let mut bench = Bench::up(config);
    bench.step(Input::Hung(0));
    bench.step(Input::Fell(1));
    let done = bench.at(5_000).step(Input::Tick);
    let back = [Output::Abandon(0), Output::Restarting(0, 1), Output::Start(0)];
    assert_eq!(done[..3], back);
    assert_eq!(done[3..], [Output::Abandon(1), Output::Forget(1)]);
    // One that was to stop is gone, too, and the end is not a stuck one.
    assert_eq!(bench.step(Input::Shutdown), [Output::Stop(2)]);
    assert_eq!(bench.at(10_000).step(Input::Tick), [Output::Kill(2)]);
    assert_eq!(bench.at(15_000).step(Input::Tick), [Output::Abandon(2), Output::Stop(0)]);
    let end = bench.step(Input::Exited(0, ExitReason::Shutdown));
    assert_eq!(end, [Output::End(End::Shutdown)]);
}

/// Ours: the budget of a child is checked before its supervisor's, and counts its own restarts.
#[test]
fn a_child_may_have_a_budget_of_its_own() {
    let mut config = config(Strategy::OneForAll, 9, &[Restart::Permanent; 2]);
    config.children[1].budget = Some(Intensity { restarts: 1, period: 2 * SECOND });
    let mut bench = Bench::up(config);
    assert_eq!(bench.machine.budget_left(0, at(0)), None);
    // It goes down and comes back with the group, which costs it nothing.
    bench.settle(Input::Exited(0, crash()));
    assert_eq!(bench.machine.budget_left(1, at(0)), Some(1));
    bench.settle(Input::Exited(1, crash()));
    assert_eq!(bench.machine.budget_left(1, at(2_000)), Some(0));
    assert_eq!(bench.machine.restarts_left(at(0)), 7);
    let over = bench.at(2_000).settle(Input::Exited(1, crash()));
    assert_eq!(over, [Output::Escalate, Output::Stop(0), Output::End(End::GaveUp)]);
    assert_eq!(bench.machine.restarts_left(at(2_000)), 9, "it was not asked");
}

fn waits(millis: u64) -> Backoff {
    Backoff::new(Duration::from_millis(millis), 4 * Duration::from_millis(millis))
}

/// The wait that was said of the child, which must be within half of `millis` and it.
fn wait_of(child: usize, millis: u64, done: &[Output]) -> Instant {
    let mut found = None;
    for one in done {
        if let Output::BackingOff(who, wait) = one {
            assert_eq!((*who, found.replace(*wait)), (child, None), "{done:?}");
        }
    }
    let wait = found.expect("it backs off");
    let whole = Duration::from_millis(millis);
    assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
    Instant::ZERO + wait
}

/// Ours: a restart may wait, alone.
#[test]
fn a_backoff_delays_only_its_child() {
    let mut config = config(Strategy::OneForOne, 9, &[Restart::Permanent; 2]);
    config.children[0].backoff = Some(waits(1_000));
    let mut bench = Bench::up(config);
    let done = bench.step(Input::Exited(0, crash()));
    assert_eq!(done[0], Output::Restarting(0, 1));
    let until = wait_of(0, 1_000, &done);
    assert_eq!(done.len(), 2);
    assert_eq!(bench.machine.status(0), Some(Status::BackingOff(until)));
    assert_eq!(bench.machine.next_deadline(), Some(until));
    // Its sibling does not.
    assert_eq!(bench.step(Input::Exited(1, crash()))[1], Output::Start(1));
    bench.now = Instant::from_nanos(until.as_nanos() - 1);
    assert_eq!(bench.step(Input::Tick), []);
    bench.now = until;
    assert_eq!(bench.step(Input::Tick), [Output::Start(0)]);
    // A failed attempt is the next in the row; a wait is counted from the failure.
    bench.now = Instant::ZERO;
    wait_of(0, 2_000, &bench.step(Input::Exited(0, no_start())));
}

/// Ours: the row of restarts ends when an incarnation was up long enough.
#[test]
fn a_row_of_restarts_ends_with_a_long_life() {
    let mut config = config(Strategy::OneForOne, 99, &[Restart::Permanent]);
    config.children[0].backoff = Some(waits(1_000));
    let mut bench = Bench::up(config);
    for (lived, wait) in [(0, 1_000), (0, 2_000), (3_999, 4_000), (0, 4_000), (4_000, 1_000)] {
        bench.now = Instant::ZERO + Duration::from_millis(lived);
        let done = bench.step(Input::Exited(0, crash()));
        let until = wait_of(0, wait, &done) + Duration::from_millis(lived);
        bench.now = until;
        assert_eq!(bench.step(Input::Tick), [Output::Start(0)]);
        bench.now = Instant::ZERO;
        bench.step(Input::Started(0));
    }
}

/// Ours: in a group restart the group is stopped first; then the starts wait where a child waits.
#[test]
fn a_group_waits_where_a_child_backs_off() {
    let mut config = config(Strategy::OneForAll, 9, &[Restart::Permanent; 3]);
    config.children[1].backoff = Some(waits(1_000));
    let mut bench = Bench::up(config);
    let done = bench.step(Input::Exited(1, crash()));
    let until = wait_of(1, 1_000, &done);
    assert_eq!((done[0], done[2]), (Output::Restarting(1, 1), Output::Stop(2)));
    assert_eq!(bench.step(Input::Exited(2, ExitReason::Shutdown)), [Output::Stop(0)]);
    assert_eq!(bench.step(Input::Exited(0, ExitReason::Shutdown)), [Output::Start(0)]);
    assert_eq!(bench.step(Input::Started(0)), []);
    bench.now = until;
    assert_eq!(bench.step(Input::Tick), [Output::Start(1)]);
    assert_eq!(bench.step(Input::Started(1)), [Output::Start(2)]);
    assert_eq!(bench.step(Input::Started(2)), []);
    // The others of the group have no wait of their own.
    let done = bench.settle(Input::Exited(0, crash()));
    assert!(!done.iter().any(|one| matches!(one, Output::BackingOff(..))), "{done:?}");
}

/// Ours: a shutdown does not wait for a backoff.
#[test]
fn a_shutdown_ends_a_backoff_at_once() {
    let mut config = config(Strategy::OneForOne, 9, &[Restart::Permanent; 2]);
    config.children[0].backoff = Some(waits(1_000));
    let mut bench = Bench::up(config);
    bench.step(Input::Exited(0, crash()));
    assert_eq!(bench.step(Input::Shutdown), [Output::Stop(1)]);
    assert_eq!(bench.machine.status(0), Some(Status::Resting));
    assert_eq!(bench.at(3_000).step(Input::Tick), []);
    let end = bench.step(Input::Exited(1, ExitReason::Shutdown));
    assert_eq!(end, [Output::End(End::Shutdown)]);
    assert_eq!(bench.machine.next_deadline(), None);
}

#[test]
fn a_rule_that_cannot_be_kept_to_is_named() {
    let good = rule(Restart::Transient);
    assert_eq!(good.validate(AutoShutdown::Never), Ok(()));
    let significant = Rule { significant: true, ..good };
    assert_eq!(significant.validate(AutoShutdown::Never), Err(RuleError::SignificantNever));
    assert_eq!(significant.validate(AutoShutdown::AnySignificant), Ok(()));
    let permanent = Rule { restart: Restart::Permanent, ..significant };
    let refused = permanent.validate(AutoShutdown::AllSignificant);
    assert_eq!(refused, Err(RuleError::SignificantPermanent));
    let backoff = Some(Backoff::new(Duration::ZERO, SECOND));
    let refused = Rule { backoff, ..good }.validate(AutoShutdown::Never);
    assert_eq!(refused, Err(RuleError::Backoff(BackoffError::MinZero)));
    let budget = Some(Intensity { restarts: 1, period: Duration::ZERO });
    let refused = Rule { budget, ..good }.validate(AutoShutdown::Never);
    assert_eq!(refused, Err(RuleError::Budget(IntensityError::PeriodZero)));
}
