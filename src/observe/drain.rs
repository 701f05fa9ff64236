//! What still keeps a node that is drained, and whether it may leave.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ring::{RingAskError, member, stays};
use super::words::{counted, listed, status};
use crate::base::{Boot, NodeId, ShardId, StoreId, Version};
use crate::placement::{Shard, Status, View};

/// Shards that are named; the others are counted.
const NAMED_MAX: usize = 8;

/// How far a node is with handing over what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// Agreed status; `Leaving` while it is drained.
    pub status: Status,
    /// Of the view it was computed from.
    pub version: Version,
    /// Shards it owns.
    pub owns: u32,
    /// Of these, shards on their way to others.
    pub moving_away: u32,
    /// Shards on their way to it.
    pub moving_here: u32,
    /// Shards that its store holds.
    pub holds: u32,
    /// Of these, shards that too few others hold.
    pub needed: u32,
    /// The first shards that keep it.
    pub named: Vec<ShardId>,
    /// Whether it votes.
    pub votes: bool,
    /// Members that stay and could vote in its place.
    pub spares: Vec<NodeId>,
    /// The voters change at present: one takes another's place.
    pub voters_change: bool,
}

impl DrainReport {
    /// How `node` stands in `view`. Cost: all shards once.
    ///
    /// # Errors
    /// [`RingAskError`]: there is no such member.
    pub fn new(view: &View, node: &NodeId) -> Result<Self, RingAskError> {
        let copies = view.constants.as_ref().ok_or(RingAskError::NotFormed)?.copies;
        let own = member(view, node)?;
        let others = view.members.len().saturating_sub(1);
        let wanted = usize::from(copies).min(others);
        let is_it = |owner: &Option<crate::placement::Owner>| {
            owner.as_ref().is_some_and(|owner| owner.node == *node)
        };
        let is_other =
            |store: &&StoreId| **store != own.store && view.member_of_store(**store).is_some();
        let holds = |shard: &Shard| shard.in_sync.contains(&own.store);
        let needs =
            |shard: &Shard| holds(shard) && shard.in_sync.iter().filter(is_other).count() < wanted;
        let keeps = |shard: &Shard| is_it(&shard.owner) || is_it(&shard.moving) || needs(shard);
        let count = |wanted: &dyn Fn(&Shard) -> bool| {
            let shards = view.shards.iter().filter(|shard| wanted(shard)).count();
            u32::try_from(shards).unwrap_or(u32::MAX)
        };
        let named = view.numbered().filter(|(_, shard)| keeps(shard)).map(|(number, _)| number);
        let spare = |(name, one): &(&NodeId, &crate::placement::Member)| {
            *name != node && one.voter.is_some() && stays(one) && !view.votes(name)
        };
        let spares = view.members.iter().filter(spare).map(|(name, _)| name.clone());
        Ok(Self {
            node: node.clone(),
            boot: own.boot,
            status: own.status,
            version: view.version,
            owns: count(&|shard| is_it(&shard.owner)),
            moving_away: count(&|shard| is_it(&shard.owner) && shard.moving.is_some()),
            moving_here: count(&|shard| is_it(&shard.moving)),
            holds: count(&holds),
            needed: count(&needs),
            named: named.take(NAMED_MAX).collect(),
            votes: view.votes(node),
            spares: spares.collect(),
            // One, three or five vote; an even number while one of them is replaced.
            voters_change: view.voters.len().is_multiple_of(2),
        })
    }

    /// Whether it is being drained.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.status == Status::Leaving
    }

    /// Whether no shard needs it any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.owns == 0 && self.moving_here == 0 && self.needed == 0
    }

    /// Whether it may go for good.
    #[must_use]
    pub fn may_leave(&self) -> bool {
        self.is_drained() && !self.votes
    }

    /// Whether it votes and nobody could in its place.
    #[must_use]
    pub fn votes_for_good(&self) -> bool {
        self.votes && self.spares.is_empty() && !self.voters_change
    }

    /// What keeps it, in words; empty: nothing.
    fn kept_by(&self) -> Vec<String> {
        let shards = |count: u32| counted(usize::try_from(count).unwrap_or(usize::MAX), "shard");
        let mut words = Vec::new();
        if self.owns > 0 {
            let moving = match self.moving_away {
                0 => String::new(),
                away => format!(" ({away} on their way to others)"),
            };
            words.push(format!("it owns {}{moving}", shards(self.owns)));
        }
        if self.moving_here > 0 {
            words.push(format!("{} are on their way to it", shards(self.moving_here)));
        }
        if self.needed > 0 {
            words.push(format!("too few others hold {} that it holds", shards(self.needed)));
        }
        if self.votes_for_good() {
            words.push("it votes, and no member could vote in its place".into());
        } else if self.votes {
            words.push("it votes until another has taken its place".into());
        }
        words
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, boot, version, .. } = self;
        write!(f, "{node}, {boot}, is {} in {version}: ", status(self.status))?;
        let words = self.kept_by();
        if words.is_empty() {
            return writeln!(f, "nothing keeps it, it may leave");
        }
        writeln!(f, "{}", words.join("; "))?;
        if !self.named.is_empty() {
            let named: Vec<String> = self.named.iter().map(|shard| shard.0.to_string()).collect();
            let all = self.named.len() < NAMED_MAX;
            let first = if all { "shards" } else { "the first shards" };
            writeln!(f, "  {first}: {}", listed(&named))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::VoterId;
    use crate::placement::Change;
    use crate::placement::tests::{Cluster, constants, id};

    fn report(cluster: &Cluster, node: u16) -> DrainReport {
        DrainReport::new(&cluster.view, &id(node)).expect("a member")
    }

    fn drain(node: u16) -> Change {
        Change::Drain { node: id(node), boot: Boot(1), on: true }
    }

    #[test]
    fn it_tells_what_keeps_a_node_and_agrees_with_the_rules_of_the_view() {
        let mut cluster = Cluster::formed(4, &constants(3, 2));
        cluster.view.voters = (1..=3).map(|node: u16| (VoterId(node.into()), id(node))).collect();
        cluster.accept(drain(4));
        let four = report(&cluster, 4);
        assert!(four.is_draining() && !four.votes && !four.is_drained(), "{four}");
        assert!(four.owns > 0 && four.holds >= four.owns && !four.named.is_empty(), "{four}");
        let text = four.to_string();
        for words in
            ["n4, boot 1, is leaving in view 2: it owns ", "too few others hold ", "shards: "]
        {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        let leave = Change::Leave { node: id(4), boot: Boot(1) };
        assert!(cluster.refused(leave.clone()).to_string().contains("it owns shard"));
        // Others take all that it has.
        let store = cluster.view.members[&id(4)].store;
        let others: Vec<StoreId> =
            (1..=3).map(|node| cluster.view.members[&id(node)].store).collect();
        for shard in &mut cluster.view.shards {
            let shard = std::sync::Arc::make_mut(shard);
            if shard.in_sync.contains(&store) {
                shard.in_sync = others.clone();
            }
            if let Some(owner) = shard.owner.as_mut().filter(|owner| owner.node == id(4)) {
                owner.node = id(1);
            }
        }
        let four = report(&cluster, 4);
        assert!(four.may_leave(), "{four}");
        assert!(four.to_string().ends_with("nothing keeps it, it may leave\n"), "{four}");
        cluster.accept(leave);
    }

    #[test]
    fn a_voter_waits_for_another_or_stays() {
        let mut cluster = Cluster::formed(4, &constants(3, 2));
        cluster.view.voters = (1..=3).map(|node: u16| (VoterId(node.into()), id(node))).collect();
        let three = report(&cluster, 3);
        assert_eq!((three.votes, three.spares.clone()), (true, vec![id(4)]));
        assert!(!three.votes_for_good() && three.to_string().contains("until another"), "{three}");
        cluster.accept(drain(4));
        let three = report(&cluster, 3);
        assert!(three.votes_for_good() && three.to_string().contains("no member could"), "{three}");
        // Another is about to take its place: both stand among the voters for a moment.
        cluster.view.voters.insert(VoterId(4), id(4));
        assert!(!report(&cluster, 3).votes_for_good());
        let nobody = DrainReport::new(&cluster.view, &id(9)).expect_err("no member");
        assert!(nobody.to_string().contains("n9 is no member"), "{nobody}");
    }
}
