//! Each rule of the machine, by itself.

mod terms;

use std::time::Duration;

use bytes::Bytes;

use super::{Config, Holders, Input, Output, Part, Primary, Reading, Terms, Want};
use crate::base::{Boot, Epoch, Instant, ShardId, StoreId};
use crate::placement::{Change, Outcome, Owner, Refusal};
use crate::replica::frame::{Body, Verdict};
use crate::replica::{SaveError, Write};
use crate::storage::{Number, Op, OpResult, Record, ShardHead};

const OWN: StoreId = StoreId(1);
const B: StoreId = StoreId(2);
const C: StoreId = StoreId(3);
const EPOCH: Epoch = Epoch(9);
const ACK: Duration = Duration::from_millis(500);

fn config() -> Config {
    Config {
        shard: ShardId(4),
        epoch: EPOCH,
        owner: Owner { node: "a".parse().expect("a name"), boot: Boot(1) },
        own: OWN,
        ids: 100,
    }
}

const TERMS: Terms = Terms { ack_timeout: ACK, copies: 3, write_min: 2 };

fn holders(in_sync: &[StoreId], generation: u64, has_records: bool) -> Holders {
    Holders { in_sync: in_sync.to_vec(), generation, has_records }
}

fn old(seq: u64) -> Number {
    Number { epoch: Epoch(5), seq }
}

fn new(seq: u64) -> Number {
    Number { epoch: EPOCH, seq }
}

fn head(last: Number, acked: Number) -> ShardHead {
    ShardHead { sealed: EPOCH, last, acked, filling: false }
}

/// A machine, the clock and what it said since last asked.
struct Rig {
    now: Instant,
    machine: Primary,
    out: Vec<Output>,
}

impl Rig {
    fn new(holders: Holders) -> Self {
        let (now, mut out) = (Instant::ZERO + Duration::from_secs(9), Vec::new());
        Self { now, machine: Primary::new(config(), holders, TERMS, now, &mut out), out }
    }

    /// A machine that serves with the own store, b and c, all at `old(3)`.
    fn serving() -> Self {
        let mut rig = Self::new(holders(&[OWN, B, C], 1, true));
        rig.step(Input::Stored(OpResult::Done(head(old(3), old(2)))));
        for store in [B, C] {
            let order = rig.order_to(store);
            let verdict = Verdict::Done(head(old(3), old(2)));
            rig.step(Input::Answered { store, order, verdict });
        }
        assert!(rig.said(|output| *output == Output::Serving), "{:?}", rig.out);
        rig.out.clear();
        rig
    }

    fn step(&mut self, input: Input) {
        self.machine.step(self.now, input, &mut self.out);
        self.machine.check().expect("sound");
    }

    fn view(&mut self, holders: Holders, terms: Terms) {
        self.step(Input::Viewed(holders, terms));
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.step(Input::TimePassed);
    }

    fn said(&self, what: impl Fn(&Output) -> bool) -> bool {
        self.out.iter().any(what)
    }

    fn sent(&self, to: StoreId) -> Option<(u64, Body)> {
        self.out.iter().rev().find_map(|output| match output {
            Output::Send { store, order, body } if *store == to => Some((*order, body.clone())),
            _ => None,
        })
    }

    fn order_to(&self, store: StoreId) -> u64 {
        self.sent(store).expect("something was sent").0
    }

    fn answer(&mut self, store: StoreId, head: ShardHead) {
        let order = self.order_to(store);
        self.step(Input::Answered { store, order, verdict: Verdict::Done(head) });
    }

    fn save(&mut self, token: u64, revision: u64, current: u64) {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        let write = Write { key, revision, value, deleted: false };
        self.step(Input::Save { token, write, current });
    }

    fn proposed(&self) -> Option<Change> {
        self.out.iter().rev().find_map(|output| match output {
            Output::Propose(proposal) => Some(proposal.change.clone()),
            _ => None,
        })
    }

    fn resolved(&self, token: u64) -> Option<Result<(), SaveError>> {
        self.out.iter().find_map(|output| match output {
            Output::Resolve { token: of, result } if *of == token => Some(result.clone()),
            _ => None,
        })
    }
}

#[test]
fn it_serves_only_when_every_store_of_in_sync_holds_exactly_its_log() {
    let mut rig = Rig::new(holders(&[OWN, B, C], 1, true));
    assert!(rig.said(|output| matches!(output, Output::Store(Op::Seal { .. }))));
    rig.step(Input::Stored(OpResult::Done(head(old(3), old(2)))));
    rig.answer(B, head(old(3), old(2)));
    // c lacks old(3): it gets what lies above its own acked, and only then all agree.
    rig.answer(C, head(old(2), old(1)));
    assert!(!rig.said(|output| *output == Output::Serving));
    let want = Want::Tail { store: C, after: old(1), upto: old(3) };
    assert!(rig.said(|output| *output == Output::Read(want)), "{:?}", rig.out);
    rig.step(Input::Read(Reading::Tail { store: C, records: Some(Vec::new()) }));
    let (_, body) = rig.sent(C).expect("sent");
    assert_eq!(body, Body::Adopt { after: old(1), records: Vec::new(), last: old(3) });
    rig.answer(C, head(old(3), old(1)));
    assert!(rig.said(|output| *output == Output::Serving));
}

#[test]
fn an_owner_that_lacks_what_was_acknowledged_never_serves() {
    let mut rig = Rig::new(holders(&[OWN, B], 1, true));
    rig.step(Input::Stored(OpResult::Done(head(old(3), old(2)))));
    rig.answer(B, head(old(5), old(4)));
    rig.pass(ACK * 4);
    assert!(!rig.machine.is_serving());
    assert!(!rig.said(|output| matches!(output, Output::Read(_))));
}

#[test]
fn a_write_is_acknowledged_when_all_of_in_sync_and_the_own_store_have_it() {
    let mut rig = Rig::serving();
    rig.save(7, 1, 0);
    assert!(matches!(rig.sent(B), Some((_, Body::Append { prev, .. })) if prev == old(3)));
    rig.answer(B, head(new(1), old(3)));
    rig.answer(C, head(new(1), old(3)));
    assert_eq!(rig.resolved(7), None);
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    assert_eq!(rig.resolved(7), Some(Ok(())));
}

#[test]
fn a_numbered_write_is_sent_again_until_acknowledged() {
    let mut rig = Rig::serving();
    rig.save(7, 1, 0);
    let (order, body) = rig.sent(B).expect("sent");
    rig.out.clear();
    rig.step(Input::Unanswered { store: B, order });
    rig.pass(ACK / 8);
    assert_eq!(rig.sent(B).map(|(_, body)| body), Some(body));
    rig.pass(ACK * 10);
    assert_eq!(rig.resolved(7), None);
}

#[test]
fn too_few_live_stores_are_told_before_a_number_is_given() {
    let mut rig = Rig::serving();
    rig.now = rig.now + ACK * 4;
    rig.save(7, 1, 0);
    assert!(rig.said(|output| *output == Output::Probe(B)));
    assert!(!rig.said(|output| matches!(output, Output::Store(_))));
    rig.pass(ACK);
    assert!(matches!(rig.resolved(7), Some(Err(SaveError::UnderReplicated { live: 1, .. }))));
    assert!(!rig.said(|output| matches!(output, Output::Store(_))));
}

#[test]
fn the_first_number_waits_for_committed_records() {
    let mut rig = Rig::new(holders(&[OWN, B, C], 1, false));
    assert!(rig.machine.is_serving());
    rig.save(7, 1, 0);
    rig.step(Input::Heard { store: B, at: rig.now });
    assert_eq!(rig.proposed(), None, "c may still be heard");
    rig.pass(ACK / 2);
    let Some(Change::HasRecords { in_sync, .. }) = rig.proposed() else { panic!("{:?}", rig.out) };
    assert_eq!(in_sync, vec![OWN, B]);
    assert!(!rig.said(|output| matches!(output, Output::Store(_))));
    rig.view(holders(&[OWN, B], 2, true), TERMS);
    rig.step(Input::Stored(OpResult::Done(head(Number::ZERO, Number::ZERO))));
    rig.answer(B, head(Number::ZERO, Number::ZERO));
    assert!(rig.said(|output| matches!(output, Output::Store(Op::Append { .. }))));
}

#[test]
fn a_silent_store_is_needed_until_its_removal_is_seen() {
    let mut rig = Rig::serving();
    rig.save(7, 1, 0);
    rig.answer(B, head(new(1), old(3)));
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    rig.pass(ACK);
    assert!(rig.said(|output| *output == Output::Silence(C)));
    assert!(matches!(rig.proposed(), Some(Change::Shrink { store: C, .. })));
    let id = crate::placement::ChangeId(101);
    rig.step(Input::Proposed { id, outcome: Some(Outcome::Accepted) });
    assert_eq!(rig.resolved(7), None, "accepted is not seen");
    rig.view(holders(&[OWN, B], 2, true), TERMS);
    assert_eq!(rig.resolved(7), Some(Ok(())));
}

#[test]
fn in_sync_is_never_shrunk_below_write_min_and_another_store_is_wanted_first() {
    let mut rig = Rig::new(holders(&[OWN, B], 1, true));
    rig.step(Input::Stored(OpResult::Done(head(old(3), old(2)))));
    rig.pass(ACK);
    assert_eq!(rig.proposed(), None);
    assert_eq!(rig.machine.wants_copy(), Some(true));
}

#[test]
fn a_store_being_added_is_needed_from_the_proposal_on_whatever_the_authority_says() {
    let mut rig = Rig::serving();
    rig.view(holders(&[OWN, B], 2, true), TERMS);
    rig.step(Input::Offered(C));
    let order = rig.order_to(C);
    let verdict = Verdict::Listed(head(Number::ZERO, Number::ZERO), Vec::new());
    rig.step(Input::Answered { store: C, order, verdict });
    rig.step(Input::Read(Reading::Inventory { store: C, list: Vec::new() }));
    assert!(matches!(rig.sent(C), Some((_, Body::Begin { run: 1, .. }))));
    rig.answer(C, head(Number::ZERO, Number::ZERO));
    let part = super::Part { records: Vec::new(), upto: old(3), end: true };
    rig.step(Input::Read(Reading::Part { store: C, part: Some(part) }));
    rig.answer(C, head(old(3), old(3)));
    assert!(matches!(rig.proposed(), Some(Change::Add { store: C, .. })), "{:?}", rig.out);
    // Unknown and stale prove nothing: the store stays needed until a view past it is seen.
    let id = crate::placement::ChangeId(101);
    rig.step(Input::Proposed { id, outcome: None });
    let stale = Outcome::Refused(Refusal::Stale(ShardId(4)));
    rig.step(Input::Proposed { id, outcome: Some(stale) });
    rig.save(7, 1, 0);
    rig.answer(B, head(new(1), old(3)));
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    assert_eq!(rig.resolved(7), None);
    rig.answer(C, head(new(1), old(3)));
    assert_eq!(rig.resolved(7), Some(Ok(())));
}

#[test]
fn a_store_sealed_higher_ends_the_epoch_and_what_waits_is_unknown() {
    let mut rig = Rig::serving();
    rig.save(7, 1, 0);
    let order = rig.order_to(B);
    let later = ShardHead { sealed: Epoch(10), ..head(old(3), old(3)) };
    rig.step(Input::Answered { store: B, order, verdict: Verdict::Refused(later) });
    assert_eq!(rig.resolved(7), Some(Err(SaveError::Lapsed)));
    assert!(!rig.machine.is_serving());
}

#[test]
fn a_revision_that_does_not_follow_is_refused() {
    let mut rig = Rig::serving();
    rig.save(7, 3, 1);
    let conflict = SaveError::Conflict { given: 3, current: 1 };
    assert_eq!(rig.resolved(7), Some(Err(conflict)));
}

#[test]
fn a_part_of_which_all_is_kept_is_sent_empty_so_that_the_target_counts_on_from_it() {
    let record = |seq: u64| Record {
        key: Bytes::from(vec![u8::try_from(seq).expect("small")]),
        number: old(seq),
        revision: 1,
        deleted: false,
        value: Bytes::from_static(b"v"),
    };
    let mut rig = Rig::new(holders(&[OWN, B], 1, true));
    rig.step(Input::Stored(OpResult::Done(head(old(3), old(3)))));
    rig.answer(B, head(old(3), old(3)));
    rig.step(Input::Offered(C));
    // C holds the first of three records already.
    let order = rig.order_to(C);
    let empty = ShardHead { filling: true, ..head(Number::ZERO, Number::ZERO) };
    let verdict = Verdict::Listed(head(old(1), old(1)), vec![(old(1), 7)]);
    rig.step(Input::Answered { store: C, order, verdict });
    let list = vec![(old(1), 7), (old(2), 7), (old(3), 7)];
    rig.step(Input::Read(Reading::Inventory { store: C, list }));
    rig.answer(C, empty);
    let part = Part { records: vec![record(1)], upto: old(3), end: false };
    rig.step(Input::Read(Reading::Part { store: C, part: Some(part) }));
    let Some((_, Body::Fill { after, records, last, complete, .. })) = rig.sent(C) else {
        panic!("a part was to be sent: {:?}", rig.out);
    };
    assert_eq!((after, records.len(), last, complete), (Number::ZERO, 0, old(1), false));
}

#[test]
fn a_store_that_is_one_too_many_is_dropped_and_none_of_those_that_are_needed() {
    let mut rig = Rig::serving();
    rig.step(Input::Surplus(C));
    assert_eq!(rig.proposed(), None, "three are wanted, and three hold it");
    let four = StoreId(4);
    rig.step(Input::Wished(four));
    assert!(rig.sent(four).is_some(), "it is caught up though nobody lacks it");
    rig.step(Input::Wished(StoreId(5)));
    let ended = Output::CopyEnded { store: StoreId(5), joined: false };
    assert!(rig.said(|output| *output == ended), "one at a time");
    let mut rig = Rig::serving();
    rig.view(holders(&[OWN, B, C], 1, true), Terms { copies: 2, ..TERMS });
    assert_eq!(rig.proposed(), None, "nobody has said which");
    rig.step(Input::Surplus(OWN));
    assert_eq!(rig.proposed(), None, "an owner does not drop its own");
    rig.step(Input::Surplus(C));
    let Some(Change::Shrink { store, .. }) = rig.proposed() else { panic!("{:?}", rig.out) };
    assert_eq!(store, C);
    // Until it is seen that c has left, its acknowledgement is needed.
    rig.save(1, 1, 0);
    rig.step(Input::Stored(OpResult::Done(head(new(1), old(3)))));
    rig.answer(B, head(new(1), old(3)));
    assert_eq!(rig.resolved(1), None);
}
