//! Where shards go, decided by whoever proposes: pure functions of a view.
//!
//! The plan is sticky: what has an owner that stays is not touched. A shard without records goes to
//! the first node on its ring walk that is below its [`cap`]. A shard with records goes only to a
//! store that holds them, the one whose node has least to do.
//!
//! The stores of a shard are its owner's and the next ones in one of [`ORDERS`] fixed orders of the
//! nodes. With N nodes that makes at most `ORDERS x N` sets of stores that hold data together, so
//! that losing any R nodes at once seldom loses the whole of a set. Plain preference lists would
//! make nearly every R nodes a set.
//!
//! Source: bounded loads: Mirrokni, Thorup, Zadimoghaddam, SODA 2018; few sets: Cidon
//! et al. (Copysets), USENIX ATC 2013.

mod roster;

use std::collections::BTreeSet;

use self::roster::Roster;
pub use self::roster::cap;
use super::{Assign, Claim, Constants, Shard, View};
use crate::base::{NodeId, ShardId, StoreId};

/// Fixed orders of the nodes from which sets of stores are cut: two circles, each walked both ways,
/// so that, zones aside, the shards of a node that is gone go to min(N - 1, 2 (R - 1)) others.
const ORDERS: u16 = 4;

/// Owner and holders of every shard of a new cluster: no node above its [`cap`], R stores each, or
/// as many as there are. Empty if no claim has a weight.
#[must_use]
pub fn plan_formation(constants: &Constants, claims: &[Claim]) -> Vec<Assign> {
    let mut roster = Roster::of_claims(constants, claims);
    let fresh = Shard::unassigned();
    (0..constants.shards)
        .filter_map(|number| roster.place_without_records(ShardId(number), &fresh))
        .collect()
}

/// Where the shards of `node` go when its boot ends. What is left out becomes ownerless: all that
/// hold its records are gone too, or nobody is left.
#[must_use]
pub fn plan_evict(view: &View, node: &NodeId) -> Vec<Assign> {
    plan_evict_among(view, node, &view.members.keys().cloned().collect())
}

/// [`plan_evict`], with `alive` as the only candidates: when several nodes fall silent at once, a
/// shard does not go from one dead node to the next.
#[must_use]
pub fn plan_evict_among(view: &View, node: &NodeId, alive: &BTreeSet<NodeId>) -> Vec<Assign> {
    let mut roster =
        Roster::of_view(view, |name| name != node, |name| alive.contains(name)).counted(view);
    let of_node = |shard: &Shard| shard.owner.as_ref().is_some_and(|owner| owner.node == *node);
    plan(view, &mut roster, of_node)
}

/// Where the shards of a restarted member go. Under its old store it keeps them without a plan, and
/// takes what nobody owns; under another the old one is destroyed, and what has records goes to a
/// store that holds them, or is lost.
#[must_use]
pub fn plan_rejoin(view: &View, claim: &Claim) -> Vec<Assign> {
    let mut roster = Roster::of_view(view, |name| *name != claim.node, |_| true).counted(view);
    roster.seat(view, claim);
    let old = view.members.get(&claim.node).map(|member| member.store);
    let Some(old) = old.filter(|old| *old != claim.store) else {
        return plan(view, &mut roster, |_| false);
    };
    roster.destroyed = Some(old);
    roster.sticky = Some(claim.node.clone());
    let of_node =
        |shard: &Shard| shard.owner.as_ref().is_some_and(|owner| owner.node == claim.node);
    plan(view, &mut roster, of_node)
}

/// Ownerless shards that can be served once the node that joins is a member: its store may hold
/// what no other does.
#[must_use]
pub fn plan_join(view: &View, claim: &Claim) -> Vec<Assign> {
    let mut roster = Roster::of_view(view, |name| *name != claim.node, |_| true).counted(view);
    roster.seat(view, claim);
    plan(view, &mut roster, |_| false)
}

/// Owners for ownerless shards, among the members in `alive`. A shard whose records only others
/// hold is left out: it waits for one of them.
#[must_use]
pub fn plan_ownerless(view: &View, alive: &BTreeSet<NodeId>) -> Vec<Assign> {
    let mut roster = Roster::of_view(view, |_| true, |name| alive.contains(name)).counted(view);
    plan(view, &mut roster, |_| false)
}

/// The member store that should join `in_sync` of `shard` next; `None` if R members' stores hold
/// it, or nobody else is there, or it has no owner.
#[must_use]
pub fn next_copy(view: &View, shard: ShardId) -> Option<StoreId> {
    copy_candidates(view, shard).into_iter().next()
}

/// All stores that may join `in_sync` of `shard`, the most wanted first: an owner passes over those
/// that are silent. Empty where [`next_copy`] is `None`.
#[must_use]
pub fn copy_candidates(view: &View, shard: ShardId) -> Vec<StoreId> {
    let Some((now, constants)) = view.shard(shard).zip(view.constants.as_ref()) else {
        return Vec::new();
    };
    let Some(owner) = &now.owner else { return Vec::new() };
    // A dead store that must stay does not count: its place is filled before it is removed.
    let serving = now.in_sync.iter().filter(|&&store| view.member_of_store(store).is_some());
    if serving.count() >= usize::from(constants.copies) {
        return Vec::new();
    }
    let roster = Roster::of_view(view, |_| true, |_| true);
    roster.candidates(&owner.node, shard, &now.in_sync)
}

/// Plans ownerless shards and those that `moves` picks.
fn plan(view: &View, roster: &mut Roster, moves: impl Fn(&Shard) -> bool) -> Vec<Assign> {
    let wanted = |shard: &Shard| !shard.lost && (shard.owner.is_none() || moves(shard));
    view.numbered()
        .filter(|(_, shard)| wanted(shard))
        .filter_map(|(number, shard)| {
            if shard.has_records {
                roster.place_with_records(number, shard)
            } else {
                roster.place_without_records(number, shard)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
