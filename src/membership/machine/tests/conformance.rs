//! Cases of the suites of memberlist, foca and Pekko.

use foca::{Member, State};

use super::*;
use crate::membership::packet::{Kind, PACKET_BYTES_MAX, Packet};
use crate::membership::record::{Record, Word};

fn id(index: usize) -> GossipId {
    GossipId::new(name(index), Boot(1))
}

#[test]
fn f19_a_live_node_stays_reachable_and_a_dead_one_is_suspect_after_others_were_asked() {
    let mut net = Net::new(4, 9);
    net.run(SECOND);
    net.dead.push(name(3));
    // Until the first doubt, and no further.
    while net.seen.is_empty() {
        net.run(Duration::from_millis(1));
    }
    let (_, by, of, seen, observers) = &net.seen[0];
    assert_eq!((of, *seen), (&name(3), Reachability::Suspect));
    assert_eq!(observers, std::slice::from_ref(by));
    let asked = (0..3).filter(|helper| name(*helper) != *by);
    let pings = asked.map(|helper| net.packets.get(&(name(helper), name(3))).copied());
    assert!(pings.into_iter().all(|count| count.is_some_and(|count| count > 0)));
    for live in (0..3).map(name).filter(|live| live != by) {
        let sight = net.nodes[by].sight(net.now, &live).expect("a member");
        assert_eq!(sight.reachability, Reachability::Reachable);
    }
}

#[test]
fn f20_only_a_higher_incarnation_ends_a_suspicion_and_news_of_no_change_is_none() {
    let mut net = Net::new(4, 4);
    let (of, at) = (id(1), name(0));
    net.spread(2, 0, Member::new(of.clone(), 1, State::Alive));
    assert_eq!(net.seen, [], "a refreshed member is no event");
    for number in [1, 1] {
        let (observer, subject) = (name(2), of.clone());
        let word = Word { observer, boot: Boot(1), subject, incarnation: 1, number };
        net.word(&at, &word);
    }
    assert_eq!(net.seen.len(), 1, "a word that is known is no event: {:?}", net.seen);
    net.seen.clear();
    let now = |net: &Net| net.nodes[&at].sight(net.now, &name(1)).expect("a member").reachability;
    assert_eq!(now(&net), Reachability::Suspect);
    net.spread(2, 0, Member::new(of.clone(), 1, State::Alive));
    assert_eq!(now(&net), Reachability::Suspect, "the same incarnation refutes nothing");
    net.spread(2, 0, Member::new(of.clone(), 2, State::Alive));
    assert_eq!(now(&net), Reachability::Reachable);
    net.spread(2, 0, Member::new(of, 3, State::Alive));
    assert_eq!(net.seen.len(), 1, "one event for the change, none for the refreshment");
}

#[test]
fn f16_the_freshest_news_goes_first_and_each_piece_a_limited_number_of_times() {
    // Ten nodes: news is passed on 4 x ceil(log10 11) = 8 times.
    let mut net = Net::new(10, 4);
    let mut gossip = net.nodes.remove(&name(0)).expect("a node");
    let mut out = Vec::new();
    let failing: Vec<String> = (0..8).map(|index| format!("{index:>32}")).collect();
    for index in 1..=6 {
        let mut card = Card::new(name(index), Boot(1));
        (card.number, card.failing) = (2, failing.clone());
        gossip.take_card(net.now, &name(index), card, &mut out);
    }
    let mut carried = BTreeMap::new();
    let mut batches = Vec::new();
    for _ in 0..60 {
        out.clear();
        let due = gossip.next_deadline().expect("rounds go on");
        gossip.step(due, Input::TimePassed, &mut out);
        for output in &out {
            let Output::Send { packet, .. } = output else { continue };
            let Some((Kind::Swim, body)) = Kind::split(packet) else { continue };
            let mut records = Packet::decode(body).expect("its own").records;
            // Nobody answers it: it says so, too.
            records.retain(|record| matches!(Record::decode(record), Some(Record::Card(_))));
            assert!(packet.len() <= PACKET_BYTES_MAX);
            batches.push(records.len());
            for record in records {
                *carried.entry(record).or_insert(0) += 1;
            }
        }
    }
    // This node's own card, and six others.
    assert_eq!(carried.len(), 7);
    // Its own is said three times over in the beginning.
    let mut times: Vec<_> = carried.into_values().collect();
    times.sort_unstable();
    assert_eq!(times, [8, 8, 8, 8, 8, 8, 24]);
    // A packet takes four of the large ones and the small one; the rest come with the next.
    assert_eq!(batches.iter().max(), Some(&5), "{batches:?}");
    assert_eq!(batches.iter().sum::<usize>(), 72);
    let before = gossip.swim.custom_broadcast_backlog();
    // A newer card replaces the one that waits.
    for number in [3, 4] {
        let mut card = Card::new(name(1), Boot(1));
        card.number = number;
        gossip.take_card(net.now, &name(1), card, &mut out);
    }
    let words = gossip.swim.custom_broadcast_backlog() - before;
    assert_eq!(words, 1, "only the newest waits");
}
