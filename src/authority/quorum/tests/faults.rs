//! Disks that fail, are full or damaged; voters that come back after they were replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::*;
use crate::authority::{RAFT_FILE, Remains, StartError};
use crate::base::{ClusterId, SeededRng, Worker, within};
use crate::storage::{Disk as _, Facts};

/// Goal: a voter whose disk takes no more stops and says so, the others go on, and it comes back
/// once there is room.
#[tokio::test(start_paused = true)]
async fn a_voter_whose_disk_is_full_stops_and_the_others_go_on() {
    for leads in [false, true] {
        let mut town = Town::formed(3).await;
        town.until(5, "whole", Town::is_whole).await;
        let leader = town.leader().await;
        let full = if leads { leader } else { (leader + 1) % 3 };
        let other = (full + 1) % 3;
        town.hosts[full].disk.fail_write_after(0);
        let change = town.change(other).expect("it owns a shard");
        town.propose(other, change, 10).await;
        let core = town.node(full).core().clone();
        let deadline = town.clock.now() + Duration::from_secs(5);
        let why = within(&*town.clock, deadline, core.stopped()).await.expect("it stops");
        assert!(why.contains(RAFT_FILE) && why.contains("injected write failure"), "{why}");
        // As the node does then: it ends.
        town.kill(full).await;
        town.until(5, "whole without it", Town::is_whole).await;
        town.start(full, &expecting(3)).await.unwrap();
        town.until(5, "whole", Town::is_whole).await;
    }
}

/// Goal: a damaged log is refused in plain words, and the way out that they name works.
#[tokio::test(start_paused = true)]
async fn a_voter_with_a_damaged_log_is_refused_and_joins_anew_with_an_empty_directory() {
    let mut town = Town::formed(3).await;
    town.until(5, "whole", Town::is_whole).await;
    town.kill(1).await;
    let length = town.hosts[1].disk.bytes(RAFT_FILE).expect("it is there").len();
    for offset in (0..length).step_by(64) {
        town.hosts[1].disk.flip_bit(RAFT_FILE, offset);
    }
    match town.start(1, &expecting(3)).await {
        Err(StartError::Storage(why)) => {
            assert!(why.contains(RAFT_FILE) && why.contains("empty data directory"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    town.until(5, "whole without it", Town::is_whole).await;
    town.new_disk(1);
    town.start(1, &expecting(3)).await.unwrap();
    town.until(10, "three voters", |town| town.is_whole() && town.votes(0).len() == 3).await;
}

/// Goal: a raft file that was taken away is not made anew under the id that voted before.
#[tokio::test(start_paused = true)]
async fn a_directory_without_its_raft_file_is_refused() {
    let mut town = Town::formed(3).await;
    town.until(5, "whole", Town::is_whole).await;
    town.kill(2).await;
    town.hosts[2].disk.mount().remove(RAFT_FILE).unwrap();
    match town.start(2, &expecting(3)).await {
        Err(StartError::Refused(why)) => {
            assert!(why.starts_with("raft.redb is missing from the data directory of n3"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

/// Goal: a log of an earlier start is refused in plain words, for it has forgotten votes; with the
/// right one the voter starts. Method: the file alone is put back; the rest of the directory stays.
#[tokio::test(start_paused = true)]
async fn a_voter_with_the_log_of_an_earlier_start_is_refused() {
    let mut town = Town::formed(3).await;
    town.until(5, "whole", Town::is_whole).await;
    town.kill(2).await;
    let old = town.hosts[2].disk.copy(disk(70).mount().mark());
    town.start(2, &expecting(3)).await.unwrap();
    town.until(5, "whole", Town::is_whole).await;
    town.kill(2).await;
    let good = town.hosts[2].disk.copy(disk(71).mount().mark());
    for _ in 0..2 {
        town.hosts[2].disk.put_back(RAFT_FILE, &old);
        match town.start(2, &expecting(3)).await {
            Err(StartError::Storage(why)) => {
                let older = "raft.redb is older than the rest of the data directory";
                assert!(why.starts_with(older) && why.contains("put back the one that"), "{why}");
                assert!(why.contains("it joins anew"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    town.hosts[2].disk.put_back(RAFT_FILE, &good);
    town.start(2, &expecting(3)).await.unwrap();
    town.until(5, "whole", Town::is_whole).await;
}

/// Goal: a directory on which a new quorum was begun and not to its end does not go on with the log
/// of the old one. Method: one that votes alone, so that nobody else is in the way.
#[tokio::test(start_paused = true)]
async fn a_log_of_another_cluster_than_its_directory_is_refused() {
    let mut town = Town::formed(3).await;
    town.until(5, "whole", Town::is_whole).await;
    for host in 0..3 {
        town.kill(host).await;
    }
    for (cluster, goes_on) in [(None, true), (Some(ClusterId([9; 32])), false)] {
        let (mount, name) = (town.hosts[2].disk.mount(), town.name(2));
        let facts = Facts::open(&mount, &name, &SeededRng::new(1)).unwrap();
        let remains = Remains::read(&mount, Worker::inline()).unwrap().expect("it voted");
        let (me, mut view) = (remains.voters[&facts.voter()].clone(), remains.view.clone());
        view.voters = BTreeMap::from([(facts.voter(), name)]);
        remains.begin(&mount, (facts.voter(), me), &view).unwrap();
        if let Some(cluster) = cluster {
            facts.set_cluster(cluster).unwrap();
        }
        drop(facts);
        match town.start(2, &expecting(3)).await {
            Ok(()) => assert!(goes_on, "it went on with what was given up"),
            Err(StartError::Refused(why)) => {
                let says = "a new quorum was begun here and not to its end; begin it again";
                assert!(!goes_on && why.contains(says), "{why}");
            }
            other => panic!("{other:?}"),
        }
        if goes_on {
            town.kill(2).await;
        }
    }
}

/// Goal: a voter that was replaced while it was off comes back as a lease client, and disturbs
/// nobody: no election, and no other voters.
#[tokio::test(start_paused = true)]
async fn a_voter_that_was_replaced_comes_back_without_a_vote() {
    let mut town = Town::formed(4).await;
    town.until(5, "whole", Town::is_whole).await;
    let leader = town.leader().await;
    let gone = (leader + 1) % 3;
    assert_eq!(town.votes(0), ["n1", "n2", "n3"]);
    town.kill(gone).await;
    let name = town.name(gone).to_string();
    town.until(10, "replaced", |town| {
        let voters = town.votes(leader);
        voters.contains(&"n4".into()) && !voters.contains(&name)
    })
    .await;
    let key = town.node(leader).core().leader_key().await;
    assert!(key.is_some());
    let voters = town.votes(leader);
    town.start(gone, &expecting(4)).await.unwrap();
    town.until(2, "whole", Town::is_whole).await;
    town.clock.sleep(Duration::from_secs(10)).await;
    assert_eq!(town.node(leader).core().leader_key().await, key, "an election");
    assert!(town.is_whole());
    assert_eq!((town.votes(gone), town.votes(leader)), (voters.clone(), voters));
    // What is changed through it is agreed on.
    if let Some(change) = town.change(gone) {
        town.propose(gone, change, 2).await;
    }
}
