//! What is said in the gossip beside who is alive: what each node says of itself, and who saw
//! whom fail.

use std::convert::Infallible;

use bytes::Bytes;
use foca::{BroadcastHandler, Invalidates};
use serde::{Deserialize, Serialize};

use super::GossipId;
use crate::base::{Boot, NodeId, Version};
use crate::wire::{from_data, to_data};

/// Names of failing probes in a card, at most.
pub const FAILING_MAX: usize = 8;
/// Longest name of a probe, in bytes.
pub const PROBE_NAME_BYTES_MAX: usize = 32;
/// Of the records. One with a further field gets a number of its own, and is sent only once every
/// member reads it: nodes of before pass over what they do not know.
const SCHEMA: u8 = 1;
/// Largest record, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 512;

/// What a node says of itself. Only the node writes it; a higher number replaces a lower one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Whose it is.
    pub node: NodeId,
    /// In which life.
    pub boot: Boot,
    /// Grows with every change.
    pub number: u32,
    /// It leaves of its own will: what follows is no failure.
    pub leaving: bool,
    /// It hands its shards over.
    pub draining: bool,
    /// The health probes that fail there, sorted, at most [`FAILING_MAX`]; none: it is healthy.
    pub failing: Vec<String>,
    /// Its failure zone; empty for none.
    pub zone: String,
    /// The view it has applied.
    pub view: Version,
}

impl Card {
    pub(super) fn new(node: NodeId, boot: Boot) -> Self {
        let (failing, zone, view) = (Vec::new(), String::new(), Version(0));
        Self { node, boot, number: 1, leaving: false, draining: false, failing, zone, view }
    }

    /// Whether it replaces `other`, a card of the same node.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        (self.boot, self.number) > (other.boot, other.number)
    }

    fn is_bounded(&self) -> bool {
        self.failing.len() <= FAILING_MAX
            && self.failing.iter().all(|name| name.len() <= PROBE_NAME_BYTES_MAX)
            && self.zone.len() <= crate::base::NAME_BYTES_MAX
    }
}

/// "I probed `subject`, directly and through others, and heard nothing."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Word {
    /// Who probed.
    pub observer: NodeId,
    /// In which life.
    pub boot: Boot,
    /// Whom.
    pub subject: GossipId,
    /// The incarnation it was known under: one that is higher refutes this.
    pub incarnation: u16,
    /// Grows whenever the observer says it again.
    pub number: u32,
}

/// A piece of news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// A node of itself.
    Card(Card),
    /// A node of another.
    Word(Word),
}

impl Record {
    /// As it travels: a schema byte, then postcard.
    pub(super) fn encode(&self) -> Bytes {
        // Plain values encode always.
        let body = to_data(self).unwrap_or_default();
        [&[SCHEMA], &body[..]].concat().into()
    }

    /// From a peer; `None` if it is malformed, of another schema, or larger than one may be.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&SCHEMA, body) = bytes.split_first()? else { return None };
        let record: Self = (body.len() <= RECORD_BYTES_MAX).then(|| from_data(body).ok())??;
        match &record {
            Self::Card(card) if !card.is_bounded() => None,
            Self::Card(_) | Self::Word(_) => Some(record),
        }
    }

    fn key(&self) -> Key {
        match self {
            Self::Card(card) => Key::Card(card.node.clone()),
            Self::Word(word) => Key::Word(word.observer.clone(), word.subject.node.clone()),
        }
    }
}

/// A record replaces one of the same key that still waits to be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Card(NodeId),
    Word(NodeId, NodeId),
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self == other
    }
}

/// Passes on what it is given. What arrives is judged before foca sees the packet.
pub(super) struct Records;

impl BroadcastHandler<GossipId> for Records {
    type Key = Key;
    type Error = Infallible;

    fn receive_item(
        &mut self,
        item: &[u8],
        from: Option<&GossipId>,
    ) -> Result<Option<Key>, Infallible> {
        if from.is_some() {
            return Ok(None);
        }
        Ok(Record::decode(item).map(|record| record.key()))
    }
}
