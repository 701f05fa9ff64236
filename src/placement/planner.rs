//! Where shards go, decided by whoever proposes: pure functions of a view.
//!
//! # Owners
//! The plan is sticky: an owner is kept unless its node is gone, leaves or has no weight, is above
//! its [`cap`], or gives to a joiner.
//!
//! - *A shard without an owner*: with records it goes only to a store that holds them, the one
//!   whose node has least to do, and an eviction may so exceed the cap. Without records it goes to
//!   the first node on its ring walk that is below its [`share`]; where there is none, below the
//!   share rounded up; then below the cap.
//! - *A joiner* is a node that owns less than three quarters of its share of what is owned. It
//!   takes shards until it has its whole share: first those that must leave their owner anyway,
//!   then those whose ring walk meets it before their owner, then any from nodes above their own
//!   share. Nobody becomes a joiner by giving.
//! - *A node above its cap*, one that leaves, or one without weight hands shards over, to a holder
//!   that has room if there is one.
//!
//! A shard with records moves only to a store in `in_sync`: a copy goes before the move.
//!
//! # Holders
//! The stores of a shard are one of at most [`ORDERS`] x N sets of the N nodes (see [`sets`]), so
//! that losing any R nodes at once seldom loses the whole of a set; plain preference lists would
//! make nearly every R nodes a set. A failover leaves rests of sets behind, and a join cuts new
//! sets: copies and drops are planned until every shard is held by one set again, the one that
//! lacks the fewest copies. No store is dropped before all of the set hold the shard.
//!
//! # Steps
//! [`Planner::steps`] yields what may be done next within [`Limits`]; carried out and planned
//! again, it ends in a plan without steps. Then no node is above its cap, and there are at most
//! [`ORDERS`] x N sets ([`replica_sets`]) of shards that have an owner; unless fewer than
//! `write_min` nodes are left, when stores that are gone stay in `in_sync`.
//!
//! # Source
//! Bounded loads: Mirrokni, Thorup, Zadimoghaddam, SODA 2018. Few sets: Cidon et al. (Copysets),
//! USENIX ATC 2013. Fixed shards ranked by a ring: `DeCandia` et al. (Dynamo), SOSP 2007, 6.2.
//! Differs: SODA 2018 fills bins up to the cap in the order of the ring, and moves a ball back when
//! its bin has room again; here bins fill up to their share first, and a ball stays where it is.

mod copies;
mod memo;
mod place;
mod roster;
mod sets;
mod steps;
mod targets;

use std::collections::{BTreeMap, BTreeSet};

pub use self::copies::{Copies, copy_candidates, next_copy, replica_sets};
use self::memo::Memo;
use self::place::Placing;
use self::roster::{Guest, Roster};
pub use self::roster::{cap, share};
pub use self::steps::{Limits, Move, Plan, Step, Underway};
use super::{Assign, Claim, Constants, Shard, View};
use crate::base::{NodeId, ShardId};

/// Fixed orders of the nodes from which sets of stores are cut: two circles, each walked both ways.
const ORDERS: u16 = 4;

/// Plans from views. It remembers hashes of names and nothing else: two planners plan alike.
#[derive(Debug, Clone, Default)]
pub struct Planner {
    memo: Memo,
}

impl Planner {
    /// The next steps towards owners and holders as the module describes them. `underway` is what
    /// was begun and has not ended; a shard with a move in flight is left alone.
    ///
    /// Nothing of it depends on the order in which members are known. Shards without an owner are
    /// left to [`Planner::ownerless`].
    ///
    /// Cost: for S shards and N nodes O(S log N), and O(S) more for each joiner.
    #[must_use]
    pub fn steps(&mut self, view: &View, underway: &Underway, limits: &Limits) -> Plan {
        steps::plan(&mut self.memo, view, underway, limits)
    }

    /// Owner and holders of every shard of a new cluster. See [`plan_formation`].
    #[must_use]
    pub fn formation(&mut self, constants: &Constants, claims: &[Claim]) -> Vec<Assign> {
        let guests = claims.iter().map(|claim| Guest::of_claim(claim, None)).collect();
        let mut placing = Placing::new(Roster::urgent(&mut self.memo, constants, guests));
        let fresh = Shard::unassigned();
        (0..constants.shards)
            .filter_map(|number| placing.without_records(ShardId(number), &fresh))
            .collect()
    }

    /// Where the shards of `node` go when its boot ends. `alive` are the only candidates. A shard
    /// on its way to another node (`moves`: where to) goes there, if that node holds it or there is
    /// nothing to hold. See [`plan_evict_among`].
    #[must_use]
    pub fn evict(
        &mut self,
        view: &View,
        node: &NodeId,
        alive: &BTreeSet<NodeId>,
        moves: &BTreeMap<ShardId, NodeId>,
    ) -> Vec<Assign> {
        let others = view.members.iter().filter(|(name, _)| *name != node);
        let guests = others
            .map(|(name, member)| Guest::of_member(name, member, !alive.contains(name)))
            .collect();
        let answers = |to: &NodeId| to != node && alive.contains(to);
        let moves = moves.iter().filter(|(_, to)| answers(to));
        let moves = moves.map(|(&shard, to)| (shard, to.clone())).collect();
        let of_node =
            |_, shard: &Shard| shard.owner.as_ref().is_some_and(|owner| owner.node == *node);
        self.plan(view, guests, &of_node, |placing| placing.moves = moves)
    }

    /// Who owns the shards of `released` next: their owners gave them up. A shard goes where it was
    /// on its way to, if that node holds it or there is nothing to hold.
    #[must_use]
    pub fn handed_over(
        &mut self,
        view: &View,
        released: &BTreeSet<ShardId>,
        alive: &BTreeSet<NodeId>,
        ailing: &BTreeSet<NodeId>,
    ) -> Vec<Assign> {
        let guests = view.members.iter().map(|(name, member)| {
            let silent = !alive.contains(name);
            Guest::of_member(name, member, silent).ailing(ailing.contains(name))
        });
        let goes = |number: ShardId, _: &Shard| released.contains(&number);
        let mut moves = view.moves();
        moves.retain(|_, to| alive.contains(to) && !ailing.contains(to));
        let mut plan = self.plan(view, guests.collect(), &goes, |placing| placing.moves = moves);
        plan.retain(|assign| released.contains(&assign.shard));
        plan
    }

    /// Where the shards of a restarted member go. See [`plan_rejoin`].
    #[must_use]
    pub fn rejoin(&mut self, view: &View, claim: &Claim) -> Vec<Assign> {
        let guests = with(view, claim);
        let old = view.members.get(&claim.node).map(|member| member.store);
        let Some(old) = old.filter(|old| *old != claim.store) else {
            return self.plan(view, guests, &|_, _| false, |_| {});
        };
        let of_node =
            |_, shard: &Shard| shard.owner.as_ref().is_some_and(|owner| owner.node == claim.node);
        self.plan(view, guests, &of_node, |placing| {
            placing.destroyed = Some(old);
            placing.sticky = Some(claim.node.clone());
        })
    }

    /// Ownerless shards that can be served once the node that joins is a member. See [`plan_join`].
    #[must_use]
    pub fn join(&mut self, view: &View, claim: &Claim) -> Vec<Assign> {
        self.plan(view, with(view, claim), &|_, _| false, |_| {})
    }

    /// Owners for ownerless shards, among the members in `alive`. See [`plan_ownerless`].
    #[must_use]
    pub fn ownerless(&mut self, view: &View, alive: &BTreeSet<NodeId>) -> Vec<Assign> {
        let members = view.members.iter();
        let guests = members
            .map(|(name, member)| Guest::of_member(name, member, !alive.contains(name)))
            .collect();
        self.plan(view, guests, &|_, _| false, |_| {})
    }

    fn plan(
        &mut self,
        view: &View,
        guests: Vec<Guest<'_>>,
        goes: &dyn Fn(ShardId, &Shard) -> bool,
        prepare: impl FnOnce(&mut Placing<'_>),
    ) -> Vec<Assign> {
        let is_due = |(number, shard): (ShardId, &Shard)| {
            !shard.lost && (shard.owner.is_none() || goes(number, shard))
        };
        let Some(constants) = &view.constants else { return Vec::new() };
        // Asked at every turn of the leader: usually there is nothing to plan.
        if !view.numbered().any(is_due) {
            return Vec::new();
        }
        let mut placing = Placing::new(Roster::urgent(&mut self.memo, constants, guests));
        prepare(&mut placing);
        placing.plan(view, goes)
    }
}

/// The members once `claim` is one of them.
fn with<'a>(view: &'a View, claim: &'a Claim) -> Vec<Guest<'a>> {
    let others = view.members.iter().filter(|(name, _)| **name != claim.node);
    let others = others.map(|(name, member)| Guest::of_member(name, member, false));
    others.chain([Guest::of_claim(claim, Some(view))]).collect()
}

/// Owner and holders of every shard of a new cluster: no node above its [`cap`], R stores each, or
/// as many as there are. Empty if no claim has a weight.
#[must_use]
pub fn plan_formation(constants: &Constants, claims: &[Claim]) -> Vec<Assign> {
    Planner::default().formation(constants, claims)
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
    Planner::default().evict(view, node, alive, &view.moves())
}

/// Where the shards of a restarted member go. Under its old store it keeps them without a plan, and
/// takes what nobody owns; under another the old one is destroyed, and what has records goes to a
/// store that holds them, or is lost.
#[must_use]
pub fn plan_rejoin(view: &View, claim: &Claim) -> Vec<Assign> {
    Planner::default().rejoin(view, claim)
}

/// Ownerless shards that can be served once the node that joins is a member: its store may hold
/// what no other does.
#[must_use]
pub fn plan_join(view: &View, claim: &Claim) -> Vec<Assign> {
    Planner::default().join(view, claim)
}

/// Owners for ownerless shards, among the members in `alive`. A shard whose records only others
/// hold is left out: it waits for one of them.
#[must_use]
pub fn plan_ownerless(view: &View, alive: &BTreeSet<NodeId>) -> Vec<Assign> {
    Planner::default().ownerless(view, alive)
}

#[cfg(test)]
mod tests;
