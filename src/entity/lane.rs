//! A slot: one entity's state with the lane of messages that wait for it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::frame::{Refusal, encode_refusal, encode_unknown};
use super::kind::Policy;
use super::reply::{Back, Call};
use super::{Entity, NotExecuted, Unknown};
use crate::authority::{Lease, Tenure};
use crate::base::Instant;
use crate::restart::Restart;

/// What became of a message whose sender is on this node.
pub(super) enum Ended<M> {
    /// Not handled; here it is again.
    Returned(M, Refusal),
    /// The handler ended well. Its answer may still come.
    Handled,
    /// The handler failed.
    Crashed(String),
}

/// Who learns what became of a message.
pub(super) enum Fate<M> {
    Here(oneshot::Sender<Ended<M>>),
    There(Arc<Back>),
    /// Nobody: it was a tell.
    Nobody,
}

/// A message on its way into an entity.
pub(super) struct Envelope<M> {
    pub(super) msg: M,
    pub(super) call: Arc<Call>,
    pub(super) deadline: Instant,
    pub(super) fate: Fate<M>,
}

impl<M> Envelope<M> {
    pub(super) fn tell(msg: M) -> Self {
        let call = Arc::new(Call::default());
        Self { msg, call, deadline: Instant::NEVER, fate: Fate::Nobody }
    }

    /// It was not handled and will not be. True if nobody learns that.
    pub(super) fn refuse(self, why: Refusal) -> bool {
        match self.fate {
            // The asker may be gone.
            Fate::Here(sender) => drop(sender.send(Ended::Returned(self.msg, why))),
            Fate::There(back) => back.refuse(encode_refusal(&why)),
            Fate::Nobody => return true,
        }
        false
    }

    /// Takes the message in hand; `None` if nobody wants it any more.
    pub(super) fn take(self, now: Instant, lease: &Lease, tenure: Tenure) -> Option<Self> {
        if self.deadline <= now {
            self.refuse(Refusal::Because(NotExecuted::Deadline));
            return None;
        }
        self.call.take(lease, tenure).then_some(self)
    }
}

impl<M> Fate<M> {
    pub(super) fn handled(self) {
        if let Self::Here(sender) = self {
            drop(sender.send(Ended::Handled));
        }
    }

    pub(super) fn crashed(self, why: String) {
        match self {
            Self::Here(sender) => drop(sender.send(Ended::Crashed(why))),
            Self::There(back) => back.send(encode_unknown(&Unknown::Crashed(why))),
            Self::Nobody => {}
        }
    }
}

/// A state with the number of its last save.
pub(super) struct Loaded<E> {
    pub(super) state: E,
    pub(super) revision: u64,
}

pub(super) struct Lane<E: Entity> {
    queue: VecDeque<Envelope<E::Msg>>,
    /// `None` before the first message, after a crash, and while a turn has it.
    loaded: Option<Loaded<E>>,
    /// A turn runs or is due.
    busy: bool,
    used: Instant,
    crashes: VecDeque<Instant>,
    rests_until: Option<Instant>,
}

pub(super) struct Slot<E: Entity> {
    pub(super) id: Arc<str>,
    lane: Mutex<Lane<E>>,
}

/// A message that was not taken, and why.
pub(super) type Untaken<M> = (Envelope<M>, Refusal);

impl<E: Entity> Slot<E> {
    pub(super) fn new(id: &str, now: Instant) -> Self {
        let lane = Lane {
            queue: VecDeque::new(),
            loaded: None,
            busy: false,
            used: now,
            crashes: VecDeque::new(),
            rests_until: None,
        };
        Self { id: id.into(), lane: Mutex::new(lane) }
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", E::KIND, self.id)
    }

    /// Puts a message at the end of the lane; true if a turn is to be made ready.
    pub(super) fn push(
        &self,
        now: Instant,
        policy: &Policy,
        envelope: Envelope<E::Msg>,
    ) -> Result<bool, Untaken<E::Msg>> {
        let mut lane = self.lane.lock();
        if lane.rests_until.is_some_and(|until| now < until) {
            let why = NotExecuted::Quarantined(self.name());
            return Err((envelope, Refusal::Because(why)));
        }
        lane.rests_until = None;
        let lane_messages_max = policy.lane_messages_max;
        if lane.queue.len() >= lane_messages_max {
            let why = NotExecuted::Overloaded { entity: self.name(), lane_messages_max };
            return Err((envelope, Refusal::Because(why)));
        }
        lane.queue.push_back(envelope);
        lane.used = now;
        Ok(!std::mem::replace(&mut lane.busy, true))
    }

    /// A turn takes the state out: if it is dropped or panics, the state goes with it.
    pub(super) fn take_state(&self) -> Option<Loaded<E>> {
        self.lane.lock().loaded.take()
    }

    /// The deadline of the first message.
    pub(super) fn front(&self) -> Option<Instant> {
        self.lane.lock().queue.front().map(|envelope| envelope.deadline)
    }

    pub(super) fn pop(&self) -> Option<Envelope<E::Msg>> {
        self.lane.lock().queue.pop_front()
    }

    /// A turn ends and puts the state back; true if messages wait for the next.
    pub(super) fn put_state(&self, now: Instant, loaded: Option<Loaded<E>>) -> bool {
        let mut lane = self.lane.lock();
        lane.loaded = loaded;
        lane.used = now;
        lane.busy = !lane.queue.is_empty();
        lane.busy
    }

    /// Counts a crash; gives the messages that the policy refuses for it.
    pub(super) fn crashed(&self, now: Instant, policy: &Policy) -> Vec<Untaken<E::Msg>> {
        let mut lane = self.lane.lock();
        let period = policy.intensity.period;
        lane.crashes.push_back(now);
        while lane.crashes.front().is_some_and(|then| now.since(*then) > period) {
            lane.crashes.pop_front();
        }
        let many = lane.crashes.len() > usize::try_from(policy.intensity.restarts).unwrap_or(0);
        if many {
            lane.rests_until = Some(now + period);
            lane.crashes.clear();
        }
        let refused = match policy.restart {
            Restart::Temporary => true,
            Restart::Permanent | Restart::Transient => many,
        };
        let why = NotExecuted::Quarantined(self.name());
        let waiting = if refused { std::mem::take(&mut lane.queue) } else { VecDeque::new() };
        waiting.into_iter().map(|envelope| (envelope, Refusal::Because(why.clone()))).collect()
    }

    /// Whether it can be dropped from memory: no turn, no message, unused since `before`.
    pub(super) fn is_idle(&self, now: Instant, before: Instant) -> bool {
        let lane = self.lane.lock();
        let rests = lane.rests_until.is_some_and(|until| now < until);
        !lane.busy && lane.queue.is_empty() && lane.used <= before && !rests
    }

    /// Takes out all that waits; state that no turn has is dropped.
    pub(super) fn drain(&self) -> VecDeque<Envelope<E::Msg>> {
        let (queue, loaded) = {
            let mut lane = self.lane.lock();
            (std::mem::take(&mut lane.queue), lane.loaded.take())
        };
        // After the lock: a user's `drop` may take long.
        drop(loaded);
        queue
    }
}
