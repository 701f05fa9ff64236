//! What a member says that lies, or whose memory is broken.

use bytes::Bytes;
use foca::{Member, Message, State};

use super::*;
use crate::membership::packet::{Kind, LEAP_MAX, Packet};
use crate::membership::record::{Record, Word};

const SIZE: usize = 5;

fn id(index: usize) -> GossipId {
    GossipId::new(name(index), Boot(1))
}

/// A packet from n4 to n0 with these updates and records, as foca frames them.
fn packet(updates: Vec<Member<GossipId>>, records: &[Record]) -> Input {
    let packet = Packet { updates, ..Packet::new(&id(4), 0, &id(0), Message::Gossip) };
    let mut body = packet.encode().expect("encodes").to_vec();
    if packet.updates.is_empty() {
        body.extend_from_slice(&[0, 0]);
    }
    for record in records {
        let record = record.encode();
        body.extend_from_slice(&u16::try_from(record.len()).expect("short").to_be_bytes());
        body.extend_from_slice(&record);
    }
    Input::Packet { from: name(4), boot: Boot(1), bytes: Kind::Swim.framed(&body) }
}

/// Runs on, and nobody may have been found unreachable; all is well within one round of probes.
fn heals(what: &str, poison: &Input) {
    for seed in 0..10 {
        let mut net = Net::new(SIZE, seed);
        net.run(SECOND * 3);
        net.step(&name(0), poison.clone());
        // One round: every node probes every other once.
        net.run(Duration::from_millis(300) * (u32::try_from(SIZE).expect("few") - 1));
        assert!(net.all_reachable(), "{what}, seed {seed}: {:?}", net.seen);
        net.run(SECOND * 10);
        assert!(net.all_reachable(), "{what}, seed {seed}: {:?}", net.seen);
        let lost = |seen: &&(_, _, _, Reachability, _)| seen.3 == Reachability::Unreachable;
        assert_eq!(net.seen.iter().filter(lost).count(), 0, "{what}, seed {seed}");
        // All of it works on: a death is still noticed.
        net.dead.push(name(2));
        net.run(SECOND * 5);
        assert_eq!(net.unreachable().len(), SIZE - 1, "{what}, seed {seed}: {:?}", net.seen);
    }
}

fn of_all(make: impl Fn(usize) -> Member<GossipId>) -> Vec<Member<GossipId>> {
    (0..4).map(make).collect()
}

#[test]
fn all_others_are_said_to_be_dead() {
    heals("dead", &packet(of_all(|node| Member::down(id(node))), &[]));
    let dead = |node| Member::new(id(node), u16::MAX, State::Down);
    heals("dead for ever", &packet(of_all(dead), &[]));
    let suspect = |node| Member::new(id(node), 0, State::Suspect);
    heals("suspect", &packet(of_all(suspect), &[]));
}

#[test]
fn incarnations_are_at_their_maximum() {
    for state in [State::Alive, State::Suspect] {
        let last = |node| Member::new(id(node), u16::MAX, state);
        heals("the last incarnation", &packet(of_all(last), &[]));
        for incarnation in [1, LEAP_MAX, LEAP_MAX + 1, u32::MAX - 1, u32::MAX] {
            let named = |node| Member::new(GossipId { incarnation, ..id(node) }, 0, state);
            heals("another name", &packet(of_all(named), &[]));
        }
    }
}

#[test]
fn words_are_put_into_the_mouths_of_others() {
    for incarnation in [0, 999, u16::MAX] {
        for number in [1, u32::MAX] {
            let words = (0..4).flat_map(|subject| {
                let observers = (0..4).filter(move |observer| *observer != subject);
                observers.map(move |observer| {
                    let (observer, subject) = (name(observer), id(subject));
                    Record::Word(Word { observer, boot: Boot(1), subject, incarnation, number })
                })
            });
            let words: Vec<_> = words.collect();
            heals("words", &packet(Vec::new(), &words));
        }
    }
}

#[test]
fn cards_are_forged() {
    for number in [2, LEAP_MAX, u32::MAX] {
        let card = |node| {
            let mut card = Card::new(name(node), Boot(1));
            (card.number, card.leaving, card.failing) = (number, true, vec!["all".into()]);
            Record::Card(card)
        };
        let cards: Vec<_> = (0..4).map(card).collect();
        for seed in 0..10 {
            let mut net = Net::new(SIZE, seed);
            net.run(SECOND * 3);
            net.step(&name(0), packet(Vec::new(), &cards));
            // Its owner learns of it by news, or when cards are compared.
            net.run(SECOND * 60);
            for (node, gossip) in &net.nodes {
                let said = gossip.observed().filter_map(|(of, ..)| gossip.sight(net.now, of)?.card);
                let forged: Vec<_> = said.filter(|card| card.leaving).collect();
                assert_eq!(forged, [], "at {node}, number {number}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_packet_in_the_name_of_another_is_refused() {
    let mut net = Net::new(SIZE, 1);
    net.run(SECOND);
    let Input::Packet { bytes, .. } = packet(of_all(|node| Member::down(id(node))), &[]) else {
        panic!("it is a packet")
    };
    let (node, counts) = (name(0), |net: &Net| net.nodes[&name(0)].counts());
    net.step(&node, Input::Packet { from: name(1), boot: Boot(1), bytes: bytes.clone() });
    assert_eq!((counts(&net).refused, counts(&net).strangers), (1, 0));
    net.step(&node, Input::Packet { from: name(4), boot: Boot(2), bytes: bytes.clone() });
    net.step(&node, Input::Packet { from: name(9), boot: Boot(1), bytes });
    assert_eq!((counts(&net).refused, counts(&net).strangers), (1, 2));
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut net = Net::new(3, 1);
    net.run(SECOND);
    for kind in 0..4 {
        for garbage in [&b""[..], b"\xff\xff\xff\xff", &[0; 1_000], &[7; 1_199], &[7; 2_000]] {
            let bytes: Bytes = [&[kind][..], garbage].concat().into();
            net.step(&name(0), Input::Packet { from: name(1), boot: Boot(1), bytes });
        }
    }
    net.step(&name(0), Input::Packet { from: name(1), boot: Boot(1), bytes: Bytes::new() });
    net.run(SECOND * 5);
    assert!(net.nodes[&name(0)].counts().refused >= 15, "{:?}", net.nodes[&name(0)].counts());
    assert_eq!(net.seen, []);
}
