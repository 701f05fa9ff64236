//! The membership machine as the queue sees it: nodes are numbers. The one file that knows its
//! types.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Boot, Instant, NodeId, Version};
pub use crate::membership::Reachability;
use crate::membership::{Card, Gossip, GossipConfig, GossipId, Input, Output, Own};
use crate::placement::Profile;

/// What one node observes of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// In which of its lives.
    pub boot: Boot,
    /// As what.
    pub reachability: Reachability,
    /// On whose word, if it is not reachable.
    pub observers: Vec<usize>,
}

/// What happened to a node.
#[derive(Debug, Clone)]
pub(super) enum Happened {
    /// From this node in this life.
    Packet {
        from: usize,
        boot: Boot,
        bytes: Bytes,
    },
    /// Something else of this node arrived.
    Heard(usize),
    /// A link with this node broke.
    Broken(usize),
    Committed(Arc<[(usize, Boot)]>),
    /// It has something else to say of itself: what, follows from the number.
    Own(u64),
    TimePassed,
}

impl Happened {
    /// For the trace: what kind it is, from whom, how long.
    pub(super) fn code(&self) -> u64 {
        match self {
            Self::Packet { from, bytes, .. } => {
                1 | (*from as u64) << 4 | (bytes.len() as u64) << 16
            }
            Self::Broken(of) => 2 | (*of as u64) << 4,
            Self::Committed(_) => 3,
            Self::TimePassed => 4,
            Self::Heard(of) => 5 | (*of as u64) << 4,
            Self::Own(number) => 6 | number << 4,
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
    /// By number: made once, for a name is looked up at every step.
    names: Vec<NodeId>,
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

/// What a node says of itself for the so-many-th time.
fn own(number: u64) -> Own {
    let failing = if number % 3 == 1 { vec!["db".to_owned()] } else { Vec::new() };
    let draining = number % 4 == 3;
    Own { draining, failing, zone: "a".to_owned(), view: Version(number), ..Own::default() }
}

impl Machine {
    pub(super) fn new((node, boot): (usize, Boot), profile: &Profile, seed: u64) -> Self {
        let id = GossipId::new(name(node), boot);
        let gossip = Gossip::new(id, &GossipConfig::from(profile), seed);
        Self { gossip, names: Vec::new(), out: Vec::new() }
    }

    fn name(&mut self, index: usize) -> NodeId {
        while self.names.len() <= index {
            self.names.push(name(self.names.len()));
        }
        self.names[index].clone()
    }

    pub(super) fn step(&mut self, now: Instant, what: Happened, wanted: &mut Vec<Wanted>) {
        let input = match what {
            Happened::Packet { from, boot, bytes } => {
                Input::Packet { from: self.name(from), boot, bytes }
            }
            Happened::Heard(node) => Input::Heard(self.name(node)),
            Happened::Broken(node) => Input::Broken(self.name(node)),
            Happened::Committed(members) => {
                let members = members.iter().map(|(node, boot)| (self.name(*node), *boot));
                Input::Committed(members.collect())
            }
            Happened::Own(number) => Input::Own(own(number)),
            Happened::TimePassed => Input::TimePassed,
        };
        self.gossip.step(now, input, &mut self.out);
        for output in self.out.drain(..) {
            match output {
                Output::Send { to, packet } => {
                    let to = index(&to);
                    wanted.extend(to.map(|to| Wanted::Send { to, bytes: packet }));
                }
                Output::Observed { node, boot, reachability, observers } => {
                    let observers = observers.iter().filter_map(index).collect();
                    let seen = Seen { boot, reachability, observers };
                    wanted.extend(index(&node).map(|of| Wanted::Saw { of, seen }));
                }
                Output::Late { .. } | Output::Said { .. } => {}
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.gossip.next_deadline()
    }

    /// What it observes of a member now.
    pub(super) fn seen(&self, now: Instant, of: usize) -> Option<Seen> {
        let sight = self.gossip.sight(now, &name(of))?;
        let observers = sight.observers.iter().filter_map(index).collect();
        Some(Seen { boot: sight.boot, reachability: sight.reachability, observers })
    }

    /// How many members, `but` and itself aside, are left to observe for it: those it neither finds
    /// unreachable nor doubts by its own word.
    pub(super) fn others_left(&self, now: Instant, but: usize) -> usize {
        let (but, me) = (name(but), &self.gossip.me().node);
        let is_left = |node: &NodeId, reachability: Reachability| match reachability {
            Reachability::Reachable => true,
            Reachability::Suspect => {
                let sight = self.gossip.sight(now, node);
                sight.is_some_and(|sight| !sight.observers.contains(me))
            }
            Reachability::Unreachable => false,
        };
        let left = self.gossip.observed();
        left.filter(|(node, _, seen)| **node != but && is_left(node, *seen)).count()
    }

    /// How much it doubts itself, 0 to 7.
    pub(super) fn self_doubt(&self) -> u32 {
        self.gossip.self_doubt()
    }

    /// What it says of itself.
    pub(super) fn card(&self) -> &Card {
        self.gossip.card()
    }

    /// What it knows a member to say of itself.
    pub(super) fn card_of(&self, now: Instant, of: usize) -> Option<Card> {
        self.gossip.sight(now, &name(of))?.card
    }

    /// What of the machine's own invariants does not hold.
    pub(super) fn check(&self) -> Result<(), String> {
        self.gossip.check_invariants()?;
        match self.gossip.counts().refused {
            0 => Ok(()),
            refused => Err(format!("{refused} packets of other machines were refused")),
        }
    }
}
