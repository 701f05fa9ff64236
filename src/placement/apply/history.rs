//! Why each version came about, kept with the view for whoever asks.

use std::sync::Arc;

use crate::base::{Epoch, NodeId};
use crate::placement::{Change, Noted, View};

/// How many versions a view remembers the causes of.
pub const HISTORY_MAX: usize = 256;

/// Longest cause that is kept, in bytes; the rest is cut off.
const CAUSE_MAX: usize = 160;

impl View {
    /// Notes why the present version came about.
    pub(super) fn note(&mut self, epoch: Epoch, mut cause: String, node: Option<NodeId>) {
        if cause.len() > CAUSE_MAX {
            let end = (0..=CAUSE_MAX).rev().find(|&at| cause.is_char_boundary(at)).unwrap_or(0);
            cause.truncate(end);
        }
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Arc::new(Noted { version: self.version, epoch, cause, node }));
    }
}

/// Why `change` is made, in words, and the node it is about.
pub(super) fn cause_of(change: &Change) -> (String, Option<NodeId>) {
    match change {
        Change::Form { members, .. } => (format!("formed by {} nodes", members.len()), None),
        Change::Join { claim, .. } => ("it joined".into(), Some(claim.node.clone())),
        Change::Rejoin { claim, .. } => ("it was restarted".into(), Some(claim.node.clone())),
        Change::Evict { node, cause, .. } => (cause.clone(), Some(node.clone())),
        Change::Assign { cause, .. }
        | Change::Move { cause, .. }
        | Change::HandOver { cause, .. }
        | Change::MoveAborted { cause, .. } => (cause.clone(), None),
        Change::Drain { node, on, .. } => {
            let cause = if *on { "it is drained" } else { "it is drained no longer" };
            (cause.into(), Some(node.clone()))
        }
        Change::Leave { node, .. } => ("it left".into(), Some(node.clone())),
        Change::Set { copies, write_min, lease, .. } => {
            let cause =
                format!("an operator set {copies} replicas, {write_min} for a write, {lease:?}");
            (cause, None)
        }
        Change::LeaseSettled { lease } => {
            (format!("nobody counts another lease than {lease:?}"), None)
        }
        Change::HasRecords { shard, when, .. } => {
            (format!("{shard} gets its first record"), Some(when.owner.node.clone()))
        }
        Change::Add { shard, store, when } => {
            (format!("{store} holds {shard} too"), Some(when.owner.node.clone()))
        }
        Change::Shrink { shard, store, when } => {
            (format!("{store} holds {shard} no longer"), Some(when.owner.node.clone()))
        }
    }
}
