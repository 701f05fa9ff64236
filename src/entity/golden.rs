//! Kept bytes of messages to entities and of what comes back.

use std::time::Duration;

use bytes::Bytes;

use super::frame::{
    Address, Refusal, decode_answer, decode_refusal, encode_answer, encode_message, encode_refusal,
    encode_unknown, envelope, open,
};
use super::{AskError, NotExecuted, Unknown};
use crate::base::{ShardId, Version};
use crate::wire::Codec;
use crate::wire::fuzz::Tree;
use crate::wire::golden::Golden;

const CODECS: [(&str, Codec); 2] = [("named", Codec::Named), ("postcard", Codec::between(1, 1))];

fn tree() -> Tree {
    let leaf = || Box::new(Tree::Leaf(-300));
    let fields = Tree::Fields { left: leaf(), right: Some(leaf()) };
    Tree::List(vec![fields, Tree::Text("tea".into()), Tree::Boxed(None)])
}

#[test]
fn golden_bytes_of_messages() {
    let mut golden = Golden::new("entity/golden/messages.txt");
    let left = Some(Duration::from_millis(4_900));
    for (name, codec) in CODECS {
        let address = Address { kind: "cart".into(), id: "alice".into(), left };
        for (what, address) in
            [("ask", address.clone()), ("tell", Address { left: None, ..address })]
        {
            let message = encode_message(codec, None, &tree()).expect("encodes");
            let bytes = envelope(&address, &message).expect("encodes");
            golden.add(
                ("entity", &format!("{what} {name}")),
                &(address, tree()),
                &bytes,
                |bytes| {
                    let (address, message) = open(Bytes::copy_from_slice(bytes)).ok()?;
                    Some((address, codec.decode::<Tree>(&message).ok()?))
                },
            );
        }
        let answer = encode_answer(codec, &tree()).expect("encodes");
        golden.add(("entity", &format!("answer {name}")), &tree(), &answer, |bytes| {
            decode_answer::<Tree>(codec, bytes).ok()
        });
        // The body alone is what the decoder of a user's type gets.
        let seeds = if codec == Codec::Named { "named" } else { "data" };
        let body = codec.encode(&tree()).expect("encodes");
        golden.add((seeds, &format!("tree {name}")), &tree(), &body, |b| codec.decode(b).ok());
    }
    golden.compare();
}

#[test]
fn golden_bytes_of_refusals_and_unknowns() {
    let mut golden = Golden::new("entity/golden/refusals.txt");
    let because = |why| Refusal::Because(why);
    let text = || "cart/alice".to_owned();
    let full = NotExecuted::Overloaded { entity: text(), lane_messages_max: 256 };
    let refusals = [
        ("not owner", Refusal::NotOwner(Version(41))),
        ("other schema", Refusal::OtherSchema { schema: 2, own: 1 }),
        ("overloaded", because(full)),
        ("no owner", because(NotExecuted::NoOwner(ShardId(7)))),
        ("shard not owned", because(NotExecuted::NotOwner(ShardId(7)))),
        ("deadline", because(NotExecuted::Deadline)),
        ("not hosted", because(NotExecuted::NotHosted("cart".into()))),
        ("unreachable", because(NotExecuted::Unreachable("n2 is gone".into()))),
        ("not serving", because(NotExecuted::NotServing("no copy".into()))),
        ("quarantined", because(NotExecuted::Quarantined(text()))),
        ("bad message", because(NotExecuted::BadMessage("too short".into()))),
        ("lapsed", because(NotExecuted::Lapsed)),
        ("stopping", because(NotExecuted::Stopping)),
    ];
    for (name, refusal) in refusals {
        golden.add(("entity", name), &refusal, &encode_refusal(&refusal), decode_refusal);
    }
    let unknowns = [
        ("unknown deadline", Unknown::Deadline),
        ("unknown crashed", Unknown::Crashed("panicked: no".into())),
        ("unknown no answer", Unknown::NoAnswer),
        ("unknown lapsed", Unknown::Lapsed),
        ("unknown link", Unknown::Link("the link broke".into())),
        ("unknown bad answer", Unknown::BadAnswer("no known form".into())),
    ];
    for (name, unknown) in unknowns {
        golden.add(("entity", name), &unknown, &encode_unknown(&unknown), |bytes| {
            match decode_answer::<Tree>(Codec::Named, bytes) {
                Err(AskError::Unknown(why)) => Some(why),
                Ok(_) | Err(AskError::NotExecuted(_)) => None,
            }
        });
    }
    golden.compare();
}
