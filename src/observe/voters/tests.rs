use super::*;
use crate::authority::Progress;
use crate::observe::golden::golden;
use crate::placement::tests::{Cluster, constants, id};

fn voters(of: &[u64]) -> BTreeSet<VoterId> {
    of.iter().copied().map(VoterId).collect()
}

/// What voter `node` knows while `leader` leads `halves`; `last_log` is its own.
fn status(node: u16, leader: u64, last_log: u64, halves: &[&[u64]]) -> VoterStatus {
    let all: BTreeSet<VoterId> = halves.iter().flat_map(|half| voters(half)).collect();
    let place = |voter: &VoterId| {
        let addr = format!("127.0.0.1:{}", 4000 + voter.0);
        (*voter, Voter { node: format!("n{}", voter.0).parse().expect("a name"), addr })
    };
    let state = QuorumState {
        term: 3,
        leader: Some(VoterId(leader)),
        last_log,
        committed: last_log,
        applied: last_log,
        voters: halves.iter().map(|half| voters(half)).collect(),
        nodes: all.iter().map(place).collect(),
        progress: BTreeMap::new(),
    };
    VoterStatus { node: id(node), boot: Boot(1), state }
}

/// The same of the leader, which knows how far the others are.
fn leader(node: u16, last_log: u64, halves: &[&[u64]], others: &[(u64, u64, u64)]) -> VoterStatus {
    let mut status = status(node, node.into(), last_log, halves);
    let progress = |(voter, matched, ms): &(u64, u64, u64)| {
        let silent = Some(Duration::from_millis(*ms));
        (VoterId(*voter), Progress { matched: Some(*matched), silent })
    };
    status.state.progress = others.iter().map(progress).collect();
    status
}

fn report(
    view: &View,
    answered: impl IntoIterator<Item = VoterStatus>,
    silent: &[u16],
) -> VotersReport {
    let mut answers: VoterAnswers =
        answered.into_iter().map(|status| (status.node.clone(), Ok(status))).collect();
    for node in silent {
        answers.insert(id(*node), Err("unknown: no answer by the deadline".into()));
    }
    VotersReport::new(view, &id(1), &answers)
}

fn all_well() -> VotersReport {
    let mut cluster = Cluster::formed(5, &constants(3, 2));
    cluster.view.members.get_mut(&id(2)).expect("a member").zone = "east".into();
    let said = [
        status(1, 2, 1_204, &[&[1, 2, 3]]),
        leader(2, 1_204, &[&[1, 2, 3]], &[(1, 1_204, 30), (2, 1_204, 0), (3, 1_200, 41)]),
        status(3, 2, 1_200, &[&[1, 2, 3]]),
    ];
    report(&cluster.view, said, &[])
}

fn one_silent() -> VotersReport {
    let view = Cluster::formed(3, &constants(3, 2)).view;
    let own = leader(1, 80, &[&[1, 2, 3]], &[(2, 80, 12), (3, 41, 9_000)]);
    report(&view, [own, status(2, 1, 80, &[&[1, 2, 3]])], &[3])
}

fn cut_off() -> VotersReport {
    let view = Cluster::formed(3, &constants(3, 2)).view;
    let mut own = status(1, 2, 80, &[&[1, 2, 3]]);
    own.state.leader = None;
    report(&view, [own], &[2, 3])
}

/// `n4` takes the place of `n3`, and `n5` learns.
fn changing() -> VotersReport {
    let view = Cluster::formed(5, &constants(3, 2)).view;
    let mut own = leader(1, 90, &[&[1, 2, 3], &[1, 2, 4]], &[(2, 90, 5), (4, 88, 5)]);
    let five = Voter { node: id(5), addr: "127.0.0.1:4005".into() };
    own.state.nodes.insert(VoterId(5), five);
    let others = [2, 3, 4].map(|node| status(node, 1, 90, &[&[1, 2, 3], &[1, 2, 4]]));
    report(&view, std::iter::once(own).chain(others), &[5])
}

#[test]
fn golden_text_of_the_voters() {
    let table = [
        ("all well", all_well()),
        ("one silent", one_silent()),
        ("cut off", cut_off()),
        ("changing", changing()),
        ("nobody", report(&View::default(), [], &[])),
    ];
    let mut text = String::new();
    for (what, report) in &table {
        text = format!("{text}== {what}\n{report}\n");
        let json = serde_json::to_string(report).expect("it is written");
        let read: VotersReport = serde_json::from_str(&json).expect("it is read");
        assert_eq!(read, *report, "{what}");
    }
    let json = serde_json::to_string_pretty(&table[0].1).expect("it is written");
    golden("voters.txt", &format!("{text}== as JSON\n{json}\n"));
}

#[test]
fn how_many_may_fail_follows_from_who_votes_and_who_answers() {
    let well = all_well();
    assert_eq!((well.quorum, well.may_fail, well.may_fail_now), (2, 1, Some(1)));
    assert_eq!((well.leader, well.clients), (Some(id(2)), vec![id(4), id(5)]));
    let behind: Vec<Option<u64>> = well.voters.iter().map(|row| row.behind).collect();
    assert_eq!(behind, [Some(0), Some(0), Some(4)]);
    assert_eq!((one_silent().may_fail, one_silent().may_fail_now), (1, Some(0)));
    let cut = cut_off();
    assert_eq!((cut.may_fail, cut.may_fail_now, cut.leader), (1, None, None));
    // Three of one set answer and three of the other: either may lose one.
    let changing = changing();
    assert!(changing.is_changing);
    assert_eq!((changing.quorum, changing.may_fail, changing.may_fail_now), (2, 1, Some(1)));
    let roles: Vec<VoterRole> = changing.voters.iter().map(|row| row.role).collect();
    let (stays, going) = (VoterRole::Voter, VoterRole::Going);
    assert_eq!(roles, [stays, stays, going, VoterRole::Coming, VoterRole::Learner]);
    for (of, quorum, may_fail) in [(1, 1, 0), (2, 2, 0), (4, 3, 1), (5, 3, 2)] {
        let ids: Vec<u64> = (1..=of).collect();
        let view = Cluster::formed(5, &constants(3, 2)).view;
        let report = report(&view, [status(1, 1, 9, &[&ids])], &[]);
        assert_eq!((report.quorum, report.may_fail), (quorum, may_fail), "{of} voters");
    }
}

/// An old leader that was cut off answers as well; the newer term counts.
#[test]
fn the_newest_term_says_who_leads() {
    let view = Cluster::formed(3, &constants(3, 2)).view;
    let old = leader(1, 95, &[&[1, 2, 3]], &[]);
    let mut new = leader(3, 90, &[&[1, 2, 3]], &[(2, 90, 1)]);
    new.state.term = 4;
    let report = report(&view, [old, new, status(2, 1, 90, &[&[1, 2, 3]])], &[]);
    assert_eq!((report.term, report.leader, report.last_log), (4, Some(id(3)), 90));
}
