use std::collections::BTreeMap;

use crate::placement::Status;
use crate::placement::tests::{Cluster, constants};
use crate::wire::golden::Golden;

use super::*;
use crate::authority::{Progress, QuorumState, Voter};
use crate::base::VoterId;

fn name(node: u16) -> NodeId {
    format!("n{node}").parse().expect("a name")
}

/// A member: every fiftieth is doubted.
fn member(node: u16) -> MemberState {
    let doubted = node % 50 == 3;
    MemberState {
        node: name(node),
        boot: Boot(300),
        addr: format!("n{node}.example:7946"),
        zone: "z1".into(),
        status: Status::Up,
        reachability: if doubted { Reachability::Suspect } else { Reachability::Reachable },
        observers: if doubted { vec![name(1)] } else { vec![] },
        failing: if doubted { vec!["db".into()] } else { vec![] },
        draining: false,
        leaving: false,
        view: Some(Version(41)),
        round_trip: Some(Duration::from_micros(433)),
        silent: None,
    }
}

fn status(members: u16) -> NodeStatus {
    NodeStatus {
        node: name(1),
        boot: Boot(300),
        software: "0.1.0".into(),
        uptime_s: 70_000,
        load: 70_000,
        view: Version(41),
        is_serving: true,
        members: (1..=members).map(member).collect(),
        left_out: 0,
        links: Counts { dialled: 1, broken: 300, resumed: 70_000, ..Counts::default() },
    }
}

/// Three voters, one of which is behind and silent.
fn quorum_state() -> QuorumState {
    let place = |node: u16| {
        let voter = Voter { node: name(node), addr: format!("n{node}.example:7946") };
        (VoterId(u64::MAX - u64::from(node)), voter)
    };
    let nodes: BTreeMap<VoterId, Voter> = (1..=3).map(place).collect();
    let silent = Some(Duration::from_millis(1_500));
    QuorumState {
        term: 300,
        leader: nodes.keys().next().copied(),
        last_log: 70_000,
        committed: 70_000,
        applied: 69_999,
        voters: vec![nodes.keys().copied().collect()],
        progress: nodes.keys().map(|voter| (*voter, Progress { matched: None, silent })).collect(),
        nodes,
    }
}

#[test]
fn golden_bytes_of_status() {
    let mut golden = Golden::new("observe/golden/status.txt");
    let question = Question::Status;
    golden.add(("status", "question"), &question, &encode(&question), decode::<Question>);
    for (what, status) in [
        ("alone", NodeStatus { is_serving: false, ..status(0) }),
        ("three members", status(3)),
        ("with some left out", NodeStatus { left_out: 70_000, ..status(1) }),
    ] {
        golden.add(("status", what), &status, &encode(&status), decode::<NodeStatus>);
    }
    let question = Question::Voter;
    golden.add(("status", "voter"), &question, &encode(&question), decode::<Question>);
    let voter = VoterStatus { node: name(1), boot: Boot(300), state: quorum_state() };
    golden.add(("status", "of a voter"), &voter, &encode(&voter), decode::<VoterStatus>);
    golden.compare();
}

/// A node of before, which knew neither `left_out` nor `links`.
#[test]
fn fields_that_came_later_may_be_missing() {
    #[derive(Serialize)]
    struct Before {
        node: NodeId,
        boot: Boot,
        software: String,
        uptime_s: u64,
        load: u32,
        view: Version,
        is_serving: bool,
        members: Vec<MemberState>,
    }
    let NodeStatus { node, boot, software, uptime_s, load, view, is_serving, members, .. } =
        status(3);
    let expected = NodeStatus { links: Counts::default(), ..status(3) };
    let before = Before { node, boot, software, uptime_s, load, view, is_serving, members };
    assert_eq!(decode::<NodeStatus>(&encode(&before)), Some(expected));
}

#[test]
fn of_many_members_those_are_named_of_which_there_is_something_to_say() {
    let names = |bytes: &[u8]| {
        let read = decode::<NodeStatus>(bytes).expect("it is read");
        let names = read.members.iter().map(|member| member.node.to_string());
        (names.collect::<Vec<_>>().join(" "), read.left_out)
    };
    let most = u16::try_from(MEMBERS_MAX).expect("few");
    let whole = status(most);
    assert_eq!(whole.clone().encode_within(STATUS_BYTES_MAX), encode(&whole), "all of them");
    let less = status(500).encode_within(STATUS_BYTES_MAX);
    assert_eq!(names(&less), ("n1 n3 n53 n103 n153 n203 n253 n303 n353 n403 n453".into(), 489));
    assert!(less.len() < 4_000, "{} bytes", less.len());
    let least = status(500).encode_within(less.len() - 1);
    assert_eq!(names(&least), (String::new(), 500));
    let busy = MemberState { draining: true, ..member(2) };
    let leaver = MemberState { leaving: true, ..member(2) };
    assert!(is_remarkable(&busy) && is_remarkable(&leaver) && !is_remarkable(&member(2)));
}

#[test]
fn a_refusal_is_told_in_words_that_do_not_steer() {
    let refused = |words: &'static [u8]| why(&AskError::Refused(Bytes::from_static(words)));
    assert!(refused(b"").contains("does not serve this"), "an older node");
    assert_eq!(refused(b"only members may ask"), "only members may ask");
    assert!(!refused(b"\x1b[2J").contains('\u{1b}'));
    assert_eq!(why(&AskError::Unknown("no answer".into())), "no answer");
}

#[test]
fn only_members_in_their_present_life_may_ask() {
    let view = Cluster::formed(3, &constants(3, 2)).view;
    let peer = |node, boot| Peer { node: name(node), boot: Boot(boot) };
    assert!(is_member(&view, &peer(2, 1)));
    assert!(!is_member(&view, &peer(2, 2)), "a life the view does not know");
    assert!(!is_member(&view, &peer(4, 1)), "of the cluster, and no member");
    assert!(!is_member(&View::default(), &peer(1, 1)));
}
