//! Kept bytes of what voters say to each other and keep, and of proposals.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::entry::RaftEntry as _;

use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, StoredMembership};

use super::file::{seal, unseal};
use super::machine::{StoredSnapshot, decode, encode};
use super::message::{
    Addressed, Part, ProposeReply, ProposeRequest, RaftReply, RaftRequest, from_frame, to_frame,
};
use super::types::{Batch, Entry, LogId, SnapshotMeta, Vote, Voter};
use crate::authority::golden::{claim, node};
use crate::base::{Boot, ClusterId, Epoch, ShardId, StoreId, Version, VoterId};
use crate::placement::{
    Assign, Change, ChangeId, Constants, Departed, Departure, Member, Noted, Outcome, Owner,
    Precondition, Profile, Proposal, Refusal, Shard, Status, StoreMark, Transfer, View,
};
use crate::wire::golden::Golden;

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId { term: 3, node_id: 0xabcd }, index)
}

fn owner() -> Owner {
    Owner { node: node("n1"), boot: Boot(5) }
}

fn constants() -> Constants {
    let profile = Profile::lan();
    let lease_before = Some(Duration::from_secs(2));
    Constants { shards: 2, copies: 3, write_min: 2, profile, lease_before, lease_set: true }
}

fn assign() -> Vec<Assign> {
    let one = Assign {
        shard: ShardId(1),
        expected_epoch: Epoch::new(1, 8),
        expected_generation: 3,
        owner: Some(owner()),
        in_sync: vec![StoreId(1), StoreId(u128::MAX)],
        lost: false,
    };
    let lost = Assign { owner: None, in_sync: vec![], lost: true, ..one.clone() };
    vec![one, lost]
}

/// One of each, with a word for the corpus.
fn changes() -> Vec<(&'static str, Change)> {
    let (shard, store, cause) = (ShardId(7), StoreId(9), "its lease ran out".to_owned());
    let when = Precondition { owner: owner(), epoch: Epoch::new(1, 8), in_sync_generation: 3 };
    let members = vec![claim("n1", 1)];
    let cluster = ClusterId([0xc1; 32]);
    let form = Change::Form { cluster, constants: constants(), members, assign: assign() };
    let in_sync = vec![StoreId(9), StoreId(10)];
    let evict = Change::Evict {
        node: node("n1"),
        boot: Boot(5),
        cause: cause.clone(),
        assign: assign(),
        released: true,
    };
    let mut changes = vec![
        ("form", form),
        ("join", Change::Join { claim: claim("n2", 2), assign: vec![] }),
        ("rejoin", Change::Rejoin { replaces: Boot(4), claim: claim("n2", 2), assign: assign() }),
        ("evict", evict),
        ("assign", Change::Assign { cause, assign: assign() }),
        ("has records", Change::HasRecords { shard, in_sync, when: when.clone() }),
        ("add", Change::Add { shard, store, when: when.clone() }),
        ("shrink", Change::Shrink { shard, store, when }),
    ];
    changes.extend(planned_changes());
    changes
}

/// What the leader and operators change while all are alive.
fn planned_changes() -> Vec<(&'static str, Change)> {
    let (epoch, cause) = (Epoch::new(1, 8), || "released".to_owned());
    let (n1, boot, lease) = (node("n1"), Boot(5), Duration::from_millis(1_500));
    let transfer =
        Transfer { shard: ShardId(7), expected_epoch: epoch, expected_generation: 3, to: owner() };
    let shards = vec![(ShardId(7), epoch)];
    vec![
        ("move", Change::Move { cause: cause(), moves: vec![transfer] }),
        ("hand over", Change::HandOver { cause: cause(), assign: assign() }),
        ("move aborted", Change::MoveAborted { cause: cause(), shards }),
        ("drain", Change::Drain { node: n1.clone(), boot, on: true }),
        ("leave", Change::Leave { node: n1, boot }),
        ("set", Change::Set { seen: constants(), copies: 3, write_min: 2, lease }),
        ("lease settled", Change::LeaseSettled { lease }),
    ]
}

fn refusals() -> Vec<Refusal> {
    let (node, boot) = (node("n1"), Boot(5));
    vec![
        Refusal::Formation("already ".into()),
        Refusal::Boot { node: node.clone(), boot },
        Refusal::Over { node: node.clone(), boot },
        Refusal::NameTaken(node.clone()),
        Refusal::Needed { node, why: "it votes".into() },
        Refusal::Constants("they are so already".into()),
        Refusal::Copy(StoreId(9)),
        Refusal::Stale(ShardId(7)),
        Refusal::InSync { shard: ShardId(7), why: "too few".into() },
        Refusal::Malformed("no shard".into()),
    ]
}

fn outcomes() -> Vec<(ChangeId, Outcome)> {
    let refused = refusals().into_iter().map(Outcome::Refused);
    [Outcome::Accepted]
        .into_iter()
        .chain(refused)
        .zip(1..)
        .map(|(o, id)| (ChangeId(id), o))
        .collect()
}

fn voters() -> BTreeMap<u64, Voter> {
    let voter = |name: &str| Voter { node: node(name), addr: format!("{name}.example:7946") };
    BTreeMap::from([(0xabcd, voter("n1")), (u64::MAX, voter("n2"))])
}

fn membership() -> openraft::Membership<u64, Voter> {
    let config = vec![BTreeSet::from([0xabcd]), BTreeSet::from([0xabcd, u64::MAX])];
    openraft::Membership::new(config, voters()).expect("voters with addresses")
}

fn entries() -> Vec<Entry> {
    let batch = changes().into_iter().map(|(_, change)| Proposal { id: ChangeId(7), change });
    vec![
        Entry::new(log_id(8), EntryPayload::Blank),
        Entry::new(log_id(9), EntryPayload::Normal(Batch(batch.collect()))),
        Entry::new(log_id(10), EntryPayload::Membership(membership())),
    ]
}

fn meta() -> SnapshotMeta {
    let last_membership = StoredMembership::new(Some(log_id(10)), membership());
    SnapshotMeta { last_log_id: Some(log_id(12)), last_membership }
}

fn departed() -> VecDeque<Departed> {
    let all = [Departure::Released, Departure::Evicted, Departure::Replaced];
    all.into_iter()
        .zip(1..)
        .map(|(why, boot)| Departed { node: node("n4"), boot: Boot(boot), token: 7 * boot, why })
        .collect()
}

pub(in crate::authority) fn view() -> View {
    let claim = claim("n1", 1);
    let member = |status| Member {
        boot: claim.boot,
        store: claim.store,
        addr: claim.addr.clone(),
        zone: claim.zone.clone(),
        weight: claim.weight,
        status,
        voter: Some(VoterId(1)),
        disk: claim.disk.clone(),
    };
    let owned = Shard {
        epoch: Epoch::new(1, 8),
        owner: Some(owner()),
        in_sync: vec![StoreId(1), StoreId(2)],
        in_sync_generation: 3,
        has_records: true,
        lost: false,
        moving: Some(Owner { node: node("n2"), boot: Boot(2) }),
    };
    let noted = Noted {
        version: Version(41),
        epoch: Epoch::new(1, 8),
        cause: "its lease ran out".into(),
        node: Some(node("n4")),
    };
    let bare = Shard { owner: None, moving: None, ..owned.clone() };
    let mark = StoreMark { node: node("n1"), last_boot: Boot(5), token: 1 };
    let members = [("n1", Status::Up), ("n2", Status::Joining), ("n3", Status::Leaving)];
    View {
        version: Version(41),
        quorum_generation: 1,
        cluster: ClusterId([0xc1; 32]),
        constants: Some(constants()),
        members: members.map(|(name, status)| (node(name), member(status))).into(),
        shards: vec![Arc::new(owned.clone()), Arc::new(bare)],
        stores: [(StoreId(1), mark)].into(),
        recent: VecDeque::from(outcomes()),
        departed: departed(),
        voters: [(VoterId(1), node("n1"))].into(),
        history: VecDeque::from([Arc::new(noted)]),
    }
}

#[test]
fn golden_bytes_of_raft() {
    let vote = Vote::new_committed(3, 0xabcd);
    let candidate = VoteRequest::new(Vote::new(4, 7), Some(log_id(12)));
    let append = AppendEntriesRequest {
        vote,
        prev_log_id: Some(log_id(7)),
        entries: entries(),
        leader_commit: Some(log_id(8)),
    };
    let heartbeat = AppendEntriesRequest { entries: vec![], prev_log_id: None, ..append.clone() };
    let bytes = Bytes::from_static(b"a piece of a view");
    let part = Part { vote, meta: meta(), offset: 70_000, bytes, is_last: true };
    let requests = [
        ("append", RaftRequest::Append(append)),
        ("heartbeat", RaftRequest::Append(heartbeat)),
        ("vote", RaftRequest::Vote(candidate.clone())),
        ("pre-vote", RaftRequest::PreVote(candidate)),
        ("transfer", RaftRequest::Transfer(TransferLeaderRequest::new(vote, 7, Some(log_id(12))))),
        ("snapshot", RaftRequest::Snapshot(part)),
    ];
    let mut golden = Golden::new("authority/golden/raft.txt");
    for (name, request) in requests {
        let bytes = to_frame(&request).expect("encodes");
        golden.add(("raft", name), &request, &bytes, |b| from_frame::<RaftRequest>(b).ok());
    }
    let pre_vote = RaftRequest::PreVote(VoteRequest::new(Vote::new(4, 7), None));
    let addressed = Addressed { to: VoterId(0xabcd), request: pre_vote };
    let bytes = to_frame(&addressed).expect("encodes");
    golden.add(("raft", "addressed"), &addressed, &bytes, |b| from_frame::<Addressed>(b).ok());
    let voted = VoteResponse::new(vote, Some(log_id(12)), true);
    let changed = TransferLeaderError::VoteChanged { expected: vote, actual: Vote::new(4, 7) };
    let behind =
        TransferLeaderError::LogNotFlushed { expected: Some(log_id(12)), actual: Some(log_id(9)) };
    let replies = [
        ("append success", RaftReply::Append(AppendEntriesResponse::Success)),
        (
            "append partial",
            RaftReply::Append(AppendEntriesResponse::PartialSuccess(Some(log_id(9)))),
        ),
        ("append conflict", RaftReply::Append(AppendEntriesResponse::Conflict)),
        (
            "append higher vote",
            RaftReply::Append(AppendEntriesResponse::HigherVote(Vote::new(4, 7))),
        ),
        ("voted", RaftReply::Vote(voted.clone())),
        ("pre-voted", RaftReply::PreVote(voted)),
        ("transferred", RaftReply::Transfer(Ok(()))),
        ("not transferred", RaftReply::Transfer(Err(changed))),
        ("not transferred as its log is behind", RaftReply::Transfer(Err(behind))),
        ("part", RaftReply::Part),
        ("snapshot judged", RaftReply::Snapshot(SnapshotResponse::new(vote))),
    ];
    for (name, reply) in replies {
        let bytes = to_frame(&reply).expect("encodes");
        golden.add(("raft", name), &reply, &bytes, |b| from_frame::<RaftReply>(b).ok());
    }
    golden.compare();
}

#[test]
fn golden_bytes_of_proposals() {
    let mut golden = Golden::new("authority/golden/propose.txt");
    for (name, change) in changes() {
        let proposals = vec![Proposal { id: ChangeId(u128::MAX), change }];
        let patience = Duration::from_millis(1_500);
        let request = ProposeRequest { proposals, patience, without_voter: None };
        let bytes = to_frame(&request).expect("encodes");
        golden.add(("propose", name), &request, &bytes, |b| from_frame::<ProposeRequest>(b).ok());
    }
    let without_voter = Some(node("n3"));
    let patience = Duration::from_secs(5);
    let request = ProposeRequest { proposals: Vec::new(), patience, without_voter };
    let bytes = to_frame(&request).expect("encodes");
    let read = |bytes: &[u8]| from_frame::<ProposeRequest>(bytes).ok();
    golden.add(("propose", "without a voter"), &request, &bytes, read);
    let replies = [
        ("done", ProposeReply::Done(outcomes())),
        ("not leader", ProposeReply::NotLeader(Some(node("n2")))),
        ("not executed", ProposeReply::NotExecuted("too large".into())),
        ("unknown", ProposeReply::Unknown("no answer in time".into())),
        ("forbidden", ProposeReply::Forbidden),
    ];
    for (name, reply) in replies {
        let bytes = to_frame(&reply).expect("encodes");
        golden.add(("propose", name), &reply, &bytes, |b| from_frame::<ProposeReply>(b).ok());
    }
    golden.compare();
}

#[test]
fn golden_bytes_of_what_a_voter_keeps() {
    let mut golden = Golden::new("authority/golden/kept.txt");
    golden.add(("view", "view"), &view(), &encode(&view()).expect("encodes"), |b| decode(b).ok());
    let empty = View::default();
    golden.add(("view", "no view"), &empty, &encode(&empty).expect("encodes"), |b| decode(b).ok());
    let vote = Vote::new(3, 0xabcd);
    golden.add(("", "vote"), &vote, &seal(&vote).expect("seals"), |b| unseal("it", b).ok());
    let id = Some(log_id(9));
    golden.add(("", "committed"), &id, &seal(&id).expect("seals"), |b| unseal("it", b).ok());
    for (name, entry) in ["blank", "changes", "membership"].into_iter().zip(entries()) {
        golden.add(("", name), &entry, &seal(&entry).expect("seals"), |b| unseal("it", b).ok());
    }
    let view = encode(&View::default()).expect("encodes");
    let snapshot = StoredSnapshot { meta: meta(), view };
    golden.add(("", "snapshot"), &snapshot, &seal(&snapshot).expect("seals"), |b| {
        unseal("it", b).ok()
    });
    golden.compare();
}

/// The longest that there are of their kind.
pub(in crate::authority) mod longest {
    use crate::base::{Boot, ClusterId, Epoch, NodeId, ShardId, StoreId};
    use crate::placement::{Assign, Change, ChangeId, Claim, Constants, Owner, Profile, Proposal};

    pub(in crate::authority) fn node(number: u8) -> NodeId {
        format!("n{number:062}").parse().expect("a name of 63 bytes")
    }

    pub(in crate::authority) fn assigns(shards: u16, copies: u128) -> Vec<Assign> {
        let assign = |shard| Assign {
            shard: ShardId(shard),
            expected_epoch: Epoch::new(u16::MAX, (1 << 48) - 1),
            expected_generation: u64::MAX,
            owner: Some(Owner { node: node(1), boot: Boot(u64::MAX) }),
            in_sync: (0..copies).map(|store| StoreId(u128::MAX - store)).collect(),
            lost: false,
        };
        (0..shards).map(assign).collect()
    }

    pub(in crate::authority) fn form(shards: u16, nodes: u8) -> Proposal {
        let claim = |number: u8| Claim {
            node: node(number),
            boot: Boot(u64::MAX),
            token: u64::MAX,
            addr: format!("{}:65535", "x".repeat(253)),
            zone: "z".repeat(63),
            ..crate::authority::golden::claim("n", number.into())
        };
        let profile = Profile::lan();
        let constants = Constants {
            shards,
            copies: 3,
            write_min: 2,
            profile,
            lease_before: None,
            lease_set: false,
        };
        let (cluster, assign) = (ClusterId([0xff; 32]), assigns(shards, 3));
        let members = (0..nodes).map(claim).collect();
        let change = Change::Form { cluster, constants, members, assign };
        Proposal { id: ChangeId(u128::MAX), change }
    }
}
