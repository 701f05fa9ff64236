//! Catch-up: a store that holds nothing yet, or something old, is brought to hold everything.
//!
//! It keeps the records that are equal in key, revision, checksum and number, and gets the state
//! as of what is acknowledged in parts. Writes above that it gets one by one, from memory, so that
//! a later owner can undo them there. It belongs to one epoch: under another it begins again.

use std::collections::BTreeSet;

use super::log::RETAINED_BYTES_MAX;
use super::peer::{Fill, NextPart};
use super::{Output, Part, Peer, Phase, Primary, Stage};
use crate::base::StoreId;
use crate::storage::Number;

/// Records that a catch-up looks for at the target; what is beyond is sent anew.
const KEEP_MAX: usize = 50_000;

impl Primary {
    /// Whether another store should get a copy, and whether nothing is acknowledged until then.
    pub(crate) fn wants_copy(&self) -> Option<bool> {
        let joiner = self.peers.values().any(|peer| peer.joining);
        if joiner || self.change.is_some() || !self.holds() || !self.holders.has_records {
            return None;
        }
        let silent = self.peers.values().filter(|peer| peer.silent && !peer.joining).count();
        let stays = self.holders.in_sync.len() - silent;
        match self.phase {
            Phase::TakingOver | Phase::Serving if stays < self.terms.write_min => Some(true),
            Phase::Serving if self.holders.in_sync.len() < self.terms.copies => Some(false),
            Phase::Bare | Phase::Sealing | Phase::TakingOver | Phase::Serving | Phase::Deposed => {
                None
            }
        }
    }

    /// Whether `store` may be caught up though the shard does not need it.
    pub(crate) fn may_copy(&self, store: StoreId) -> bool {
        let joiner = self.peers.values().any(|peer| peer.joining);
        let known = self.peers.contains_key(&store) || self.holders.in_sync.contains(&store);
        let free = self.phase == Phase::Serving && !joiner && self.change.is_none();
        free && !known && self.holds()
    }

    /// A store that is to be caught up, if the shard can do it (`may`) at present.
    pub(super) fn offered(&mut self, store: StoreId, may: bool, out: &mut Vec<Output>) {
        let known = self.peers.contains_key(&store) || self.holders.in_sync.contains(&store);
        if known || store == self.config.own || !may {
            out.push(Output::CopyEnded { store, joined: false });
            return;
        }
        let mut peer = Peer::new(Stage::Listing);
        peer.joining = true;
        self.peers.insert(store, peer);
    }

    /// Ends a catch-up that cannot go on, unless the store may be a member already.
    pub(super) fn give_up(&mut self, store: StoreId, out: &mut Vec<Output>) {
        let adding = self.change.as_ref().and_then(super::Pending::adds) == Some(store);
        let Some(peer) = self.peers.get_mut(&store).filter(|peer| peer.joining) else { return };
        if adding {
            peer.stage = Stage::Broken;
            return;
        }
        tracing::debug!(shard = %self.config.shard, %store, ?peer, "a copy is given up");
        self.peers.remove(&store);
        out.push(Output::CopyEnded { store, joined: false });
    }

    pub(super) fn compare_inventories(&mut self, store: StoreId, own: &[(Number, u32)]) {
        let Some(peer) = self.peers.get_mut(&store) else { return };
        let Stage::Listed(theirs) = &peer.stage else { return };
        let theirs: BTreeSet<&(Number, u32)> = theirs.iter().collect();
        let same = own.iter().filter(|listed| theirs.contains(listed));
        let keep = same.take(KEEP_MAX).copied().collect();
        self.runs += 1;
        peer.stage = Stage::Beginning { run: self.runs, keep };
    }

    pub(super) fn take_part(&mut self, store: StoreId, part: Part, out: &mut Vec<Output>) {
        let too_much = self.log.bytes() > RETAINED_BYTES_MAX;
        let Some(peer) = self.peers.get_mut(&store) else { return };
        let Stage::Filling(Fill { kept, part: slot, hold, .. }) = &mut peer.stage else {
            return;
        };
        let Part { mut records, upto, end } = part;
        let last = if end { upto } else { records.last().map_or(upto, |record| record.number) };
        records.retain(|record| !kept.contains(&record.number));
        // A part of which all is there already is sent too, empty: the target counts on from it.
        if !end {
            *hold = None;
        } else if too_much {
            self.give_up(store, out);
            return;
        }
        *slot = Some(NextPart { records, last, complete: end });
    }

    /// The store that holds everything: all that was acknowledged, and whatever is under way will
    /// need its acknowledgement from the proposal on.
    pub(super) fn ready_to_join(&self) -> Option<StoreId> {
        let (&store, peer) = self.peers.iter().find(|(_, peer)| peer.joining)?;
        let holds = peer.stage == Stage::Live && !peer.silent;
        let ready = match self.phase {
            // A later takeover undoes from its `acked` on: that must be past the filled stretch.
            Phase::Serving => peer.head.last >= self.log.acked && peer.head.acked >= peer.filled,
            // Nothing is acknowledged before: its copy is the own log, and that does not move.
            Phase::TakingOver => peer.head.last == self.log.last,
            Phase::Bare | Phase::Sealing | Phase::Deposed => false,
        };
        (holds && ready).then_some(store)
    }
}
