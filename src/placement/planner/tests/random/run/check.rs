//! What must be so of every plan, and of the view when no step is left.

use super::*;

impl Run {
    /// What every plan must keep, whatever was before.
    pub(super) fn check_plan(&self, plan: &Plan) {
        let view = &self.cluster.view;
        let (mut begun, mut copied) = (BTreeSet::new(), BTreeSet::new());
        let usable = usable(view);
        for step in &plan.steps {
            match step {
                Step::Move(step) => {
                    assert!(begun.insert(step.shard), "two moves of {} in one plan", step.shard);
                    assert!(!self.moving.contains_key(&step.shard), "a second move");
                    let now = self.cluster.shard(step.shard);
                    let store = view.members[&step.to.node].store;
                    assert_eq!(now.owner.as_ref(), Some(&step.from));
                    assert_eq!(step.expected_generation, now.in_sync_generation);
                    assert!(step.from.node != step.to.node && usable.contains_key(&step.to.node));
                    assert!(!now.has_records || now.in_sync.contains(&store));
                    assert!(step.in_sync.contains(&store));
                }
                Step::Copy { shard, store } => {
                    assert!(copied.insert((*shard, *store)));
                    assert!(!self.underway.copies.contains(&(*shard, *store)));
                    assert!(!self.cluster.shard(*shard).in_sync.contains(store));
                    let (name, _) = view.member_of_store(*store).expect("a member's");
                    assert!(usable.contains_key(name), "{name} holds nothing new");
                }
                Step::Drop { shard, .. } => assert!(!self.moving.contains_key(shard)),
            }
        }
        self.check_limits(&begun, &copied, plan);
    }

    /// What is begun is within the limits, whatever is under way already. That itself may be more
    /// than a node's limit, when a failover brought it shards that are being copied.
    fn check_limits(
        &self,
        begun: &BTreeSet<ShardId>,
        copied: &BTreeSet<(ShardId, StoreId)>,
        plan: &Plan,
    ) {
        let view = &self.cluster.view;
        let planned = plan.steps.iter().filter_map(|step| match step {
            Step::Move(step) => Some(step),
            Step::Copy { .. } | Step::Drop { .. } => None,
        });
        let mut of_node: BTreeMap<&NodeId, [(usize, usize); 2]> = BTreeMap::new();
        for step in self.moving.values().chain(planned) {
            for node in [&step.from.node, &step.to.node] {
                let (all, new) = &mut of_node.entry(node).or_default()[0];
                *all += 1;
                *new += usize::from(begun.contains(&step.shard));
            }
        }
        for copy in self.underway.copies.iter().chain(copied) {
            let owner = self.cluster.shard(copy.0).owner.as_ref().expect("an owner");
            for node in [&owner.node, view.member_of_store(copy.1).expect("a member's").0] {
                let (all, new) = &mut of_node.entry(node).or_default()[1];
                *all += 1;
                *new += usize::from(copied.contains(copy));
            }
        }
        let Limits { moves_max, node_moves_max, copies_max, node_copies_max } = self.limits;
        assert!(begun.is_empty() || begun.len() + self.moving.len() <= moves_max);
        assert!(copied.is_empty() || copied.len() + self.underway.copies.len() <= copies_max);
        for (node, [moves, copies]) in of_node {
            assert!(moves.0 <= node_moves_max || moves.1 == 0, "{node}: {moves:?} moves");
            assert!(copies.0 <= node_copies_max || copies.1 == 0, "{node}: {copies:?} copies");
        }
    }

    /// What must be so when the planner has no step left.
    pub(super) fn check(&self) {
        let view = &self.cluster.view;
        let seed = self.seed;
        view.check().expect("the view keeps its rules");
        let usable = usable(view);
        let is_live = |store: &StoreId| view.member_of_store(*store).is_some();
        for (number, shard) in view.numbered() {
            let waits = shard.has_records && !shard.in_sync.iter().any(is_live);
            let orphan = usable.is_empty() && !shard.has_records;
            let has_owner = shard.owner.is_some();
            assert!(has_owner || shard.lost || waits || orphan, "seed {seed}, {number}: {shard:?}");
            if has_owner && !usable.is_empty() {
                self.check_holders(number, shard, usable.len());
            }
        }
        if usable.is_empty() {
            return;
        }
        let counts = counts(view);
        for (node, count) in &counts {
            let cap = usable.get(node).map_or(0, |one| one.cap);
            assert!(*count <= cap, "seed {seed}: {node} owns {count}, cap {cap}");
        }
        for (node, one) in &usable {
            let count = counts.get(node).copied().unwrap_or(0);
            assert!(
                4 * count >= 3 * one.share,
                "seed {seed}: {node} owns {count} of {}",
                one.share
            );
        }
        let sets = replica_sets(view).len();
        let constants = view.constants.as_ref().expect("formed");
        // With fewer nodes than every write must reach, stores that are gone cannot be dropped.
        let few = usable.len() < usize::from(constants.write_min);
        assert!(few || sets <= 4 * usable.len(), "seed {seed}: {sets} sets");
    }

    /// R holders or all there are, as many zones as there are, and nobody who hands over.
    fn check_holders(&self, number: ShardId, shard: &Shard, usable: usize) {
        let view = &self.cluster.view;
        let constants = view.constants.as_ref().expect("formed");
        let wanted = usize::from(constants.copies).min(usable);
        if wanted < usize::from(constants.write_min) {
            return;
        }
        let seed = self.seed;
        assert_eq!(shard.in_sync.len(), wanted, "seed {seed}, {number}: {shard:?}");
        let holders: Vec<&Member> = shard
            .in_sync
            .iter()
            .map(|store| view.member_of_store(*store).expect("a member's").1)
            .collect();
        let stays = |one: &&Member| one.weight > 0 && one.status != Status::Leaving;
        assert!(holders.iter().all(stays), "seed {seed}, {number}: {holders:?}");
        let zones = |members: &mut dyn Iterator<Item = &Member>| {
            members.map(|one| one.zone.clone()).collect::<BTreeSet<_>>().len()
        };
        if self.zones > 0 {
            let all = zones(&mut view.members.values().filter(stays));
            assert_eq!(zones(&mut holders.into_iter()), all.min(wanted), "seed {seed}, {number}");
        }
    }
}
