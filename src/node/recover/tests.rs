use std::collections::BTreeMap;

use super::*;
use crate::base::{SeededRng, VoterId};
use crate::placement::View;
use crate::placement::tests::{Cluster, constants, id};

/// Three voters, and every other shard with records.
fn remains(epoch: Epoch) -> Remains {
    let mut cluster = Cluster::formed(3, &constants(3, 2));
    for shard in (0..16).step_by(2) {
        cluster.write(ShardId(shard));
    }
    let mut view: View = cluster.view;
    Arc::make_mut(&mut view.shards[3]).epoch = epoch;
    let voter = |node: u16| {
        let voter = Voter { node: id(node), addr: format!("127.0.0.1:{}", 4000 + node) };
        (VoterId(node.into()), voter)
    };
    let voters: BTreeMap<VoterId, Voter> = (1..=3).map(voter).collect();
    Remains { view, last: 70, doubtful: 2, term: 4, starts: 3, voters }
}

#[test]
fn the_generation_is_above_every_epoch_in_view_and_store() {
    let mut found = remains(Epoch::new(0, 9));
    let generation_of = |found: &Remains, sealed| generation(found, sealed).expect("there is one");
    assert_eq!(generation_of(&found, Epoch::NONE), 1);
    assert_eq!(generation_of(&found, Epoch::new(3, 1)), 4);
    assert_eq!(generation_of(&remains(Epoch::new(6, 0)), Epoch::new(3, 1)), 7);
    found.view.quorum_generation = 9;
    assert_eq!(generation_of(&found, Epoch::new(3, 1)), 10);
    found.view.quorum_generation = u16::MAX;
    let none = generation(&found, Epoch::NONE).expect_err("there is none above");
    assert!(matches!(none, RecoverError::UsedUp(u16::MAX)), "{none}");
}

#[test]
fn the_new_cluster_is_another_and_the_same_whenever_it_is_begun_again() {
    let (old, store) = (ClusterId([7; 32]), StoreId(3));
    let new = cluster_after(old, 1, store);
    assert_eq!(new, cluster_after(old, 1, store));
    let others = [
        old,
        cluster_after(old, 2, store),
        cluster_after(old, 1, StoreId(4)),
        cluster_after(new, 1, store),
    ];
    assert!(others.iter().all(|other| *other != new));
}

#[test]
fn whoever_is_given_up_is_named_and_nobody_else() {
    let found = remains(Epoch::new(0, 9));
    let lost = |nodes: &[u16]| nodes.iter().map(|node| id(*node)).collect::<BTreeSet<_>>();
    named(&found, &id(3), &lost(&[1, 2])).expect("these are the others");
    for wrong in [&[][..], &[1], &[1, 2, 3], &[1, 2, 9]] {
        let why = named(&found, &id(3), &lost(wrong)).expect_err("not these").to_string();
        assert!(why.ends_with("all of them and no other: n1,n2"), "{why}");
    }
}

#[test]
fn it_says_what_is_given_up_and_what_is_held() {
    let found = remains(Epoch::new(0, 9));
    let store = found.view.members[&id(3)].store;
    let clusters = (found.view.cluster, ClusterId([9; 32]));
    let terms = (1, Duration::from_millis(1_040));
    let shown = report(&found, (&id(3), store), clusters, terms);
    assert_eq!((shown.with_records, shown.held), (8, 8));
    assert_eq!((&shown.voters_lost, &shown.others), (&vec![id(1), id(2)], &vec![id(1), id(2)]));
    let text = shown.to_string();
    for words in [
        "n3 knows view 9, with 2 entries of which it does not know",
        "voters given up    n1, n2\n",
        "quorum generation  0 -> 1\n",
        "shards held        8 of 8 with records\n",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains("--follow"), "{text}");
    let begun = RecoverReport { is_begun: true, ..shown };
    assert!(begun.to_string().contains(&format!("--follow {}", "09".repeat(32))), "{begun}");
    let other = report(&found, (&id(3), StoreId(99)), clusters, terms);
    assert_eq!(other.held, 0, "another store holds nothing");
}

#[test]
fn an_id_tells_from_which_cluster_it_was_begun() {
    let (old, sibling) = (ClusterId([7; 32]), cluster_after(ClusterId([7; 32]), 1, StoreId(4)));
    let new = cluster_after(old, 1, StoreId(3));
    assert!(is_begun_from(new, old) && is_begun_from(cluster_after(new, 2, StoreId(4)), new));
    for (cluster, own) in [(new, sibling), (sibling, new), (old, new), (new, new)] {
        assert!(!is_begun_from(cluster, own), "{cluster} from {own}");
    }
    // What was not begun from it but is two disasters later.
    assert!(!is_begun_from(cluster_after(new, 2, StoreId(4)), old));
}

const FILE: &str = "raft.redb";
const OLD: ClusterId = ClusterId([7; 32]);

/// The data directory of `n3`, on which no node runs.
struct Left {
    place: tempfile::TempDir,
    config: NodeConfig,
}

impl Left {
    /// Of `cluster`, with the log of a voter of the cluster `votes_in`, or with an empty one.
    fn new(cluster: ClusterId, votes_in: Option<ClusterId>) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let data = place.path().join("n3");
        let left = Self { config: NodeConfig { data, ..NodeConfig::insecure(id(3)) }, place };
        let (disk, facts) = left.open();
        facts.set_cluster(cluster).expect("a disk");
        Remains::forget(&disk, 0).expect("a disk");
        if let Some(cluster) = votes_in {
            let mut found = remains(Epoch::new(0, 9));
            found.view.cluster = cluster;
            let voter = (facts.voter(), found.voters[&VoterId(3)].clone());
            found.begin(&disk, voter, &found.view).expect("a disk");
        }
        left
    }

    fn open(&self) -> (Directory, Facts) {
        let disk = Directory::open(&self.config.data).expect("nobody has it");
        let facts = Facts::open(&disk, &self.config.name, &SeededRng::new(1)).expect("its own");
        (disk, facts)
    }

    fn follow(&self, cluster: ClusterId) -> Result<(), RecoverError> {
        follow_quorum(&self.config, cluster)
    }

    /// Of which cluster it is, and its log.
    fn state(&self) -> (Option<ClusterId>, Vec<u8>) {
        let log = std::fs::read(self.config.data.join(FILE)).expect("it is there");
        (self.open().1.cluster(), log)
    }

    /// Whether it is of `cluster`, and has a view on its disk.
    fn is_of(&self, cluster: ClusterId) -> (bool, bool) {
        let (disk, facts) = self.open();
        let seams = machine(&ControlRuntime::start("test").expect("a thread"));
        let worker = seams.worker("raft-log").expect("a thread");
        let found = Remains::read(&disk, worker).expect("it is whole").expect("it is there");
        (facts.cluster() == Some(cluster), found.view.is_formed())
    }

    fn is_refused(&self, cluster: ClusterId, says: &str) {
        let before = self.state();
        let why = self.follow(cluster).expect_err(says).to_string();
        assert!(why.contains(says) && why.contains("nothing was changed"), "{why}");
        assert!(self.state() == before, "it was changed");
    }
}

/// Goal: a node follows what was begun from the cluster that it is of, once, and forgets its votes;
/// a stop in between is made good by another call. Method: a voter and one that never voted.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_from_its_cluster_is_followed_once() {
    let new = cluster_after(OLD, 1, StoreId(5));
    for voted in [Some(OLD), None] {
        let left = Left::new(OLD, voted);
        assert_eq!(left.is_of(OLD), (true, voted.is_some()));
        left.follow(new).expect("it was begun from its cluster");
        assert_eq!(left.is_of(new), (true, false));
        left.is_refused(new, "n3 is of cluster");
        // The next disaster, before it was ever started.
        let later = cluster_after(new, 2, StoreId(6));
        left.follow(later).expect("it was begun from its cluster");
        assert_eq!(left.is_of(later), (true, false));
    }
    let stopped = Left::new(OLD, Some(OLD));
    Remains::forget(&stopped.open().0, 0).expect("a disk");
    stopped.follow(new).expect("it goes on where it was stopped");
    assert_eq!(stopped.is_of(new), (true, false));
    // A voter of the new quorum keeps what it has voted since.
    Left::new(new, Some(new)).is_refused(new, "n3 is of cluster");
}

/// Goal: who went its own way, as a survivor that began a quorum or as one that followed it, does
/// not follow another: it may have sealed the same epochs.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_another_line_is_not_followed() {
    let (own, other) = (cluster_after(OLD, 1, StoreId(3)), cluster_after(OLD, 1, StoreId(5)));
    for voted in [Some(own), None] {
        let left = Left::new(own, voted);
        left.is_refused(other, "was not begun from cluster");
        left.is_refused(OLD, "was not begun from cluster");
        left.follow(cluster_after(own, 2, StoreId(5))).expect("a later disaster");
    }
    // It was stopped before it had begun its own: it never ran as of that.
    let stopped = Left::new(own, Some(OLD));
    stopped.follow(other).expect("both were begun from the cluster that it ran in");
    assert_eq!(stopped.is_of(other), (true, false));
}

/// Goal: what was lost stays lost to whoever looks next: no file is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_lacks_a_file_is_refused_and_stays_so() {
    let new = cluster_after(OLD, 1, StoreId(5));
    let lost = BTreeSet::from([id(1), id(2)]);
    let left = Left::new(OLD, Some(OLD));
    let refused = |says: &str| {
        let why = Recovery::look(&left.config, &lost).expect_err(says).to_string();
        assert!(why.contains(says) && why.contains("nothing was changed"), "{why}");
    };
    refused("data.redb is missing");
    assert!(!left.config.data.join(DATA_FILE).exists(), "a file was made");
    std::fs::remove_file(left.config.data.join(FILE)).expect("it was there");
    refused("raft.redb is missing");
    let why = left.follow(new).expect_err("no log").to_string();
    assert!(why.contains("raft.redb is missing"), "{why}");
    assert!(!left.config.data.join(FILE).exists(), "a file was made");
    assert_eq!(left.open().1.cluster(), Some(OLD));
    drop(left.place);
}

/// A log that cannot be read is put aside by whoever follows, as any other is.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_put_aside_and_its_copy_is_kept() {
    let new = cluster_after(OLD, 1, StoreId(5));
    let left = Left::new(OLD, Some(OLD));
    let path = left.config.data.join(FILE);
    std::fs::write(&path, b"nothing of a log").expect("it is written");
    left.is_refused(cluster_after(new, 2, StoreId(5)), "was not begun from cluster");
    left.follow(new).expect("it was begun from its cluster");
    assert_eq!(left.is_of(new), (true, false));
    let kept = std::fs::read(left.config.data.join("raft.redb.before-recovery"));
    assert_eq!(kept.expect("it is kept"), b"nothing of a log");
}
