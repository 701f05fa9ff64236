//! What happens to processes.

use futures::FutureExt as _;

use super::*;
use crate::base::{Boot, Instant, StoreId};

/// One step.
const TICK: Duration = Duration::from_millis(1);
/// Within this three nodes are members, and a node is a member again.
const SOON: Duration = Duration::from_secs(10);

/// Three members that host nothing.
fn formed() -> World {
    formed_with(0)
}

fn formed_with(loss_permille: u16) -> World {
    let mut world = World::new(Setup {
        seed: 1,
        nodes: 3,
        shards: 16,
        profile: Profile::dev(),
        replace_voters_after: Duration::from_secs(30),
        tick: TICK,
        loss_permille,
        prepare: Arc::new(|node| node),
        load: Arc::new(|_, _| std::future::pending().boxed_local()),
    });
    until(&mut world, |world| (0..3).all(|host| member(world, host).is_some()));
    world
}

fn step(world: &mut World, span: Duration) {
    let end = world.elapsed() + span;
    while world.elapsed() < end {
        world.step().expect("the laws hold");
    }
}

fn until(world: &mut World, done: impl Fn(&World) -> bool) {
    let end = world.elapsed() + SOON;
    while !done(world) {
        assert!(world.elapsed() < end, "not within {SOON:?}: {world:?}");
        world.step().expect("the laws hold");
    }
}

/// The life and the store that `host` has in its own view, if it is a member.
fn member(world: &World, host: usize) -> Option<(Boot, StoreId)> {
    let node = world.node(host)?;
    let view = node.view();
    let member = view.members.get(node.name())?;
    node.is_serving().then_some((member.boot, member.store))
}

fn lease(world: &World, host: usize) -> Instant {
    world.node(host).expect("it is up").lease().valid_until()
}

#[test]
fn a_stopped_process_does_nothing_and_goes_on_where_it_was() {
    let mut world = formed();
    world.begin(Fault::Stopped(1));
    // What was under way within the process comes to rest.
    step(&mut world, TICK);
    let (stopped, other) = (lease(&world, 1), lease(&world, 0));
    let boot = member(&world, 1).map(|(boot, _)| boot);
    step(&mut world, Duration::from_secs(1));
    assert_eq!(lease(&world, 1), stopped, "it took a grant");
    assert!(lease(&world, 0) > other, "the others go on");
    world.end(Fault::Stopped(1));
    step(&mut world, Duration::from_secs(1));
    assert!(lease(&world, 1) > stopped, "it does not go on");
    assert_eq!(member(&world, 1).map(|(boot, _)| boot), boot, "it is in its old life");
}

#[test]
fn a_killed_process_is_gone_and_finds_all_it_had_written() {
    let mut world = formed();
    let (boot, store) = member(&world, 1).expect("a member");
    world.begin(Fault::Killed(1));
    step(&mut world, TICK);
    assert!(world.node(1).is_none(), "it is still there");
    step(&mut world, Duration::from_millis(500));
    assert_eq!(world.hosts[1].life(), 1, "it is not started again before the end");
    world.end(Fault::Killed(1));
    until(&mut world, |world| member(world, 1).is_some());
    let (next, same) = member(&world, 1).expect("a member");
    assert_eq!((world.hosts[1].life(), same), (2, store));
    assert!(next > boot, "{next} is the life after {boot}");
}

#[test]
fn a_process_that_is_killed_while_it_is_stopped_is_gone_too() {
    let mut world = formed();
    world.begin(Fault::Stopped(1));
    step(&mut world, Duration::from_millis(100));
    world.begin(Fault::Killed(1));
    step(&mut world, TICK);
    assert!(world.node(1).is_none(), "it is still there");
    world.heal();
    until(&mut world, |world| member(world, 1).is_some());
    assert_eq!(world.hosts[1].life(), 2);
}

#[test]
fn a_process_that_leaves_is_no_member_until_it_is_started_again() {
    let mut world = formed();
    let name = world.node(1).expect("it is up").name().clone();
    world.begin(Fault::Left(1));
    let is_member =
        |world: &World| world.node(0).is_some_and(|node| node.view().members.contains_key(&name));
    until(&mut world, |world| !is_member(world));
    step(&mut world, Duration::from_secs(3));
    assert_eq!((world.hosts[1].life(), world.node(1).is_some()), (1, false));
    world.end(Fault::Left(1));
    until(&mut world, |world| member(world, 1).is_some());
    assert_eq!(world.hosts[1].life(), 2);
}

#[test]
fn a_loss_of_power_counts_for_more_than_a_kill() {
    let mut world = formed();
    world.begin(Fault::Killed(1));
    world.begin(Fault::PowerLoss(1));
    step(&mut world, Duration::from_secs(1));
    world.end(Fault::PowerLoss(1));
    step(&mut world, Duration::from_secs(1));
    assert_eq!(world.hosts[1].life(), 1, "the process is still to be dead");
    world.end(Fault::Killed(1));
    until(&mut world, |world| member(world, 1).is_some());
    assert_eq!(world.hosts[1].life(), 2);
}

/// Goal: a leader that is killed and started again at once is a member again, whatever comes late
/// of what it had said before. Method: every seventh segment is lost on its way, so that some of
/// its peers learn of its end when its next life has asked them already.
#[test]
fn a_leader_that_is_started_again_at_once_is_not_refused() {
    let mut world = formed_with(150);
    for _ in 0..6 {
        until(&mut world, |world| world.leader().is_some());
        let leader = world.leader().expect("one leads");
        let life = world.hosts[leader].life();
        world.begin(Fault::Killed(leader));
        step(&mut world, TICK);
        world.end(Fault::Killed(leader));
        until(&mut world, |world| {
            assert_eq!(world.hosts[leader].failed(), None);
            member(world, leader).is_some()
        });
        assert_eq!(world.hosts[leader].life(), life + 1);
    }
}
