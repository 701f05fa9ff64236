//! One other store: how far it is, and what it is sent next.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ADOPT_BYTES_MAX, Output, Phase, Primary, Reading, Want};
use crate::base::{Instant, StoreId};
use crate::replica::frame::{Body, Verdict};
use crate::storage::{Number, Record, ShardHead};

/// Bytes of writes in one frame.
const FRAME_BYTES: usize = 1 << 20;

/// How far a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Takeover: is to be sealed.
    Sealing,
    /// Takeover: sealed; its log is to be compared with the own one.
    Sealed,
    /// Takeover: is to undo what lies above its `acked` and take the own tail, once read.
    Adopting(Option<Vec<Record>>),
    /// Holds a prefix of the log under this epoch: takes writes.
    Live,
    /// Catch-up: is to be sealed and to say what it holds.
    Listing,
    /// Catch-up: what it holds is to be compared.
    Listed(Vec<(Number, u32)>),
    /// Catch-up: is to drop all but `keep`.
    Beginning { run: u64, keep: Vec<(Number, u32)> },
    /// Catch-up: is to take parts.
    Filling(Fill),
    /// Cannot be brought in line under this epoch: is to be removed.
    Broken,
}

/// A catch-up between its beginning and its last part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) run: u64,
    /// What the store kept and need not be sent.
    pub(super) kept: BTreeSet<Number>,
    /// End of the part before.
    pub(super) after: Number,
    /// The next part, once read.
    pub(super) part: Option<NextPart>,
    /// Writes above this stay in memory: the part that was read ends here at most.
    pub(super) hold: Option<Number>,
}

/// A part of a catch-up, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NextPart {
    pub(super) records: Vec<Record>,
    pub(super) last: Number,
    pub(super) complete: bool,
}

/// One other store.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) stage: Stage,
    /// As it last said under this epoch.
    pub(super) head: ShardHead,
    /// The frame under way.
    asked: Option<u64>,
    /// Since when it was asked without an answer.
    unheard: Option<Instant>,
    retry_at: Instant,
    /// Was unheard for `ack_timeout`, here or in another shard.
    pub(super) silent: bool,
    /// Is no member of `in_sync` yet.
    pub(super) joining: bool,
    /// Its `acked` must pass this: below lies a stretch that cannot be undone write by write.
    pub(super) filled: Number,
    refusals: u32,
}

impl Peer {
    pub(super) fn new(stage: Stage) -> Self {
        Self {
            stage,
            head: ShardHead::default(),
            asked: None,
            unheard: None,
            retry_at: Instant::ZERO,
            silent: false,
            joining: false,
            filled: Number::ZERO,
            refusals: 0,
        }
    }

    /// Writes above this must stay in memory for it.
    pub(super) fn needs_above(&self) -> Option<Number> {
        match &self.stage {
            Stage::Live => Some(self.head.last),
            Stage::Filling(fill) => fill.hold,
            Stage::Sealing
            | Stage::Sealed
            | Stage::Adopting(_)
            | Stage::Listing
            | Stage::Listed(_)
            | Stage::Beginning { .. }
            | Stage::Broken => None,
        }
    }

    pub(super) fn next_deadline(&self, ack_timeout: Duration) -> Instant {
        let silent = match self.unheard {
            Some(since) if !self.silent => since + ack_timeout,
            Some(_) | None => Instant::NEVER,
        };
        let retry = if self.asked.is_none() && self.retry_at > Instant::ZERO {
            self.retry_at
        } else {
            Instant::NEVER
        };
        silent.min(retry)
    }

    fn is_silent_at(&self, now: Instant, ack_timeout: Duration) -> bool {
        !self.silent && self.unheard.is_some_and(|since| now >= since + ack_timeout)
    }
}

impl Primary {
    /// Notes who was asked and did not answer for `ack_timeout`.
    pub(super) fn note_silence(&mut self, now: Instant, out: &mut Vec<Output>) {
        let ack_timeout = self.terms.ack_timeout;
        let adding = self.change.as_ref().and_then(super::Pending::adds);
        let mut given_up = None;
        for (&store, peer) in &mut self.peers {
            let broken = peer.stage == Stage::Broken && !peer.silent;
            if !broken && !peer.is_silent_at(now, ack_timeout) {
                continue;
            }
            peer.silent = true;
            if !peer.joining {
                // What is wrong with one shard's copy says nothing of the store's others.
                if !broken {
                    out.push(Output::Silence(store));
                }
            } else if adding != Some(store) {
                given_up = Some(store);
            }
        }
        if let Some(store) = given_up {
            self.give_up(store, out);
        }
    }

    /// Sends each store what it needs next, if no frame to it is under way.
    pub(super) fn feed(&mut self, now: Instant, out: &mut Vec<Output>) {
        let stores: Vec<StoreId> = self.peers.keys().copied().collect();
        for store in stores {
            self.read_for(store, out);
            let due = |peer: &super::Peer| peer.asked.is_none() && now >= peer.retry_at;
            if !self.peers.get(&store).is_some_and(due) {
                continue;
            }
            let Some(body) = self.next_body(store) else {
                if let Some(peer) = self.peers.get_mut(&store) {
                    peer.retry_at = Instant::ZERO;
                }
                continue;
            };
            self.orders += 1;
            let order = self.orders;
            if let Some(peer) = self.peers.get_mut(&store) {
                peer.asked = Some(order);
                peer.unheard.get_or_insert(now);
                peer.retry_at = Instant::ZERO;
            }
            out.push(Output::Send { store, order, body });
        }
    }

    fn next_body(&self, store: StoreId) -> Option<Body> {
        let peer = self.peers.get(&store)?;
        match &peer.stage {
            Stage::Sealing => Some(Body::Seal),
            Stage::Listing => Some(Body::List),
            Stage::Adopting(Some(records)) => Some(Body::Adopt {
                after: peer.head.acked,
                records: records.clone(),
                last: self.log.last,
            }),
            Stage::Beginning { run, keep } => Some(Body::Begin { run: *run, keep: keep.clone() }),
            Stage::Filling(Fill { run, after, part: Some(part), .. }) => Some(Body::Fill {
                run: *run,
                after: *after,
                records: part.records.clone(),
                last: part.last,
                complete: part.complete,
            }),
            Stage::Live => self.next_writes(peer),
            Stage::Sealed
            | Stage::Adopting(None)
            | Stage::Listed(_)
            | Stage::Filling(_)
            | Stage::Broken => None,
        }
    }

    fn next_writes(&self, peer: &Peer) -> Option<Body> {
        let prev = peer.head.last;
        let records = self.log.above(prev, FRAME_BYTES).unwrap_or_default();
        // Until the takeover is over nothing more than the store knows is known to be acknowledged.
        let serving = self.phase == Phase::Serving;
        let acked = if serving { self.log.acked } else { peer.head.acked };
        if !records.is_empty() {
            // No further than this frame takes the store: it never holds an `acked` past its log.
            let last = records.last().map_or(prev, |record| record.number);
            return Some(Body::Append { prev, acked: acked.min(last), records });
        }
        let behind = serving && peer.head.acked < peer.filled && acked >= peer.filled;
        // A silent store with nothing to do is asked whether it is back.
        (behind || peer.silent).then_some(Body::Acked { acked: acked.min(prev) })
    }

    /// Asks for what must be read of the own store first.
    fn read_for(&mut self, store: StoreId, out: &mut Vec<Output>) {
        let upto = if self.phase == Phase::Serving { self.log.acked } else { self.log.last };
        let Some(peer) = self.peers.get_mut(&store) else { return };
        match &mut peer.stage {
            Stage::Adopting(None) => {
                let after = peer.head.acked;
                out.push(Output::Read(Want::Tail { store, after, upto: self.log.last }));
            }
            Stage::Listed(_) => out.push(Output::Read(Want::Inventory { store })),
            Stage::Filling(fill) if fill.part.is_none() => {
                fill.hold = Some(upto);
                out.push(Output::Read(Want::Part { store, after: fill.after, upto }));
            }
            Stage::Sealing
            | Stage::Sealed
            | Stage::Adopting(Some(_))
            | Stage::Live
            | Stage::Listing
            | Stage::Beginning { .. }
            | Stage::Filling(_)
            | Stage::Broken => {}
        }
    }

    pub(super) fn read(&mut self, now: Instant, reading: Reading, out: &mut Vec<Output>) {
        match reading {
            Reading::Tail { store, records } => {
                let Some(peer) = self.peers.get_mut(&store) else { return };
                if peer.stage == Stage::Adopting(None) {
                    peer.stage = match records {
                        Some(records) => Stage::Adopting(Some(records)),
                        // More than one frame, or unreadable: its copy is made anew.
                        None => Stage::Broken,
                    };
                }
            }
            Reading::Inventory { store, list } => self.compare_inventories(store, &list),
            Reading::Part { store, part: Some(part) } => self.take_part(store, part, out),
            Reading::Part { store, part: None } => self.give_up(store, out),
        }
        self.note_silence(now, out);
    }

    pub(super) fn unanswered(&mut self, now: Instant, store: StoreId, order: u64) {
        let pause = self.terms.ack_timeout / 8;
        if let Some(peer) = self.peers.get_mut(&store).filter(|peer| peer.asked == Some(order)) {
            peer.asked = None;
            peer.retry_at = now + pause;
        }
    }

    pub(super) fn answered(
        &mut self,
        now: Instant,
        (store, order, verdict): (StoreId, u64, Verdict),
        out: &mut Vec<Output>,
    ) {
        let pause = self.terms.ack_timeout / 8;
        let Some(peer) = self.peers.get_mut(&store).filter(|peer| peer.asked == Some(order)) else {
            return;
        };
        peer.asked = None;
        peer.unheard = None;
        peer.silent = peer.stage == Stage::Broken;
        self.heard.insert(store, now);
        if matches!(verdict, Verdict::Done(head) if peer.stage == Stage::Live && head == peer.head)
        {
            // It moved nothing: no hurry to say the same again.
            peer.retry_at = now + pause;
        }
        match verdict {
            Verdict::Done(head) => self.done(store, head, None),
            Verdict::Listed(head, list) => self.done(store, head, Some(list)),
            Verdict::Refused(head) if head.sealed > self.config.epoch => self.end(out),
            Verdict::Refused(head) => {
                peer.refusals += 1;
                peer.retry_at = now + pause;
                self.refused(store, head, out);
            }
            // Our view will tell.
            Verdict::Outdated => peer.retry_at = now + pause,
        }
    }

    fn done(&mut self, store: StoreId, head: ShardHead, list: Option<Vec<(Number, u32)>>) {
        let Some(peer) = self.peers.get_mut(&store) else { return };
        peer.head = head;
        let stage = std::mem::replace(&mut peer.stage, Stage::Broken);
        peer.stage = match stage {
            Stage::Sealing if head.filling => Stage::Broken,
            Stage::Sealing => Stage::Sealed,
            Stage::Adopting(_) if head.last == self.log.last => Stage::Live,
            Stage::Live if self.log.reaches_down_to(head.last) => Stage::Live,
            Stage::Listing => Stage::Listed(list.unwrap_or_default()),
            Stage::Beginning { run, keep } => Stage::Filling(Fill {
                run,
                kept: keep.into_iter().map(|(number, _)| number).collect(),
                after: Number::ZERO,
                part: None,
                hold: None,
            }),
            Stage::Filling(Fill { part: Some(part), .. }) if part.complete && !head.filling => {
                peer.filled = part.last;
                Stage::Live
            }
            Stage::Filling(Fill { run, kept, part: Some(part), .. }) if !part.complete => {
                Stage::Filling(Fill { run, kept, after: part.last, part: None, hold: None })
            }
            Stage::Sealed
            | Stage::Adopting(_)
            | Stage::Live
            | Stage::Listed(_)
            | Stage::Filling(_)
            | Stage::Broken => Stage::Broken,
        };
    }

    /// A store under this seal would not take what it was sent.
    fn refused(&mut self, store: StoreId, head: ShardHead, out: &mut Vec<Output>) {
        let same_seal = head.sealed == self.config.epoch;
        let reached = self.log.reaches_down_to(head.last);
        let Some(peer) = self.peers.get_mut(&store) else { return };
        let again = match peer.stage {
            // An earlier frame was taken, and its answer was lost.
            Stage::Live if same_seal && reached && head.last >= peer.head.last => Stage::Live,
            Stage::Adopting(_) if same_seal && peer.refusals < 3 => Stage::Sealing,
            Stage::Sealing | Stage::Listing if peer.refusals < 3 => return,
            Stage::Sealing
            | Stage::Listing
            | Stage::Sealed
            | Stage::Adopting(_)
            | Stage::Live
            | Stage::Listed(_)
            | Stage::Beginning { .. }
            | Stage::Filling(_)
            | Stage::Broken => Stage::Broken,
        };
        let broken = again == Stage::Broken;
        peer.stage = again;
        peer.head = head;
        if broken && peer.joining {
            self.give_up(store, out);
        }
    }
}

/// The own tail as it was read, if it fits one frame.
pub(crate) fn fits_one_frame(records: Vec<Record>) -> Option<Vec<Record>> {
    let bytes: usize = records.iter().map(crate::replica::frame::record_bytes).sum();
    (bytes <= ADOPT_BYTES_MAX).then_some(records)
}
