//! Kept bytes of gossip packets. The frame of a packet is foca's, the identities in it are ours.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use foca::{Codec as _, Header, Member, Message, PostcardCodec, State};

use super::packet::Kind;
use super::{Gossip, GossipConfig, GossipId, Input};
use crate::base::{Boot, Instant};
use crate::placement::Profile;
use crate::wire::golden::Golden;

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
        ("turn undead", Message::TurnUndead),
    ];
    let config = GossipConfig::from(&Profile::lan());
    let mut golden = Golden::new("membership/golden/gossip.txt");
    for (name, message) in messages {
        let members = match message {
            Message::Announce | Message::TurnUndead => vec![],
            _ => [State::Alive, State::Suspect, State::Down]
                .into_iter()
                .zip(4..)
                .map(|(state, number)| Member::new(id(&format!("n{number}"), 1), 9, state))
                .collect(),
        };
        let header = Header { src: id("n2", 1), src_incarnation: 2, dst: id("n1", 0), message };
        let packet = (header, members);
        let bytes = written(&packet);
        golden.add(("gossip", name), &packet, &bytes, read);
        // Foca itself takes what is framed here for it.
        let mut gossip = Gossip::new(id("n1", 0), &config, 1);
        let n2 = (id("n2", 0).node, Boot(300));
        gossip.step(Instant::ZERO, Input::Committed(vec![n2]), &mut Vec::new());
        let (from, boot, bytes) = (id("n2", 0).node, Boot(300), Kind::Swim.framed(&bytes));
        gossip.step(Instant::ZERO, Input::Packet { from, boot, bytes }, &mut Vec::new());
        let refused = u64::from(name == "turn undead");
        assert_eq!(gossip.counts().refused, refused, "{name}");
    }
    golden.compare();
}
