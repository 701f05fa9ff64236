//! Kept bytes of formation and of the lease office.

use std::collections::BTreeMap;
use std::time::Duration;

use super::formation::{Candidate, List, Rival, Settings, State};
use super::office::{Answer, Ask, ClaimError, Letter, decode, encode};
use super::{Grant, Renew, RenewError, Voter, Wish, Wished};
use crate::base::{Boot, ClusterId, Epoch, NodeId, ShardId, StoreId, Version, VoterId};
use crate::placement::{Claim, DiskMark, Profile};
use crate::wire::golden::Golden;

pub(super) fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

pub(super) fn claim(name: &str, number: u64) -> Claim {
    let host_boot = "7b0f7a31-8e5c-4f6e-9b38-0a3c50c9b7a5".into();
    Claim {
        node: node(name),
        boot: Boot(number + 4),
        token: 0x1234_5678_9abc_def0,
        earlier_boots: vec![(Boot(1), Boot(2)), (Boot(4), Boot(4))],
        tokens: vec![(Boot(2), 0xfeed), (Boot(4), u64::MAX)],
        store: StoreId(0x00ff << 64 | u128::from(number)),
        voter: Some(VoterId(number)),
        addr: format!("{name}.example:7946"),
        zone: "z1".into(),
        weight: 2,
        disk: DiskMark { filesystem: 77, device: 66_305, lock_inode: 12, host_boot },
    }
}

#[test]
fn golden_bytes_of_formation() {
    let candidate =
        |name, number| Candidate { claim: claim(name, number), nonce: u64::MAX - number };
    let list = List(vec![candidate("n1", 1), candidate("n2", 2)]);
    let me = candidate("n1", 1);
    let known = vec!["n2.example:7946".to_owned()];
    let mut golden = Golden::new("authority/golden/formation.txt");
    let empty = State {
        me: me.clone(),
        list: None,
        formed: None,
        known: vec![],
        waited_ms: 0,
        rival: None,
        member: None,
        disk: None,
        settings: None,
        voters: BTreeMap::new(),
        version: Version(0),
    };
    let holding = State { list: Some(list.clone()), known, ..empty.clone() };
    let rival = Some(Rival { boot: Boot(9), silent_ms: 120 });
    let contested = State { waited_ms: 70_000, rival, ..empty.clone() };
    let (member, disk) = (Some((Boot(9), 7)), Some(claim("n1", 1).disk));
    let restarted = State { member, disk, ..contested.clone() };
    let formed = State { formed: Some(ClusterId([0xc1; 32])), ..empty.clone() };
    let ms = std::time::Duration::from_millis;
    // As `dev` was when these bytes were kept.
    let profile = Profile {
        raft_heartbeat: ms(100),
        election_min: ms(300),
        election_max: ms(500),
        ..Profile::dev()
    };
    let settings = Settings { expect: 3, shards: 4_096, profile, lease_set: false };
    let told = State { settings: Some(settings.clone()), ..empty.clone() };
    let settings = Some(Settings { expect: 0, lease_set: true, ..settings });
    let voter = Voter { node: node("n2"), addr: "n2.example:7946".into() };
    let voters = BTreeMap::from([(VoterId(u64::MAX), voter)]);
    let existing = State { settings, voters, version: Version(41), ..formed.clone() };
    for (name, state) in [("told", told), ("existing", existing), ("restarted", restarted)] {
        golden.add(("formation", name), &state, &encode(&state), decode::<State>);
    }
    for (name, state) in
        [("empty", empty), ("holding", holding), ("formed", formed), ("contested", contested)]
    {
        golden.add(("formation", name), &state, &encode(&state), decode::<State>);
    }
    golden.add(("formation", "list on disk"), &list, &encode(&list), decode::<List>);
    golden.compare();
}

#[test]
fn golden_bytes_of_the_lease_office() {
    let renew = Renew {
        nonce: 0xfeed_beef,
        node: node("n1"),
        boot: Boot(5),
        last_grant: Some(7),
        load: 70_000,
        unreachable: vec![node("n3")],
        released: vec![(ShardId(4_095), Epoch::new(1, 99))],
        leaving: false,
    };
    let quiet = Renew {
        last_grant: None,
        unreachable: vec![],
        released: vec![],
        leaving: true,
        ..renew.clone()
    };
    let mut golden = Golden::new("authority/golden/lease.txt");
    let letters = [
        ("renew", Letter { relayed: false, ask: Ask::Renew(renew) }),
        ("renew relayed", Letter { relayed: true, ask: Ask::Renew(quiet) }),
        ("claim", Letter { relayed: false, ask: Ask::Claim(claim("n2", 2)) }),
    ];
    for (name, letter) in letters {
        golden.add(("lease", name), &letter, &encode(&letter), decode::<Letter>);
    }
    let leader = Some(node("n2"));
    let wish = |store, what| {
        let (shard, epoch) = (ShardId(7), Epoch::new(1, 8));
        Wish { shard, epoch, store: StoreId(store), what }
    };
    let wishes = vec![wish(1, Wished::Copy), wish(2, Wished::Drop)];
    let (lease, version) = (Duration::from_secs(1), Version(41));
    let grant = Grant { nonce: 7, lease, version, wishes };
    let denied = |why| Answer::Renew(Err(why));
    let turned_away = |why| Answer::Claim(Err(why));
    let answers = [
        ("grant", Answer::Renew(Ok(grant))),
        ("not leader", denied(RenewError::NotLeader { leader: leader.clone() })),
        ("not member", denied(RenewError::NotMember(node("n1"), Boot(5)))),
        ("evicting", denied(RenewError::Evicting(node("n1"), Boot(5)))),
        ("no answer", denied(RenewError::NoAnswer("busy".into()))),
        ("admitted", Answer::Claim(Ok(()))),
        ("claim not leader", turned_away(ClaimError::NotLeader { leader: None })),
        ("claim wait", turned_away(ClaimError::Wait)),
        ("claim no answer", turned_away(ClaimError::NoAnswer("busy".into()))),
        ("claim over", turned_away(ClaimError::Over)),
        ("claim refused", turned_away(ClaimError::Refused("n1 is taken".into()))),
    ];
    for (name, answer) in answers {
        golden.add(("lease", name), &answer, &encode(&answer), decode::<Answer>);
    }
    golden.compare();
}
