//! Which log is older than the rest of its directory, and which is not.

use super::super::file::{RAFT_FILE, RaftFile, Write, begin_anew, seal};
use super::super::types::Vote;
use super::world::{mark, name};
use super::*;
use crate::base::{ClusterId, Worker};
use crate::storage::{Counted, Facts, SimDisk};

/// What a voter does with its file before anything else. The vote is one of its life.
fn start(disk: &SimDisk) -> Result<(), OpenError> {
    let mount = disk.mount();
    let facts = Facts::open(&mount, &name(0), &SeededRng::new(1))?;
    if facts.cluster().is_none() {
        facts.set_cluster(ClusterId([3; 32]))?;
    }
    let (file, loaded) = RaftFile::open(&mount, Worker::inline())?;
    file.begin_start(&loaded, &facts)
}

fn is_older(disk: &SimDisk) -> bool {
    match start(disk) {
        Ok(()) => false,
        Err(OpenError::Older(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_log_from_an_earlier_start_is_older_until_the_last_one_is_put_back() {
    let disk = SimDisk::new(mark(0));
    // As programs of before leave it: no number anywhere.
    drop(RaftFile::open(&disk.mount(), Worker::inline()).unwrap());
    let mut earlier = Vec::new();
    for _ in 0..4 {
        earlier.push(disk.copy(mark(1)));
        assert!(!is_older(&disk));
        let good = disk.copy(mark(1));
        for earlier in &earlier {
            disk.put_back(RAFT_FILE, earlier);
            assert!(is_older(&disk) && is_older(&disk));
        }
        disk.put_back(RAFT_FILE, &good);
    }
}

/// Goal: wherever the power fails in a start, the next one is taken, and a file from before is not.
/// Method: every write of a start fails once.
#[test]
fn a_start_that_ends_between_its_writes_is_taken() {
    let (mut whole, mut between) = (0, 0);
    for writes in 0..120 {
        let disk = SimDisk::new(mark(0));
        assert!(!is_older(&disk));
        let old = disk.copy(mark(1));
        assert!(!is_older(&disk));
        disk.fail_write_after(writes);
        whole += usize::from(start(&disk).is_ok());
        disk.power_loss(&SeededRng::new(writes));
        let mount = disk.mount();
        let facts = Facts::open(&mount, &name(0), &SeededRng::new(1)).unwrap();
        let (file, loaded) = RaftFile::open(&mount, Worker::inline()).unwrap();
        between += usize::from(loaded.starts > facts.starts(Counted::Raft));
        drop((file, facts));
        assert!(!is_older(&disk), "after {writes} writes");
        disk.put_back(RAFT_FILE, &old);
        assert!(is_older(&disk), "after {writes} writes");
    }
    assert!(whole > 0 && whole < 120 && between > 0, "{whole} {between}");
}

/// Goal: a file that a recovery has written is not taken for an older one unless it was.
#[test]
fn a_log_written_anew_keeps_its_number() {
    let disk = SimDisk::new(mark(0));
    for _ in 0..3 {
        assert!(!is_older(&disk));
    }
    let facts = Facts::open(&disk.mount(), &name(0), &SeededRng::new(1)).unwrap();
    let starts = facts.starts(Counted::Raft);
    drop(facts);
    Remains::forget(&disk.mount(), starts).unwrap();
    assert!(!is_older(&disk));
    Remains::forget(&disk.mount(), starts).unwrap();
    assert!(is_older(&disk), "a start was counted since");
    let vote = Write::Vote(seal(&Vote::new(7, 5)).unwrap());
    begin_anew(&disk.mount(), &[vote]).unwrap();
    assert!(is_older(&disk), "it has no number");
}
