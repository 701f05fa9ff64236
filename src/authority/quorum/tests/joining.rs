//! Nodes that come later: with empty directories, under names that were there before, and with
//! settings that do not fit.

use std::time::Duration;

use super::super::Formation;
use super::world::*;
use crate::authority::{Seeds, StartError, ViewAuthority as _};
use crate::base::{Boot, VoterId};
use crate::placement::Profile;

/// As a node is started that is to join: nobody is told how many formed the cluster.
fn to_join() -> How {
    expecting(1)
}

fn bootstrapping() -> How {
    How { formation: Formation::Bootstrap { seeds: seeds() }, ..expecting(1) }
}

fn refused(started: Result<(), StartError>) -> String {
    match started {
        Err(StartError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn voter_of(town: &Town, by: usize, name: &str) -> Option<VoterId> {
    let view = town.node(by).view();
    view.voters.iter().find(|(_, node)| node.as_str() == name).map(|(id, _)| *id)
}

/// Goal: a cluster of one grows to seven, and its voters to three and five; who joined is told of
/// everything and may vote.
#[tokio::test(start_paused = true)]
async fn a_cluster_of_one_grows_and_so_do_its_voters() {
    let mut town = Town::new(7);
    town.start(0, &bootstrapping()).await.unwrap();
    for (joins, voters) in [(1, 1), (2, 3), (3, 3), (4, 5), (5, 5), (6, 5)] {
        town.start(joins, &to_join()).await.unwrap();
        town.until(10, "grown", |town| town.is_whole() && town.votes(0).len() == voters).await;
        assert_eq!(town.votes(joins), town.votes(0));
    }
    // All of it is there after the power failed everywhere: also who votes.
    let (members, voters) = (town.node(0).view().members.len(), town.votes(0));
    for at in 0..7 {
        town.kill(at).await;
    }
    let all: Vec<_> = (0..7).collect();
    for started in town.start_all(&all, &to_join()).await {
        started.unwrap();
    }
    town.until(10, "whole", Town::is_whole).await;
    assert_eq!((town.node(3).view().members.len(), town.votes(3)), (members, voters));
}

/// Goal: a voter whose disk is lost joins anew under its name, as another voter, and takes the
/// place of the one it was: three nodes with three disks become three voters again.
#[tokio::test(start_paused = true)]
async fn a_voter_that_lost_its_disk_joins_anew_and_votes_again() {
    let mut town = Town::formed(3).await;
    town.until(5, "whole", Town::is_whole).await;
    let leader = town.leader().await;
    let lost = (leader + 1) % 3;
    let name = town.name(lost).to_string();
    let (before, boot) =
        (voter_of(&town, leader, &name), town.node(leader).view().members[&*name].boot);
    for _ in 0..3 {
        // Evicted or not: its old life is over before the new one is let in.
        town.kill(lost).await;
        town.new_disk(lost);
        town.start(lost, &to_join()).await.unwrap();
        town.until(3, "whole", Town::is_whole).await;
    }
    let now = town.node(leader).view().members[&*name].clone();
    assert!(now.boot > Boot(boot.0 + 2), "{} after {boot}", now.boot);
    town.until(15, "a voter again", |town| voter_of(town, leader, &name) == now.voter).await;
    assert_ne!(now.voter, before);
    assert_eq!(town.votes(leader), ["n1", "n2", "n3"]);
    // It votes: without another one there is a majority.
    let other = (lost + 1) % 3;
    town.kill(other).await;
    town.leader().await;
    town.until(8, "whole without it", Town::is_whole).await;
}

/// Goal: a node that was evicted while it was off comes back with its directory; an empty one comes
/// under its name, too.
#[tokio::test(start_paused = true)]
async fn an_evicted_name_joins_with_its_directory_or_an_empty_one() {
    let mut town = Town::formed(4).await;
    town.until(5, "whole", Town::is_whole).await;
    for fresh in [false, true] {
        town.kill(3).await;
        town.until(5, "whole without it", Town::is_whole).await;
        if fresh {
            town.new_disk(3);
        }
        town.start(3, &to_join()).await.unwrap();
        town.until(3, "whole", Town::is_whole).await;
    }
}

/// Goal: an empty directory under the name of a living node takes part in nothing.
#[tokio::test(start_paused = true)]
async fn a_second_process_of_a_living_name_is_refused() {
    let mut town = Town::formed(3).await;
    town.until(5, "whole", Town::is_whole).await;
    let version = town.node(0).view().version;
    town.add_host("n2");
    for _ in 0..2 {
        let why = refused(town.start(3, &to_join()).await);
        assert!(why.starts_with("another process ") && why.contains(" n2 "), "{why}");
        town.new_disk(3);
    }
    town.hosts.pop();
    town.until(1, "whole", Town::is_whole).await;
    assert_eq!(town.node(0).view().version, version);
}

#[tokio::test(start_paused = true)]
async fn a_second_bootstrap_is_refused() {
    let mut town = Town::new(2);
    town.start(0, &bootstrapping()).await.unwrap();
    let why = refused(town.start(1, &bootstrapping()).await);
    assert!(why.contains("n1 among the seeds is of cluster"), "{why}");
    assert!(why.ends_with("without `bootstrap`, and it joins that one"), "{why}");
    town.start(1, &to_join()).await.unwrap();
    for at in [0, 1] {
        town.kill(at).await;
    }
    let why = refused(town.start(0, &bootstrapping()).await);
    assert!(why.starts_with("the data directory of n1 is of cluster"), "{why}");
    // Without it, all is there.
    town.start(0, &to_join()).await.unwrap();
    town.start(1, &to_join()).await.unwrap();
    town.until(5, "whole", Town::is_whole).await;
}

/// Goal: a node that is to join never forms a cluster of its own, however late the others answer.
#[tokio::test(start_paused = true)]
async fn who_is_to_join_waits_for_a_cluster() {
    let mut town = Town::new(2);
    let hurried = How { within: Duration::from_secs(5), ..to_join() };
    for started in town.start_all(&[0, 1], &hurried).await {
        let Err(StartError::NoCluster(why)) = started else { panic!("{started:?}") };
        assert!(why.contains("no seed answers from a cluster"), "{why}");
    }
    let seeds = Seeds { list: vec!["127.0.0.1:999".into()], file: None };
    let formation = Formation::Expect { expect: 1, seeds };
    let started = town.start(0, &How { formation, ..hurried }).await;
    assert!(matches!(started, Err(StartError::NoCluster(_))), "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn another_profile_than_the_clusters_is_refused_naming_both() {
    let mut town = Town::formed(3).await;
    let other = How { profile: Profile::dev(), ..to_join() };
    town.add_host("n4");
    let why = refused(town.start(3, &other).await);
    assert!(why.contains("this node's profile is dev, and that of n"), "{why}");
    assert!(why.contains("is lan: it must be the same everywhere"), "{why}");
    // Also with the same name, and with a directory of the cluster.
    let renew = Duration::from_millis(150);
    let own = Profile { renew, ..Profile::lan() };
    town.kill(1).await;
    let why = refused(town.start(1, &How { profile: own, ..to_join() }).await);
    assert!(why.contains("renew: 150ms") && why.contains("renew: 200ms"), "{why}");
    town.start(1, &to_join()).await.unwrap();
    town.start(3, &to_join()).await.unwrap();
    town.until(5, "whole", Town::is_whole).await;
}

/// Goal: of nodes that are told different things the ones that came first go on.
#[tokio::test(start_paused = true)]
async fn another_number_of_nodes_or_shards_than_its_peers_is_refused_naming_both() {
    let mut town = Town::new(3);
    let two =
        town.start_all_after(&[(0, 0, 3), (1, 0, 3), (2, 3, 5)], Duration::from_secs(20)).await;
    let why = refused(two.into_iter().nth(2).expect("three"));
    assert!(why.contains("this node expects 5 nodes to form the cluster, and n"), "{why}");
    assert!(why.contains(" 3: `expect` must be the same everywhere"), "{why}");
    for started in town.start_all(&[0, 1, 2], &expecting(3)).await {
        started.unwrap();
    }
    town.until(5, "whole", Town::is_whole).await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_of_another_cluster_is_refused_naming_both() {
    let mut other = Town::new(4);
    other.start(3, &bootstrapping()).await.unwrap();
    let theirs = other.node(3).view().cluster;
    other.kill(3).await;
    let mut town = Town::formed(3).await;
    let ours = town.node(0).view().cluster;
    town.add_host("n4");
    town.hosts[3].disk = other.hosts.remove(3).disk;
    let why = refused(town.start(3, &to_join()).await);
    assert!(why.starts_with("the data directory belongs to cluster"), "{why}");
    assert!(why.contains(&theirs.to_string()) && why.contains(&ours.to_string()), "{why}");
}

/// Goal: a voter that has forgotten what it agreed to takes part in nothing. Method: its own disk
/// as it was one life before.
#[tokio::test(start_paused = true)]
async fn an_old_backup_of_a_voter_is_refused() {
    let mut town = Town::formed(3).await;
    town.until(5, "whole", Town::is_whole).await;
    let mark = crate::storage::Disk::mark(&town.hosts[1].disk.mount());
    let backup = town.hosts[1].disk.copy(mark);
    for _ in 0..2 {
        town.kill(1).await;
        town.start(1, &to_join()).await.unwrap();
        town.until(5, "whole", Town::is_whole).await;
    }
    town.kill(1).await;
    town.hosts[1].disk = backup;
    let why = refused(town.start(1, &to_join()).await);
    assert!(why.contains("looks like a copy or an old backup"), "{why}");
}
