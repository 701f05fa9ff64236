//! Every op and refusal; random ops against a naive model; crashes at random moments.

mod crash;
mod model;
mod ops;
mod starts;

use bytes::Bytes;
use futures::executor::block_on;

use super::*;
use crate::base::{Epoch, SeededRng};
use crate::placement::DiskMark;
use crate::storage::SimDisk;

pub(super) const S: ShardId = ShardId(7);

pub(super) fn disk() -> SimDisk {
    SimDisk::new(DiskMark { filesystem: 1, device: 1, lock_inode: 1, host_boot: "h".into() })
}

pub(super) fn open(disk: &SimDisk) -> Result<Store, StoreError> {
    Store::open(&disk.mount(), Worker::inline(), Durability::Disk, &SeededRng::new(1))
}

pub(super) fn memory(seed: u64) -> Store {
    Store::open(&disk().mount(), Worker::inline(), Durability::Memory, &SeededRng::new(seed))
        .expect("opened")
}

pub(super) fn at(epoch: u64, seq: u64) -> Number {
    Number { epoch: Epoch(epoch), seq }
}

pub(super) fn record(key: &str, number: Number, value: &str) -> Record {
    Record {
        key: Bytes::copy_from_slice(key.as_bytes()),
        number,
        revision: number.seq,
        deleted: value.is_empty(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

pub(super) fn one(store: &Store, op: Op) -> OpResult {
    block_on(store.apply(vec![op])).expect("applied").remove(0)
}

pub(super) fn done(store: &Store, op: Op) -> ShardHead {
    match one(store, op) {
        OpResult::Done(head) => head,
        OpResult::Refused { why, .. } => panic!("refused: {why}"),
    }
}

pub(super) fn refused(store: &Store, op: Op) -> &'static str {
    let before = (store.head(S), store.inventory(S));
    match one(store, op) {
        OpResult::Done(head) => panic!("done: {head:?}"),
        OpResult::Refused { why, head } => {
            assert_eq!(before, (Ok(head), store.inventory(S)), "a refused op changes nothing");
            why
        }
    }
}
