//! Kept bytes of gossip packets. The frame of a packet is foca's, the identities in it are ours.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use foca::{Codec as _, Header, Member, Message, PostcardCodec, State};

use super::machine::Digest;
use super::packet::Kind;
use super::record::{Card, Record, Word};
use super::{Gossip, GossipConfig, GossipId, Input};
use crate::base::{Boot, Instant, Version};
use crate::placement::Profile;
use crate::wire::golden::Golden;
use crate::wire::{from_data, to_data};

fn id(name: &str, incarnation: u32) -> GossipId {
    GossipId { incarnation, ..GossipId::new(name.parse().expect("a name"), Boot(300)) }
}

type Packet = (Header<GossipId>, Vec<Member<GossipId>>);

fn written((header, members): &Packet) -> Bytes {
    let mut packet = BytesMut::new();
    PostcardCodec.encode_header(header, &mut packet).expect("encodes");
    if !members.is_empty() {
        packet.put_u16(u16::try_from(members.len()).expect("few"));
    }
    for member in members {
        PostcardCodec.encode_member(member, &mut packet).expect("encodes");
    }
    packet.freeze()
}

fn gossip_of(message: Message<GossipId>) -> Packet {
    (Header { src: id("n2", 1), src_incarnation: 2, dst: id("n1", 0), message }, vec![])
}

fn read(mut bytes: &[u8]) -> Option<Packet> {
    let header = PostcardCodec.decode_header(&mut bytes).ok()?;
    let members = (0..bytes.try_get_u16().unwrap_or(0))
        .map(|_| PostcardCodec.decode_member(&mut bytes).ok())
        .collect::<Option<_>>()?;
    bytes.is_empty().then_some((header, members))
}

#[test]
fn golden_bytes_of_gossip() {
    let target = || id("n3", 0);
    let messages = [
        ("ping", Message::Ping(7)),
        ("ack", Message::Ack(7)),
        ("ping-req", Message::PingReq { target: target(), probe_number: 7 }),
        ("indirect ping", Message::IndirectPing { origin: target(), probe_number: 7 }),
        ("indirect ack", Message::IndirectAck { target: target(), probe_number: 7 }),
        ("forwarded ack", Message::ForwardedAck { origin: target(), probe_number: 7 }),
        ("announce", Message::Announce),
        ("feed", Message::Feed),
        ("gossip", Message::Gossip),
    ];
    let config = GossipConfig::from(&Profile::lan());
    let mut golden = Golden::new("membership/golden/gossip.txt");
    for (name, message) in messages {
        let members = match message {
            Message::Announce => vec![],
            _ => [State::Alive, State::Suspect, State::Down]
                .into_iter()
                .zip(4..)
                .map(|(state, number)| Member::new(id(&format!("n{number}"), 1), 9, state))
                .collect(),
        };
        let packet = (gossip_of(message).0, members);
        let bytes = written(&packet);
        let bytes = Kind::Swim.framed(&bytes);
        golden.add(("gossip", name), &packet, &bytes, |bytes| read(bytes.get(1..)?));
        // Foca itself takes what is framed here for it.
        let mut gossip = Gossip::new(id("n1", 0), &config, 1);
        let members = ["n2", "n3"].map(|name| (id(name, 0).node, Boot(300)));
        gossip.step(Instant::ZERO, Input::Committed(members.to_vec()), &mut Vec::new());
        let (from, boot) = (id("n2", 0).node, Boot(300));
        gossip.step(Instant::ZERO, Input::Packet { from, boot, bytes }, &mut Vec::new());
        assert_eq!(gossip.counts().refused, 0, "{name}");
    }
    golden.compare();
}

#[test]
fn golden_bytes_of_news() {
    let mut card = Card::new(id("n2", 0).node, Boot(300));
    (card.number, card.draining, card.view) = (300, true, Version(7));
    (card.failing, card.zone) = (vec!["db".into()], "west".into());
    let (observer, subject) = (id("n3", 0).node, id("n2", 1));
    let word = Word { observer, boot: Boot(300), subject, incarnation: 9, number: 300 };
    let mut golden = Golden::new("membership/golden/news.txt");
    for (name, record) in [("card", Record::Card(card.clone())), ("word", Record::Word(word))] {
        let (header, _) = gossip_of(Message::Gossip);
        let mut bytes = BytesMut::from(&written(&(header, vec![]))[..]);
        let body = record.encode();
        // No updates, and one record with its length.
        bytes.put_u16(0);
        bytes.put_u16(u16::try_from(body.len()).expect("short"));
        bytes.put_slice(&body);
        golden.add(("gossip", name), &record, &Kind::Swim.framed(&bytes), |bytes| {
            let packet = super::packet::Packet::decode(Bytes::copy_from_slice(bytes.get(1..)?))?;
            Record::decode(packet.records.first()?)
        });
    }
    let digest = Digest { sum: 1 << 60, asks: true };
    let bytes = Kind::Digest.framed(&to_data(&digest).expect("encodes"));
    golden.add(("gossip", "digest"), &digest, &bytes, |bytes| from_data(bytes.get(1..)?).ok());
    let cards = vec![card.clone(), Card { number: 301, ..card }];
    let bytes = Kind::Cards.framed(&to_data(&cards).expect("encodes"));
    golden.add(("gossip", "cards"), &cards, &bytes, |bytes| from_data(bytes.get(1..)?).ok());
    golden.compare();
}
