//! Kept bytes of what stores say to each other.

use bytes::Bytes;

use super::frame::{Body, Frame, Item, Verdict, decode, encode};
use crate::base::{Epoch, ShardId, StoreId};
use crate::storage::{Number, Record, ShardHead};
use crate::wire::golden::Golden;

fn number(seq: u64) -> Number {
    Number { epoch: Epoch::new(1, 70_000), seq }
}

fn records() -> Vec<Record> {
    let record = Record {
        key: Bytes::from_static(b"cart\0alice"),
        number: number(300),
        revision: 3,
        deleted: false,
        value: Bytes::from_static(b"tea"),
    };
    let deleted =
        Record { number: number(301), deleted: true, value: Bytes::new(), ..record.clone() };
    vec![record, deleted]
}

#[test]
fn golden_bytes_of_replication() {
    let (records, after, last) = (records(), number(299), number(301));
    let bodies = [
        ("seal", Body::Seal),
        ("append", Body::Append { prev: after, acked: Number::ZERO, records: records.clone() }),
        ("adopt", Body::Adopt { after, records: records.clone(), last }),
        ("list", Body::List),
        ("begin", Body::Begin { run: 2, keep: vec![(after, 0xdead_beef)] }),
        ("fill", Body::Fill { run: 2, after, records, last, complete: true }),
        ("acked", Body::Acked { acked: last }),
    ];
    let to = StoreId(u128::MAX - 5);
    let mut golden = Golden::new("replica/golden/frames.txt");
    let nothing = Frame { to, items: vec![] };
    golden.add(("replica", "nothing"), &nothing, &encode(&nothing), decode::<Frame>);
    for (name, body) in bodies {
        let item = Item { shard: ShardId(4_095), epoch: Epoch::new(1, 70_000), body };
        let frame = Frame { to, items: vec![item] };
        golden.add(("replica", name), &frame, &encode(&frame), decode::<Frame>);
    }
    let head = ShardHead { sealed: Epoch::new(1, 8), last, acked: after, filling: false };
    let verdicts = vec![
        Verdict::Done(head),
        Verdict::Listed(ShardHead::default(), vec![(last, 1)]),
        Verdict::Refused(ShardHead { filling: true, ..head }),
        Verdict::Outdated,
    ];
    golden.add(("replica", "verdicts"), &verdicts, &encode(&verdicts), decode::<Vec<Verdict>>);
    golden.compare();
}
