//! Why members went: the view tells who left from who failed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::*;
use crate::base::Version;
use crate::wire::{from_control, from_named, to_control};

fn leave(cluster: &Cluster, node: u16) -> Change {
    let assign = plan_evict(&cluster.view, &id(node));
    let (boot, cause) = (cluster.boot(node), String::new());
    Change::Evict { node: id(node), boot, cause, assign, released: true }
}

#[test]
fn the_view_says_of_each_boot_that_went_why_it_did() {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    cluster.accept(leave(&cluster, 2));
    cluster.accept(cluster.eviction(3));
    cluster.accept(cluster.rejoin(claim(4, 2, 4)));
    let why = |node, boot| cluster.view.departure(&id(node), Boot(boot));
    assert_eq!(why(1, 1), None, "it is a member");
    assert_eq!(why(2, 1), Some(Departure::Released));
    assert_eq!(why(3, 1), Some(Departure::Evicted));
    assert_eq!((why(4, 1), why(4, 2)), (Some(Departure::Replaced), None));
    // Another store is another way to the same end.
    cluster.accept(cluster.rejoin(claim(4, 3, 40)));
    assert_eq!(cluster.view.departure(&id(4), Boot(2)), Some(Departure::Replaced));
    cluster.accept(cluster.join(claim(2, 2, 2)));
    cluster.accept(cluster.eviction(2));
    let why = |boot| cluster.view.departure(&id(2), Boot(boot));
    assert_eq!((why(1), why(2)), (Some(Departure::Released), Some(Departure::Evicted)));
}

#[test]
fn the_last_departures_are_remembered_and_no_more() {
    let mut cluster = Cluster::formed(2, &constants(1, 1));
    let last = u64::try_from(DEPARTED_MAX).expect("few") + 3;
    for boot in 2..=last {
        let past = Claim { earlier_boots: vec![(Boot(1), Boot(boot - 1))], ..claim(2, boot, 2) };
        cluster.accept(cluster.rejoin(past));
    }
    assert_eq!(cluster.view.departed.len(), DEPARTED_MAX);
    assert_eq!(cluster.view.departure(&id(2), Boot(2)), None, "forgotten");
    assert_eq!(cluster.view.departure(&id(2), Boot(3)), Some(Departure::Replaced));
}

/// The view as it was kept before departures were.
#[derive(Serialize)]
struct Older {
    version: Version,
    quorum_generation: u16,
    cluster: ClusterId,
    constants: Option<Constants>,
    members: BTreeMap<NodeId, Member>,
    shards: Vec<Arc<Shard>>,
    stores: BTreeMap<StoreId, StoreMark>,
    recent: VecDeque<(ChangeId, Outcome)>,
}

/// An eviction as it was written before departures were told apart.
#[derive(Serialize)]
enum Before {
    Evict { node: NodeId, boot: Boot, cause: String, assign: Vec<Assign> },
}

#[test]
fn a_view_and_an_entry_of_before_are_still_read() {
    let view = Cluster::formed(3, &constants(3, 2)).view;
    let older = Older {
        version: view.version,
        quorum_generation: view.quorum_generation,
        cluster: view.cluster,
        constants: view.constants.clone(),
        members: view.members.clone(),
        shards: view.shards.clone(),
        stores: view.stores.clone(),
        recent: view.recent.clone(),
    };
    let bytes = rmp_serde::to_vec_named(&older).expect("it encodes");
    let before = View { history: VecDeque::new(), ..view };
    assert_eq!(from_named::<View>(&bytes).expect("it is read"), before);
    let (node, boot, cause) = (id(1), Boot(1), String::new());
    let entry = Before::Evict { node: node.clone(), boot, cause: cause.clone(), assign: vec![] };
    let read = from_control::<Change>(&to_control(&entry)).expect("it is read");
    assert_eq!(read, Change::Evict { node, boot, cause, assign: vec![], released: false });
}
