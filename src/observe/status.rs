//! What a node says of itself to other members of its cluster: service [`Service::Status`], asked
//! over the control links, so that it answers while user code blocks every other thread.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::load::Rate;
use super::nodes::NodesReport;
use super::voters::{VoterAnswers, VoterStatus, VotersReport};
use crate::authority::{QuorumAuthority, Standing, ViewAuthority as _};
use crate::base::{Boot, Instant, NodeId, Seams, Version};
use crate::entity::Hosts;
use crate::membership::{MemberState, Reachability};
use crate::placement::View;
use crate::transport::{AskError, Class, Counts, Head, Inbound, Links, Peer, ReplyTo, Service};
use crate::wire::{from_control, printable, to_control};

/// Longest answer that is sent and read, in bytes.
pub const STATUS_BYTES_MAX: usize = 1 << 20;
/// Members of which an answer says everything.
const MEMBERS_MAX: usize = 64;
/// Nodes that are asked at one time.
const ASKED_MAX: usize = 64;
/// How long all of them have to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// How often the load is measured.
const LOAD_EVERY: Duration = Duration::from_secs(1);
/// Longest text of a refusal that is shown, in characters.
const REFUSAL_CHARS_MAX: usize = 200;
/// Why an answer counts for nothing.
const NOT_ASKED: &str = "it answers what nobody asked";
/// What this node runs.
const SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// What another member may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Question {
    /// All that is in a [`NodeStatus`].
    Status,
    /// All that is in a [`VoterStatus`].
    Voter,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// The version of its software.
    pub software: String,
    /// Since its start, in seconds.
    pub uptime_s: u64,
    /// Its load over the last second, in turns per second.
    pub load: u32,
    /// Of the view it has applied.
    pub view: Version,
    /// Whether it is a member and its lease is valid.
    pub is_serving: bool,
    /// The members as it sees them, itself included.
    pub members: Vec<MemberState>,
    /// How many of them are left out: with those all is as it should be, unless the answer was
    /// too long without them.
    #[serde(default)]
    pub left_out: u32,
    /// What its links did since its start.
    #[serde(default)]
    pub links: Counts,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    to_control(value)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    from_control(bytes).ok()
}

/// For the fuzz target `status`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_status(bytes: &[u8]) -> bool {
    let question =
        crate::wire::fuzz::stable(bytes, decode::<Question>, |value| Some(encode(value).into()));
    let status =
        crate::wire::fuzz::stable(bytes, decode::<NodeStatus>, |value| Some(encode(value).into()));
    let voter =
        crate::wire::fuzz::stable(bytes, decode::<VoterStatus>, |value| Some(encode(value).into()));
    question | status | voter
}

/// Whether there is anything to say of a member.
fn is_remarkable(member: &MemberState) -> bool {
    let is_reachable = match member.reachability {
        Reachability::Reachable => true,
        Reachability::Suspect | Reachability::Unreachable => false,
    };
    !is_reachable || !member.failing.is_empty() || member.draining || member.leaving
}

impl NodeStatus {
    /// On the wire: of more than [`MEMBERS_MAX`] members only those of which there is something to
    /// say, and none where even they take more than `bytes_max` bytes.
    fn encode_within(mut self, bytes_max: usize) -> Bytes {
        let all = self.members.len();
        if all > MEMBERS_MAX {
            let own = self.node.clone();
            self.members.retain(|member| member.node == own || is_remarkable(member));
        }
        loop {
            let left_out = all.saturating_sub(self.members.len());
            self.left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
            let bytes = encode(&self);
            if bytes.len() <= bytes_max || self.members.is_empty() {
                return bytes;
            }
            self.members.clear();
        }
    }
}

/// What a [`Desk`] is made of.
pub(crate) struct DeskParts {
    /// Time, and the control runtime.
    pub(crate) seams: Seams,
    /// The links it answers and asks over.
    pub(crate) links: Links,
    /// This node.
    pub(crate) node: NodeId,
    /// Whose view counts, and who is told the load.
    pub(crate) authority: QuorumAuthority,
    /// Whose turns are counted.
    pub(crate) hosts: Hosts,
    /// The members as this node sees them at present.
    pub(crate) members: Box<dyn Fn() -> Vec<MemberState> + Send + Sync>,
}

impl fmt::Debug for DeskParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeskParts of {}", self.node)
    }
}

struct Inner {
    parts: DeskParts,
    began: Instant,
    load: AtomicU32,
}

/// Where a node is asked what it says of itself, and asks the others. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

/// The desk as the links know it: they do not keep it alive.
struct Door(std::sync::Weak<Inner>);

impl Desk {
    /// Answers other members from now on.
    pub(crate) fn open(parts: DeskParts) -> Self {
        let began = parts.seams.clock.now();
        let desk = Self(Arc::new(Inner { parts, began, load: AtomicU32::new(0) }));
        let door = Door(Arc::downgrade(&desk.0));
        desk.0.parts.links.serve(Service::Status, Arc::new(door));
        desk
    }

    /// Measures the load and tells it to the authority, without end.
    pub(crate) fn measure(&self) -> impl Future<Output = ()> + Send + 'static {
        measure(Arc::downgrade(&self.0))
    }

    /// What this node says of itself.
    pub(crate) fn status(&self) -> NodeStatus {
        let DeskParts { seams, links, node, authority, members, .. } = &self.0.parts;
        let view = authority.view();
        let (boot, is_member) = self.life(&view);
        NodeStatus {
            node: node.clone(),
            boot,
            software: SOFTWARE.into(),
            uptime_s: seams.clock.now().since(self.0.began).as_secs(),
            load: self.0.load.load(Ordering::Relaxed),
            view: view.version,
            is_serving: is_member && authority.lease().is_valid(),
            members: members(),
            left_out: 0,
            links: links.counts(),
        }
    }

    /// The present life of this node, and whether it is a member.
    fn life(&self, view: &View) -> (Boot, bool) {
        let DeskParts { node, authority, .. } = &self.0.parts;
        let known = view.members.get(node).map(|member| member.boot).unwrap_or_default();
        match *authority.standing().get() {
            Standing::Member(boot) => (boot, true),
            Standing::Evicted(over) => (over, false),
            Standing::Outside | Standing::Left => (known, false),
        }
    }

    /// Asks all members at once, and reports what they say and what they do not.
    pub(crate) async fn report(&self) -> NodesReport {
        let DeskParts { seams, node, authority, .. } = &self.0.parts;
        let (view, own) = (authority.view(), self.status());
        let leader = authority.core().leader_hint();
        let mut report = NodesReport::new(&view, (node, leader), &own.members);
        let mut others: Vec<NodeId> =
            view.members.keys().filter(|other| *other != node).cloned().collect();
        // Who seems gone is asked last: it keeps a place until the end.
        let doubted: BTreeSet<&NodeId> = own
            .members
            .iter()
            .filter(|member| member.reachability != Reachability::Reachable)
            .map(|member| &member.node)
            .collect();
        others.sort_by_key(|other| doubted.contains(other));
        report.take(node, Ok((own, Duration::ZERO)));
        let until = seams.clock.now() + ANSWERS_WITHIN;
        let asks = others.into_iter().map(|other| async move {
            let answer = self.ask(&other, until).await;
            (other, answer)
        });
        let mut answers = futures::stream::iter(asks).buffer_unordered(ASKED_MAX);
        while let Some((other, answer)) = answers.next().await {
            report.take(&other, answer);
        }
        report
    }

    async fn ask(&self, to: &NodeId, until: Instant) -> Result<(NodeStatus, Duration), String> {
        let clock = &self.0.parts.seams.clock;
        let asked = clock.now();
        let status: NodeStatus = self.put(to, Question::Status, until).await?;
        if status.node != *to {
            return Err(NOT_ASKED.into());
        }
        Ok((status, clock.now().since(asked)))
    }

    async fn put<T: DeserializeOwned>(
        &self,
        to: &NodeId,
        question: Question,
        until: Instant,
    ) -> Result<T, String> {
        let (links, question) = (&self.0.parts.links, encode(&question));
        let (class, service) = (Class::Control, Service::Status);
        let answer = links.ask(to, class, service, Head::default(), question, until).await;
        let body = answer.map_err(|error| why(&error))?;
        let read = (body.len() <= STATUS_BYTES_MAX).then(|| decode::<T>(&body));
        read.flatten().ok_or_else(|| NOT_ASKED.into())
    }

    /// What this node's voter knows.
    fn voter(&self) -> VoterStatus {
        let DeskParts { node, authority, .. } = &self.0.parts;
        let state = authority.core().quorum_state();
        VoterStatus { node: node.clone(), boot: self.life(&authority.view()).0, state }
    }

    /// Asks all voters at once, and reports what they say and what they do not.
    pub(crate) async fn voters(&self) -> VotersReport {
        let DeskParts { seams, node, authority, .. } = &self.0.parts;
        let (view, own) = (authority.view(), self.voter());
        // Who is on the way to vote, raft alone knows.
        let learners = authority.core().voters().into_values().map(|voter| voter.node);
        let mut others: BTreeSet<NodeId> = view.voters.values().cloned().chain(learners).collect();
        others.remove(node);
        let until = seams.clock.now() + ANSWERS_WITHIN;
        let asks = others.into_iter().map(|other| async move {
            let answer = self.put::<VoterStatus>(&other, Question::Voter, until).await;
            let answer = answer.and_then(|status| {
                if status.node == other { Ok(status) } else { Err(NOT_ASKED.into()) }
            });
            (other, answer)
        });
        let mut answers: VoterAnswers =
            futures::stream::iter(asks).buffer_unordered(ASKED_MAX).collect().await;
        answers.insert(node.clone(), Ok(own));
        VotersReport::new(&view, node, &answers)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk of {}", self.0.parts.node)
    }
}

/// Why there is no answer, in words.
fn why(error: &AskError) -> String {
    match error {
        AskError::Refused(words) if words.is_empty() => {
            "it does not serve this: its software is older, or it starts or stops".into()
        }
        AskError::Refused(words) => printable(&String::from_utf8_lossy(words), REFUSAL_CHARS_MAX),
        AskError::NotExecuted(words) | AskError::Unknown(words) => {
            printable(words, REFUSAL_CHARS_MAX)
        }
    }
}

/// See [`Desk::measure`]. Does not keep the desk alive.
async fn measure(inner: std::sync::Weak<Inner>) {
    let Some(desk) = inner.upgrade() else { return };
    let clock = desk.parts.seams.clock.clone();
    let mut rate = Rate::new(clock.now(), desk.parts.hosts.turns());
    drop(desk);
    loop {
        clock.sleep(LOAD_EVERY).await;
        let Some(desk) = inner.upgrade() else { return };
        let load = rate.next(clock.now(), desk.parts.hosts.turns());
        desk.load.store(load, Ordering::Relaxed);
        desk.parts.authority.load(load);
    }
}

impl Inbound for Door {
    fn tell(&self, from: &Peer, _: Head, _: Bytes) {
        tracing::debug!(node = %from.node, "a tell about status was dropped");
    }

    fn ask(&self, from: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        let Some(desk) = self.0.upgrade().map(Desk) else {
            return reply.refuse(Bytes::from_static(b"it stops"));
        };
        if !is_member(&desk.0.parts.authority.view(), from) {
            return reply.refuse(Bytes::from_static(b"only members may ask"));
        }
        match decode::<Question>(&body) {
            Some(Question::Status) => reply.send(desk.status().encode_within(STATUS_BYTES_MAX)),
            Some(Question::Voter) => reply.send(encode(&desk.voter())),
            None => reply.refuse(Bytes::from_static(b"malformed")),
        }
    }
}

/// Whether who asks is a member in its present life.
fn is_member(view: &View, from: &Peer) -> bool {
    view.has_boot(&from.node, from.boot)
}

#[cfg(test)]
mod tests;
