//! Adding, terminating, restarting and deleting children.

use super::*;

fn stopped(child: usize) -> Input {
    Input::Exited(child, ExitReason::Shutdown)
}

/// Case S09. OTP: `child_adm` of `supervisor_SUITE`.
#[test]
fn s09_the_life_of_a_child_by_request() {
    let mut bench = Bench::up(config(Strategy::OneForOne, 0, &[]));
    assert_eq!(bench.machine.next_key(), 0);
    assert_eq!(bench.step(Input::Add(rule(Restart::Permanent))), [Output::Start(0)]);
    bench.step(Input::Started(0));
    assert_eq!(bench.machine.may_restart(0), Err(Denied::Running));
    assert_eq!(bench.machine.may_delete(0), Err(Denied::Running));
    assert_eq!(bench.step(Input::Terminate(0)), [Output::Stop(0)]);
    assert_eq!(bench.machine.may_delete(0), Err(Denied::Running), "it is not down");
    assert_eq!(bench.step(stopped(0)), [Output::Rest(0)]);
    assert_eq!(bench.machine.may_terminate(0), Ok(()));
    assert_eq!(bench.step(Input::Terminate(0)), [], "again");
    assert_eq!(bench.machine.may_restart(0), Ok(()));
    assert_eq!(bench.step(Input::Restart(0)), [Output::Start(0)]);
    assert_eq!(bench.machine.may_restart(0), Err(Denied::Restarting));
    bench.step(Input::Started(0));
    bench.settle(Input::Terminate(0));
    assert_eq!(bench.machine.may_delete(0), Ok(()));
    assert_eq!(bench.step(Input::Delete(0)), [Output::Forget(0)]);
    for denied in
        [bench.machine.may_restart(0), bench.machine.may_delete(0), bench.machine.may_terminate(0)]
    {
        assert_eq!(denied, Err(Denied::NotFound));
    }
    assert_eq!((bench.machine.listed(), bench.machine.next_key()), (0, 1));
    assert_eq!(bench.machine.restarts_left(at(0)), 0, "nothing was counted");
}

/// OTP: `supervisor:handle_start_child/2` discards a spec whose child does not start, and keeps one
/// whose child declines, unless it is temporary.
#[test]
fn an_added_child_that_does_not_start_is_forgotten_and_costs_nothing() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        let mut bench = Bench::up(config(Strategy::OneForAll, 0, &[Restart::Permanent]));
        assert_eq!(bench.step(Input::Add(rule(restart))), [Output::Start(1)]);
        assert_eq!(bench.step(Input::Exited(1, no_start())), [Output::Forget(1)]);
        assert_eq!(bench.step(Input::Add(rule(restart))), [Output::Start(2)]);
        let kept = restart != Restart::Temporary;
        let expected = if kept { Output::Rest(2) } else { Output::Forget(2) };
        assert_eq!(bench.step(Input::Declined(2)), [expected]);
        assert_eq!(bench.machine.status(2), kept.then_some(Status::Resting));
        assert_eq!(bench.machine.status(0), Some(Status::Up));
    }
}

/// OTP: `supervisor:handle_call/3` on `restart_child`, whose `Error` leaves the state as it was.
#[test]
fn a_child_restarted_on_request_rests_again_if_it_does_not_start() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 0, &[Restart::Permanent; 2]));
    bench.settle(Input::Terminate(0));
    assert_eq!(bench.step(Input::Restart(0)), [Output::Start(0)]);
    assert_eq!(bench.step(Input::Exited(0, no_start())), [Output::Rest(0)]);
    bench.step(Input::Restart(0));
    assert_eq!(bench.step(Input::Declined(0)), [Output::Rest(0)]);
    bench.step(Input::Restart(0));
    bench.step(Input::Started(0));
    // Now it is as any other.
    assert_eq!(bench.step(Input::Exited(0, crash()))[0], Output::Escalate);
}

#[test]
fn a_request_waits_for_the_walk_of_a_group() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 9, &[Restart::Permanent; 3]));
    bench.settle(Input::Terminate(2));
    bench.step(Input::Exited(1, crash()));
    assert_eq!(bench.step(Input::Add(rule(Restart::Temporary))), []);
    assert_eq!(bench.machine.may_restart(3), Err(Denied::Restarting));
    assert_eq!(bench.machine.may_restart(2), Err(Denied::Restarting), "its group wakes it");
    assert_eq!(bench.step(stopped(0)), [Output::Start(0)]);
    // Waiting for their turn, two are terminated.
    assert_eq!(bench.step(Input::Terminate(1)), [Output::Rest(1)]);
    assert_eq!(bench.step(Input::Restart(1)), []);
    assert_eq!(bench.step(Input::Terminate(2)), [Output::Rest(2)]);
    assert_eq!(bench.step(Input::Started(0)), [Output::Start(1)]);
    assert_eq!(bench.step(Input::Exited(1, no_start())), [Output::Rest(1), Output::Start(3)]);
    assert_eq!(bench.step(Input::Exited(3, no_start())), [Output::Forget(3)]);
    assert_eq!(bench.machine.restarts_left(at(0)), 8);
}

/// OTP: what was terminated before a group went down comes back with it
/// (`supervisor:start_children/2`), what was terminated after it does not.
#[test]
fn a_child_terminated_around_a_group_restart() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 9, &[Restart::Permanent; 3]));
    assert_eq!(bench.step(Input::Terminate(2)), [Output::Stop(2)]);
    assert_eq!(bench.step(Input::Exited(0, crash())), [Output::Restarting(0, 1)]);
    assert_eq!(bench.step(stopped(2)), [Output::Rest(2), Output::Stop(1)]);
    assert_eq!(bench.machine.status(2), Some(Status::Due));
    assert_eq!(bench.step(Input::Terminate(1)), []);
    assert_eq!(bench.step(stopped(1)), [Output::Rest(1), Output::Start(0)]);
    assert_eq!(bench.step(Input::Started(0)), [Output::Start(2)]);
    assert_eq!(bench.step(Input::Started(2)), []);
    assert_eq!(bench.machine.status(1), Some(Status::Resting));
}

#[test]
fn a_member_terminated_while_its_group_stops_is_stopped_in_its_turn() {
    let mut bench = Bench::up(config(Strategy::OneForAll, 9, &[Restart::Permanent; 3]));
    assert_eq!(bench.step(Input::Exited(0, crash()))[1], Output::Stop(2));
    assert_eq!(bench.step(Input::Terminate(1)), []);
    assert_eq!(bench.step(stopped(2)), [Output::Stop(1)]);
    assert_eq!(bench.step(stopped(1)), [Output::Rest(1), Output::Start(0)]);
    assert_eq!(bench.step(Input::Started(0)), [Output::Start(2)]);
}

#[test]
fn terminate_ends_a_start_a_backoff_and_a_death() {
    let mut config = config(Strategy::OneForOne, 9, &[Restart::Permanent; 3]);
    config.children[1].backoff = Some(Backoff::new(SECOND, SECOND));
    config.children[2].shutdown = Shutdown::Kill;
    let mut bench = Bench::up(config);
    bench.step(Input::Exited(0, crash()));
    assert_eq!(bench.step(Input::Terminate(0)), [Output::Stop(0)], "while it starts");
    assert_eq!(bench.step(Input::Started(0)), [], "that stands");
    assert_eq!(bench.step(Input::Exited(0, crash())), [Output::Rest(0)]);
    bench.step(Input::Exited(1, crash()));
    assert_eq!(bench.step(Input::Terminate(1)), [Output::Rest(1)]);
    assert_eq!(bench.machine.next_deadline(), None);
    assert_eq!(bench.step(Input::Hung(2)), [Output::Kill(2)]);
    assert_eq!(bench.step(Input::Terminate(2)), []);
    assert_eq!(bench.step(Input::Exited(2, ExitReason::Hung)), [Output::Rest(2)]);
    bench.step(Input::Restart(2));
    assert_eq!(bench.step(Input::Terminate(2)), [Output::Kill(2)], "brutal kill");
    assert_eq!(bench.machine.restarts_left(at(0)), 7);
}

#[test]
fn nothing_is_asked_of_a_supervisor_that_is_not_there_or_ends() {
    let mut bench = Bench::new(config(Strategy::OneForOne, 9, &[Restart::Permanent]));
    let denied = |bench: &Bench| {
        let machine = &bench.machine;
        let all = [
            machine.may_add(),
            machine.may_restart(0),
            machine.may_delete(0),
            machine.may_terminate(0),
        ];
        assert_eq!(all, [Err(Denied::Ending); 4]);
    };
    denied(&bench);
    assert_eq!(bench.step(Input::Add(rule(Restart::Permanent))), []);
    assert_eq!(bench.machine.next_key(), 1);
    bench.step(Input::Begin);
    bench.step(Input::Started(0));
    bench.step(Input::Shutdown);
    denied(&bench);
    for input in [Input::Add(rule(Restart::Permanent)), Input::Terminate(0), Input::Restart(0)] {
        assert_eq!(bench.step(input), []);
    }
    assert_eq!(bench.step(stopped(0)), [Output::End(End::Shutdown)]);
    denied(&bench);
}

/// Before the first walk is done an added child waits, as in OTP, where the supervisor is deaf.
#[test]
fn a_child_added_while_the_supervisor_starts_is_the_last_to_start() {
    let mut bench = Bench::new(config(Strategy::OneForOne, 0, &[Restart::Permanent; 2]));
    bench.step(Input::Begin);
    assert_eq!(bench.step(Input::Add(rule(Restart::Permanent))), []);
    assert_eq!(bench.step(Input::Started(0)), [Output::Start(1)]);
    assert_eq!(bench.step(Input::Started(1)), [Output::Start(2)]);
    assert_eq!(bench.step(Input::Exited(2, no_start())), [Output::Forget(2), Output::Ready]);
}

/// Case S36, and the target of the issue: temporary children by the thousand, each counted once.
#[test]
fn s36_many_temporary_children_crash_at_once() {
    let many = 100_000;
    let mut machine = Restarts::new(config(Strategy::OneForOne, 0, &[]));
    let mut out = Vec::new();
    machine.step(at(0), Input::Begin, &mut out);
    for child in 0..many {
        machine.step(at(0), Input::Add(rule(Restart::Temporary)), &mut out);
        machine.step(at(0), Input::Started(child), &mut out);
    }
    machine.check();
    assert_eq!((out.len(), machine.listed()), (many + 1, many));
    out.clear();
    for child in 0..many {
        machine.step(at(1), Input::Exited(child, crash()), &mut out);
    }
    machine.check();
    assert!((0..many).map(Output::Forget).eq(out));
    assert_eq!(machine.listed(), 0);
}
