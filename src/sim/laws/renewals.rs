//! I6: no boot is evicted that is not refused and whose Renew reached the leader within D.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::{Boot, Instant, NodeId};
use crate::placement::{Departure, View};

type Life = (NodeId, Boot);

/// When Renews came, and what leaders marked.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    /// When the last Renew of each life came to each office, by that node's clock.
    came: BTreeMap<(NodeId, Life), Instant>,
    /// Lives that were marked too soon: what is wrong if they are evicted.
    too_soon: BTreeMap<Life, String>,
    /// Lives that may be evicted.
    due: BTreeSet<Life>,
}

impl Renewals {
    /// A Renew of a life came to `office`.
    pub(super) fn came(&mut self, office: NodeId, life: Life, at: Instant) {
        self.came.insert((office, life), at);
    }

    /// The leader `office` marked a life that it had not refused.
    pub(super) fn marked(&mut self, office: &NodeId, life: Life, at: Instant, lease: Duration) {
        let last = self.came.get(&(office.clone(), life.clone()));
        match last.map(|last| at.since(*last)) {
            Some(since) if since < lease => {
                let (node, boot) = &life;
                let since = since.as_millis();
                let what =
                    format!("I6: {office} evicts {node}, {boot}, whose Renew came {since} ms ago");
                self.too_soon.insert(life, what);
            }
            Some(_) | None => {
                self.due.insert(life);
            }
        }
    }

    /// A view is shown. What was marked by a leader that never agreed on it ends nobody.
    pub(super) fn shown(&self, view: &Arc<View>) -> Result<(), String> {
        for ((node, boot), what) in &self.too_soon {
            if !self.due.contains(&(node.clone(), *boot))
                && view.departure(node, *boot) == Some(Departure::Evicted)
            {
                return Err(what.clone());
            }
        }
        Ok(())
    }
}
