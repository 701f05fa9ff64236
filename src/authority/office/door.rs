//! The office's door to the links: who may ask what, and how much at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Ask, Letter, Office, decode, encode};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::transport::{Head, Inbound, Peer, ReplyTo};

/// Requests answered at one time; further ones are refused.
const REQUESTS_MAX: usize = 1_024;

/// Counts one request while it lives, also when its task panics.
pub(in crate::authority) struct UnderWay(Arc<Office>);

impl UnderWay {
    /// `None` if there are too many.
    pub(in crate::authority) fn of(office: &Arc<Office>) -> Option<Self> {
        let before = office.busy.fetch_add(1, Ordering::AcqRel);
        let counted = Self(office.clone());
        (before < REQUESTS_MAX).then_some(counted)
    }

    /// How many there are; one more may be counted for a moment, until it is refused.
    #[cfg(feature = "sim")]
    pub(super) fn fill(office: &Office) -> Fill {
        let busy = office.busy.load(Ordering::Acquire);
        Fill::of("requests of leases", busy, REQUESTS_MAX + 1)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The office's door to the links.
pub(in crate::authority) struct Door(pub(in crate::authority) Arc<Office>);

impl Door {
    /// Whether `from` may send this: a node speaks for itself, a voter may pass on.
    pub(in crate::authority) fn may_ask(&self, from: &Peer, letter: &Letter) -> bool {
        let view = self.0.core.view();
        if letter.relayed {
            // A view of before it said who votes: every member that has a raft id.
            let may_vote = || view.members.get(&from.node).is_some_and(|one| one.voter.is_some());
            return view.votes(&from.node) || (view.voters.is_empty() && may_vote());
        }
        match &letter.ask {
            Ask::Renew(renew) => renew.node == from.node,
            Ask::Claim(claim) => claim.node == from.node,
        }
    }
}

impl Inbound for Door {
    fn tell(&self, from: &Peer, _: Head, _: Bytes) {
        tracing::debug!(node = %from.node, "a tell to the lease office was dropped");
    }

    fn ask(&self, from: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        // First of all: the lease counts from here.
        let receipt = self.0.seams.clock.now();
        let Some(letter) = decode::<Letter>(&body) else {
            return reply.refuse(Bytes::from_static(b"malformed"));
        };
        if !self.may_ask(from, &letter) {
            return reply.refuse(Bytes::from_static(b"not yours to ask"));
        }
        let Some(counted) = UnderWay::of(&self.0) else {
            return reply.refuse(Bytes::from_static(b"overloaded"));
        };
        if let Ask::Renew(renew) = &letter.ask {
            self.0.note_arrival(receipt, renew);
        }
        let (office, from) = (self.0.clone(), from.node.clone());
        self.0.seams.control.spawn(async move {
            let through = letter.relayed.then_some(from);
            let answer = office.answer(receipt, letter.ask, through).await;
            drop(counted);
            reply.send(encode(&answer));
        });
    }
}
