//! Which data file is older than the rest of its directory, and which is not.

use super::*;
use crate::base::ClusterId;
use crate::storage::{Facts, Older};

/// The store and the facts of a directory that is of a cluster.
fn opened(disk: &SimDisk, durability: Durability) -> Result<(Store, Facts), StoreError> {
    let (mount, rng) = (disk.mount(), SeededRng::new(1));
    let facts = Facts::open(&mount, &"n1".parse().expect("a name"), &rng)?;
    if facts.cluster().is_none() {
        facts.set_cluster(ClusterId([3; 32]))?;
    }
    Ok((Store::open(&mount, Worker::inline(), durability, &rng)?, facts))
}

/// A start as a node does it.
fn start(disk: &SimDisk) -> Result<Option<Older>, StoreError> {
    let (store, facts) = opened(disk, Durability::Disk)?;
    if let Some(older) = store.older(&facts)? {
        return Ok(Some(older));
    }
    store.begin_start(&facts).map(|()| None)
}

fn is_older(disk: &SimDisk) -> bool {
    start(disk).expect("the disk works").is_some()
}

fn copy(disk: &SimDisk) -> SimDisk {
    disk.copy(DiskMark { filesystem: 2, device: 2, lock_inode: 2, host_boot: "h".into() })
}

#[test]
fn a_data_file_from_an_earlier_start_is_older_until_the_last_one_is_put_back() {
    let disk = disk();
    assert!(!is_older(&disk));
    let first = copy(&disk);
    assert!(!is_older(&disk));
    let second = copy(&disk);
    for _ in 0..3 {
        disk.put_back(DATA_FILE, &first);
        // It is refused whenever it is tried, and counts nothing.
        let older = start(&disk).expect("the disk works").expect("older");
        assert_eq!((older.seen, older.known), (1, 2));
    }
    disk.put_back(DATA_FILE, &second);
    assert!(!is_older(&disk));
    disk.put_back(DATA_FILE, &second);
    assert!(is_older(&disk), "the one from before this start");
    // Put back as a whole, it is not this that notices it.
    assert!(!is_older(&second));
}

#[test]
fn a_data_file_from_before_there_were_numbers_is_taken_once() {
    let disk = disk();
    // As programs of before leave it.
    drop(opened(&disk, Durability::Disk).expect("made"));
    let before = copy(&disk);
    assert!(!is_older(&disk));
    disk.put_back(DATA_FILE, &before);
    assert!(is_older(&disk));
}

#[test]
fn a_new_data_file_is_never_older_and_the_lost_one_only_if_it_ran_on() {
    let disk = disk();
    assert!(!is_older(&disk));
    let first = copy(&disk);
    assert!(!is_older(&disk));
    let last = copy(&disk);
    disk.lose(DATA_FILE);
    for _ in 0..3 {
        assert!(!is_older(&disk), "another store");
    }
    disk.put_back(DATA_FILE, &first);
    assert!(is_older(&disk), "it ran on after this");
    disk.put_back(DATA_FILE, &last);
    assert!(!is_older(&disk), "nothing was ever written into it after this");
}

#[test]
fn what_is_kept_in_memory_is_not_counted() {
    let disk = disk();
    assert!(!is_older(&disk));
    for _ in 0..2 {
        let (store, facts) = opened(&disk, Durability::Memory).expect("made");
        assert_eq!(store.older(&facts), Ok(None));
        store.begin_start(&facts).expect("nothing is written");
        assert_eq!(facts.starts(store.counted()), 0);
    }
    assert!(!is_older(&disk), "the file is as it was");
}

#[test]
fn nothing_is_older_before_there_is_a_cluster() {
    let (disk, rng) = (disk(), SeededRng::new(1));
    let mount = disk.mount();
    let facts = Facts::open(&mount, &"n1".parse().expect("a name"), &rng).expect("made");
    let store = Store::open(&mount, Worker::inline(), Durability::Disk, &rng).expect("made");
    facts.set_starts(store.counted(), 5).expect("set");
    assert_eq!(store.older(&facts), Ok(None));
    facts.set_cluster(ClusterId([3; 32])).expect("set");
    assert!(store.older(&facts).expect("the disk works").is_some());
}

/// Goal: wherever the power fails in a start, the next one is taken, and a file from before is not.
/// Method: every write of a start fails once.
#[test]
fn a_start_that_ends_between_its_writes_is_taken() {
    let (mut whole, mut failed, mut between) = (0, 0, 0);
    for writes in 0..120 {
        let disk = disk();
        assert!(!is_older(&disk));
        let old = copy(&disk);
        assert!(!is_older(&disk));
        disk.fail_write_after(writes);
        match start(&disk) {
            Ok(older) => {
                assert_eq!(older, None);
                whole += 1;
            }
            Err(_) => failed += 1,
        }
        disk.power_loss(&SeededRng::new(writes));
        let (store, facts) = opened(&disk, Durability::Disk).expect("it opens");
        if store.seen().expect("it is read") > facts.starts(store.counted()) {
            between += 1;
        }
        drop((store, facts));
        assert!(!is_older(&disk), "after {writes} writes");
        disk.put_back(DATA_FILE, &old);
        assert!(is_older(&disk), "after {writes} writes");
    }
    assert!(whole > 0 && failed > 0 && between > 0, "{whole} {failed} {between}");
}
