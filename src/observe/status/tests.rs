use crate::wire::golden::Golden;

use super::*;

fn name(node: u16) -> NodeId {
    format!("n{node}").parse().expect("a name")
}

fn status(others: u16) -> NodeStatus {
    let seen = |node| {
        if node % 50 == 3 { Reachability::Unreachable } else { Reachability::Reachable }
    };
    NodeStatus {
        node: name(1),
        boot: Boot(300),
        software: "0.1.0".into(),
        uptime_s: 70_000,
        load: 70_000,
        view: Version(41),
        is_serving: true,
        observed: (2..others + 2).map(|node| (name(node), (Boot(9), seen(node)))).collect(),
        left_out: 0,
        links: Counts { dialled: 1, broken: 300, resumed: 70_000, ..Counts::default() },
    }
}

#[test]
fn golden_bytes_of_status() {
    let mut golden = Golden::new("observe/golden/status.txt");
    let question = Question::Status;
    golden.add(("status", "question"), &question, &encode(&question), decode::<Question>);
    for (what, status) in [
        ("alone", NodeStatus { is_serving: false, ..status(0) }),
        ("two others", status(2)),
        ("with some left out", NodeStatus { left_out: 70_000, ..status(1) }),
    ] {
        golden.add(("status", what), &status, &encode(&status), decode::<NodeStatus>);
    }
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
        observed: Observations,
    }
    let NodeStatus { node, boot, software, uptime_s, load, view, is_serving, observed, .. } =
        status(3);
    let expected = NodeStatus { links: Counts::default(), ..status(3) };
    let before = Before { node, boot, software, uptime_s, load, view, is_serving, observed };
    assert_eq!(decode::<NodeStatus>(&encode(&before)), Some(expected));
}

#[test]
fn an_answer_that_is_too_long_leaves_out_what_is_as_it_should_be() {
    let whole = status(500);
    let bytes = encode(&whole);
    assert_eq!(whole.clone().encode_within(bytes.len()), bytes, "it fits");
    let less = whole.clone().encode_within(bytes.len() - 1);
    let read = decode::<NodeStatus>(&less).expect("it is read");
    assert_eq!((read.observed.len(), read.left_out), (10, 490));
    assert!(read.observed.values().all(|(_, seen)| *seen == Reachability::Unreachable));
    let least = decode::<NodeStatus>(&whole.encode_within(less.len() - 1)).expect("it is read");
    assert_eq!((least.observed.len(), least.left_out), (0, 500));
}

#[test]
fn a_refusal_is_told_in_words_that_do_not_steer() {
    let refused = |words: &'static [u8]| why(&AskError::Refused(Bytes::from_static(words)));
    assert!(refused(b"").contains("does not serve this"), "an older node");
    assert_eq!(refused(b"only members may ask"), "only members may ask");
    assert!(!refused(b"\x1b[2J").contains('\u{1b}'));
    assert_eq!(why(&AskError::Unknown("no answer".into())), "no answer");
}
