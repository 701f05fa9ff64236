//! The messages of the world: delivered, repeated or lost, in any order.

use super::{SHARD, World};
use crate::base::{Epoch, StoreId};
use crate::placement::{Outcome, Proposal};
use crate::replica::backup::admits;
use crate::replica::frame::{Body, Verdict};
use crate::replica::primary::Input;
use crate::storage::OpResult;
use crate::transport::Peer;

/// What is under way between nodes.
pub(super) enum Mail {
    Ask { from: Peer, to: StoreId, epoch: Epoch, order: u64, body: Body },
    Answer { to: Peer, epoch: Epoch, store: StoreId, order: u64, verdict: Option<Verdict> },
    Propose { from: Peer, proposal: Proposal },
    Outcome { to: Peer, proposal: Proposal, outcome: Option<Outcome> },
}

impl World {
    /// Delivers a message; with `repeat` a question stays under way besides.
    pub(super) fn deliver(&mut self, index: usize, repeat: bool) {
        match self.mail.swap_remove(index) {
            Mail::Ask { from, to, epoch, order, body } => {
                if repeat {
                    let (from, body) = (from.clone(), body.clone());
                    self.mail.push(Mail::Ask { from, to, epoch, order, body });
                }
                let Some(node) = self.nodes.iter().position(|node| node.store.id() == to) else {
                    return;
                };
                let verdict = if admits(&self.nodes[node].view, &from, SHARD, epoch) {
                    let lists = body == Body::List;
                    match self.apply(node, body.into_op(SHARD, epoch)) {
                        OpResult::Done(head) if lists => {
                            let list = self.nodes[node].store.inventory(SHARD).expect("readable");
                            Verdict::Listed(head, list)
                        }
                        OpResult::Done(head) => Verdict::Done(head),
                        OpResult::Refused { head, .. } => Verdict::Refused(head),
                    }
                } else {
                    Verdict::Outdated
                };
                let verdict = Some(verdict);
                self.mail.push(Mail::Answer { to: from, epoch, store: to, order, verdict });
            }
            Mail::Answer { to, epoch, store, order, verdict } => {
                let Some(node) = self.at(&to) else { return };
                if self.nodes[node].machine.as_ref().is_some_and(|(now, _)| *now == epoch) {
                    self.step(
                        node,
                        match verdict {
                            Some(verdict) => Input::Answered { store, order, verdict },
                            None => Input::Unanswered { store, order },
                        },
                    );
                }
            }
            Mail::Propose { from, proposal } => {
                let outcome = Some(self.agree_on(&proposal));
                self.mail.push(Mail::Outcome { to: from, proposal, outcome });
            }
            Mail::Outcome { to, proposal, outcome } => {
                let Some(node) = self.at(&to) else { return };
                self.step(node, Input::Proposed { id: proposal.id, outcome });
            }
        }
    }

    /// Loses a message: whoever waits for the answer learns that there is none.
    pub(super) fn lose(&mut self, index: usize) {
        match self.mail.swap_remove(index) {
            Mail::Ask { from: to, to: store, epoch, order, .. }
            | Mail::Answer { to, epoch, store, order, .. } => {
                self.mail.push(Mail::Answer { to, epoch, store, order, verdict: None });
            }
            Mail::Propose { from: to, proposal } | Mail::Outcome { to, proposal, .. } => {
                self.mail.push(Mail::Outcome { to, proposal, outcome: None });
            }
        }
    }
}
