//! The contract of [`Disk`] holds for a real directory and for a simulated one; facts and databases
//! survive what they must.

use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadableDatabase as _, TableDefinition};

use super::*;
use crate::base::{Boot, ClusterId, NodeId, SeededRng, StoreId};
use crate::placement::DiskMark;

const TABLE: TableDefinition<u64, u64> = TableDefinition::new("table");

fn mark(inode: u64) -> DiskMark {
    DiskMark { filesystem: 1, device: 1, lock_inode: inode, host_boot: "first".into() }
}

fn name(name: &str) -> NodeId {
    name.parse().expect("a name")
}

/// What every disk does.
fn contract(disk: &dyn Disk) {
    assert!(!disk.exists("a").expect("exists"));
    assert!(disk.rename("a", "b").is_err() && disk.remove("a").is_err());
    let file = disk.open("a").expect("open");
    assert_eq!(file.len().expect("len"), 0);
    file.set_len(1000).expect("grow");
    let mut out = [9; 4];
    file.read(996, &mut out).expect("read");
    assert_eq!(out, [0; 4], "what is new is zero");
    assert!(file.read(998, &mut out).is_err(), "nothing beyond the end");
    file.write(990, b"hello").expect("write");
    file.write(992, b"LL").expect("write");
    file.sync_data().expect("sync");
    file.set_len(994).expect("shrink");
    let mut out = [0; 4];
    file.read(990, &mut out).expect("read");
    assert_eq!(&out, b"heLL");
    file.set_len(996).expect("grow");
    file.read(992, &mut out).expect("read");
    assert_eq!(&out, b"LL\0\0", "what was cut off does not come back");
    drop(file);

    disk.open("b").expect("open").write(0, b"other").expect("write");
    disk.rename("a", "b").expect("rename");
    assert!(!disk.exists("a").expect("exists") && disk.exists("b").expect("exists"));
    assert_eq!(disk.open("b").expect("open").len().expect("len"), 996, "the renamed one won");
    disk.remove("b").expect("remove");
    assert!(!disk.exists("b").expect("exists"));

    let first = disk.mark();
    assert_eq!(first, disk.mark(), "a mark does not change while the disk is used");
    assert!(!first.host_boot.is_empty());
    databases(disk);
    facts(disk);
}

fn databases(disk: &dyn Disk) {
    // A maker that died on the way left this behind.
    disk.open("d.redb.new").expect("open").write(0, b"half").expect("write");
    let database = open_database(disk, "d.redb", CACHE_BYTES_SMALL).expect("made");
    assert!(!disk.exists("d.redb.new").expect("exists"));
    let write = begin_write(&database).expect("write");
    write.open_table(TABLE).expect("table").insert(1, 2).expect("insert");
    write.commit().expect("commit");
    drop(database);
    let database = open_database(disk, "d.redb", CACHE_BYTES_SMALL).expect("opened");
    let read = database.begin_read().expect("read");
    let found = read.open_table(TABLE).expect("table").get(1).expect("get").map(|at| at.value());
    assert_eq!(found, Some(2));
    drop((read, database));

    disk.open("d.redb").expect("open").write(0, b"something else").expect("write");
    let error = open_database(disk, "d.redb", CACHE_BYTES_SMALL).expect_err("corrupt");
    assert!(matches!(&error, StoreError::CorruptFile { file, .. } if file == "d.redb"), "{error}");
    disk.open("d.redb").expect("open").set_len(0).expect("cut");
    let error = open_database(disk, "d.redb", CACHE_BYTES_SMALL).expect_err("empty");
    assert!(matches!(error, StoreError::CorruptFile { .. }), "an empty file is not a new one");
}

fn facts(disk: &dyn Disk) {
    let facts = Facts::open(disk, &name("n1"), &SeededRng::new(1)).expect("made");
    let voter = facts.voter();
    assert_eq!((facts.cluster(), facts.answer(), facts.store()), (None, None, None));
    assert!(!facts.is_copy(&disk.mark()), "nothing was written down yet");
    let rng = SeededRng::new(3);
    assert_eq!(facts.begin_boot(&rng), Ok(Boot(1)));
    assert_eq!(facts.boot_after(Boot(6), &rng), Ok(Boot(7)));
    let tokens = [1, 7].map(|boot| (Boot(boot), facts.token(Boot(boot))));
    assert!(tokens[0].1 != tokens[1].1 && facts.token(Boot(2)) == 0);
    facts.set_cluster(ClusterId([3; 32])).expect("set");
    facts.set_store(StoreId(9)).expect("set");
    facts.set_nonce(4).expect("set");
    facts.set_answer(Bytes::from_static(b"yes")).expect("set");
    facts.set_mark(disk.mark()).expect("set");
    drop(facts);

    let error = Facts::open(disk, &name("n2"), &SeededRng::new(1)).expect_err("another node's");
    let said = "this data directory belongs to node n1, not to n2: start it as n1, or choose \
                another directory";
    assert_eq!(error.to_string(), said);

    let facts = Facts::open(disk, &name("n1"), &SeededRng::new(2)).expect("opened");
    assert_eq!(facts.voter(), voter, "drawn once");
    assert_eq!(facts.cluster(), Some(ClusterId([3; 32])));
    assert_eq!((facts.store(), facts.nonce()), (Some(StoreId(9)), Some(4)));
    assert_eq!(facts.answer().as_deref(), Some(b"yes".as_slice()));
    assert_eq!(facts.tokens_before(Boot(9)), tokens, "kept");
    assert_eq!(facts.begin_boot(&rng), Ok(Boot(8)));
    assert_eq!(facts.tokens_before(Boot(8)), tokens);
    assert_eq!(facts.boots(), [Boot(1), Boot(7), Boot(8)]);
    let ranges = [(Boot(1), Boot(1)), (Boot(7), Boot(8))];
    assert_eq!(facts.boots_before(Boot(9)), ranges);
    assert_eq!(facts.boots_before(Boot(8)), [(Boot(1), Boot(1)), (Boot(7), Boot(7))]);
    assert!(facts.has_boot(Boot(7)) && !facts.has_boot(Boot(2)));
    let here = disk.mark();
    assert!(!facts.is_copy(&here));
    let restarted = DiskMark { host_boot: "another".into(), ..here.clone() };
    assert!(!facts.is_copy(&restarted), "a restarted host is no copy");
    assert!(facts.is_copy(&DiskMark { lock_inode: here.lock_inode + 1, ..here.clone() }));
    assert!(facts.is_copy(&DiskMark { filesystem: here.filesystem + 1, ..here.clone() }));
    let unknown = DiskMark { filesystem: 0, device: 7, ..here };
    assert!(!facts.is_copy(&unknown), "a file system without an id of its own");
}

#[test]
fn a_directory_keeps_the_contract() {
    let place = tempfile::tempdir().expect("a directory");
    contract(&Directory::open(place.path().join("deep/er")).expect("opened"));
}

#[test]
fn a_simulated_disk_keeps_the_contract() {
    contract(&SimDisk::new(mark(1)).mount());
}

#[test]
fn a_new_directory_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("node");
    let directory = Directory::open(&path).expect("opened");
    directory.open("file").expect("open");
    let mode = |path| std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(mode(path.clone()), 0o700);
    assert_eq!(mode(path.join("file")), 0o600);
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_in_words() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("file");
    std::fs::write(&file, "x").expect("written");
    let error = Directory::open(&file).expect_err("a file");
    assert!(matches!(error, DiskError::NotADirectory { .. }), "{error}");
    let error = Directory::open(file.join("below")).expect_err("below a file");
    assert!(matches!(error, DiskError::NotADirectory { .. }), "{error}");
    // A directory that nobody may write to, not even root.
    let error = Directory::open("/proc/self/evertree").expect_err("not writable");
    assert!(!error.to_string().is_empty() && !matches!(error, DiskError::InUse { .. }));
}

#[test]
fn two_processes_cannot_use_one_directory() {
    const ASK: &str = "EVERTREE_TEST_TAKEN_DIRECTORY";
    const REFUSED: i32 = 42;
    if let Ok(path) = std::env::var(ASK) {
        let refused = matches!(Directory::open(path), Err(DiskError::InUse { .. }));
        std::process::exit(if refused { REFUSED } else { 1 });
    }
    let place = tempfile::tempdir().expect("a directory");
    let directory = Directory::open(place.path()).expect("opened");
    let other = || {
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "storage::tests::two_processes_cannot_use_one_directory"])
            .env(ASK, place.path())
            .output()
            .expect("the other process ran");
        status.status.code()
    };
    assert_eq!(other(), Some(REFUSED));
    let error = Directory::open(place.path()).expect_err("in use");
    assert!(error.to_string().contains("is in use by another process: stop that process"));
    // An open file holds the directory, whoever drops the directory's own value.
    let file = directory.open("file").expect("open");
    drop(directory);
    assert_eq!(other(), Some(REFUSED));
    drop(file);
    assert_eq!(other(), Some(1), "free again");
}

#[test]
fn a_copied_directory_is_known_by_its_lock_file() {
    let place = tempfile::tempdir().expect("a directory");
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    let disk = Directory::open(&one).expect("opened");
    let facts = Facts::open(&disk, &name("n1"), &SeededRng::new(1)).expect("made");
    facts.set_mark(disk.mark()).expect("set");
    drop((facts, disk));

    std::fs::create_dir(&two).expect("made");
    for entry in std::fs::read_dir(&one).expect("listed") {
        let entry = entry.expect("entry");
        std::fs::copy(entry.path(), two.join(entry.file_name())).expect("copied");
    }
    for (path, copy) in [(one, false), (two, true)] {
        let disk = Directory::open(path).expect("opened");
        let facts = Facts::open(&disk, &name("n1"), &SeededRng::new(1)).expect("opened");
        assert_eq!(facts.is_copy(&disk.mark()), copy);
    }
}

#[test]
fn a_new_mount_takes_the_disk_over() {
    let disk = SimDisk::new(mark(1));
    let old: Arc<dyn Disk> = Arc::new(disk.mount());
    let file = old.open("file").expect("open");
    file.write(0, b"old").expect("write");
    let new = disk.mount();
    assert!(file.write(0, b"bad").is_err() && file.sync_data().is_err() && old.open("x").is_err());
    let mut out = [0; 3];
    new.open("file").expect("open").read(0, &mut out).expect("read");
    assert_eq!(&out, b"old");
    disk.set_host_boot("second");
    assert_eq!(new.mark().host_boot, "second");
}

#[test]
fn power_loss_keeps_what_was_synced_and_tears_the_rest_by_sectors() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..64 {
        let disk = SimDisk::new(mark(1));
        let file = disk.mount().open("file").expect("open");
        file.write(0, &[1; 1024]).expect("write");
        file.sync_data().expect("sync");
        file.write(256, &[2; 512]).expect("write");
        assert_eq!(disk.copy(mark(2)).bytes("file").expect("there")[300], 2);
        disk.power_loss(&SeededRng::new(seed));
        let bytes = disk.bytes("file").expect("there");
        assert!(bytes[..256].iter().all(|&byte| byte == 1) && bytes[768..] == [1; 256]);
        let parts = (bytes[256..512].to_vec(), bytes[512..768].to_vec());
        for part in [&parts.0, &parts.1] {
            assert!(part.iter().all(|byte| byte == &part[0]), "a sector never tears");
        }
        match (parts.0[0], parts.1[0]) {
            (2, 2) => kept += 1,
            (1, 1) => lost += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 0 && lost > 0 && torn > 0, "{kept} {lost} {torn}");
}

#[test]
fn facts_survive_power_loss_at_any_moment() {
    for seed in 0..60 {
        let disk = SimDisk::new(mark(1));
        let rng = SeededRng::new(seed);
        let mut last = Boot(0);
        for life in 0..5 {
            // Half of the directories lose power while they are made.
            if life > 0 || seed % 2 == 0 {
                disk.fail_write_after(crate::base::Rng::next_u64(&rng) % 60);
            }
            let mount = disk.mount();
            if let Ok(facts) = Facts::open(&mount, &name("n1"), &rng) {
                while let Ok(boot) = facts.begin_boot(&rng) {
                    assert!(boot > last, "a boot was given twice, seed {seed}");
                    last = boot;
                    if boot.0 % 8 == 0 {
                        break;
                    }
                }
            }
            disk.power_loss(&rng);
        }
        let facts = Facts::open(&disk.mount(), &name("n1"), &rng).expect("opens after all");
        assert!(facts.begin_boot(&rng).expect("begun") > last, "seed {seed}");
    }
}
