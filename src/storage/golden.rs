//! Kept bytes of what lies on the disk of a store, and of the facts of a node. Raft's own file has
//! its golden bytes beside its code.

use bytes::Bytes;

use super::facts;
use super::record::{Number, Record, ShardHead};
use super::tables::{Head, Kept};
use crate::base::{Boot, ClusterId, Epoch, ShardId, StoreId, VoterId};
use crate::placement::DiskMark;
use crate::wire::golden::Golden;

#[test]
fn golden_bytes_of_stored_records() {
    let shard = ShardId(7);
    let number = |seq| Number { epoch: Epoch::new(1, 70_000), seq };
    let record = Record {
        key: Bytes::from_static(b"cart\0alice"),
        number: number(300),
        revision: 3,
        deleted: false,
        value: Bytes::from_static(b"tea"),
    };
    let deleted = Record { deleted: true, value: Bytes::new(), ..record.clone() };
    let mut golden = Golden::new("storage/golden/records.txt");
    for (name, record) in [("record", record.clone()), ("deleted record", deleted)] {
        golden.add(("", name), &record, &record.encode(shard), |bytes| {
            Record::decode(shard, &record.key, bytes).ok().map(|(record, _)| record)
        });
    }
    let at = number(301);
    let shown = |kept: &Kept| (kept.key.clone(), kept.replaced.clone());
    let replaced = record.encode(shard);
    for (name, replaced) in [("kept record", Some(replaced.as_slice())), ("kept nothing", None)] {
        let bytes = Kept::encode(shard, at, &record.key, replaced);
        let value = (record.key.clone(), replaced.map(Bytes::copy_from_slice));
        golden.add(("", name), &value, &bytes, |bytes| {
            Kept::decode(shard, at, bytes).ok().as_ref().map(shown)
        });
    }
    let shown = ShardHead { sealed: at.epoch, last: at, acked: number(299), filling: true };
    let head = Head { shown, solid: number(200), run: (at.epoch, 2) };
    let bytes = head.encode(shard).expect("encodes");
    golden.add(("", "head"), &head, &bytes, |bytes| Head::decode(shard, bytes).ok());
    golden.compare();
}

#[test]
fn golden_bytes_of_facts() {
    let new = facts::Kept {
        node: "n1".parse().expect("a name"),
        voter: VoterId(0xabcd),
        cluster: None,
        store: None,
        mark: None,
        nonce: None,
        answer: None,
        above: None,
    };
    let mark =
        DiskMark { filesystem: 77, device: 66_305, lock_inode: 12, host_boot: "7b0f".into() };
    let full = facts::Kept {
        cluster: Some(ClusterId([0xc1; 32])),
        store: Some(StoreId(u128::MAX)),
        mark: Some(mark),
        nonce: Some(u64::MAX),
        answer: Some(Bytes::from_static(b"a list")),
        ..new.clone()
    };
    let mut golden = Golden::new("storage/golden/facts.txt");
    let replaced = facts::Kept { above: Some(Boot(7)), ..full.clone() };
    for (name, kept) in [("new", new), ("full", full), ("in place of another", replaced)] {
        let bytes = kept.encode().expect("encodes");
        golden.add(("", name), &kept, &bytes, |bytes| facts::Kept::decode(bytes).ok());
    }
    golden.compare();
}
