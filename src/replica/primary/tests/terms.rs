//! Constants that an operator sets while the machine runs.

use super::*;

const ALONE: Terms = Terms { write_min: 1, ..TERMS };

/// A machine that serves from the own store alone, as one store is enough.
fn alone() -> Rig {
    let mut rig = Rig::new(holders(&[OWN], 1, true));
    rig.view(holders(&[OWN], 1, true), ALONE);
    rig.step(Input::Stored(OpResult::Done(head(old(3), old(2)))));
    assert!(rig.said(|output| *output == Output::Serving), "{:?}", rig.out);
    rig.out.clear();
    rig
}

/// Catches up the store up to `upto`, all of which it is sent as one part.
fn catch_up(rig: &mut Rig, store: StoreId, upto: Number) {
    rig.step(Input::Offered(store));
    let order = rig.order_to(store);
    let verdict = Verdict::Listed(head(Number::ZERO, Number::ZERO), Vec::new());
    rig.step(Input::Answered { store, order, verdict });
    rig.step(Input::Read(Reading::Inventory { store, list: Vec::new() }));
    rig.answer(store, head(Number::ZERO, Number::ZERO));
    let part = Part { records: Vec::new(), upto, end: true };
    rig.step(Input::Read(Reading::Part { store, part: Some(part) }));
    rig.answer(store, head(upto, upto));
}

#[test]
fn with_a_raised_write_min_what_was_sent_before_is_held_until_more_stores_have_it() {
    let mut rig = alone();
    rig.save(7, 1, 0);
    assert!(rig.said(|output| matches!(output, Output::Store(Op::Append { .. }))));
    rig.view(holders(&[OWN], 1, true), TERMS);
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    rig.pass(ACK * 10);
    assert_eq!(rig.resolved(7), None, "it is on one store");
    assert_eq!(rig.machine.wants_copy(), Some(true), "nothing is acknowledged until then");

    // The copy ends below the write, which is not acknowledged: that is sent by itself.
    catch_up(&mut rig, B, old(3));
    assert!(matches!(rig.sent(B), Some((_, Body::Append { prev, .. })) if prev == old(3)));
    rig.answer(B, head(new(1), old(3)));
    assert!(matches!(rig.proposed(), Some(Change::Add { store: B, .. })), "{:?}", rig.out);
    assert_eq!(rig.resolved(7), None, "that b holds the shard is not agreed yet");
    rig.view(holders(&[OWN, B], 2, true), TERMS);
    assert_eq!(rig.resolved(7), Some(Ok(())));
}

#[test]
fn with_a_raised_write_min_what_has_no_number_yet_is_not_executed() {
    let mut rig = alone();
    rig.view(holders(&[OWN], 1, true), TERMS);
    rig.save(7, 1, 0);
    rig.pass(ACK);
    let refused = SaveError::UnderReplicated { shard: ShardId(4), live: 1, needed: 2 };
    assert_eq!(rig.resolved(7), Some(Err(refused)));
    assert!(!rig.said(|output| matches!(output, Output::Store(_))));
}

/// A view that raises `write_min` and shows fewer holders: nothing is acknowledged in between, by
/// the new holders and the old terms.
#[test]
fn holders_and_terms_of_a_view_hold_at_once() {
    let mut rig = Rig::serving();
    rig.save(7, 1, 0);
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    rig.answer(B, head(new(1), old(3)));
    rig.view(holders(&[OWN, B], 2, true), Terms { write_min: 3, ..TERMS });
    assert_eq!(rig.resolved(7), None, "two stores have it, and three must");
}

#[test]
fn with_a_lowered_write_min_a_silent_store_goes_and_what_waits_for_it_is_acknowledged() {
    let mut rig = Rig::new(holders(&[OWN, B], 1, true));
    rig.step(Input::Stored(OpResult::Done(head(old(3), old(2)))));
    rig.answer(B, head(old(3), old(2)));
    rig.save(7, 1, 0);
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    rig.pass(ACK);
    assert_eq!(rig.proposed(), None, "both are needed");
    rig.view(holders(&[OWN, B], 1, true), ALONE);
    assert!(matches!(rig.proposed(), Some(Change::Shrink { store: B, .. })), "{:?}", rig.out);
    assert_eq!(rig.resolved(7), None, "b is needed until it is seen that it has left");
    rig.view(holders(&[OWN], 2, true), ALONE);
    assert_eq!(rig.resolved(7), Some(Ok(())));
}

#[test]
fn with_a_lowered_write_min_a_takeover_that_waits_for_a_dead_store_ends() {
    let mut rig = Rig::new(holders(&[OWN, B], 1, true));
    rig.step(Input::Stored(OpResult::Done(head(old(3), old(2)))));
    rig.pass(ACK * 10);
    assert_eq!((rig.proposed(), rig.machine.is_serving()), (None, false));
    rig.view(holders(&[OWN, B], 1, true), ALONE);
    assert!(matches!(rig.proposed(), Some(Change::Shrink { store: B, .. })), "{:?}", rig.out);
    rig.view(holders(&[OWN], 2, true), ALONE);
    assert!(rig.said(|output| *output == Output::Serving));
}

#[test]
fn with_a_raised_write_min_a_removal_that_is_refused_is_not_proposed_again() {
    let mut rig = Rig::serving();
    rig.view(holders(&[OWN, B], 2, true), ALONE);
    rig.save(7, 1, 0);
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    rig.pass(ACK);
    assert!(matches!(rig.proposed(), Some(Change::Shrink { store: B, .. })), "{:?}", rig.out);
    // The constants came first.
    rig.view(holders(&[OWN, B], 2, true), TERMS);
    let id = crate::placement::ChangeId(101);
    let refusal = Refusal::InSync { shard: ShardId(4), why: "too few would stay".into() };
    rig.step(Input::Proposed { id, outcome: Some(Outcome::Refused(refusal)) });
    rig.out.clear();
    rig.pass(ACK * 10);
    assert_eq!((rig.proposed(), rig.resolved(7)), (None, None));
    assert_eq!(rig.machine.wants_copy(), Some(true));
}

#[test]
fn as_many_copies_are_wanted_as_the_newest_view_says() {
    let mut rig = Rig::serving();
    assert_eq!(rig.machine.copies(), (3, true));
    assert_eq!(rig.machine.wants_copy(), None);
    rig.view(holders(&[OWN, B, C], 1, true), Terms { copies: 4, ..TERMS });
    assert_eq!(rig.machine.copies(), (3, false));
    assert_eq!(rig.machine.wants_copy(), Some(false));
}

#[test]
fn a_store_is_silent_after_the_time_that_the_newest_view_says() {
    let silent = |rig: &Rig| rig.said(|output| *output == Output::Silence(B));
    let shorter = Terms { ack_timeout: ACK / 2, ..TERMS };
    let longer = Terms { ack_timeout: ACK * 2, ..TERMS };
    for (terms, before, then) in [(shorter, ACK / 4, ACK / 4), (longer, ACK, ACK)] {
        let mut rig = Rig::serving();
        rig.save(7, 1, 0);
        let asked = rig.now;
        rig.view(holders(&[OWN, B, C], 1, true), terms);
        assert_eq!(rig.machine.next_deadline(), asked + terms.ack_timeout);
        rig.pass(before);
        assert!(!silent(&rig), "{terms:?}");
        rig.pass(then);
        assert!(silent(&rig), "{terms:?}");
    }
}
