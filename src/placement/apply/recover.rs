//! The view of a quorum that an operator begins anew, because too few voters of the old one are
//! left.

use std::collections::BTreeMap;

use crate::base::{ClusterId, Epoch, NodeId, VoterId};
use crate::placement::View;

impl View {
    /// Makes of this view, the last one that is known, the first of a new quorum: under another
    /// cluster's id, so that nobody of the old quorum is spoken with, and under quorum generation
    /// `generation`, which must be above that of every epoch that any store has sealed.
    ///
    /// Members, owners and holders stay as they are: whoever does not come back is evicted as ever,
    /// and every ownership from now on has an epoch above all before.
    ///
    /// # Errors
    /// In words, if the generation is not above that of this view, or there is no cluster.
    pub fn recover(
        &mut self,
        index: u64,
        (generation, cluster): (u16, ClusterId),
        voter: (VoterId, NodeId),
    ) -> Result<(), String> {
        if !self.is_formed() {
            return Err("there is no cluster in it".into());
        }
        if generation <= self.quorum_generation {
            let own = self.quorum_generation;
            return Err(format!("generation {generation} is not above {own}, which it has"));
        }
        let node = voter.1.clone();
        (self.quorum_generation, self.cluster) = (generation, cluster);
        self.voters = BTreeMap::from([voter]);
        self.version.0 += 1;
        let cause = format!("an operator began a new quorum, generation {generation}, with {node}");
        self.note(Epoch::new(generation, index), cause, Some(node));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Boot, ShardId};
    use crate::placement::tests::{Cluster, claim, constants, id};
    use crate::placement::{Change, ChangeId, Outcome, Proposal};

    #[test]
    fn every_epoch_of_a_new_quorum_is_above_all_of_the_old_one() {
        let mut cluster = Cluster::formed(3, &constants(3, 2));
        for shard in 0..16 {
            cluster.write(ShardId(shard));
        }
        let mut view = cluster.view.clone();
        let newest = view.shards.iter().map(|shard| shard.epoch).max().expect("there are some");
        let other = ClusterId([7; 32]);
        let low = view.clone().recover(40, (0, other), (VoterId(3), id(3)));
        assert!(low.expect_err("not above").contains("is not above 0"));
        view.recover(40, (5, other), (VoterId(3), id(3))).expect("it is above");
        view.check().expect("the view keeps its rules");
        assert_eq!((view.cluster, view.quorum_generation), (other, 5));
        assert_eq!(view.version.0, cluster.view.version.0 + 1);
        assert!(view.votes(&id(3)) && !view.votes(&id(1)));
        // Nothing changes hands by itself, and the survivor's restart gives its shards new epochs.
        assert_eq!(view.shards, cluster.view.shards);
        let claim = claim(3, 2, 3);
        let change = Change::Rejoin { replaces: Boot(1), claim, assign: Vec::new() };
        let outcome = view.apply(41, &Proposal { id: ChangeId(99), change });
        assert_eq!(outcome, Outcome::Accepted);
        view.check().expect("the view keeps its rules");
        let own = |shard: &&std::sync::Arc<crate::placement::Shard>| {
            shard.owner.as_ref().is_some_and(|owner| owner.node == id(3))
        };
        let owned: Vec<_> = view.shards.iter().filter(own).collect();
        assert!(!owned.is_empty());
        for shard in owned {
            assert_eq!(shard.epoch, Epoch::new(5, 41));
            assert!(shard.epoch > newest);
        }
        let nothing = View::default().recover(1, (1, other), (VoterId(3), id(3)));
        assert!(nothing.is_err());
    }
}
