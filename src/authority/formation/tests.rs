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
    State { me, list, formed: None, known: vec![] }
}

fn known<'a>(me: &'a Candidate, held: Option<&'a List>) -> Known<'a> {
    Known { me, held, withdrawn: false, expect: 3 }
}

#[test]
fn a_list_is_held_only_when_all_expected_nodes_answered() {
    let me = candidate("n1", 1);
    let mut answers = vec![state(candidate("n2", 2), None)];
    assert!(matches!(decide(&known(&me, None), &answers), Decision::Wait(_)));
    answers.push(state(candidate("n3", 3), None));
    assert_eq!(decide(&known(&me, None), &answers), Decision::Hold(trio()));
    answers.push(state(candidate("n4", 4), None));
    assert!(matches!(decide(&known(&me, None), &answers), Decision::Refuse(_)));
}

#[test]
fn a_node_initialises_only_when_every_other_answered_with_its_list() {
    let (me, list) = (candidate("n1", 1), trio());
    let mut answers =
        vec![state(candidate("n2", 2), Some(list.clone())), state(candidate("n3", 3), None)];
    assert!(matches!(decide(&known(&me, Some(&list)), &answers), Decision::Wait(_)));
    answers[1].list = Some(list.clone());
    assert_eq!(decide(&known(&me, Some(&list)), &answers), Decision::Initialise(list.clone()));
    answers.remove(1);
    assert!(matches!(decide(&known(&me, Some(&list)), &answers), Decision::Wait(_)));
}

#[test]
fn a_node_that_was_answered_for_starts_with_the_list_others_started_with() {
    let (me, list) = (candidate("n1", 1), trio());
    let mut other = state(candidate("n2", 2), Some(list.clone()));
    other.formed = Some(list.id());
    assert_eq!(decide(&known(&me, Some(&list)), &[other]), Decision::Initialise(list.clone()));
}

#[test]
fn an_existing_cluster_means_join() {
    let me = candidate("n4", 4);
    let mut other = state(candidate("n2", 2), Some(trio()));
    other.formed = Some(trio().id());
    assert_eq!(decide(&known(&me, None), &[other]), Decision::Join(trio().id()));
}

#[test]
fn a_list_is_taken_back_only_after_everyone_in_it_said_they_do_not_hold_it() {
    let (me, list) = (candidate("n1", 1), trio());
    let other = List::of([candidate("n1", 9), candidate("n2", 2), candidate("n3", 3)]);
    let astray = state(candidate("n2", 2), Some(other));
    // n3 is silent: it may hold the list, or have started with it.
    let one = vec![astray.clone()];
    assert_eq!(decide(&known(&me, Some(&list)), &one), Decision::Withdraw);
    let withdrawn = Known { withdrawn: true, ..known(&me, Some(&list)) };
    assert_eq!(decide(&withdrawn, &one), Decision::Withdraw);
    let holds = vec![astray.clone(), state(candidate("n3", 3), Some(list.clone()))];
    assert_eq!(decide(&withdrawn, &holds), Decision::Withdraw);
    let both = vec![astray, state(candidate("n3", 3), None)];
    assert_eq!(decide(&withdrawn, &both), Decision::TakeBack);
    assert_eq!(
        decide(&known(&me, Some(&list)), &both),
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
    let withdrawn = Known { withdrawn: true, ..known(&me, Some(&list)) };
    assert!(matches!(decide(&withdrawn, &all), Decision::Wait(_)));
}

#[test]
fn two_nodes_of_one_name_are_refused() {
    let me = candidate("n1", 1);
    let twin = [state(candidate("n1", 5), None)];
    assert!(matches!(decide(&known(&me, None), &twin), Decision::Refuse(_)));
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
