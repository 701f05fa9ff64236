//! The words of a link: what is sent, who is on the other side, what can go wrong.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::conn::Conn;
use super::lanes::LANES;
use super::tls::{San, TlsConfig, TlsError};
use crate::base::{Boot, Epoch, NodeId, ShardId, Version};
use crate::wire::negotiate::Schemas;
use crate::wire::{Kind, MESSAGE_BYTES_MAX, PART_BYTES_MAX};

/// Connections of one pair of nodes are apart by class, so that bulk data delays no heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Gossip, raft, leases, formation.
    Control,
    /// What entities say to each other, and replication.
    Message,
    /// State transfer.
    Bulk,
}

impl Class {
    /// All classes, in the order of their tables.
    pub const ALL: [Self; 3] = [Self::Control, Self::Message, Self::Bulk];

    /// Largest body of a message, in bytes. On a control link it travels in parts.
    #[must_use]
    pub const fn body_bytes_max(self) -> usize {
        match self {
            Self::Control => MESSAGE_BYTES_MAX,
            Self::Message => 2 << 20,
            Self::Bulk => 8 << 20,
        }
    }

    /// Largest body of one frame, in bytes.
    pub(super) const fn frame_body_bytes_max(self) -> usize {
        match self {
            Self::Control => PART_BYTES_MAX,
            Self::Message | Self::Bulk => self.body_bytes_max(),
        }
    }

    /// How many lanes a connection has.
    pub(super) const fn lanes(self) -> u8 {
        match self {
            Self::Message => LANES,
            Self::Control | Self::Bulk => 1,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Message => "message",
            Self::Bulk => "bulk",
        })
    }
}

/// Which part of the node a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Service {
    /// Forming and joining a cluster: the only one before the cluster is formed.
    Formation = 1,
    /// Raft among the voters.
    Raft = 2,
    /// Lease renewals.
    Lease = 3,
    /// Proposals to the authority.
    Propose = 4,
    /// Who seems alive.
    Gossip = 5,
    /// Records to and from other stores.
    Replica = 6,
    /// Messages to entities.
    Entity = 7,
    /// What a node says of itself, for reports.
    Status = 8,
    /// Views, for nodes that do not vote.
    View = 9,
}

impl Service {
    /// How many tables by service have places, the unused place 0 included.
    pub(super) const PLACES: usize = 10;

    /// The service with this number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Formation,
            2 => Self::Raft,
            3 => Self::Lease,
            4 => Self::Propose,
            5 => Self::Gossip,
            6 => Self::Replica,
            7 => Self::Entity,
            8 => Self::Status,
            9 => Self::View,
            _ => return None,
        })
    }
}

/// The fixed fields of a frame that its reader may judge before it decodes the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The view the sender acted in.
    pub version: Version,
    /// The shard it is about, if any.
    pub shard: Option<ShardId>,
    /// The ownership of that shard the sender acted under.
    pub epoch: Epoch,
    /// The lane of a message link, any number: order holds between messages of one lane, and a
    /// lane that is full does not stop the others. Chosen by hash of the target.
    pub lane: u8,
    /// How the body is encoded; what the numbers mean is up to the service.
    pub schema: u16,
}

/// The other side of a link, authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name, proved by its certificate.
    pub node: NodeId,
    /// Its life, as it says itself.
    pub boot: Boot,
}

/// One process of a node: the boot it says it is in, and the token that was drawn when that began.
/// Two processes under one name may count to the same boot; they do not draw the same token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its boot.
    pub boot: Boot,
    /// Its token; 0 if it does not say.
    pub token: u64,
}

impl Life {
    /// Whether `other` may be this very process.
    #[must_use]
    pub fn is_of(self, other: Self) -> bool {
        let unsaid = self.token == 0 || other.token == 0;
        self.boot == other.boot && (unsaid || self.token == other.token)
    }
}

/// Takes what arrives for one service.
///
/// Runs on the link's reading task: it must neither block nor take long. Spawn what waits.
pub trait Inbound: Send + Sync + 'static {
    /// A message that wants no answer.
    fn tell(&self, from: &Peer, head: Head, body: Bytes);

    /// A message that wants one. `reply` may be kept, sent from anywhere, or dropped.
    fn ask(&self, from: &Peer, head: Head, body: Bytes, reply: ReplyTo);
}

/// Answers one ask. Dropped unanswered, the asker learns at once that it will get no answer:
/// [`AskError::Unknown`].
pub struct ReplyTo {
    pub(super) conn: Arc<Conn>,
    pub(super) call: u64,
    pub(super) answered: bool,
}

impl ReplyTo {
    /// It was done; `body` is the answer.
    pub fn send(mut self, body: Bytes) {
        self.answered = true;
        self.conn.answer(Kind::Reply, self.call, body);
    }

    /// It was not executed and never will be; `body` says why: [`AskError::Refused`].
    pub fn refuse(mut self, body: Bytes) {
        self.answered = true;
        self.conn.answer(Kind::Refusal, self.call, body);
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if !self.answered {
            self.conn.answer(Kind::Dropped, self.call, Bytes::new());
        }
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyTo({:x})", self.call)
    }
}

/// What this node says of itself in every handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name in every certificate of the cluster: `spiffe://<cluster name>/node/<node>`.
    pub cluster_name: String,
    /// This node.
    pub node: NodeId,
    /// Its present life.
    pub boot: Boot,
}

/// How links are protected.
#[derive(Debug, Clone)]
pub enum Security {
    /// TLS 1.3 with certificates on both sides.
    Tls(Arc<TlsConfig>),
    /// Plain TCP: anyone may claim to be anyone. For tests and development, on loopback only.
    Insecure,
}

impl Security {
    /// Whether the certificate is that of the node it is for.
    pub(super) fn check_own(&self, identity: &Identity) -> Result<(), LinksError> {
        let Self::Tls(tls) = self else { return Ok(()) };
        let own = San::node(&identity.cluster_name, &identity.node);
        if *tls.own() == own {
            return Ok(());
        }
        let (expected, found) = (own.to_string(), tls.own().to_string());
        Err(LinksError::WrongCertificate { expected, found })
    }
}

/// Least [`Limits::lane_bytes_max`]: the largest message fits while another is under way.
pub const LANE_BYTES_MIN: usize = 4 << 20;

/// Bounds of every link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may wait to be written to one connection before senders get
    /// [`SendError::Overloaded`].
    pub output_bytes_max: usize,
    /// Bytes of one lane of a message connection that may be under way, not yet taken in by the
    /// other side. At least [`LANE_BYTES_MIN`].
    pub lane_bytes_max: usize,
    /// Bytes that a bulk connection writes per second at most.
    pub bulk_bytes_per_s: u64,
    /// Bytes that may wait on a control connection before gossip to it is dropped.
    pub gossip_bytes_max: usize,
    /// Asks of one connection that may wait for an answer.
    pub calls_max: usize,
    /// Handshakes of accepted connections under way at one time; each further one ends the
    /// oldest, so that a crowd that says nothing does not keep others out.
    pub handshakes_max: usize,
    /// Connections this node has dialled at one time, beside those it was told to keep: for each
    /// further one the least recently used that is idle is closed.
    pub on_demand_max: usize,
    /// Accepted connections open at one time; further ones are refused in the handshake.
    pub accepted_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            output_bytes_max: 32 << 20,
            lane_bytes_max: 4 << 20,
            bulk_bytes_per_s: 100 << 20,
            gossip_bytes_max: 256 << 10,
            calls_max: 65_536,
            handshakes_max: 512,
            on_demand_max: 128,
            accepted_max: 1_024,
        }
    }
}

/// Times of every link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// From the first connect to the peer's first frame of the handshake.
    pub dial: Duration,
    /// From an accepted connection to the end of its handshake.
    pub handshake: Duration,
    /// An idle dialled connection is pinged this often.
    pub ping_interval: Duration,
    /// A connection on which nothing arrives for so long is closed. More than two pings.
    pub dead_after: Duration,
    /// Wait after the first failed dial; doubles up to `backoff_max`, and is drawn at random
    /// between half and all of it.
    pub backoff_min: Duration,
    /// Longest wait after a failed dial.
    pub backoff_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(3),
            handshake: Duration::from_secs(5),
            ping_interval: Duration::from_millis(500),
            dead_after: Duration::from_secs(3),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }
}

/// What [`Links::start`](super::Links::start) needs.
#[derive(Debug, Clone)]
pub struct LinksConfig {
    /// What this node says of itself.
    pub identity: Identity,
    /// Where it listens; port 0 picks one.
    pub listen: SocketAddr,
    /// How links are protected.
    pub security: Security,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timing: Timing,
    /// The kinds of entities this node knows, with the schemas of their messages.
    pub schemas: Schemas,
    /// Drawn when its present life began; 0 says none.
    pub token: u64,
}

impl LinksConfig {
    /// With the default limits and times.
    #[must_use]
    pub fn new(identity: Identity, listen: SocketAddr, security: Security) -> Self {
        let (limits, timing) = (Limits::default(), Timing::default());
        let schemas = Schemas::default();
        Self { identity, listen, security, limits, timing, schemas, token: 0 }
    }
}

/// Why links could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinksError {
    /// Plain TCP is for loopback only.
    #[error(
        "{0} is not a loopback address, and insecure links are for loopback only: listen on \
         127.0.0.1, or use TLS"
    )]
    InsecureAddress(SocketAddr),
    /// A link would be taken for dead between two pings.
    #[error(
        "dead_after ({dead_after:?}) must be more than twice ping_interval ({ping_interval:?})"
    )]
    Times {
        /// From [`Timing`].
        ping_interval: Duration,
        /// From [`Timing`].
        dead_after: Duration,
    },
    /// The largest message would wait for an empty lane.
    #[error("lane_bytes_max ({0}) must be at least {LANE_BYTES_MIN}")]
    LaneBytes(usize),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {error}; choose another address, or stop what uses it")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Links cannot change between TLS and none while they run.
    #[error("security can only be replaced by other TLS: start the links anew")]
    SecurityKind,
    /// This node's own certificate is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// This node's own certificate is for someone else.
    #[error(
        "this node is {expected}, but its certificate is for {found}: give it its own certificate"
    )]
    WrongCertificate {
        /// The name the certificate should have.
        expected: String,
        /// The name it has.
        found: String,
    },
}

/// Why a message was not taken. It was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Too much waits to be written to that node. Next: slow down, send again later.
    #[error("overloaded: too much waits to be sent to {0}")]
    Overloaded(String),
    /// There is no way to it now. Next: send again after the back-off.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The body is larger than a frame of the class may be. Next: send less at a time.
    #[error("the body has {bytes} bytes, a frame of this class at most {bytes_max}")]
    TooBig {
        /// Length of the body.
        bytes: usize,
        /// The most there may be.
        bytes_max: usize,
    },
}

/// Why an ask has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The other side said no: it was not executed. Empty if it does not serve that at all.
    #[error("refused by the other side ({} bytes of reason)", .0.len())]
    Refused(Bytes),
    /// It never left this node.
    #[error("not executed: {0}")]
    NotExecuted(String),
    /// It left, and no answer came: it may or may not be executed.
    #[error("unknown: {0}")]
    Unknown(String),
}

impl From<SendError> for AskError {
    fn from(error: SendError) -> Self {
        Self::NotExecuted(error.to_string())
    }
}

/// What happened on all links since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counts {
    /// Connections to others that came to stand.
    pub dialled: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Connections from others that came to stand.
    pub accepted: u64,
    /// Connections from others that were refused: bad certificate, other cluster, garbage.
    pub refused: u64,
    /// Established connections that broke or fell silent.
    pub broken: u64,
    /// Tells that nobody serves here, or that came before the cluster was formed.
    pub tells_dropped: u64,
    /// Messages refused to senders because too much waited.
    pub overloaded: u64,
    /// Gossip that was dropped because too much waited.
    pub gossip_dropped: u64,
    /// Answers that did not fit and were replaced by "dropped".
    pub answers_dropped: u64,
    /// Tells that never left when their connection ended.
    pub tells_unsent: u64,
    /// Tells that had left when their connection ended, and were not known to have arrived.
    pub tells_unknown: u64,
    /// Idle connections that were closed to make room for others.
    pub made_room: u64,
    /// Handshakes that resumed an earlier session.
    pub resumed: u64,
}

/// Tells that are lost, or may be: their connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// Whom they were for.
    pub node: NodeId,
    /// The connection's class.
    pub class: Class,
    /// The lane they were in.
    pub lane: u8,
    /// How many never left this node.
    pub unsent: u64,
    /// How many left, the latest of their lane before the unsent: each may have arrived or not.
    pub unknown: u64,
}
