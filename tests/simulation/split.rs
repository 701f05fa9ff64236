//! Which side of a divided cluster goes on, and which stops.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use evertree::base::NodeId;
use evertree::placement::Profile;
use evertree::sim::{Fault, Setup, World};
use futures::FutureExt as _;

use crate::repeat::repeat;

/// Within this all are members, and all are again after the heal.
const SOON: Duration = Duration::from_secs(15);
/// Longer than an election and a lease of `dev`: by then every side has stopped or gone on.
const DIVIDED_FOR: Duration = Duration::from_secs(8);

/// What became of the two sides: whether all of its nodes served in the end, or none did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    GoesOn,
    Stops,
}

fn step(world: &mut World) {
    world.step().unwrap_or_else(|broken| panic!("{broken}"));
}

fn until(world: &mut World, what: &str, done: impl Fn(&World) -> bool) {
    let end = world.elapsed() + SOON;
    while !done(world) {
        assert!(world.elapsed() < end, "not within {SOON:?}: {what}");
        step(world);
    }
}

fn serves(world: &World, host: usize) -> bool {
    world.node(host).is_some_and(|node| node.is_serving())
}

/// What the hosts of one side do: all the same.
fn side(world: &World, hosts: &[usize]) -> Side {
    let serving = hosts.iter().filter(|host| serves(world, **host)).count();
    match serving {
        0 => Side::Stops,
        _ if serving == hosts.len() => Side::GoesOn,
        _ => panic!("{serving} of {hosts:?} serve"),
    }
}

/// Who owns shards in the newest view.
fn owners(world: &World) -> BTreeSet<NodeId> {
    let view = world.view().expect("somebody is up");
    let owners = view.shards.iter().filter_map(|shard| shard.owner.as_ref());
    owners.map(|owner| owner.node.clone()).collect()
}

/// Divides a cluster of `nodes` into the hosts of `one` and the others. Gives back how many voters
/// each side had, and what became of it. The world's own law (I1) sees to it that no shard has two
/// owners meanwhile.
pub(crate) fn divide(seed: u64, nodes: usize, one: &[usize]) -> [(usize, Side); 2] {
    let _repeat = repeat(seed, "c40");
    let mut world = World::new(Setup {
        seed,
        nodes,
        shards: 64,
        profile: Profile::dev(),
        replace_voters_after: Duration::from_secs(30),
        tick: Duration::from_millis(1),
        loss_permille: 0,
        prepare: Arc::new(|node| node),
        load: Arc::new(|_, _| std::future::pending().boxed_local()),
    });
    let all_serve = |world: &World| (0..nodes).all(|host| serves(world, host));
    until(&mut world, "all serve", all_serve);
    let other: Vec<usize> = (0..nodes).filter(|host| !one.contains(host)).collect();
    let view = world.view().expect("a view");
    let voters: BTreeSet<NodeId> = view.voters.values().cloned().collect();
    let name = |world: &World, host: usize| world.node(host).map(|node| node.name().clone());
    let names = |hosts: &[usize]| hosts.iter().filter_map(|host| name(&world, *host)).collect();
    let sides: [BTreeSet<NodeId>; 2] = [names(one), names(&other)];
    let counts = sides.each_ref().map(|side| side.intersection(&voters).count());
    world.begin(Fault::Split(one.iter().fold(0, |bits, host| bits | 1 << host)));
    let end = world.elapsed() + DIVIDED_FOR;
    while world.elapsed() < end {
        step(&mut world);
    }
    let became = [side(&world, one), side(&world, &other)];
    for (side, became) in sides.iter().zip(became) {
        let owners = owners(&world);
        if became == Side::GoesOn {
            assert!(owners.is_subset(side), "{owners:?} own shards, {side:?} goes on");
        }
    }
    world.heal();
    until(&mut world, "all serve again", all_serve);
    [(counts[0], became[0]), (counts[1], became[1])]
}
