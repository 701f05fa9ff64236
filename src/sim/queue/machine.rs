//! The membership machine as the queue sees it: nodes are numbers. The one file that knows its
//! types.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Boot, Instant, NodeId};
pub use crate::membership::Reachability;
use crate::membership::{Gossip, GossipConfig, GossipId, Input, Output};
use crate::placement::Profile;

/// What one node observes of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// In which of its lives.
    pub boot: Boot,
    /// As what.
    pub reachability: Reachability,
    /// On whose word, where the machine says it.
    pub observers: Option<Vec<usize>>,
}

/// What happened to a node.
#[derive(Debug, Clone)]
pub(super) enum Happened {
    Packet { from: usize, bytes: Bytes },
    /// Something else of this node arrived.
    Heard(usize),
    /// A link with this node broke.
    Broken(usize),
    Committed(Arc<[(usize, Boot)]>),
    TimePassed,
}

impl Happened {
    /// For the trace: what kind it is, from whom, how long.
    pub(super) fn code(&self) -> u64 {
        match self {
            Self::Packet { from, bytes } => 1 | (*from as u64) << 4 | (bytes.len() as u64) << 16,
            Self::Broken(of) => 2 | (*of as u64) << 4,
            Self::Heard(of) => 5 | (*of as u64) << 4,
            Self::Committed(_) => 3,
            Self::TimePassed => 4,
        }
    }
}

/// What a machine wants done.
#[derive(Debug)]
pub(super) enum Wanted {
    Send { to: usize, bytes: Bytes },
    Saw { of: usize, seen: Seen },
}

pub(super) struct Machine {
    gossip: Gossip,
    out: Vec<Output>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.gossip)
    }
}

/// The name of a node: fixed width, so that sizes on the wire do not depend on the number.
fn name(index: usize) -> NodeId {
    format!("node-{index:04}").parse().expect("a plain name")
}

fn index(node: &NodeId) -> Option<usize> {
    node.as_str().strip_prefix("node-")?.parse().ok()
}

impl Machine {
    pub(super) fn new((node, boot): (usize, Boot), profile: &Profile, seed: u64) -> Self {
        let id = GossipId::new(name(node), boot);
        let gossip = Gossip::new(id, &GossipConfig::from(profile), seed);
        Self { gossip, out: Vec::new() }
    }

    pub(super) fn step(&mut self, now: Instant, what: Happened, wanted: &mut Vec<Wanted>) {
        let input = match what {
            Happened::Packet { bytes, .. } => Input::Packet(bytes),
            Happened::Committed(members) => {
                let members = members.iter().map(|(node, boot)| (name(*node), *boot));
                Input::Committed(members.collect())
            }
            Happened::Heard(_) | Happened::Broken(_) | Happened::TimePassed => Input::TimePassed,
        };
        self.gossip.step(now, input, &mut self.out);
        for output in self.out.drain(..) {
            match output {
                Output::Send { to, packet } => {
                    let to = index(&to);
                    wanted.extend(to.map(|to| Wanted::Send { to, bytes: packet }));
                }
                Output::Observed { node, boot, reachability } => {
                    let seen = Seen { boot, reachability, observers: None };
                    wanted.extend(index(&node).map(|of| Wanted::Saw { of, seen }));
                }
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.gossip.next_deadline()
    }

    /// What of the machine's own invariants does not hold.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.gossip.refused_packets() {
            0 => Ok(()),
            refused => Err(format!("{refused} packets of other machines were refused")),
        }
    }
}
