pub(in crate::authority) mod joining;

use super::rival::Sight;
use super::*;
use crate::base::{Boot, StoreId};
use crate::placement::DiskMark;

fn candidate(name: &str, nonce: u64) -> Candidate {
    let disk = DiskMark { filesystem: 1, device: 1, lock_inode: nonce, host_boot: "h".into() };
    let claim = Claim {
        node: name.parse().expect("a name"),
        boot: Boot(1),
        token: 1,
        earlier_boots: vec![],
        tokens: Vec::new(),
        store: StoreId(u128::from(nonce)),
        voter: Some(VoterId(nonce)),
        addr: format!("{name}:1"),
        zone: String::new(),
        weight: 1,
        disk,
    };
    Candidate { claim, nonce }
}

pub(in super::super) fn trio() -> List {
    List::of([candidate("n3", 3), candidate("n1", 1), candidate("n2", 2)])
}

fn state(me: Candidate, list: Option<List>) -> State {
    State {
        me,
        list,
        formed: None,
        known: vec![],
        waited_ms: 5_000,
        rival: None,
        member: None,
        disk: None,
        settings: None,
        voters: BTreeMap::new(),
        version: Version(0),
    }
}

fn known(me: &State) -> Known<'_> {
    Known { me, rival: Sight::Nobody, withdrawn: false, expect: 3, alone: false }
}

#[test]
fn a_list_is_held_only_when_all_expected_nodes_answered() {
    let me = candidate("n1", 1);
    let mut answers = vec![state(candidate("n2", 2), None)];
    assert!(matches!(decide(&known(&state(me.clone(), None)), &answers), Decision::Wait(_)));
    answers.push(state(candidate("n3", 3), None));
    assert_eq!(decide(&known(&state(me.clone(), None)), &answers), Decision::Hold(trio()));
    answers.push(state(candidate("n4", 4), None));
    assert!(matches!(decide(&known(&state(me.clone(), None)), &answers), Decision::Refuse(_)));
}

#[test]
fn a_node_initialises_only_when_every_other_answered_with_its_list() {
    let (me, list) = (candidate("n1", 1), trio());
    let mut answers =
        vec![state(candidate("n2", 2), Some(list.clone())), state(candidate("n3", 3), None)];
    assert!(matches!(
        decide(&known(&state(me.clone(), Some(list.clone()))), &answers),
        Decision::Wait(_)
    ));
    answers[1].list = Some(list.clone());
    assert_eq!(
        decide(&known(&state(me.clone(), Some(list.clone()))), &answers),
        Decision::Initialise(list.clone())
    );
    answers.remove(1);
    assert!(matches!(
        decide(&known(&state(me.clone(), Some(list.clone()))), &answers),
        Decision::Wait(_)
    ));
}

#[test]
fn a_node_that_was_answered_for_starts_with_the_list_others_started_with() {
    let (me, list) = (candidate("n1", 1), trio());
    let mut other = state(candidate("n2", 2), Some(list.clone()));
    other.formed = Some(list.id());
    assert_eq!(
        decide(&known(&state(me.clone(), Some(list.clone()))), &[other]),
        Decision::Initialise(list.clone())
    );
}

#[test]
fn an_existing_cluster_means_join() {
    let me = candidate("n4", 4);
    let mut other = state(candidate("n2", 2), Some(trio()));
    other.formed = Some(trio().id());
    assert_eq!(decide(&known(&state(me.clone(), None)), &[other]), Decision::Join(trio().id()));
}

#[test]
fn a_list_is_taken_back_only_after_everyone_in_it_said_they_do_not_hold_it() {
    let (me, list) = (candidate("n1", 1), trio());
    let other = List::of([candidate("n1", 9), candidate("n2", 2), candidate("n3", 3)]);
    let astray = state(candidate("n2", 2), Some(other));
    // n3 is silent: it may hold the list, or have started with it.
    let one = vec![astray.clone()];
    assert_eq!(decide(&known(&state(me.clone(), Some(list.clone()))), &one), Decision::Withdraw);
    let holder = state(me.clone(), Some(list.clone()));
    let withdrawn = Known { withdrawn: true, ..known(&holder) };
    assert_eq!(decide(&withdrawn, &one), Decision::Withdraw);
    let holds = vec![astray.clone(), state(candidate("n3", 3), Some(list.clone()))];
    assert_eq!(decide(&withdrawn, &holds), Decision::Withdraw);
    let both = vec![astray, state(candidate("n3", 3), None)];
    assert_eq!(decide(&withdrawn, &both), Decision::TakeBack);
    assert_eq!(
        decide(&known(&state(me.clone(), Some(list.clone()))), &both),
        Decision::Withdraw,
        "not while it is named"
    );
}

#[test]
fn a_withdrawn_list_is_never_initialised_in_the_same_round() {
    let (me, list) = (candidate("n1", 1), trio());
    let all = [
        state(candidate("n2", 2), Some(list.clone())),
        state(candidate("n3", 3), Some(list.clone())),
    ];
    let holder = state(me.clone(), Some(list.clone()));
    let withdrawn = Known { withdrawn: true, ..known(&holder) };
    assert!(matches!(decide(&withdrawn, &all), Decision::Wait(_)));
}

#[test]
fn of_two_processes_under_one_name_the_second_gives_way() {
    let refuses = |me: &State, twin: &State| {
        matches!(decide(&known(me), std::slice::from_ref(twin)), Decision::Refuse(_))
    };
    let waited = |of: &State, waited_ms| State { waited_ms, ..of.clone() };
    let (first, second) = (state(candidate("n1", 1), None), state(candidate("n1", 5), None));
    // Who has waited for longer, whoever that is.
    for (first, second) in [(&first, &second), (&second, &first)] {
        let second = waited(second, 4_000);
        assert!(refuses(&second, first) && !refuses(first, &second));
    }
    let even = [refuses(&first, &second), refuses(&second, &first)];
    assert_eq!(even.iter().filter(|refuses| **refuses).count(), 1, "one of them in any case");
    // Who stands in the list that it answers with, and who is of a cluster, were there before.
    let second = waited(&second, 60_000);
    assert!(refuses(&first, &second));
    let holds = State { list: Some(trio()), ..first.clone() };
    assert!(!refuses(&holds, &second) && refuses(&second, &holds));
    let formed = State { formed: Some(trio().id()), ..first.clone() };
    assert!(refuses(&second, &formed));
    let of_another = State { list: Some(trio()), ..second.clone() };
    assert!(refuses(&first, &of_another), "a list with another of its name is no proof");
}

#[test]
fn others_take_the_first_of_two_processes_under_one_name() {
    let me = state(candidate("n2", 2), None);
    let (first, mut second) = (state(candidate("n1", 1), None), state(candidate("n1", 5), None));
    second.waited_ms = 100;
    let third = state(candidate("n3", 3), None);
    for answers in [[&first, &second, &third], [&second, &third, &first]] {
        let answers: Vec<State> = answers.into_iter().cloned().collect();
        assert_eq!(decide(&known(&me), &answers), Decision::Hold(trio()));
    }
}

#[test]
fn a_name_whose_process_is_alive_is_refused_and_one_that_may_be_is_waited_for() {
    let me = state(candidate("n1", 5), None);
    let mut answers =
        [State { formed: Some(trio().id()), ..state(candidate("n2", 2), None) }].to_vec();
    let name = me.me.claim.node.clone();
    let mut signs = Signs::default();
    let mut decided = |asked_ms, silent_ms| {
        answers[0].rival = Some(Rival { boot: Boot(3), silent_ms });
        let round = rival::Round { asked: asked_ms, done: asked_ms + 1, again: 1_500 };
        let rival = signs.of_all(&name, &answers, round);
        decide(&Known { rival, ..known(&me) }, &answers)
    };
    // Heard before this process came; then once, and again.
    assert!(matches!(decided(5_000, 5_000), Decision::Wait(_)));
    assert!(matches!(decided(5_100, 50), Decision::Wait(_)));
    let refused = decided(6_700, 20);
    let Decision::Refuse(why) = refused else { panic!("{refused:?}") };
    assert_eq!(
        why,
        "another process runs as n1 (boot 3): n2 heard it 20 ms ago; stop it, or give this one a \
         name of its own"
    );
}

#[test]
fn the_cluster_id_follows_the_directories_and_not_the_boots() {
    let mut later = trio();
    later.0[0].claim.boot = Boot(7);
    assert_eq!(later.id(), trio().id());
    later.0[0].nonce = 7;
    assert_ne!(later.id(), trio().id());
    assert_eq!(trio().first(16, &Profile::dev()), trio().first(16, &Profile::dev()));
}
