//! What a swarm consists of.

use std::time::Duration;

use crate::placement::Profile;
use crate::transport::Limits;

/// Swarms up to this size have pings on their links unless they are told otherwise.
pub const PINGED_MAX: usize = 50;

/// What a swarm consists of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Fixes everything that happens.
    pub seed: u64,
    /// How many nodes are members from the start.
    pub nodes: usize,
    /// Timing.
    pub profile: Profile,
    /// Shortest and longest time a packet is under way.
    pub latency: [Duration; 2],
    /// Of 1000 segments, how many are lost; as many of those that are sent again.
    pub loss_permille: u16,
    /// Whether a change of the committed members reaches all nodes; otherwise only the node that
    /// joins learns of its own, and the rest is the gossip's affair.
    pub commits_reach_all: bool,
    /// How many links a node dials at most.
    pub links_max: usize,
    /// Whether idle links are pinged, and both ends hear it; else they are kept for nothing.
    pub pings: bool,
}

impl Setup {
    /// Nodes in one data centre: 1 to 5 ms a packet, nothing lost. Pings are left out above
    /// [`PINGED_MAX`] nodes, where they would be nearly all that happens.
    #[must_use]
    pub fn new(seed: u64, nodes: usize, profile: Profile) -> Self {
        let latency = [Duration::from_millis(1), Duration::from_millis(5)];
        Self {
            seed,
            nodes,
            profile,
            latency,
            loss_permille: 0,
            commits_reach_all: true,
            links_max: Limits::default().on_demand_max,
            pings: nodes <= PINGED_MAX,
        }
    }
}
