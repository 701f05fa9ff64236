//! The choice, and the steps from one set of voters to the next under random failures.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::base::{Boot, StoreId};
use crate::placement::{DiskMark, Member, Status, View};

fn elector(number: u64, zone: u8) -> Elector {
    let node = format!("n{number:02}").parse().expect("a name");
    Elector { node, voter: VoterId(number), zone: format!("z{zone}") }
}

fn names(chosen: &[Elector]) -> Vec<&str> {
    chosen.iter().map(|one| one.node.as_str()).collect()
}

#[test]
fn one_three_or_five_are_chosen() {
    let all: Vec<_> = (1..=9).map(|number| elector(number, 0)).collect();
    let chosen = |nodes: usize| choose(&all[..nodes]).len();
    let counts: Vec<_> = (0..=9).map(chosen).collect();
    assert_eq!(counts, [0, 1, 1, 3, 3, 5, 5, 5, 5, 5]);
    assert_eq!(names(&choose(&[elector(2, 0), elector(1, 1)])), ["n01"], "the first by name");
}

#[test]
fn they_are_spread_over_the_zones() {
    let all = [(1, 0), (2, 0), (3, 0), (4, 1), (5, 2)].map(|(number, zone)| elector(number, zone));
    assert_eq!(names(&choose(&all[..4])), ["n01", "n04", "n02"]);
    assert_eq!(names(&spread(&["z0", "z1"], &all, 2)), ["n05", "n01"]);
}

proptest! {
    #[test]
    fn the_choice_is_the_same_whatever_the_order(
        zones in vec(0..4_u8, 1..12),
        seed in any::<u64>(),
    ) {
        let numbered = zones.iter().zip(1..);
        let all: Vec<_> = numbered.map(|(zone, number)| elector(number, *zone)).collect();
        let mut shuffled = all.clone();
        shuffled.sort_by_key(|one| (one.voter.0 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let chosen = choose(&all);
        prop_assert_eq!(&chosen, &choose(&shuffled));
        prop_assert_eq!(chosen.len(), voters_among(all.len()));
        prop_assert!(chosen.len() % 2 == 1);
        // No zone has two more than one that could have had another.
        let count = |of: &[Elector], zone: &str| of.iter().filter(|one| one.zone == zone).count();
        for zone in 0..4_u8 {
            let zone = format!("z{zone}");
            let (own, could) = (count(&chosen, &zone), count(&all, &zone));
            for other in &chosen {
                prop_assert!(own == could || count(&chosen, &other.zone) <= own + 1);
            }
        }
    }
}

/// Nodes, the view's members among them, and raft as it follows the steps.
struct Toy {
    view: View,
    quorum: Quorum,
    alive: BTreeSet<NodeId>,
    next_id: u64,
    most: usize,
}

impl Toy {
    fn new(nodes: u64) -> Self {
        let first = choose(&(1..=nodes).map(|number| elector(number, 0)).collect::<Vec<_>>());
        let voters: BTreeSet<_> = first.iter().map(|one| one.voter).collect();
        let quorum = Quorum {
            me: *voters.first().expect("a voter"),
            halves: vec![voters.clone()],
            nodes: first.iter().map(|one| (one.voter, one.node.clone())).collect(),
            caught_up: voters.clone(),
            heard: voters.clone(),
            is_settled: true,
        };
        let (view, alive) = (View::default(), BTreeSet::new());
        let mut toy = Self { view, quorum, alive, next_id: 1_000, most: voters.len() };
        (1..=nodes).for_each(|number| toy.enter(number, VoterId(number)));
        toy
    }

    fn enter(&mut self, number: u64, voter: VoterId) {
        let zone = format!("z{}", number % 3);
        let disk = DiskMark { filesystem: 1, device: 1, lock_inode: 1, host_boot: "h".into() };
        let member = Member {
            boot: Boot(1),
            store: StoreId(number.into()),
            addr: String::new(),
            zone,
            weight: 1,
            status: Status::Up,
            voter: Some(voter),
            disk,
        };
        let node = elector(number, 0).node;
        self.alive.insert(node.clone());
        self.view.members.insert(node, member);
    }

    fn sound(&self) -> BTreeSet<VoterId> {
        let dead = dead_voters(&self.view, &self.quorum);
        self.quorum.halves[0].difference(&dead).copied().collect()
    }

    /// Another leader, if the one there was is gone and a majority could elect one.
    fn elect(&mut self) -> bool {
        let sound = self.sound();
        if sound.contains(&self.quorum.me) {
            return true;
        }
        let majority = sound.len() * 2 > self.quorum.halves[0].len();
        if majority {
            self.quorum.me = *sound.first().expect("a majority");
        }
        majority
    }

    /// One step; whether there was one. All dead are waited for long enough.
    fn step(&mut self) -> Result<bool, TestCaseError> {
        if !self.elect() {
            return Ok(false);
        }
        let ripe = dead_voters(&self.view, &self.quorum);
        let step = next_step(&self.view, &self.quorum, &self.alive, (&ripe, &BTreeSet::new()));
        let before = self.quorum.halves[0].clone();
        match step {
            Step::Rest => return Ok(false),
            Step::Finish(_) => prop_assert!(false, "there is one set"),
            Step::Teach(id, node) => {
                prop_assert!(self.alive.contains(&node));
                prop_assert!(self.quorum.nodes.insert(id, node).is_none());
                self.quorum.caught_up.insert(id);
            }
            Step::Forget(id) => {
                prop_assert!(!before.contains(&id));
                prop_assert!(self.quorum.nodes.remove(&id).is_some());
            }
            Step::Change(after) => {
                let (gone, came) =
                    (before.difference(&after).count(), after.difference(&before).count());
                let one_for_one = (gone, came) == (1, 1);
                prop_assert!(one_for_one || (gone, came) == (0, 2), "{before:?} to {after:?}");
                prop_assert!(
                    after.iter().all(|id| self.quorum.caught_up.contains(id)
                        && self.quorum.nodes.contains_key(id))
                );
                self.quorum.nodes.retain(|id, _| after.contains(id) || !before.contains(id));
                self.quorum.halves = vec![after];
            }
            Step::HandOver => {
                let sound = self.sound();
                let leaves = |id: &&VoterId| {
                    let is_it = |member: &&Member| member.voter == Some(**id);
                    let member = self.view.members.values().find(is_it);
                    member.is_some_and(|member| member.status == Status::Leaving)
                };
                let other = sound.iter().find(|id| !leaves(id));
                prop_assert!(other.is_some_and(|other| *other != self.quorum.me));
                self.quorum.me = *other.expect("asserted");
            }
        }
        let now = self.quorum.halves[0].len();
        prop_assert!(now % 2 == 1 && now >= self.most, "{now} after {}", self.most);
        self.most = now;
        Ok(true)
    }
}

#[derive(Debug, Clone)]
enum Act {
    Evict(u64),
    /// It comes, or comes back with its disk.
    Enter(u64),
    /// It comes back as another voter.
    Afresh(u64),
    Drain(u64),
    Steps(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..9_u64).prop_map(Act::Evict),
        (1..9_u64).prop_map(Act::Enter),
        (1..9_u64).prop_map(Act::Afresh),
        (1..9_u64).prop_map(Act::Drain),
        (0..6_u8).prop_map(Act::Steps),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Goal: whatever dies, returns and leaves, the voters are an odd number that never falls, one
    /// is replaced at a time, and at the end all are sound if there are enough nodes.
    #[test]
    fn voters_are_replaced_one_at_a_time(nodes in 1..7_u64, acts in vec(act(), 0..30)) {
        let mut toy = Toy::new(nodes);
        for act in acts {
            match act {
                Act::Evict(number) => {
                    let node = elector(number, 0).node;
                    // A leader is not evicted by itself, and a majority stays.
                    let voter = toy.view.members.get(&node).and_then(|member| member.voter);
                    let votes = voter.is_some_and(|voter| toy.quorum.halves[0].contains(&voter));
                    let spare = (toy.sound().len() - 1) * 2 > toy.quorum.halves[0].len();
                    if !votes || spare {
                        toy.view.members.remove(&node);
                        toy.alive.remove(&node);
                    }
                }
                Act::Enter(number) => {
                    let node = elector(number, 0).node;
                    if !toy.view.members.contains_key(&node) {
                        toy.enter(number, VoterId(number));
                    }
                }
                Act::Afresh(number) => {
                    let node = elector(number, 0).node;
                    if !toy.view.members.contains_key(&node) {
                        toy.next_id += 1;
                        toy.enter(number, VoterId(toy.next_id));
                    }
                }
                Act::Drain(number) => {
                    let node = elector(number, 0).node;
                    if let Some(member) = toy.view.members.get_mut(&node) {
                        member.status = Status::Leaving;
                    }
                }
                Act::Steps(count) => {
                    for _ in 0..count {
                        toy.step()?;
                    }
                }
            }
        }
        let mut steps = 0;
        while toy.step()? {
            steps += 1;
            prop_assert!(steps < 100, "it never rests");
        }
        let stays = |member: &&Member| member.status != Status::Leaving;
        let staying = toy.view.members.values().filter(stays).count();
        let voters = toy.quorum.halves[0].clone();
        if toy.elect() && staying >= voters.len() {
            let is_good = |id: &VoterId| {
                toy.view.members.values().any(|one| one.voter == Some(*id) && stays(&one))
            };
            prop_assert!(voters.iter().all(is_good), "{voters:?} of {:?}", toy.view.members);
            prop_assert!(voters.len() >= voters_among(staying));
            prop_assert!(toy.quorum.nodes.keys().eq(voters.iter()), "learners are left");
        }
    }
}

#[test]
fn a_change_that_was_begun_is_finished_first_and_one_not_agreed_is_waited_for() {
    let mut toy = Toy::new(4);
    let voters = toy.quorum.halves[0].clone();
    let newer: BTreeSet<_> = [VoterId(2), VoterId(3), VoterId(4)].into();
    toy.quorum.halves = vec![voters.clone(), newer.clone()];
    let none = BTreeSet::new();
    let step = |toy: &Toy| next_step(&toy.view, &toy.quorum, &toy.alive, (&none, &none));
    assert_eq!(step(&toy), Step::Finish(newer));
    toy.quorum.halves = vec![voters];
    toy.quorum.is_settled = false;
    toy.view.members.clear();
    assert_eq!(step(&toy), Step::Rest);
}

#[test]
fn a_dead_voter_is_waited_for_and_one_of_another_id_is_dead() {
    let mut toy = Toy::new(4);
    let voters = toy.quorum.halves[0].clone();
    assert_eq!(voters, (1..=3).map(VoterId).collect());
    // It comes back without what it voted.
    toy.enter(2, VoterId(77));
    assert_eq!(dead_voters(&toy.view, &toy.quorum), [VoterId(2)].into());
    let step = |ripe: &[u64]| {
        let ripe = ripe.iter().map(|id| VoterId(*id)).collect();
        next_step(&toy.view, &toy.quorum, &toy.alive, (&ripe, &BTreeSet::new()))
    };
    assert_eq!(step(&[]), Step::Rest);
    assert!(matches!(step(&[2]), Step::Teach(..)));
}

#[test]
fn an_operator_may_want_fewer() {
    let fewer = |toy: &Toy, number: u64| {
        let node = elector(number, 0).node;
        let voters = fewer_voters(&toy.view, &toy.quorum, &node);
        voters.map(|voters| voters.into_iter().map(|id| id.0).collect::<Vec<_>>())
    };
    // Of three nodes two stay, and one of them votes: the leader.
    assert_eq!(fewer(&Toy::new(3), 2), Ok(vec![1]));
    assert_eq!(fewer(&Toy::new(3), 1), Err("n01 leads: hand over first".into()));
    // Of five nodes four stay, and three of them vote.
    assert_eq!(fewer(&Toy::new(5), 3), Ok(vec![1, 2, 4]));
    // Of seven six stay: one of them is to take its place, and until then there are three.
    assert_eq!(fewer(&Toy::new(7), 3), Ok(vec![1, 2, 4]));
    assert_eq!(fewer(&Toy::new(4), 4), Err("n04 does not vote".into()));
    // A dead one does not stay.
    let mut toy = Toy::new(5);
    toy.view.members.remove(&elector(2, 0).node);
    assert_eq!(fewer(&toy, 3), Ok(vec![1, 4, 5]));
    // One that is silent is not chosen, nor one that lacks the log.
    let mut toy = Toy::new(5);
    toy.quorum.heard.remove(&VoterId(2));
    assert_eq!(fewer(&toy, 3), Ok(vec![1, 4, 5]));
    toy.quorum.caught_up.remove(&VoterId(4));
    let why = fewer(&toy, 3).expect_err("two cannot be three");
    let says = "3 voters are to stay without n03, and only 2 of those that could answer and have \
                the log; start n02 and n04 again, or ask again once they are evicted";
    assert_eq!(why, says);
    toy.quorum.is_settled = false;
    assert!(fewer(&toy, 3).is_err_and(|why| why.contains("being changed already")));
}

/// Goal: a learner that does not get the log does not keep the cluster a voter short.
#[test]
fn another_one_learns_where_a_learner_is_given_up_and_that_one_is_forgotten() {
    let mut toy = Toy::new(7);
    let dead = VoterId(2);
    toy.view.members.remove(&elector(2, 0).node);
    let step = |toy: &Toy, hopeless: &[u64]| {
        let hopeless = hopeless.iter().map(|id| VoterId(*id)).collect();
        next_step(&toy.view, &toy.quorum, &toy.alive, (&[dead].into(), &hopeless))
    };
    let Step::Teach(first, node) = step(&toy, &[]) else { panic!("nobody learns") };
    let other = VoterId(13 - first.0);
    toy.quorum.nodes.insert(first, node.clone());
    assert_eq!(step(&toy, &[]), Step::Rest, "it is waited for");
    let Step::Teach(second, named) = step(&toy, &[first.0]) else { panic!("nobody learns") };
    assert_eq!(second, other);
    toy.quorum.nodes.insert(second, named);
    toy.quorum.caught_up.insert(second);
    let Step::Change(voters) = step(&toy, &[first.0]) else { panic!("it has the log") };
    assert!(voters.contains(&second) && !voters.contains(&first));
    toy.quorum.halves = vec![voters];
    toy.quorum.nodes.remove(&dead);
    assert_eq!(step(&toy, &[first.0]), Step::Forget(first));
    // Where there is no other one it is forgotten, too, and tried again later.
    let mut toy = Toy::new(7);
    toy.view.members.remove(&elector(2, 0).node);
    toy.quorum.nodes.insert(first, node);
    toy.alive.remove(&elector(other.0, 0).node);
    assert_eq!(step(&toy, &[first.0]), Step::Forget(first));
}
