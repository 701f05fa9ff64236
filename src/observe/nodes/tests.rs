use crate::observe::golden::golden;
use crate::placement::tests::{Cluster, constants, id};

use super::*;

use Reachability::{Reachable, Suspect, Unreachable};

/// `node` in `boot`, as somebody sees it.
fn state(node: u16, boot: u64, reachability: Reachability) -> MemberState {
    let doubted = reachability != Reachable;
    MemberState {
        node: id(node),
        boot: Boot(boot),
        addr: String::new(),
        zone: String::new(),
        status: Status::Up,
        reachability,
        observers: if doubted { vec![id(3), id(4)] } else { vec![] },
        failing: Vec::new(),
        draining: false,
        leaving: false,
        view: None,
        round_trip: (!doubted).then(|| Duration::from_micros(433 * u64::from(node))),
        silent: None,
    }
}

fn status(node: u16, view: &View, members: Vec<MemberState>) -> NodeStatus {
    NodeStatus {
        node: id(node),
        boot: Boot(1),
        software: "0.1.0".into(),
        uptime_s: 3_700 * u64::from(node),
        load: 1_000 * u32::from(node),
        view: view.version,
        is_serving: node != 3,
        members,
        left_out: 0,
        links: Counts::default(),
    }
}

fn after(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Four members: `n2` is doubted, `n3` has no lease and drains, `n4` does not answer.
fn report() -> NodesReport {
    let mut cluster = Cluster::formed(4, &constants(3, 2));
    for (node, zone) in [(1, "east"), (2, "we\u{202e}st")] {
        cluster.view.members.get_mut(&id(node)).expect("a member").zone = zone.into();
    }
    let view = &cluster.view;
    let [one, two, three] = [1, 2, 3].map(|node| state(node, 1, Reachable));
    let sick = MemberState { failing: vec!["disk".into()], ..state(4, 1, Reachable) };
    let members = vec![one.clone(), state(2, 1, Unreachable), three.clone(), sick];
    let own = status(1, view, members);
    let mut report = NodesReport::new(view, (&id(1), Some(id(2))), &own.members);
    report.take(&id(1), Ok((own, Duration::ZERO)));
    let failing = vec!["db".into(), "\u{1b}[2J".into()];
    let itself = MemberState { failing, ..two };
    let members = vec![one.clone(), itself, state(3, 1, Suspect), state(4, 1, Unreachable)];
    report.take(&id(2), Ok((status(2, view, members), after(3))));
    let itself = MemberState { draining: true, ..three };
    let members = vec![one, state(2, 8, Reachable), itself, state(4, 1, Unreachable)];
    report.take(&id(3), Ok((status(3, view, members), after(4))));
    report.take(&id(4), Err("unknown: no answer by the deadline".into()));
    report
}

#[test]
fn golden_text_of_the_nodes() {
    let report = report();
    let json = serde_json::to_string_pretty(&report).expect("it is written");
    let read: NodesReport = serde_json::from_str(&json).expect("it is read");
    assert_eq!(read, report);
    let alone = Cluster::formed(1, &constants(1, 1)).view;
    let mut one = NodesReport::new(&alone, (&id(1), None), &[]);
    one.take(&id(1), Ok((status(1, &alone, vec![]), Duration::ZERO)));
    golden("nodes.txt", &format!("== four\n{report}\n== one\n{one}\n== as JSON\n{json}\n"));
}

#[test]
fn another_life_is_another_node() {
    let report = report();
    let row = report.nodes.iter().find(|row| row.node == id(2)).expect("a member");
    assert_eq!((row.reachable_by, row.unreachable_by, row.unknown_to), (0, 1, 1));
    let sights: Vec<_> = row.seen.iter().map(|one| (one.by.clone(), one.reachability)).collect();
    assert_eq!(sights, [(id(1), Some(Unreachable)), (id(3), None)], "n3 knows its boot 8");
}

/// A thousand observers: those that doubt are listed, whoever answers first, and all are counted.
#[test]
fn of_many_observers_those_that_doubt_are_listed_and_all_are_counted() {
    let view = Cluster::formed(1, &constants(1, 1)).view;
    let mut forwards = NodesReport::new(&view, (&id(1), None), &[]);
    let mut backwards = forwards.clone();
    let seen = |by: u16| if by % 100 == 7 { Unreachable } else { Reachable };
    let answer = |by: u16| Ok((status(by, &view, vec![state(1, 1, seen(by))]), after(1)));
    for by in 2..=1_001 {
        forwards.take(&id(by), answer(by));
        backwards.take(&id(1_003 - by), answer(1_003 - by));
    }
    assert_eq!(forwards, backwards);
    let row = &forwards.nodes[0];
    assert_eq!((row.reachable_by, row.unreachable_by, row.unknown_to), (990, 10, 0));
    assert_eq!(row.seen.len(), SIGHTS_MAX);
    let doubting = row.seen.iter().filter(|sight| sight.reachability == Some(Unreachable));
    assert_eq!(doubting.count(), 10);
}

/// What did not fit into an answer is as it should be.
#[test]
fn who_is_left_out_of_an_answer_counts_as_reachable() {
    let view = Cluster::formed(2, &constants(1, 1)).view;
    let mut report = NodesReport::new(&view, (&id(1), None), &[]);
    let short = NodeStatus { left_out: 5, ..status(2, &view, vec![]) };
    report.take(&id(2), Ok((short, after(1))));
    let row = &report.nodes[0];
    assert_eq!((row.reachable_by, row.unknown_to), (1, 0));
}

/// What a node says of itself counts more than what another has heard of it.
#[test]
fn a_node_knows_its_own_health_best() {
    let report = report();
    let failing = |node| {
        let row = report.nodes.iter().find(|row| row.node == id(node));
        row.expect("a member").failing.clone()
    };
    assert_eq!(failing(2), ["db", "\u{1b}[2J"], "as it says");
    assert_eq!(failing(4), ["disk"], "it gave no answer: as the asked node heard");
    assert!(!report.to_string().contains('\u{1b}'));
}
