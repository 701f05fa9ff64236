//! Where messages from other nodes arrive: delivered, held until this node has seen the view they
//! were sent in, or refused.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::frame::{Address, Refusal, open};
use super::host::WeakHosts;
use super::hosted::Arrived;
use super::reply::Back;
use super::{Hosts, NotExecuted};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::base::Instant;
use crate::transport::{Head, Inbound, Peer, ReplyTo};

/// Frames held for a view this node has not seen, over all shards.
const HELD_FRAMES_MAX: usize = 4_096;
/// Bytes of such frames.
const HELD_BYTES_MAX: usize = 32 << 20;
/// How long a frame is held.
const HELD_FOR: Duration = Duration::from_secs(2);

/// A message that waits for a view.
struct Held {
    head: Head,
    kind: String,
    until: Instant,
    arrived: Arrived,
}

#[derive(Default)]
struct Waiting {
    frames: usize,
    bytes: usize,
    shards: BTreeMap<crate::base::ShardId, VecDeque<Held>>,
}

/// The frames held.
#[derive(Default)]
pub(super) struct Door(Mutex<Waiting>);

/// What may be done with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Deliver,
    Hold,
    Refuse(Refusal),
}

/// The entities' side of the links.
pub(super) struct Inlet(pub(super) WeakHosts);

impl Inbound for Inlet {
    fn tell(&self, _from: &Peer, head: Head, body: Bytes) {
        if let Some(hosts) = self.0.upgrade() {
            hosts.arrive(head, body, None);
        }
    }

    fn ask(&self, _from: &Peer, head: Head, body: Bytes, reply: ReplyTo) {
        match self.0.upgrade() {
            Some(hosts) => hosts.arrive(head, body, Some(reply)),
            None => reply.refuse(Bytes::new()),
        }
    }
}

impl Hosts {
    fn arrive(&self, head: Head, body: Bytes, reply: Option<ReplyTo>) {
        let back = reply.map(Back::new);
        match self.read(head, body, back.clone()) {
            Ok(message) => self.admit(message),
            Err(why) => {
                let why = super::frame::encode_refusal(&Refusal::Because(why));
                match back {
                    Some(back) => back.refuse(why),
                    None => self.counts().tells_lost.add(1),
                }
            }
        }
    }

    /// Reads the address; the message itself is decoded only when it is delivered.
    fn read(
        &self,
        head: Head,
        body: Bytes,
        back: Option<std::sync::Arc<Back>>,
    ) -> Result<Held, NotExecuted> {
        if self.is_stopping() {
            return Err(NotExecuted::Stopping);
        }
        let (Address { kind, id, left }, msg) = open(body)?;
        let shard =
            head.shard.ok_or_else(|| NotExecuted::BadMessage("it names no shard".into()))?;
        if self.shard_of(&kind, &id).is_some_and(|own| own != shard) {
            return Err(NotExecuted::BadMessage(format!("{kind}/{id} is not in {shard}")));
        }
        let now = self.now();
        let deadline = left.map_or(Instant::NEVER, |left| now + left);
        let arrived = Arrived { shard, id, schema: head.schema, msg, deadline, back };
        Ok(Held { head, kind, until: deadline.min(now + HELD_FOR), arrived })
    }

    /// How much is held.
    #[cfg(feature = "sim")]
    pub(crate) fn fills(&self) -> [Fill; 2] {
        let waiting = self.door().0.lock();
        [
            Fill::of("messages held for a view", waiting.frames, HELD_FRAMES_MAX),
            Fill::of("bytes held for a view", waiting.bytes, HELD_BYTES_MAX),
        ]
    }

    fn judge(&self, held: &Held) -> Verdict {
        // The view first: a gate that was asked before an older view would judge by neither.
        let version = self.version();
        // What was given up, and has no other owner yet, waits in its lane for the next one.
        let owned = self.own(held.arrived.shard);
        if owned.is_some_and(|(tenure, _)| tenure.epoch == held.head.epoch) {
            Verdict::Deliver
        } else if version < held.head.version {
            Verdict::Hold
        } else {
            Verdict::Refuse(Refusal::NotOwner(version))
        }
    }

    fn admit(&self, held: Held) {
        let verdict = {
            let mut waiting = self.door().0.lock();
            let shard = held.arrived.shard;
            // Nothing overtakes what is held for the same shard.
            let queued = waiting.shards.contains_key(&shard);
            let verdict = if queued { Verdict::Hold } else { self.judge(&held) };
            if verdict == Verdict::Hold {
                let bytes = held.arrived.msg.len();
                if waiting.frames < HELD_FRAMES_MAX && waiting.bytes + bytes <= HELD_BYTES_MAX {
                    waiting.frames += 1;
                    waiting.bytes += bytes;
                    self.counts().held.add(1);
                    waiting.shards.entry(shard).or_default().push_back(held);
                    return;
                }
                Verdict::Refuse(Refusal::NotOwner(self.version()))
            } else {
                verdict
            }
        };
        self.carry_out(held, &verdict);
    }

    fn carry_out(&self, held: Held, verdict: &Verdict) {
        let why = match (verdict, self.kind(&held.kind)) {
            (Verdict::Deliver, Some(kind)) => return kind.deliver(self, held.arrived),
            (Verdict::Deliver, None) => Refusal::Because(NotExecuted::NotHosted(held.kind)),
            (Verdict::Refuse(why), _) => why.clone(),
            (Verdict::Hold, _) => Refusal::NotOwner(self.version()),
        };
        self.refuse_arrived(&held.arrived, &why);
    }

    /// Judges what is held again: after a new view, and when its time is over.
    pub(super) fn let_in_held(&self) {
        let now = self.now();
        // Delivered under the lock, so that nothing overtakes it; delivering never waits.
        let mut waiting = self.door().0.lock();
        let Waiting { frames, bytes, shards } = &mut *waiting;
        shards.retain(|_, queue| {
            while let Some(first) = queue.front() {
                let verdict = self.judge(first);
                if verdict == Verdict::Hold && now < first.until {
                    break;
                }
                let Some(first) = queue.pop_front() else { break };
                *frames -= 1;
                *bytes -= first.arrived.msg.len();
                self.carry_out(first, &verdict);
            }
            !queue.is_empty()
        });
    }

    pub(super) fn refuse_held(&self) {
        let waiting = std::mem::take(&mut *self.door().0.lock());
        for held in waiting.shards.into_values().flatten() {
            self.refuse_arrived(&held.arrived, &Refusal::Because(NotExecuted::Stopping));
        }
    }
}
