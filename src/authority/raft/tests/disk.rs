//! The log on disk: openraft's own tests of a store, and what happens to a damaged file.

use std::os::unix::fs::MetadataExt as _;

use futures::FutureExt as _;
use openraft::entry::RaftEntry as _;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt as _;
use openraft::{RaftLogReader as _, StorageError};
use redb::{Database, TableDefinition};

use super::super::file::{RAFT_FILE, ROOM_BYTES, RaftFile, seal, unseal};
use super::super::types::{Batch, Entry, LogId, Tc, Vote};
use super::world::{World, mark, name};
use super::*;
use crate::base::Worker;
use crate::storage::{Directory, SimDisk, open_database};

impl Default for Voter {
    fn default() -> Self {
        Self { node: name(0), addr: String::new() }
    }
}

fn open(disk: &dyn Disk, worker: Worker) -> Result<(Log, Machine), OpenError> {
    let (file, mut loaded) = RaftFile::open(disk, worker)?;
    let machine = Machine::new(file.clone(), loaded.snapshot.take())?;
    Ok((Log::new(file, loaded), machine))
}

struct Fresh;

impl StoreBuilder<Tc, Log, Machine> for Fresh {
    async fn build(&self) -> Result<((), Log, Machine), StorageError<Tc>> {
        let disk = SimDisk::new(mark(0)).mount();
        let (log, machine) = open(&disk, Worker::inline()).unwrap();
        Ok(((), log, machine))
    }
}

#[tokio::test(start_paused = true)]
async fn openraft_is_content_with_the_store() {
    Suite::test_all(Fresh).await.unwrap();
}

fn id(index: u64) -> LogId {
    LogId::new(LeaderId { term: 2, node_id: 5 }, index)
}

fn entry(index: u64) -> Entry {
    let payload = match index {
        0 => openraft::EntryPayload::Blank,
        _ => openraft::EntryPayload::Normal(Batch(vec![super::world::form(4)])),
    };
    Entry::new(id(index), payload)
}

async fn filled(disk: &SimDisk, entries: u64) {
    let (mut log, _) = open(&disk.mount(), Worker::inline()).unwrap();
    for index in 0..entries {
        log.blocking_append([entry(index)]).await.unwrap();
    }
}

fn entries(log: &mut Log) -> Vec<Entry> {
    log.try_get_log_entries(..).now_or_never().unwrap().unwrap()
}

/// Goal: what a thread writes in groups is there after a restart, in order. Method: a real
/// directory, appends that do not wait for each other.
#[tokio::test]
async fn a_log_written_by_a_thread_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Directory::open(directory.path()).unwrap();
    let worker = Worker::thread("raft-log-test").unwrap();
    let (file, loaded) = RaftFile::open(&disk, worker).unwrap();
    let mut log = Log::new(file.clone(), loaded);
    let flushed: Vec<_> = (0..200)
        .map(|index| {
            let (signal, flushed) = Tc::oneshot();
            let append = log.append([entry(index)], IOFlushed::signal(signal));
            append.now_or_never().unwrap().unwrap();
            flushed
        })
        .collect();
    for flushed in flushed {
        flushed.await.unwrap().unwrap();
    }
    log.save_vote(&Vote::new(7, 5)).await.unwrap();
    log.truncate_after(Some(id(150))).await.unwrap();
    // The thread has let go of the file when it does the next call.
    file.run(|| ()).await.unwrap();
    drop((log, file, disk));
    let disk = Directory::open(directory.path()).unwrap();
    let (mut log, _) = open(&disk, Worker::inline()).unwrap();
    let expected: Vec<_> = (0..=150).map(entry).collect();
    assert_eq!(entries(&mut log), expected);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(7, 5)));
}

#[tokio::test]
async fn a_missing_entry_is_an_error() {
    const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
    let missing = |index| async move {
        let disk = SimDisk::new(mark(0));
        filled(&disk, 4).await;
        let database: Database = open_database(&disk.mount(), RAFT_FILE, 1 << 20).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(LOG).unwrap().remove(index).unwrap();
        write.commit().unwrap();
        drop(database);
        open(&disk.mount(), Worker::inline())
    };
    for index in [0, 2, 3] {
        let error = missing(index).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged(_)), "entry {index}: {error}");
    }
}

/// Goal: no flipped bit of an entry becomes another entry. Method: flip one inside each.
#[tokio::test]
async fn a_damaged_entry_is_an_error() {
    let disk = SimDisk::new(mark(0));
    filled(&disk, 4).await;
    open(&disk.mount(), Worker::inline()).unwrap();
    let bytes = disk.bytes(RAFT_FILE).unwrap();
    let word = b"lock_inode";
    let places: Vec<_> =
        bytes.windows(word.len()).enumerate().filter(|(_, seen)| seen == word).collect();
    assert!(!places.is_empty());
    for (place, _) in places {
        // Old copies of pages may hold the word too: all are flipped.
        disk.flip_bit(RAFT_FILE, place);
    }
    let error = open(&disk.mount(), Worker::inline()).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_) | OpenError::Store(_)), "{error}");
}

/// Goal: a full power loss between any two writes leaves a log that opens and has all that was
/// acknowledged.
#[tokio::test]
async fn power_loss_keeps_what_was_acknowledged() {
    for seed in 0..20 {
        let disk = SimDisk::new(mark(0));
        let (mut log, _) = open(&disk.mount(), Worker::inline()).unwrap();
        disk.fail_write_after(10 + seed * 7);
        let mut acknowledged = 0;
        while acknowledged < 40 && log.blocking_append([entry(acknowledged)]).await.is_ok() {
            acknowledged += 1;
        }
        disk.power_loss(&SeededRng::new(seed));
        let (mut log, _) = open(&disk.mount(), Worker::inline()).unwrap();
        let found = entries(&mut log).len() as u64;
        // One more may be there: an error says that it is unknown.
        assert!(found >= acknowledged && found <= acknowledged + 1, "seed {seed}: {found}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_file_that_is_garbage_is_a_plain_error() {
    let mut world = World::formed(12).await;
    world.kill(0).await;
    let len = world.disks[0].bytes(RAFT_FILE).unwrap().len();
    for offset in (0..len).step_by(64) {
        world.disks[0].flip_bit(RAFT_FILE, offset);
    }
    let error = RaftCore::start(world.setup(0)).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_) | OpenError::Store(_)), "{error}");
}

#[test]
fn no_flipped_bit_of_a_sealed_value_is_taken_for_a_value() {
    let sealed = seal(&id(3)).unwrap();
    assert_eq!(unseal::<LogId>("it", &sealed), Ok(id(3)));
    for bit in 0..sealed.len() * 8 {
        let mut damaged = sealed.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(unseal::<LogId>("it", &damaged).is_err(), "bit {bit}");
    }
    assert!(unseal::<LogId>("it", &sealed[..sealed.len() - 1]).is_err());
    assert!(unseal::<LogId>("it", &[]).is_err());
}

/// Goal: a file that was cut is never taken for a shorter log.
#[tokio::test]
async fn a_file_that_was_cut_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let disk = Directory::open(place.path()).unwrap();
    let (mut log, machine) = open(&disk, Worker::inline()).unwrap();
    for index in 0..50 {
        log.blocking_append([entry(index)]).await.unwrap();
    }
    drop((log, machine));
    let path = place.path().join(RAFT_FILE);
    let whole = std::fs::read(&path).unwrap();
    for parts in 0..8 {
        std::fs::write(&path, &whole[..whole.len() * parts / 8]).unwrap();
        let opened = open(&disk, Worker::inline()).map(|_| ());
        let error = opened.expect_err("it was cut");
        assert!(matches!(error, OpenError::Damaged(_) | OpenError::Store(_)), "{parts}: {error}");
    }
    std::fs::write(&path, &whole).unwrap();
    let (mut log, _) = open(&disk, Worker::inline()).unwrap();
    assert_eq!(entries(&mut log).len(), 50);
}

/// Goal: the room of the file is its own from the first start on, also when the file became
/// shorter, and its log does not outgrow it. Method: a real directory; as many entries as a voter
/// writes from one snapshot to the next, ten times, each with a view of 4,096 shards.
#[tokio::test]
async fn room_is_set_aside_on_the_disk_and_a_log_that_is_purged_stays_within_it() {
    let place = tempfile::tempdir().unwrap();
    let disk = Directory::open(place.path()).unwrap();
    let of = |name: &str| {
        let found = std::fs::metadata(place.path().join(name)).unwrap();
        (found.len(), found.blocks() * 512)
    };
    for life in 0..2_u64 {
        let (mut log, machine) = open(&disk, Worker::inline()).unwrap();
        let (length, room) = of(RAFT_FILE);
        assert!(length < ROOM_BYTES && room >= ROOM_BYTES, "{length} bytes in {room}");
        let mut view = View::default();
        view.apply(1, &super::world::form(4_096));
        for round in life * 5..life * 5 + 5 {
            let first = round * SNAPSHOT_ENTRIES;
            log.blocking_append((first..first + SNAPSHOT_ENTRIES).map(entry)).await.unwrap();
            machine.keep_for_test(id(first + SNAPSHOT_ENTRIES - 1), &view).await;
            log.purge(id(first + SNAPSHOT_ENTRIES - 1 - KEPT_ENTRIES)).await.unwrap();
            let (length, room) = of(RAFT_FILE);
            assert!(length <= ROOM_BYTES && room >= ROOM_BYTES, "{length} bytes in {room}");
        }
    }
    let file = disk.open_with_room("other", ROOM_BYTES).unwrap();
    for length in [1 << 20, ROOM_BYTES * 2, 4_096, 0] {
        file.set_len(length).unwrap();
        let (found, room) = of("other");
        assert!(found == length && room >= ROOM_BYTES, "{length}: {room}");
    }
    disk.open("none").unwrap().set_len(1 << 20).unwrap();
    assert_eq!(of("none"), (1 << 20, 0), "nothing is set aside unasked");
}
