//! A small cluster to try changes on, the rules one by one, and random sequences of changes.

mod departures;
mod history;
mod moves;
mod random;
mod rules;
mod stand;

use super::*;
use crate::base::{Boot, ClusterId, NodeId, ShardId, StoreId, VoterId};

/// Shards of the test cluster.
const SHARDS: u16 = 16;

pub(crate) fn id(node: u16) -> NodeId {
    format!("n{node}").parse().expect("a node name")
}

pub(crate) fn constants(copies: u8, write_min: u8) -> Constants {
    Constants {
        shards: SHARDS,
        copies,
        write_min,
        profile: Profile::lan(),
        lease_before: None,
        lease_set: false,
    }
}

/// `node` in its life `boot` on store `store`, with all earlier lives in its directory.
pub(crate) fn claim(node: u16, boot: u64, store: u128) -> Claim {
    Claim {
        node: id(node),
        boot: Boot(boot),
        token: boot,
        earlier_boots: (1..boot).map(|one| (Boot(one), Boot(one))).collect(),
        tokens: Vec::new(),
        store: StoreId(store),
        voter: Some(VoterId(u64::from(node))),
        addr: format!("127.0.0.1:{}", 4000 + node),
        zone: String::new(),
        weight: 1,
        disk: DiskMark { filesystem: 1, device: 1, lock_inode: 1, host_boot: "h".into() },
    }
}

/// A view with the log that leads to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) view: View,
    pub(super) index: u64,
}

impl Cluster {
    /// Nodes `n1` to `n{nodes}`, each in boot 1 on the store of its own number.
    pub(crate) fn formed(nodes: u16, constants: &Constants) -> Self {
        let members: Vec<Claim> = (1..=nodes).map(|node| claim(node, 1, node.into())).collect();
        let assign = plan_formation(constants, &members);
        let mut cluster = Self::default();
        let cluster_id = ClusterId([1; 32]);
        let constants = constants.clone();
        cluster.accept(Change::Form { cluster: cluster_id, constants, members, assign });
        cluster
    }

    /// Applies `change` under a new id in the next entry, and checks the view.
    pub(super) fn apply(&mut self, change: Change) -> Outcome {
        self.index += 1;
        let id = ChangeId(self.index.into());
        let outcome = self.view.apply(self.index, &Proposal { id, change });
        self.view.check().expect("the view keeps its rules");
        outcome
    }

    pub(crate) fn accept(&mut self, change: Change) {
        let shown = format!("{change:?}");
        assert_eq!(self.apply(change), Outcome::Accepted, "{shown}");
    }

    /// Applies `change`, which must be refused and change nothing.
    pub(crate) fn refused(&mut self, change: Change) -> Refusal {
        let before = self.view.clone();
        let Outcome::Refused(refusal) = self.apply(change) else { panic!("it was accepted") };
        assert_eq!(View { recent: before.recent.clone(), ..self.view.clone() }, before);
        refusal
    }

    pub(crate) fn shard(&self, shard: ShardId) -> &Shard {
        self.view.shard(shard).expect("a shard")
    }

    pub(crate) fn when(&self, shard: ShardId) -> Precondition {
        let now = self.shard(shard);
        Precondition {
            owner: now.owner.clone().expect("an owner"),
            epoch: now.epoch,
            in_sync_generation: now.in_sync_generation,
        }
    }

    /// The shard gets records on the stores that hold it.
    pub(crate) fn write(&mut self, shard: ShardId) {
        let in_sync = self.shard(shard).in_sync.clone();
        self.accept(Change::HasRecords { shard, in_sync, when: self.when(shard) });
    }

    /// Every shard gets records.
    pub(super) fn write_all(&mut self) {
        for shard in 0..SHARDS {
            self.write(ShardId(shard));
        }
    }

    /// Eviction of `node`, as planned from the present view.
    pub(crate) fn eviction(&self, node: u16) -> Change {
        let assign = plan_evict(&self.view, &id(node));
        Change::Evict {
            node: id(node),
            boot: self.boot(node),
            cause: "test".into(),
            assign,
            released: false,
        }
    }

    /// A move of `shard` as it is now.
    pub(super) fn transfer(&self, shard: ShardId, node: NodeId, boot: Boot) -> Transfer {
        let now = self.shard(shard);
        Transfer {
            shard,
            expected_epoch: now.epoch,
            expected_generation: now.in_sync_generation,
            to: Owner { node, boot },
        }
    }

    /// What ends the move of `shard` after its release: it goes where it was to go, with the
    /// holders it has, or (`kept`) back to its owner. A mover without records brings its store.
    pub(super) fn handing(&self, shard: ShardId, kept: bool) -> Option<Assign> {
        let now = self.shard(shard);
        let owner = if kept { now.owner.clone() } else { now.moving.clone() };
        let store = self.view.members.get(&owner.as_ref()?.node)?.store;
        let mut in_sync = now.in_sync.clone();
        if !now.has_records && !in_sync.contains(&store) {
            in_sync = vec![store];
        }
        Some(Assign {
            shard,
            expected_epoch: now.epoch,
            expected_generation: now.in_sync_generation,
            owner,
            in_sync,
            lost: false,
        })
    }

    pub(super) fn rejoin(&self, claim: Claim) -> Change {
        let replaces = self.view.members[&claim.node].boot;
        let assign = plan_rejoin(&self.view, &claim);
        Change::Rejoin { replaces, claim, assign }
    }

    pub(super) fn join(&self, claim: Claim) -> Change {
        let assign = plan_join(&self.view, &claim);
        Change::Join { claim, assign }
    }

    pub(super) fn boot(&self, node: u16) -> Boot {
        self.view.members[&id(node)].boot
    }

    /// Shards owned by `node`.
    pub(crate) fn of(&self, node: u16) -> Vec<ShardId> {
        let owned = |shard: &Shard| shard.owner.as_ref().is_some_and(|o| o.node == id(node));
        self.view.numbered().filter(|(_, s)| owned(s)).map(|(number, _)| number).collect()
    }
}
