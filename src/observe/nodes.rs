//! The members: what is agreed of each, what it says itself, and how every other observes it.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::NodeStatus;
use crate::base::{Boot, NodeId, Version};
use crate::membership::{MemberState, Reachability};
use crate::placement::{Member, Status, View};
use crate::transport::Counts;

/// Observers of one node that are listed; those that doubt it first. The others are counted.
pub const SIGHTS_MAX: usize = 32;

/// The members of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesReport {
    /// The cluster, in hex digits.
    pub cluster: String,
    /// Who was asked, and asked the others.
    pub asked: NodeId,
    /// Of the view that it has applied.
    pub version: Version,
    /// Who leads, as far as it has heard.
    pub leader: Option<NodeId>,
    /// By name.
    pub nodes: Vec<NodeRow>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its name.
    pub node: NodeId,
    /// Agreed status.
    pub status: Status,
    /// Its present life.
    pub boot: Boot,
    /// Where others reach it, `host:port`.
    pub addr: String,
    /// Failure zone; empty for none.
    pub zone: String,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// Whether it votes.
    pub is_voter: bool,
    /// Shards it owns.
    pub owns: u32,
    /// Names of its health probes that fail; empty: it is healthy.
    pub failing: Vec<String>,
    /// It hands its shards over.
    pub draining: bool,
    /// It leaves of its own will.
    pub leaving: bool,
    /// How long the last probe from the asked node took, in microseconds.
    pub round_trip_us: Option<u64>,
    /// What it says of itself; `None` if it gave no answer.
    pub said: Option<Said>,
    /// Why it gave no answer.
    pub no_answer: Option<String>,
    /// Observers that find it reachable, of all that answered.
    pub reachable_by: u32,
    /// Observers that have heard a doubt, which it may still refute.
    pub suspect_by: u32,
    /// Observers that find it unreachable.
    pub unreachable_by: u32,
    /// Observers that do not know it in its present life.
    pub unknown_to: u32,
    /// How each observer finds it: at most [`SIGHTS_MAX`], those that doubt it first, by name.
    pub seen: Vec<Sight>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Its life, as it knows it.
    pub boot: Boot,
    /// The version of its software.
    pub software: String,
    /// Since its start, in seconds.
    pub uptime_s: u64,
    /// Turns per second, over the last second.
    pub load: u32,
    /// Of the view it has applied.
    pub view: Version,
    /// Whether it is a member and its lease is valid.
    pub is_serving: bool,
    /// What its links did since its start.
    pub links: Counts,
    /// From the question to its answer, in microseconds; with making a link, if there was none.
    pub answered_after_us: u64,
}

/// How one observer finds a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The observer.
    pub by: NodeId,
    /// How it finds it; `None`: it does not know it in its present life.
    pub reachability: Option<Reachability>,
    /// Who doubts it, as far as that observer has heard.
    pub doubted_by: Vec<NodeId>,
    /// How long the observer's last probe took, in microseconds.
    pub round_trip_us: Option<u64>,
}

impl NodesReport {
    /// What is known before anybody is asked: `seen` is how the asked node sees the members.
    pub(super) fn new(
        view: &View,
        (asked, leader): (&NodeId, Option<NodeId>),
        seen: &[MemberState],
    ) -> Self {
        let mut owns: BTreeMap<&NodeId, u32> = BTreeMap::new();
        for owner in view.shards.iter().filter_map(|shard| shard.owner.as_ref()) {
            *owns.entry(&owner.node).or_default() += 1;
        }
        let mut nodes: Vec<NodeRow> = view
            .members
            .iter()
            .map(|(node, member)| NodeRow::new(node, member, owns.get(node).copied().unwrap_or(0)))
            .collect();
        let seen = by_name(seen);
        for row in &mut nodes {
            if let Some(state) = row.in_its_life(&seen) {
                row.hear(state);
                row.round_trip_us = state.round_trip.map(micros);
            }
        }
        Self {
            cluster: view.cluster.to_string(),
            asked: asked.clone(),
            version: view.version,
            leader,
            nodes,
        }
    }

    /// What `from` answered after so long, or why it did not.
    pub(super) fn take(&mut self, from: &NodeId, answer: Result<(NodeStatus, Duration), String>) {
        let (status, after) = match answer {
            Ok(answered) => answered,
            Err(why) => {
                let row = self.nodes.iter_mut().find(|row| row.node == *from);
                return row.into_iter().for_each(|row| row.no_answer = Some(why.clone()));
            }
        };
        let seen = by_name(&status.members);
        for row in &mut self.nodes {
            let state = row.in_its_life(&seen);
            if row.node != *from {
                row.look(from, state, status.left_out > 0);
                continue;
            }
            row.said = Some(Said::of(&status, after));
            if let Some(own) = state {
                row.hear(own);
            }
        }
    }
}

impl NodeRow {
    fn new(node: &NodeId, member: &Member, owns: u32) -> Self {
        Self {
            node: node.clone(),
            status: member.status,
            boot: member.boot,
            addr: member.addr.clone(),
            zone: member.zone.clone(),
            weight: member.weight,
            is_voter: member.voter.is_some(),
            owns,
            failing: Vec::new(),
            draining: false,
            leaving: false,
            round_trip_us: None,
            said: None,
            no_answer: None,
            reachable_by: 0,
            suspect_by: 0,
            unreachable_by: 0,
            unknown_to: 0,
            seen: Vec::new(),
        }
    }

    /// How somebody sees this very life.
    fn in_its_life<'a>(&self, seen: &ByName<'a>) -> Option<&'a MemberState> {
        seen.get(&self.node).copied().filter(|state| state.boot == self.boot)
    }

    /// What the node itself has said, as it came to somebody.
    fn hear(&mut self, state: &MemberState) {
        self.failing.clone_from(&state.failing);
        (self.draining, self.leaving) = (state.draining, state.leaving);
    }

    /// Adds how `by` finds this node. Where some are `left_out` of what it says, nothing is to be
    /// said of those.
    fn look(&mut self, by: &NodeId, known: Option<&MemberState>, left_out: bool) {
        let reachability = match known {
            Some(state) => Some(state.reachability),
            None => left_out.then_some(Reachability::Reachable),
        };
        match reachability {
            Some(Reachability::Reachable) => self.reachable_by += 1,
            Some(Reachability::Suspect) => self.suspect_by += 1,
            Some(Reachability::Unreachable) => self.unreachable_by += 1,
            None => self.unknown_to += 1,
        }
        let sight = Sight {
            by: by.clone(),
            reachability,
            doubted_by: known.map(|state| state.observers.clone()).unwrap_or_default(),
            round_trip_us: known.and_then(|state| state.round_trip).map(micros),
        };
        // Sorted, so that what is listed does not depend on who answers first.
        let order =
            |sight: &Sight| (sight.reachability == Some(Reachability::Reachable), sight.by.clone());
        let place = self.seen.partition_point(|other| order(other) < order(&sight));
        self.seen.insert(place, sight);
        self.seen.truncate(SIGHTS_MAX);
    }
}

impl Said {
    fn of(status: &NodeStatus, after: Duration) -> Self {
        Self {
            boot: status.boot,
            software: status.software.clone(),
            uptime_s: status.uptime_s,
            load: status.load,
            view: status.view,
            is_serving: status.is_serving,
            links: status.links,
            answered_after_us: micros(after),
        }
    }
}

/// Members as somebody sees them.
type ByName<'a> = BTreeMap<&'a NodeId, &'a MemberState>;

fn by_name(members: &[MemberState]) -> ByName<'_> {
    members.iter().map(|state| (&state.node, state)).collect()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
