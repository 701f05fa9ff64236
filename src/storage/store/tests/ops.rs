//! Each op by itself.

use super::*;

fn seal(epoch: u64) -> Op {
    Op::Seal { shard: S, epoch: Epoch(epoch) }
}

fn append(epoch: u64, prev: Number, acked: Number, records: &[Record]) -> Op {
    Op::Append { shard: S, epoch: Epoch(epoch), prev, acked, records: records.to_vec() }
}

fn adopt(epoch: u64, after: Number, records: &[Record], last: Number) -> Op {
    Op::Adopt { shard: S, epoch: Epoch(epoch), after, records: records.to_vec(), last }
}

fn begin(epoch: u64, run: u64, keep: &[(Number, u32)]) -> Op {
    Op::Begin { shard: S, epoch: Epoch(epoch), run, keep: keep.to_vec() }
}

fn fill(run: u64, after: Number, records: &[Record], last: Number, complete: bool) -> Op {
    let records = records.to_vec();
    Op::Fill { shard: S, epoch: Epoch(1), run, after, records, last, complete }
}

fn values(store: &Store) -> String {
    let keys = ["a", "b", "c", "d"];
    let found = keys.map(|key| store.get(S, key.as_bytes()).expect("read"));
    let shown = found.iter().flatten();
    shown.map(|record| String::from_utf8_lossy(&record.value) + " ").collect()
}

/// A store with a, b, a written under epoch 1, nothing acknowledged.
fn three() -> (Store, [Record; 3]) {
    let store = memory(1);
    done(&store, seal(1));
    let written =
        [record("a", at(1, 1), "a1"), record("b", at(1, 2), "b2"), record("a", at(1, 3), "a3")];
    let head = done(&store, append(1, Number::ZERO, Number::ZERO, &written));
    assert_eq!((head.last, head.acked), (at(1, 3), Number::ZERO));
    (store, written)
}

#[test]
fn a_seal_only_rises_and_fences_every_op() {
    let (store, written) = three();
    assert_eq!(done(&store, seal(1)).sealed, Epoch(1), "a repeat is harmless");
    assert_eq!(done(&store, seal(3)).sealed, Epoch(3));
    assert_eq!(refused(&store, seal(2)), "sealed to a higher epoch");
    for (epoch, why) in [(1, "sealed to a higher epoch"), (4, "not sealed to this epoch")] {
        let next = [record("c", at(epoch, 4), "c")];
        assert_eq!(refused(&store, append(epoch, at(1, 3), Number::ZERO, &next)), why);
        assert_eq!(refused(&store, adopt(epoch, Number::ZERO, &written[..0], at(1, 3))), why);
        assert_eq!(refused(&store, begin(epoch, 1, &[])), why);
        let acked = Op::Acked { shard: S, epoch: Epoch(epoch), acked: at(1, 1) };
        assert_eq!(refused(&store, acked), why);
    }
    assert_eq!(
        refused(&store, fill(1, Number::ZERO, &[], at(1, 1), true)),
        "sealed to a higher epoch"
    );
    assert_eq!(refused(&memory(2), append(0, Number::ZERO, Number::ZERO, &[])), "no epoch");
}

#[test]
fn an_append_follows_the_last_write_and_may_be_repeated() {
    let (store, written) = three();
    assert_eq!(values(&store), "a3 b2 ");
    // The whole and any tail of it, again, even where a later write replaced one.
    done(&store, append(1, Number::ZERO, Number::ZERO, &written));
    done(&store, append(1, at(1, 1), Number::ZERO, &written[1..]));
    let more = [written[2].clone(), record("c", at(1, 4), "c4")];
    assert_eq!(done(&store, append(1, at(1, 2), at(1, 9), &more)).last, at(1, 4));
    assert_eq!(store.head(S).expect("head").acked, at(1, 4), "never past the last write");

    let five = [record("d", at(1, 5), "d5")];
    let why = "the write before is not the last one here";
    assert_eq!(
        refused(
            &store,
            append(
                1,
                at(1, 3),
                Number::ZERO,
                &[record("c", at(1, 4), "c4"), record("d", at(1, 6), "d")]
            )
        ),
        "a gap between the records"
    );
    assert_eq!(
        refused(&store, append(1, at(1, 5), Number::ZERO, &[record("d", at(1, 6), "d")])),
        why
    );
    assert_eq!(refused(&store, append(1, at(1, 5), Number::ZERO, &[])), why);
    assert_eq!(
        refused(&store, append(1, at(1, 5), Number::ZERO, &five)),
        "the records are not in order"
    );
    assert_eq!(
        refused(&store, append(1, at(1, 3), Number::ZERO, &[record("c", at(1, 4), "other")])),
        "another write has this number here"
    );
    assert_eq!(
        refused(&store, append(1, at(1, 4), Number::ZERO, &[record("d", at(2, 1), "d")])),
        "a number of a later epoch"
    );
    done(&store, append(1, at(1, 4), Number::ZERO, &five));
    let deleted = [record("a", at(1, 6), "")];
    done(&store, append(1, at(1, 5), Number::ZERO, &deleted));
    assert_eq!(store.get(S, b"a"), Ok(Some(deleted[0].clone())), "a deleted record stays");
    assert_eq!(store.keys(S).expect("keys"), ["b", "c", "d"]);
    assert_eq!(store.keys(ShardId(8)).expect("keys"), [""; 0]);
}

#[test]
fn adopting_undoes_what_the_owner_lacks() {
    let (store, written) = three();
    done(&store, seal(2));
    // The owner has only the first write, and nothing to send.
    let head = done(&store, adopt(2, at(1, 1), &[], at(1, 1)));
    assert_eq!((head.last, values(&store).as_str()), (at(1, 1), "a1 "));
    assert_eq!(store.inventory(S), Ok(vec![(at(1, 1), written[0].checksum(S))]));

    // One that has all three: they come back.
    done(&store, seal(3));
    let whole = [written[1].clone(), written[2].clone()];
    let why = "writes before the adopted ones are missing here";
    assert_eq!(refused(&store, adopt(3, at(1, 2), &whole[1..], at(1, 3))), why);
    assert_eq!(done(&store, adopt(3, at(1, 1), &whole, at(1, 3))).last, at(1, 3));
    done(&store, adopt(3, Number::ZERO, &whole, at(1, 3)));
    assert_eq!(values(&store), "a3 b2 ", "a repeat from further back is the same");

    // The states inside the adopted stretch are unknown: neither target nor acknowledged.
    let why = "the state at that number cannot be restored";
    assert_eq!(refused(&store, adopt(3, at(1, 2), &whole[1..], at(1, 3))), why);
    let acked = |acked| Op::Acked { shard: S, epoch: Epoch(3), acked };
    assert_eq!(done(&store, acked(at(1, 2))).acked, Number::ZERO);
    assert_eq!(done(&store, acked(at(1, 3))).acked, at(1, 3));
    assert_eq!(done(&store, acked(at(1, 2))).acked, at(1, 3), "never falls");
    assert_eq!(refused(&store, adopt(3, at(1, 2), &whole[1..], at(1, 3))), why);

    let twice = [record("c", at(2, 1), "x"), record("c", at(2, 2), "y")];
    assert_eq!(refused(&store, adopt(3, at(1, 3), &twice, at(2, 2))), "two records of one key");
    done(&store, append(3, at(1, 3), Number::ZERO, &[record("c", at(3, 1), "c1")]));
    assert_eq!(
        refused(&store, adopt(3, at(1, 3), &[], at(1, 3))),
        "it would undo writes of this very epoch"
    );
    assert_eq!(values(&store), "a3 b2 c1 ");
}

#[test]
fn undoing_restores_through_several_writes_of_one_key() {
    let store = memory(1);
    done(&store, seal(1));
    let written: Vec<_> = (1..=4).map(|seq| record("a", at(1, seq), &format!("a{seq}"))).collect();
    done(&store, append(1, Number::ZERO, at(1, 1), &written));
    for (upto, value) in [(4, "a4 "), (3, "a3 "), (2, "a2 "), (1, "a1 ")] {
        let seen = store.since(S, Number::ZERO, at(1, upto), 1000).expect("since");
        assert_eq!(seen, [written[usize::try_from(upto - 1).expect("small")].clone()]);
        assert_eq!(values(&store), "a4 ");
        let copy = memory(2);
        done(&copy, seal(1));
        done(&copy, append(1, Number::ZERO, at(1, 1), &written));
        done(&copy, seal(2));
        done(&copy, adopt(2, at(1, upto), &[], at(1, upto)));
        assert_eq!(values(&copy), value);
    }
}

#[test]
fn a_catch_up_is_not_complete_until_its_owner_says_so() {
    let (store, written) = three();
    let old = store.inventory(S).expect("inventory");
    let b = (at(1, 2), written[1].checksum(S));
    assert!(old.contains(&b));
    let foreign = (at(1, 3), b.1);
    let head = done(&store, begin(1, 1, &[b, foreign]));
    assert!(head.filling && head.last == Number::ZERO && head.acked == Number::ZERO);
    assert_eq!(values(&store), "b2 ", "kept only what is equal in number and checksum");
    done(&store, begin(1, 1, &[b]));
    for op in [append(1, Number::ZERO, at(1, 1), &written), adopt(1, Number::ZERO, &[], at(1, 1))] {
        assert_eq!(refused(&store, op), "filling");
    }

    let c4 = record("c", at(1, 4), "c4");
    let a5 = record("a", at(1, 5), "a5");
    let first = fill(1, Number::ZERO, std::slice::from_ref(&c4), at(1, 4), false);
    assert_eq!(done(&store, first.clone()).last, at(1, 4));
    assert_eq!(done(&store, first.clone()).last, at(1, 4), "a repeat is harmless");
    assert_eq!(refused(&store, begin(1, 1, &[])), "this catch-up has begun before");
    let gap = fill(1, at(1, 5), &[], at(1, 6), true);
    assert_eq!(refused(&store, gap), "a part before this one is missing");
    let other = fill(2, at(1, 4), &[], at(1, 6), true);
    assert_eq!(refused(&store, other), "another catch-up has begun");
    let head = done(&store, Op::Acked { shard: S, epoch: Epoch(1), acked: at(1, 4) });
    assert!(head.filling && head.acked == Number::ZERO, "it says nothing while filling");
    let head = done(&store, fill(1, at(1, 4), &[a5], at(1, 6), true));
    assert_eq!((head.filling, head.last), (false, at(1, 6)));
    assert_eq!(values(&store), "a5 b2 c4 ");
    done(&store, first);
    assert_eq!(values(&store), "a5 b2 c4 ");
    assert_eq!(refused(&store, fill(1, at(1, 6), &[], at(1, 7), true)), "not filling");
    assert_eq!(refused(&store, begin(1, 1, &[])), "this catch-up has begun before");

    // A takeover from before everything empties it and starts over.
    done(&store, append(1, at(1, 6), Number::ZERO, &[record("d", at(1, 7), "d7")]));
    done(&store, seal(2));
    done(&store, adopt(2, Number::ZERO, &written[..2], at(1, 2)));
    assert_eq!(values(&store), "a1 b2 ");
    done(&store, begin(2, 1, &[]));
    assert_eq!(values(&store), "");
}

#[test]
fn what_was_kept_beyond_the_end_of_a_catch_up_goes() {
    let (store, written) = three();
    let all = store.inventory(S).expect("inventory");
    done(&store, begin(1, 1, &all));
    let a1 = &written[..1];
    done(&store, fill(1, Number::ZERO, a1, at(1, 2), true));
    assert_eq!(values(&store), "a1 b2 ");
}

#[test]
fn a_page_is_in_number_order_and_bounded() {
    let (store, written) = three();
    let c4 = record("c", at(1, 4), "c4");
    done(&store, append(1, at(1, 3), at(1, 1), std::slice::from_ref(&c4)));
    let page = |after, upto, bytes| store.since(S, after, upto, bytes).expect("since");
    let [a1, b2, a3] = written;
    assert_eq!(page(Number::ZERO, at(1, 4), 1000), [b2.clone(), a3.clone(), c4.clone()]);
    assert_eq!(page(Number::ZERO, at(1, 4), 6), [b2.clone(), a3.clone()]);
    assert_eq!(page(Number::ZERO, at(1, 4), 0).len(), 1, "at least one");
    assert_eq!(page(at(1, 2), at(1, 3), 1000), [a3]);
    // As of the second write, the first one was not replaced yet.
    assert_eq!(page(Number::ZERO, at(1, 2), 1000), [a1, b2]);
    assert_eq!(page(at(1, 4), at(1, 4), 1000), []);
}

#[test]
fn calls_are_done_in_order_and_shards_are_apart() {
    let store = memory(1);
    let other = ShardId(8);
    let a = record("a", at(1, 1), "a");
    let ops = vec![
        seal(1),
        append(1, Number::ZERO, Number::ZERO, std::slice::from_ref(&a)),
        append(9, Number::ZERO, Number::ZERO, std::slice::from_ref(&a)),
        Op::Seal { shard: other, epoch: Epoch(2) },
    ];
    let results = block_on(store.apply(ops)).expect("applied");
    assert_eq!(
        results.iter().map(OpResult::is_done).collect::<Vec<_>>(),
        [true, true, false, true]
    );
    assert_eq!(results[2].head().last, at(1, 1));
    assert_eq!(store.get(other, b"a"), Ok(None));
    assert_eq!(store.head(other).expect("head").sealed, Epoch(2));
    assert_eq!(store.head(ShardId(9)), Ok(ShardHead::default()));
}

#[test]
fn a_store_on_disk_keeps_its_id_and_one_in_memory_does_not() {
    let disk = disk();
    let open = |seed, durability| {
        let rng = SeededRng::new(seed);
        Store::open(&disk.mount(), Worker::inline(), durability, &rng).expect("opened")
    };
    let first = open(1, Durability::Disk).id();
    assert_eq!(open(2, Durability::Disk).id(), first);
    assert_ne!(open(3, Durability::Memory).id(), open(4, Durability::Memory).id());
    assert_eq!(open(5, Durability::Disk).id(), first, "memory leaves the file alone");
    Store::discard(&disk.mount()).expect("discarded");
    assert_ne!(open(6, Durability::Disk).id(), first, "a discarded store never comes back");
}

/// Flips a bit of `value` wherever it lies.
fn flip(disk: &SimDisk, value: &str) {
    let bytes = disk.bytes(DATA_FILE).expect("there");
    let places = bytes.windows(value.len()).enumerate();
    let places: Vec<_> = places.filter(|(_, part)| *part == value.as_bytes()).collect();
    assert!(!places.is_empty());
    for (place, _) in places {
        disk.flip_bit(DATA_FILE, place + 20);
    }
}

#[test]
fn a_flipped_bit_is_found_named_and_kept_out() {
    let disk = disk();
    let needle = "needle in the file ".repeat(8);
    let store = open(&disk).expect("opened");
    done(&store, seal(1));
    let written = [record("a", at(1, 1), &needle), record("b", at(1, 2), "b2")];
    done(&store, append(1, Number::ZERO, at(1, 2), &written));
    drop(store);
    flip(&disk, &needle);
    let store = open(&disk).expect("opened");
    let error = store.get(S, b"a").expect_err("corrupt");
    assert_eq!(error, StoreError::Corrupt { shard: S, key: Bytes::from_static(b"a") });
    assert!(!error.is_fatal() && error.to_string().contains("shard 7"));
    assert_eq!(store.get(S, b"b"), Ok(Some(written[1].clone())), "the others can be read");
    let intact = (at(1, 2), written[1].checksum(S));
    assert_eq!(store.inventory(S), Ok(vec![intact]));
    assert!(store.since(S, Number::ZERO, at(1, 2), 1000).is_err());
    assert_eq!(store.keys(S).expect("keys"), ["a", "b"]);
    let over = [record("a", at(1, 3), "new")];
    let why = "a record it would replace is corrupt";
    assert_eq!(refused(&store, append(1, at(1, 2), Number::ZERO, &over)), why);
    let repair = |record: &Record| Op::Repair { shard: S, epoch: Epoch(1), record: record.clone() };
    let why = "another write is the latest of this key";
    assert_eq!(refused(&store, repair(&over[0])), why);
    let other = record("b", at(1, 2), "other");
    assert_eq!(refused(&store, repair(&other)), "the record here can be read");
    done(&store, repair(&written[0]));
    assert_eq!(store.get(S, b"a"), Ok(Some(written[0].clone())));
}

#[test]
fn a_catch_up_repairs_what_is_corrupt() {
    let disk = disk();
    let needle = "needle in the file ".repeat(8);
    let store = open(&disk).expect("opened");
    done(&store, seal(1));
    let written = [record("a", at(1, 1), &needle), record("b", at(1, 2), "b2")];
    done(&store, append(1, Number::ZERO, at(1, 2), &written));
    drop(store);
    flip(&disk, &needle);
    let store = open(&disk).expect("opened");
    let intact = (at(1, 2), written[1].checksum(S));
    done(&store, begin(1, 1, &[intact]));
    done(&store, fill(1, Number::ZERO, &written[..1], at(1, 2), true));
    assert_eq!(store.get(S, b"a"), Ok(Some(written[0].clone())));
}

#[test]
fn after_a_failure_of_the_disk_everything_fails() {
    let disk = disk();
    let store = open(&disk).expect("opened");
    done(&store, seal(1));
    disk.fail_sync_after(0);
    let error = block_on(store.apply(vec![seal(2)])).expect_err("the disk failed");
    assert!(error.is_fatal());
    assert_eq!(block_on(store.apply(vec![seal(2)])), Err(error.clone()));
    assert_eq!(store.head(S), Err(error));
    disk.kill();
    let head = open(&disk).expect("opened").head(S).expect("head");
    assert!(head.sealed >= Epoch(1), "what was acknowledged is there");
}

#[tokio::test]
async fn a_worker_that_ends_fails_the_store_and_leaves_nobody_waiting() {
    let worker = Worker::thread("store").expect("a thread");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    worker.submit(move || wait.recv().expect("the panic that is wanted")).expect("handed in");
    let store = Store::open(&disk().mount(), worker, Durability::Memory, &SeededRng::new(1));
    let store = store.expect("opened");
    let mut waiting = Box::pin(store.apply(vec![seal(1)]));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(go);
    let error = waiting.await.expect_err("nobody does it");
    assert!(error.is_fatal());
    assert_eq!(store.apply(vec![seal(1)]).await, Err(error.clone()));
    assert_eq!(store.head(S), Err(error));
}

#[tokio::test]
async fn concurrent_calls_share_commits_on_a_thread() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = crate::storage::Directory::open(place.path()).expect("opened");
    let worker = Worker::thread("store").expect("a thread");
    let store = Store::open(&directory, worker, Durability::Disk, &SeededRng::new(1));
    let store = store.expect("opened");
    let calls = (0..32_u16).map(|shard| {
        let (store, shard) = (store.clone(), ShardId(shard));
        async move {
            let epoch = Epoch(1);
            let mut prev = Number::ZERO;
            store.apply(vec![Op::Seal { shard, epoch }]).await.expect("applied");
            for seq in 1..=20 {
                let records = vec![record("a", at(1, seq), "some value")];
                let op = Op::Append { shard, epoch, prev, acked: prev, records };
                let results = store.apply(vec![op]).await.expect("applied");
                assert!(results[0].is_done());
                prev = at(1, seq);
            }
        }
    });
    futures::future::join_all(calls).await;
    for shard in 0..32 {
        let found = store.get(ShardId(shard), b"a").expect("read").expect("there");
        assert_eq!(found.number, at(1, 20));
    }
}

/// How many appends of 256 KiB a second a directory takes. Prints; decides nothing.
#[tokio::test]
#[ignore = "a measurement"]
async fn appends_per_second() {
    let place = tempfile::tempdir_in(".").expect("a directory");
    let directory = crate::storage::Directory::open(place.path()).expect("opened");
    let worker = Worker::thread("store").expect("a thread");
    let store = Store::open(&directory, worker, Durability::Disk, &SeededRng::new(1));
    let store = store.expect("opened");
    let clock = crate::base::BootClock;
    let start = crate::base::Clock::now(&clock);
    let calls = (0..32_u16).map(|shard| {
        let (store, shard) = (store.clone(), ShardId(shard));
        async move {
            let epoch = Epoch(1);
            let mut prev = Number::ZERO;
            store.apply(vec![Op::Seal { shard, epoch }]).await.expect("applied");
            for seq in 1..=32 {
                let mut new = record(&format!("chunk-{seq}"), at(1, seq), "");
                new.value = Bytes::from(vec![7; 256 << 10]);
                let op = Op::Append { shard, epoch, prev, acked: prev, records: vec![new] };
                assert!(store.apply(vec![op]).await.expect("applied")[0].is_done());
                prev = at(1, seq);
            }
        }
    });
    futures::future::join_all(calls).await;
    let spent = crate::base::Clock::now(&clock).since(start);
    println!("1024 appends of 256 KiB in {spent:?}: {:.0}/s", 1024.0 / spent.as_secs_f64());
}
