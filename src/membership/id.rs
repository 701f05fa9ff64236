//! Who gossips.

use serde::{Deserialize, Serialize};

use crate::base::{Boot, NodeId};

/// Who gossips: a node, in one life, under a gossip incarnation that it raises to refute a rumour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GossipId {
    /// The node.
    pub node: NodeId,
    /// Its life.
    pub boot: Boot,
    /// Raised where a rumour cannot be refuted otherwise: it costs a name in the gossip, not a
    /// life.
    pub incarnation: u32,
}

impl GossipId {
    /// How a node in `boot` first presents itself.
    #[must_use]
    pub fn new(node: NodeId, boot: Boot) -> Self {
        Self { node, boot, incarnation: 0 }
    }
}

impl foca::Identity for GossipId {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { incarnation: self.incarnation.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> NodeId {
        self.node.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.boot, self.incarnation) > (adversary.boot, adversary.incarnation)
    }
}
