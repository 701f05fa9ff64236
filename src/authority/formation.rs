//! How nodes with empty directories become one cluster.
//!
//! A node initialises only after all `expect` nodes, itself included, answered with the same sorted
//! list. It answers with one list only, on disk before the answer leaves, so two different lists
//! that share a node never both start. It takes its list back only after every other node of it
//! said that it holds another one, or none, or is of another cluster; while it asks that, it names
//! no list itself, so nobody can start with the list meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Voter;
use super::office::{decode, encode};
use crate::base::{ClusterId, Instant, NodeId, Seams, VoterId};
use crate::placement::{Change, ChangeId, Claim, Constants, Profile, Proposal, plan_formation};
use crate::storage::{Facts, StoreError};
use crate::transport::{Head, Inbound, Links, Peer, ReplyTo, Service};

/// Addresses a node asks.
const ADDRESSES_MAX: usize = 64;
/// Between two rounds of questions.
const ROUND: Duration = Duration::from_millis(100);
/// Longest wait for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A wait for the others that lasts longer is told to the log.
const TOLD_AFTER: Duration = Duration::from_secs(3);

/// A node with an empty directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub(super) claim: Claim,
    /// Drawn for this very directory.
    pub(super) nonce: u64,
}

impl Candidate {
    /// What makes it itself: another life of the same directory is the same candidate.
    fn identity(&self) -> (&NodeId, u128, u64, u64) {
        let voter = self.claim.voter.map_or(0, |voter| voter.0);
        (&self.claim.node, self.claim.store.0, voter, self.nonce)
    }
}

/// Candidates sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List(pub(super) Vec<Candidate>);

impl List {
    fn of(candidates: impl IntoIterator<Item = Candidate>) -> Self {
        let mut all: Vec<_> = candidates.into_iter().collect();
        all.sort_by(|one, other| one.identity().cmp(&other.identity()));
        Self(all)
    }

    /// SHA-256 of the sorted (name, store, voter, nonce).
    pub(super) fn id(&self) -> ClusterId {
        let mut hash = Sha256::new();
        for candidate in &self.0 {
            let (name, store, voter, nonce) = candidate.identity();
            // A name has at most 63 bytes, and no name holds a zero byte.
            hash.update(name.as_str().as_bytes());
            hash.update([0]);
            hash.update(store.to_be_bytes());
            hash.update(voter.to_be_bytes());
            hash.update(nonce.to_be_bytes());
        }
        ClusterId(hash.finalize().into())
    }

    /// The voters of the cluster that this list forms.
    pub(super) fn voters(&self) -> BTreeMap<VoterId, Voter> {
        let voter = |one: &Candidate| {
            let voter = Voter { node: one.claim.node.clone(), addr: one.claim.addr.clone() };
            one.claim.voter.map(|id| (id, voter))
        };
        self.0.iter().filter_map(voter).collect()
    }

    /// The first change: the same, under the same id, at every node of the list.
    pub(super) fn first(&self, shards: u16, profile: &Profile) -> Proposal {
        let cluster = self.id();
        let (copies, write_min) = match self.0.len() {
            0 | 1 => (1, 1),
            2 => (2, 2),
            _ => (3, 2),
        };
        let profile = profile.clone();
        let constants = Constants { shards, copies, write_min, profile, lease_before: None };
        let members: Vec<_> = self.0.iter().map(|one| one.claim.clone()).collect();
        let assign = plan_formation(&constants, &members);
        let mut id = [0; 16];
        id.copy_from_slice(&cluster.0[..16]);
        let id = ChangeId(u128::from_be_bytes(id));
        Proposal { id, change: Change::Form { cluster, constants, members, assign } }
    }
}

/// What a node says of itself. Any node answers, at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) me: Candidate,
    /// The list it answers with; on its disk.
    pub(super) list: Option<List>,
    /// Of which cluster it is.
    pub(super) formed: Option<ClusterId>,
    /// Whom it has heard of, so that a few seeds are enough.
    pub(super) known: Vec<String>,
}

/// For the fuzz target `formation`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_formation(bytes: &[u8]) -> bool {
    super::office::fuzz::<State>(bytes) | super::office::fuzz::<List>(bytes)
}

/// What to do after one round of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    /// Ask again.
    Wait(String),
    /// Keep this list on disk, and answer with it from then on.
    Hold(List),
    /// Everybody answered with it, or a node that did has started with it.
    Initialise(List),
    /// Name no list in the next round, so that the held one may be taken back.
    Withdraw,
    /// The held list can start nowhere: forget it.
    TakeBack,
    /// There is a cluster already.
    Join(ClusterId),
    /// A person must act.
    Refuse(String),
}

/// What this node knows when it decides.
#[derive(Debug, Clone)]
struct Known<'a> {
    me: &'a Candidate,
    held: Option<&'a List>,
    /// In this round it named no list.
    withdrawn: bool,
    expect: usize,
}

/// Decides from the answers of one round, all asked after the held list was on disk.
fn decide(known: &Known<'_>, answers: &[State]) -> Decision {
    let my_name = &known.me.claim.node;
    let mut others: BTreeMap<&NodeId, &State> = BTreeMap::new();
    for answer in answers {
        let name = &answer.me.claim.node;
        if name != my_name {
            others.insert(name, answer);
        } else if answer.me.identity() != known.me.identity() {
            return Decision::Refuse(format!("two nodes are named {name}: rename one"));
        }
    }
    if let Some(list) = known.held {
        return with_list(known, list, &others);
    }
    if let Some(cluster) = others.values().find_map(|other| other.formed) {
        return Decision::Join(cluster);
    }
    let count = others.len() + 1;
    if count > known.expect {
        return Decision::Refuse(format!(
            "{count} nodes want to form a cluster of {}: `expect` must be the same everywhere",
            known.expect
        ));
    }
    if count < known.expect {
        return Decision::Wait(format!("{count} of {} nodes answered", known.expect));
    }
    let candidates = others.values().map(|other| other.me.clone());
    Decision::Hold(List::of(candidates.chain([known.me.clone()])))
}

/// [`decide`] for a node that holds `list`.
fn with_list(known: &Known<'_>, list: &List, others: &BTreeMap<&NodeId, &State>) -> Decision {
    let id = list.id();
    if others.values().any(|other| other.formed == Some(id)) {
        return Decision::Initialise(list.clone());
    }
    let rest = || list.0.iter().filter(|one| one.claim.node != known.me.claim.node);
    let holds = |one: &Candidate| {
        let other = others.get(&one.claim.node)?;
        let same = other.me.identity() == one.identity();
        Some(same && other.list.as_ref().is_some_and(|list| list.id() == id))
    };
    if !known.withdrawn && rest().all(|one| holds(one) == Some(true)) {
        return Decision::Initialise(list.clone());
    }
    if known.withdrawn && rest().all(|one| holds(one) == Some(false)) {
        return Decision::TakeBack;
    }
    // One that holds another list, or is another directory by now, will not come to this one while
    // it is named here: the way out is to take it back.
    let astray = |one: &Candidate| {
        others.get(&one.claim.node).is_some_and(|other| {
            other.me.identity() != one.identity()
                || other.formed.is_some()
                || other.list.as_ref().is_some_and(|list| list.id() != id)
        })
    };
    if rest().any(astray) {
        return Decision::Withdraw;
    }
    Decision::Wait("not every node of the list has answered with it".into())
}

#[derive(Debug)]
struct Inner {
    state: State,
    withdrawn: bool,
}

/// A node's part in forming a cluster; answers others as long as it lives.
#[derive(Debug)]
pub(super) struct Former {
    seams: Seams,
    facts: Facts,
    inner: Mutex<Inner>,
}

impl Former {
    /// Reads what this directory has answered before; draws its nonce if it has none.
    pub(super) fn open(seams: &Seams, facts: &Facts, claim: Claim) -> Result<Self, StoreError> {
        let nonce = if let Some(nonce) = facts.nonce() {
            nonce
        } else {
            let nonce = seams.rng.next_u64();
            facts.set_nonce(nonce)?;
            nonce
        };
        let list = facts.answer().filter(|bytes| !bytes.is_empty());
        let list = list.and_then(|bytes| decode::<List>(&bytes));
        let me = Candidate { claim, nonce };
        let state = State { me, list, formed: facts.cluster(), known: Vec::new() };
        let inner = Mutex::new(Inner { state, withdrawn: false });
        Ok(Self { seams: seams.clone(), facts: facts.clone(), inner })
    }

    /// The list this node answers with.
    pub(super) fn held(&self) -> Option<List> {
        self.inner.lock().state.list.clone()
    }

    /// The cluster exists: what others are told from now on.
    pub(super) fn formed(&self, cluster: ClusterId) -> Result<(), StoreError> {
        self.facts.set_cluster(cluster)?;
        self.inner.lock().state.formed = Some(cluster);
        Ok(())
    }

    /// What this node says of itself now.
    fn state(&self) -> State {
        let inner = self.inner.lock();
        let mut state = inner.state.clone();
        if inner.withdrawn {
            state.list = None;
        }
        state
    }

    /// A cluster of this node alone.
    pub(super) fn alone(&self) -> Result<List, StoreError> {
        let list = self.held().unwrap_or_else(|| List::of([self.state().me]));
        self.hold(Some(list.clone()))?;
        Ok(list)
    }

    /// On disk before it is answered.
    fn hold(&self, list: Option<List>) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        self.facts.set_answer(list.as_ref().map_or_else(Bytes::new, encode))?;
        inner.state.list = list;
        inner.withdrawn = false;
        Ok(())
    }

    fn learn(&self, addrs: impl IntoIterator<Item = String>) {
        let mut inner = self.inner.lock();
        for addr in addrs {
            let known = &mut inner.state.known;
            if known.len() < ADDRESSES_MAX && !known.contains(&addr) {
                known.push(addr);
            }
        }
    }

    /// Asks until a list is agreed on, which is then to be initialised with.
    pub(super) async fn agree(
        &self,
        links: &Links,
        expect: usize,
        seeds: &[String],
        deadline: Instant,
    ) -> Result<List, NotFormed> {
        self.learn(seeds.iter().cloned());
        let told_from = self.seams.clock.now() + TOLD_AFTER;
        let mut told = String::new();
        loop {
            let withdrawn = self.inner.lock().withdrawn;
            let (answers, silent) = self.ask_all(links).await;
            let decision = {
                let inner = self.inner.lock();
                let (me, held) = (&inner.state.me, inner.state.list.as_ref());
                decide(&Known { me, held, withdrawn, expect }, &answers)
            };
            let why = match decision {
                Decision::Initialise(list) => return Ok(list),
                Decision::Join(cluster) => return Err(NotFormed::Exists(cluster)),
                Decision::Refuse(why) => return Err(NotFormed::Refused(why)),
                Decision::Hold(list) => {
                    self.hold(Some(list))?;
                    continue;
                }
                Decision::TakeBack => {
                    self.hold(None)?;
                    "the list was taken back".into()
                }
                Decision::Withdraw => {
                    self.inner.lock().withdrawn = true;
                    "another list is about".into()
                }
                Decision::Wait(why) => {
                    self.inner.lock().withdrawn = false;
                    why
                }
            };
            let why = [vec![why], silent].concat().join("; ");
            let now = self.seams.clock.now();
            if now >= deadline {
                return Err(NotFormed::Late(why));
            }
            if now >= told_from && why != told {
                tracing::warn!(why, "waiting for the nodes that are to form the cluster");
                told = why;
            }
            // Different waits, so that two nodes do not withdraw in step for ever.
            let pause = ROUND + self.seams.rng.up_to(ROUND);
            self.seams.clock.sleep(pause).await;
        }
    }

    /// Another cluster than `own` that a seed belongs to, if one answers by `deadline`. Asked while
    /// the links are of no cluster yet.
    pub(super) async fn other_cluster(
        &self,
        links: &Links,
        seeds: &[String],
        own: ClusterId,
        deadline: Instant,
    ) -> Option<(NodeId, ClusterId)> {
        let body = encode(&self.state());
        let mine = self.inner.lock().state.me.claim.addr.clone();
        let asks = seeds.iter().filter(|addr| **addr != mine).map(|addr| {
            let body = body.clone();
            async move {
                let asked = links.ask_addr(addr, Service::Formation, body, deadline).await;
                let (peer, cluster, _) = asked.ok()?;
                (![own, ClusterId::UNFORMED].contains(&cluster)).then_some((peer.node, cluster))
            }
        });
        futures::future::join_all(asks).await.into_iter().flatten().next()
    }

    /// One round: everyone whose address is known, all at once. Returns the answers, and why there
    /// is none from the others.
    async fn ask_all(&self, links: &Links) -> (Vec<State>, Vec<String>) {
        let body = encode(&self.state());
        let mine = self.inner.lock().state.me.claim.addr.clone();
        let addrs: BTreeSet<String> = {
            let inner = self.inner.lock();
            inner.state.known.iter().filter(|addr| **addr != mine).cloned().collect()
        };
        let deadline = self.seams.clock.now() + ANSWER_WITHIN;
        let asks = addrs.iter().map(|addr| {
            let body = body.clone();
            async move {
                let asked = links.ask_addr(addr, Service::Formation, body, deadline).await;
                let (peer, _, body) = asked.map_err(|error| error.to_string())?;
                let state = decode::<State>(&body);
                let state = state.filter(|state| state.me.claim.node == peer.node);
                state.ok_or_else(|| format!("{addr}: {} answers what nobody asked", peer.node))
            }
        });
        let asked: Vec<Result<State, String>> = futures::future::join_all(asks).await;
        let (mut answers, mut silent) = (Vec::new(), Vec::new());
        for one in asked {
            match one {
                Ok(state) => {
                    self.learn(state.known.iter().cloned().chain([state.me.claim.addr.clone()]));
                    answers.push(state);
                }
                Err(why) => silent.push(why),
            }
        }
        (answers, silent)
    }
}

impl Inbound for Former {
    fn tell(&self, from: &Peer, _: Head, _: Bytes) {
        tracing::debug!(node = %from.node, "a tell about formation was dropped");
    }

    fn ask(&self, from: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        match decode::<State>(&body).filter(|state| state.me.claim.node == from.node) {
            Some(state) => {
                self.learn([state.me.claim.addr]);
                reply.send(encode(&self.state()));
            }
            None => reply.refuse(Bytes::from_static(b"malformed")),
        }
    }
}

/// Why no list was agreed on.
#[derive(Debug)]
pub(super) enum NotFormed {
    Exists(ClusterId),
    Refused(String),
    Late(String),
    Storage(StoreError),
}

impl From<StoreError> for NotFormed {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

#[cfg(test)]
pub(super) mod tests;
