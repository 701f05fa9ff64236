//! Significant children. Source: OTP stdlib, `supervisor:do_auto_shutdown/2`; EEP 56.

use super::*;

/// Two significant children and one that is not.
fn config_of(restart: Restart, auto_shutdown: AutoShutdown) -> Config {
    let mut config = config(Strategy::OneForOne, 9, &[restart, restart, restart]);
    config.children[0].significant = true;
    config.children[1].significant = true;
    Config { auto_shutdown, ..config }
}

fn ends(done: &[Output]) -> bool {
    done.iter().any(|one| matches!(one, Output::AutoShutdown(_)))
}

/// Case S40. OTP: `significant_temporary`, `significant_transient` of `supervisor_SUITE`.
#[test]
fn s40_the_end_of_any_significant_child() {
    let after = |restart, child, reason| {
        let mut bench = Bench::up(config_of(restart, AutoShutdown::AnySignificant));
        ends(&bench.step(Input::Exited(child, reason)))
    };
    for reason in [ExitReason::Normal, ExitReason::Shutdown, ExitReason::Killed, crash()] {
        assert!(after(Restart::Temporary, 0, reason.clone()), "{reason}");
        let normal = matches!(reason, ExitReason::Normal | ExitReason::Shutdown);
        assert_eq!(after(Restart::Transient, 0, reason.clone()), normal, "{reason}");
        assert!(!after(Restart::Temporary, 2, reason.clone()), "it is not significant: {reason}");
    }
}

#[test]
fn the_others_are_stopped_and_the_end_has_its_reason() {
    let mut bench = Bench::up(config_of(Restart::Transient, AutoShutdown::AnySignificant));
    let done = bench.settle(Input::Exited(1, ExitReason::Normal));
    assert_eq!(
        done,
        [
            Output::Rest(1),
            Output::AutoShutdown(1),
            Output::Stop(2),
            Output::Stop(0),
            Output::End(End::AutoShutdown),
        ]
    );
}

#[test]
fn terminate_never_ends_the_supervisor() {
    for auto_shutdown in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for restart in [Restart::Temporary, Restart::Transient] {
            let mut bench = Bench::up(config_of(restart, auto_shutdown));
            for child in 0..2 {
                assert!(!ends(&bench.settle(Input::Terminate(child))), "{restart:?}");
            }
        }
    }
}

#[test]
fn the_end_of_the_last_significant_child() {
    let mut bench = Bench::up(config_of(Restart::Transient, AutoShutdown::AllSignificant));
    assert_eq!(bench.step(Input::Exited(0, ExitReason::Normal)), [Output::Rest(0)]);
    // One that is being restarted is there.
    bench.step(Input::Exited(1, crash()));
    bench.step(Input::Restart(0));
    assert_eq!(bench.step(Input::Exited(0, no_start())), [Output::Rest(0)], "not by itself");
    bench.step(Input::Started(1));
    assert!(ends(&bench.step(Input::Exited(1, ExitReason::Normal))));
}

/// As if the supervisor had waited for the terminated one first, as OTP's does.
#[test]
fn a_significant_child_that_is_being_terminated_is_gone() {
    let mut bench = Bench::up(config_of(Restart::Temporary, AutoShutdown::AllSignificant));
    assert_eq!(bench.step(Input::Terminate(0)), [Output::Stop(0)]);
    assert!(ends(&bench.step(Input::Exited(1, crash()))));
}

/// OTP: `supervisor:restart/3` on `{ok, undefined}`: no automatic shutdown.
#[test]
fn a_significant_child_that_declines_has_not_ended() {
    let mut bench = Bench::up(config_of(Restart::Transient, AutoShutdown::AnySignificant));
    bench.step(Input::Exited(0, crash()));
    assert_eq!(bench.step(Input::Declined(0)), [Output::Rest(0)]);
}

/// OTP: `supervisor:terminate_children/2`, which looks at no significance.
#[test]
fn a_significant_child_stopped_with_its_group_does_not_count() {
    let mut config = config_of(Restart::Temporary, AutoShutdown::AllSignificant);
    config.strategy = Strategy::OneForAll;
    config.children[2].restart = Restart::Permanent;
    let mut bench = Bench::up(config);
    let done = bench.settle(Input::Exited(2, crash()));
    let orders = [Output::Stop(1), Output::Forget(1), Output::Stop(0), Output::Forget(0)];
    assert_eq!(done[1..5], orders);
    assert_eq!(done[5..], [Output::Start(2)]);
}

/// An added child that does not start, too.
#[test]
fn a_significant_child_that_never_started_does_not_count() {
    let mut bench = Bench::up(config_of(Restart::Temporary, AutoShutdown::AnySignificant));
    let significant = Rule { significant: true, ..rule(Restart::Temporary) };
    bench.step(Input::Add(significant));
    assert_eq!(bench.step(Input::Exited(3, no_start())), [Output::Forget(3)]);
    bench.step(Input::Add(significant));
    bench.step(Input::Started(4));
    assert!(ends(&bench.step(Input::Exited(4, ExitReason::Normal))));
}

/// OTP: a child that waits for its restart has a pid, `restarting`, and so counts as there.
#[test]
fn a_significant_child_that_comes_back_with_its_group_is_there() {
    let children = [Restart::Temporary, Restart::Permanent, Restart::Transient];
    let mut config = config(Strategy::RestForOne, 9, &children);
    (config.children[0].significant, config.children[2].significant) = (true, true);
    let mut bench = Bench::up(Config { auto_shutdown: AutoShutdown::AllSignificant, ..config });
    bench.step(Input::Terminate(2));
    bench.step(Input::Exited(1, crash()));
    assert_eq!(bench.step(Input::Exited(0, ExitReason::Normal)), [Output::Forget(0)]);
    let back = bench.step(Input::Exited(2, ExitReason::Shutdown));
    assert_eq!(back, [Output::Rest(2), Output::Start(1)]);
    assert_eq!(bench.step(Input::Started(1)), [Output::Start(2)]);
    bench.step(Input::Started(2));
    assert!(ends(&bench.step(Input::Exited(2, ExitReason::Normal))));
}
