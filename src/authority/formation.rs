//! How nodes with empty directories become one cluster.
//!
//! A node initialises only after all `expect` nodes, itself included, answered with the same sorted
//! list. It answers with one list only, on disk before the answer leaves, so two different lists
//! that share a node never both start. It takes its list back only after every other node of it
//! said that it holds another one, or none, or is of another cluster; while it asks that, it names
//! no list itself, so nobody can start with the list meanwhile.

mod ask;
mod decide;
mod rival;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(super) use self::ask::Unfit;
use self::decide::{Decision, Known, decide};
pub(super) use self::rival::Rival;
use self::rival::Signs;
use super::Voter;
use super::office::{decode, encode};
use super::seeds::{ADDRESSES_MAX, Seeds};
use super::voters::{Elector, choose};
use crate::base::{Boot, ClusterId, Instant, NodeId, Seams, Version, VoterId};
use crate::placement::{
    Change, ChangeId, Claim, Constants, DiskMark, Profile, Proposal, View, plan_formation,
};
use crate::storage::{Facts, StoreError};
use crate::transport::Links;

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

    /// The voters of the cluster that this list forms: the same at every node of it.
    pub(super) fn voters(&self) -> BTreeMap<VoterId, Voter> {
        let elector = |one: &Candidate| {
            let Claim { node, zone, voter, .. } = one.claim.clone();
            voter.map(|voter| Elector { node, voter, zone })
        };
        let electors: Vec<_> = self.0.iter().filter_map(elector).collect();
        let voter = |one: Elector| {
            let known = self.0.iter().find(|known| known.claim.node == one.node);
            let addr = known.map(|known| known.claim.addr.clone()).unwrap_or_default();
            (one.voter, Voter { node: one.node, addr })
        };
        choose(&electors).into_iter().map(voter).collect()
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
        let constants =
            Constants { shards, copies, write_min, profile, lease_before: None, lease_set: false };
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
    /// For how long its process has looked for the others.
    #[serde(default)]
    pub(super) waited_ms: u64,
    /// Who else runs under the asker's name, as far as it knows.
    #[serde(default)]
    pub(super) rival: Option<Rival>,
    /// Which life of the asker's name is a member, or was the last one, as far as it knows: its
    /// boot and token.
    #[serde(default)]
    pub(super) member: Option<(Boot, u64)>,
    /// On which directory that life runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disk: Option<DiskMark>,
    /// What it was told to form a cluster with; of a cluster that exists, what that was formed
    /// with.
    #[serde(default)]
    pub(super) settings: Option<Settings>,
    /// Who votes in its cluster, as far as it knows.
    #[serde(default)]
    pub(super) voters: BTreeMap<VoterId, Voter>,
    /// Of the view that it knows.
    #[serde(default)]
    pub(super) version: Version,
}

/// What must be the same at all nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// How many nodes are to form the cluster; 0 once there is one.
    pub(super) expect: usize,
    /// How many shards it is to have.
    pub(super) shards: u16,
    /// Its timing.
    pub(super) profile: Profile,
    /// An operator has set the lease: nodes' own profiles may say another.
    #[serde(default)]
    pub(super) lease_set: bool,
}

impl Settings {
    /// What differs from those of `node` at `addr`, in words; `None` if nothing does that matters.
    pub(super) fn differ(&self, theirs: &Self, (node, addr): (&NodeId, &str)) -> Option<String> {
        if self.expect != 0 && theirs.expect != 0 {
            let (own, other) = (self.expect, theirs.expect);
            if own != other {
                return Some(format!(
                    "this node expects {own} nodes to form the cluster, and {node} at {addr} \
                     {other}: `expect` must be the same everywhere"
                ));
            }
            let (own, other) = (self.shards, theirs.shards);
            if own != other {
                return Some(format!(
                    "this node is to form a cluster of {own} shards, and {node} at {addr} one of \
                     {other}: `shards` must be the same everywhere"
                ));
            }
        }
        let lease = if theirs.lease_set { theirs.profile.lease } else { self.profile.lease };
        let own = Profile { lease, ..self.profile.clone() };
        (own != theirs.profile).then(|| {
            format!(
                "this node's profile is {}, and that of {node} at {addr} is {}: it must be the \
                 same everywhere; start this node with theirs",
                named(&own, &theirs.profile),
                named(&theirs.profile, &own),
            )
        })
    }
}

/// The name of a profile, and where another one has the same name what it says of time.
fn named(profile: &Profile, other: &Profile) -> String {
    if profile.name == other.name { format!("{profile:?}") } else { profile.name.clone() }
}

/// For the fuzz target `formation`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_formation(bytes: &[u8]) -> bool {
    super::office::fuzz::<State>(bytes) | super::office::fuzz::<List>(bytes)
}

#[derive(Debug)]
struct Inner {
    state: State,
    withdrawn: bool,
    /// The view: on which directory each member runs, and which directories are of lives that are
    /// over.
    view: Option<Arc<View>>,
}

/// A node's part in forming a cluster; answers others as long as it lives.
#[derive(Debug)]
pub(super) struct Former {
    seams: Seams,
    links: Links,
    began: Instant,
    facts: Facts,
    inner: Mutex<Inner>,
}

impl Former {
    /// Reads what this directory has answered before; draws its nonce if it has none.
    pub(super) fn open(
        seams: &Seams,
        links: &Links,
        facts: &Facts,
        claim: Claim,
    ) -> Result<Self, StoreError> {
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
        let (formed, known) = (facts.cluster(), Vec::new());
        let state = State {
            me,
            list,
            formed,
            known,
            waited_ms: 0,
            rival: None,
            member: None,
            disk: None,
            settings: None,
            voters: BTreeMap::new(),
            version: Version::default(),
        };
        let inner = Mutex::new(Inner { state, withdrawn: false, view: None });
        let (seams, links, facts) = (seams.clone(), links.clone(), facts.clone());
        Ok(Self { began: seams.clock.now(), seams, links, facts, inner })
    }

    /// What this node is told to form a cluster with.
    pub(super) fn set(&self, settings: Settings) {
        self.inner.lock().state.settings = Some(settings);
    }

    /// What the cluster is like, for those who look for it.
    pub(super) fn show(&self, view: &Arc<View>, voters: BTreeMap<VoterId, Voter>) {
        let Some(Constants { shards, profile, lease_set, .. }) = view.constants.clone() else {
            return;
        };
        let mut inner = self.inner.lock();
        inner.state.settings = Some(Settings { expect: 0, shards, profile, lease_set });
        (inner.state.voters, inner.state.version) = (voters, view.version);
        inner.view = Some(view.clone());
    }

    /// Presents itself as `claim` from now on.
    pub(super) fn present_as(&self, claim: Claim) {
        self.inner.lock().state.me.claim = claim;
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
        state.waited_ms = self.waited_ms();
        state
    }

    fn waited_ms(&self) -> u64 {
        let waited = self.seams.clock.now().since(self.began);
        u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)
    }

    fn addr(&self) -> String {
        self.inner.lock().state.me.claim.addr.clone()
    }

    /// Its present life, and the token of it.
    fn life(&self) -> (Boot, u64) {
        let inner = self.inner.lock();
        (inner.state.me.claim.boot, inner.state.me.claim.token)
    }

    fn name(&self) -> NodeId {
        self.inner.lock().state.me.claim.node.clone()
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
        expect: usize,
        seeds: &Seeds,
        deadline: Instant,
    ) -> Result<Found, NotFormed> {
        let told_from = self.seams.clock.now() + TOLD_AFTER;
        let (mut told, mut signs) = (String::new(), Signs::default());
        loop {
            let (withdrawn, asked_ms) = (self.inner.lock().withdrawn, self.waited_ms());
            let (answers, silent, asked) = self.ask_all(seeds).await;
            let decision = {
                let rival = signs.of_all(&self.name(), &answers, self.since(asked_ms));
                let waited_ms = self.waited_ms();
                let me = State { waited_ms, ..self.inner.lock().state.clone() };
                let alone = asked == 0;
                decide(&Known { me: &me, rival, withdrawn, expect, alone }, &answers)
            };
            let why = match decision {
                Decision::Initialise(list) => return Ok(Found::List(list)),
                Decision::Join(cluster) => {
                    let voters = newest_voters(answers.iter(), cluster);
                    if !voters.is_empty() {
                        return Ok(Found::Cluster(cluster, voters));
                    }
                    format!("nobody that answers knows who votes in cluster {cluster}")
                }
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
}

/// The voters as of the newest view that one of `answers` knows of `cluster`.
fn newest_voters<'a>(
    answers: impl Iterator<Item = &'a State>,
    cluster: ClusterId,
) -> BTreeMap<VoterId, Voter> {
    let newest = answers.filter(|one| one.formed == Some(cluster)).max_by_key(|one| one.version);
    newest.map(|one| one.voters.clone()).unwrap_or_default()
}

/// What a node with an empty directory is to take part in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It forms a cluster with these.
    List(List),
    /// There is a cluster, in which these vote.
    Cluster(ClusterId, BTreeMap<VoterId, Voter>),
}

/// Why no list was agreed on.
#[derive(Debug)]
pub(super) enum NotFormed {
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
