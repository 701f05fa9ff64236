//! The least number of ownership moves that a change costs.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{NodeId, StoreId};
use crate::placement::{Status, View, cap, share};

/// A node that may be given shards.
pub(super) struct Usable {
    pub(super) cap: u64,
    pub(super) share: u64,
}

/// The nodes that have a weight and stay.
pub(super) fn usable(view: &View) -> BTreeMap<NodeId, Usable> {
    let shards = view.constants.as_ref().expect("formed").shards;
    // What is lost falls to nobody.
    let owned = view.shards.iter().map(|shard| u16::from(shard.owner.is_some())).sum();
    let used = || {
        let stays = |status: Status| status != Status::Leaving;
        view.members.iter().filter(move |(_, one)| one.weight > 0 && stays(one.status))
    };
    let total = used().map(|(_, one)| u64::from(one.weight)).sum();
    let limits =
        |weight| Usable { cap: cap(shards, weight, total), share: share(owned, weight, total) };
    used().map(|(name, one)| (name.clone(), limits(one.weight))).collect()
}

/// How many shards each node owns.
pub(super) fn counts(view: &View) -> BTreeMap<NodeId, u64> {
    let mut counts = BTreeMap::new();
    for owner in view.shards.iter().filter_map(|shard| shard.owner.as_ref()) {
        *counts.entry(owner.node.clone()).or_default() += 1;
    }
    counts
}

/// The least number of moves after a change that made `after` of `before` and left the shards in
/// `lost_owner` (their places) for others to own:
///
/// - each of these that has an owner now moved once; and then the larger one of
/// - what nodes own that leave or have no weight, plus what stands above caps: had the shards that
///   lost their owner gone to their holders in the best way there is (a largest matching of them to
///   the room that their holders have below the cap), and
/// - what joiners lack to their share: nodes in `filling`, and nodes below three quarters of it.
///
/// The larger one, because a shard that must leave one node may be what a joiner lacks. A planner
/// may need more only because it does not know what comes, or chooses worse.
pub(super) fn least(
    before: &View,
    after: &View,
    lost_owner: &[usize],
    filling: &BTreeSet<NodeId>,
) -> u64 {
    let usable = usable(after);
    let moved = lost_owner.iter().filter(|&&at| after.shards[at].owner.is_some()).count();
    let moved = u64::try_from(moved).expect("small");
    if usable.is_empty() {
        return moved;
    }
    let mut kept = counts(after);
    for &at in lost_owner {
        if let Some(owner) = &after.shards[at].owner {
            *kept.get_mut(&owner.node).expect("counted") -= 1;
        }
    }
    let now = counts(after);
    let of = |counts: &BTreeMap<NodeId, u64>, node: &NodeId| counts.get(node).copied().unwrap_or(0);
    let drained: u64 = kept.iter().filter(|(n, _)| !usable.contains_key(*n)).map(|(_, c)| c).sum();
    let over = usable.iter().map(|(node, one)| of(&kept, node).saturating_sub(one.cap));
    let room =
        usable.iter().map(|(node, one)| (node.clone(), one.cap.saturating_sub(of(&kept, node))));
    let forced = drained + over.sum::<u64>() + misfits(before, after, lost_owner, room.collect());
    let lacks = usable.iter().filter(|(node, one)| {
        let owned = of(&now, node);
        owned < (3 * one.share).div_ceil(4) || filling.contains(*node)
    });
    let lacks: u64 = lacks.map(|(node, one)| one.share.saturating_sub(of(&now, node))).sum();
    // A joiner is filled from what others have above their share, or have to give anyway.
    let spare = now
        .iter()
        .map(|(node, count)| count.saturating_sub(usable.get(node).map_or(0, |one| one.share)));
    moved + forced.max(lacks.min(spare.sum()))
}

/// How many shards with records that lost their owner find no room within the cap at a holder, if
/// they are spread in the best way.
fn misfits(before: &View, after: &View, lost_owner: &[usize], room: BTreeMap<NodeId, u64>) -> u64 {
    let nodes: Vec<(NodeId, u64)> = room.into_iter().collect();
    let holder = |store: &StoreId| {
        let (name, _) = after.member_of_store(*store)?;
        nodes.iter().position(|(node, _)| node == name)
    };
    let choices: Vec<Vec<usize>> = lost_owner
        .iter()
        .filter(|&&at| before.shards[at].has_records && after.shards[at].owner.is_some())
        .map(|&at| before.shards[at].in_sync.iter().filter_map(holder).collect())
        .collect();
    let mut at_node: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut fits = 0;
    for shard in 0..choices.len() {
        let mut tried = vec![false; nodes.len()];
        fits += u64::from(fit(shard, &choices, &nodes, (&mut at_node, &mut tried)));
    }
    u64::try_from(choices.len()).expect("small") - fits
}

/// Finds room for one more shard, moving others aside. Source: Kuhn's algorithm for matchings.
fn fit(
    shard: usize,
    choices: &[Vec<usize>],
    nodes: &[(NodeId, u64)],
    (at_node, tried): (&mut Vec<Vec<usize>>, &mut Vec<bool>),
) -> bool {
    for &node in &choices[shard] {
        if std::mem::replace(&mut tried[node], true) {
            continue;
        }
        if u64::try_from(at_node[node].len()).expect("small") < nodes[node].1 {
            at_node[node].push(shard);
            return true;
        }
        for place in 0..at_node[node].len() {
            let other = at_node[node][place];
            if fit(other, choices, nodes, (at_node, tried)) {
                at_node[node][place] = shard;
                return true;
            }
        }
    }
    false
}
