//! The changes that come.

use super::*;

impl Run {
    /// Makes one random change, and says who leaves by it: that node goes when it is drained.
    pub(super) fn change(&mut self) -> Option<u16> {
        loop {
            let kind = self.rng.below(20);
            self.kind = match kind {
                0..5 => "join",
                5..8 => "eviction",
                8 => "evictions",
                9..11 => "leave",
                11..13 => "rejoin",
                13 => "rejoin without its store",
                14..16 => "another weight",
                16 => "another zone",
                _ => "first records",
            };
            match kind {
                0..5 => {
                    if self.join() {
                        return None;
                    }
                }
                5..8 => {
                    if self.evict(1) {
                        return None;
                    }
                }
                8 => {
                    let several = 2 + self.rng.below(2);
                    if self.evict(several) {
                        return None;
                    }
                }
                9..11 => {
                    if let Some(node) = self.leave() {
                        return Some(node);
                    }
                }
                11..13 => {
                    self.restart(|_, _| {}, true);
                    return None;
                }
                13 => {
                    self.restart(|_, _| {}, false);
                    return None;
                }
                14..16 => {
                    self.restart(|rng, disk| disk.weight = rng.among(&[0, 1, 1, 2, 3, 4]), true);
                    return None;
                }
                16 => {
                    let zones = self.zones.max(1);
                    self.restart(|rng, disk| disk.zone = format!("z{}", rng.below(zones)), true);
                    return None;
                }
                _ => {
                    self.write();
                    return None;
                }
            }
        }
    }

    fn member(&mut self) -> u16 {
        let members: Vec<u16> = (1..=self.nodes_max)
            .filter(|&node| self.cluster.view.members.contains_key(&id(node)))
            .collect();
        self.rng.among(&members)
    }

    /// A node that was never there, or comes back with its disk or with an empty one.
    fn join(&mut self) -> bool {
        let others: Vec<u16> = (1..=self.nodes_max)
            .filter(|&node| !self.cluster.view.members.contains_key(&id(node)))
            .collect();
        if others.is_empty() {
            return false;
        }
        let node = self.rng.among(&others);
        let keeps = self.rng.below(2) == 0;
        let claim = self.claim(node, keeps);
        let assign = self.planner.join(&self.cluster.view, &claim);
        self.accept(Change::Join { claim, assign });
        true
    }

    /// Whether enough would stay without `gone` nodes: one with weight at least.
    fn can_spare(&self, gone: &BTreeSet<NodeId>) -> bool {
        usable(&self.cluster.view).keys().any(|node| !gone.contains(node))
    }

    fn evict(&mut self, count: u64) -> bool {
        let gone: BTreeSet<NodeId> = (0..count).map(|_| id(self.member())).collect();
        if !self.can_spare(&gone) {
            return false;
        }
        let members = self.cluster.view.members.keys().cloned();
        let alive: BTreeSet<NodeId> = members.filter(|node| !gone.contains(node)).collect();
        for node in gone {
            let moves = &self.underway.moves;
            let assign = self.planner.evict(&self.cluster.view, &node, &alive, moves);
            let boot = self.cluster.view.members[&node].boot;
            self.accept(Change::Evict {
                node,
                boot,
                cause: String::new(),
                assign,
                released: false,
            });
        }
        true
    }

    fn leave(&mut self) -> Option<u16> {
        let node = self.member();
        if !self.can_spare(&[id(node)].into()) {
            return None;
        }
        let member = self.cluster.view.members.get_mut(&id(node)).expect("a member");
        member.status = Status::Leaving;
        Some(node)
    }

    /// Who has left owns nothing, so that its end moves nothing.
    pub(super) fn gone(&mut self, node: u16) {
        assert_eq!(self.cluster.of(node), [], "it was drained");
        let Member { boot, store, .. } = self.cluster.view.members[&id(node)];
        let constants = self.cluster.view.constants.as_ref().expect("formed");
        let enough = usable(&self.cluster.view).len() >= usize::from(constants.write_min);
        let holds = |shard: &Shard| shard.owner.is_some() && shard.in_sync.contains(&store);
        let held = self.cluster.view.shards.iter().any(|shard| holds(shard));
        assert!(!held || !enough, "seed {}: it holds nothing", self.seed);
        let before = self.moved;
        let boot: Boot = boot;
        self.accept(Change::Evict {
            node: id(node),
            boot,
            cause: String::new(),
            assign: vec![],
            released: false,
        });
        assert_eq!(self.moved, before);
        self.forget_ended();
    }

    /// A member restarts with something changed, on its store or on a new one.
    fn restart(&mut self, alter: impl FnOnce(&mut Rng, &mut Disk), keeps: bool) {
        let node = self.member();
        let disk = self.disks.get_mut(&node).expect("it ran before");
        let before = disk.clone();
        alter(&mut self.rng, disk);
        if !usable(&self.cluster.view).keys().any(|other| *other != id(node)) && disk.weight == 0 {
            // Somebody must be there.
            *disk = before;
        }
        let claim = self.claim(node, keeps);
        let replaces = self.cluster.view.members[&id(node)].boot;
        let assign = self.planner.rejoin(&self.cluster.view, &claim);
        self.accept(Change::Rejoin { replaces, claim, assign });
    }

    /// Some shards get their first records, on the stores that hold them.
    fn write(&mut self) {
        let share = 1 + self.rng.below(4);
        let fits = |shard: &Shard, view: &View| {
            let enough = usize::from(view.constants.as_ref().expect("formed").write_min);
            let live = |store: &StoreId| view.member_of_store(*store).is_some();
            shard.owner.is_some()
                && !shard.has_records
                && shard.in_sync.len() >= enough
                && shard.in_sync.iter().all(live)
        };
        let view = self.cluster.view.clone();
        for (shard, _) in view.numbered().filter(|(_, shard)| fits(shard, &view)) {
            if self.rng.below(4) < share {
                let in_sync = self.cluster.shard(shard).in_sync.clone();
                self.accept(Change::HasRecords { shard, in_sync, when: self.cluster.when(shard) });
            }
        }
    }
}
