//! What the clones of a ref share: the present incarnation, or the messages held for the next.
//!
//! A send reads [`Slot::life`] and takes no lock. Whatever else happens goes through the lock of
//! [`Slot::desk`]: held messages are given out under it before the new incarnation can be seen, so
//! that no newer message overtakes them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use ractor::{ActorRef, ActorStatus, Message, MessagingErr};

use super::{RefError, Undelivered};
use crate::base::Clock;
use crate::supervisor::exit::quietly;
use crate::supervisor::gauge::Gauge;

/// The present incarnation, as senders see it.
pub(super) struct Life<M> {
    pub(super) actor: ActorRef<M>,
    pub(super) incarnation: u64,
    pub(super) gauge: Arc<Gauge>,
    dead: Arc<AtomicU64>,
}

/// Runs when the last sender that saw it is done, and so counts exactly what was lost with it.
impl<M> Drop for Life<M> {
    fn drop(&mut self) {
        self.dead.fetch_add(self.gauge.waiting(), Ordering::Relaxed);
    }
}

/// Why an incarnation was not sent a message.
enum Refused<M> {
    Full(M),
    /// It has ended, or takes no more, and its supervisor may not know.
    Ended(M),
}

impl<M: Message> Life<M> {
    fn offer(&self, message: M) -> Result<(), Refused<M>> {
        if self.gauge.admit() {
            self.pass(message).map_err(Refused::Ended)
        } else if self.gauge.is_closed() || self.actor.get_status() >= ActorStatus::Draining {
            Err(Refused::Ended(message))
        } else {
            Err(Refused::Full(message))
        }
    }

    /// Sends a message that was let in, or takes it out again.
    fn pass(&self, message: M) -> Result<(), M> {
        match self.actor.send_message(message) {
            Ok(()) => Ok(()),
            Err(MessagingErr::SendErr(message)) => {
                self.gauge.give_back();
                Err(message)
            }
            Err(MessagingErr::ChannelClosed | MessagingErr::InvalidActorType) => {
                unreachable!("ractor gives the message back, and its type is the actor's")
            }
        }
    }
}

/// Where the child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Unbound,
    /// Down, and about to be started.
    Vacant,
    Living,
    Stopped,
}

/// Tells the caller whether its held question was given to an incarnation.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket(Arc<AtomicBool>);

impl Ticket {
    /// Whether no incarnation was given it.
    pub(super) fn kept(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }

    fn set(&self, given: bool) {
        self.0.store(given, Ordering::Release);
    }

    /// Whether the caller still waits.
    fn awaited(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

struct Held<M> {
    message: M,
    /// Of a call.
    ticket: Option<Ticket>,
}

struct Desk<M> {
    stage: Stage,
    held: VecDeque<Held<M>>,
    /// How many may be held.
    hold: usize,
}

/// What is shared.
pub(super) struct Slot<M> {
    pub(super) life: ArcSwapOption<Life<M>>,
    desk: Mutex<Desk<M>>,
    /// The clock of the tree.
    clock: OnceLock<Arc<dyn Clock>>,
    /// A child has taken it.
    pub(super) bound: AtomicBool,
    dead: Arc<AtomicU64>,
}

impl<M> Slot<M> {
    pub(super) fn new() -> Self {
        let desk = Desk { stage: Stage::Unbound, held: VecDeque::new(), hold: 0 };
        Self {
            life: ArcSwapOption::empty(),
            desk: Mutex::new(desk),
            clock: OnceLock::new(),
            bound: AtomicBool::new(false),
            dead: Arc::default(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.desk.lock().stage
    }

    pub(super) fn clock(&self) -> Option<&dyn Clock> {
        self.clock.get().map(|clock| &**clock)
    }

    pub(super) fn dead_letters(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// An incarnation is about to be started; till then `hold` messages are held.
    pub(super) fn open(&self, hold: usize, clock: &Arc<dyn Clock>) {
        // The tree of a ref never changes, nor does its clock.
        self.clock.get_or_init(|| clock.clone());
        let mut desk = self.desk.lock();
        desk.hold = hold;
        if matches!(desk.stage, Stage::Unbound | Stage::Stopped) {
            desk.stage = Stage::Vacant;
        }
    }

    /// Nobody is there for now. Returns how many messages were lost with the last incarnation,
    /// with those that are being given back at this moment.
    pub(super) fn vacate(&self) -> u64 {
        let mut desk = self.desk.lock();
        if desk.stage == Stage::Living {
            desk.stage = Stage::Vacant;
        }
        let life = self.life.swap(None);
        drop(desk);
        bury(life)
    }

    /// Nobody will be there any more. Returns how many messages are dropped without a word to who
    /// sent them.
    pub(super) fn close(&self) -> u64 {
        let mut desk = self.desk.lock();
        desk.stage = Stage::Stopped;
        let held = std::mem::take(&mut desk.held);
        let life = self.life.swap(None);
        drop(desk);
        let mut dead = 0;
        for Held { message, ticket } in held {
            // A caller that waits learns it.
            dead += u64::from(!ticket.is_some_and(|ticket| ticket.awaited()));
            // Counted before it is dropped; that may panic, and the next is dropped all the same.
            let _ = quietly(move || drop(message));
        }
        self.dead.fetch_add(dead, Ordering::Relaxed);
        dead + bury(life)
    }
}

/// Lets go of a life outside the lock: what is left in its mailbox may do anything when dropped.
fn bury<M>(life: Option<Arc<Life<M>>>) -> u64 {
    let lost = life.as_ref().map_or(0, |life| life.gauge.waiting());
    let _ = quietly(move || drop(life));
    lost
}

fn overloaded<M>(message: M) -> Undelivered<M> {
    Undelivered { why: RefError::Overloaded, message }
}

impl<M: Message> Slot<M> {
    /// Sends `message` to the present incarnation, or holds it for the next. The ticket is the
    /// question's, if it is one; the answer is whether it was held.
    pub(super) fn send(
        &self,
        message: M,
        ticket: impl FnOnce() -> Option<Ticket>,
    ) -> Result<Option<Ticket>, Undelivered<M>> {
        let life = self.life.load();
        let Some(life) = &*life else { return self.wait(message, ticket()) };
        match life.offer(message) {
            Ok(()) => Ok(None),
            Err(Refused::Full(message)) => Err(overloaded(message)),
            Err(Refused::Ended(message)) => self.wait(message, ticket()),
        }
    }

    /// Holds a message that found nobody there, or says why not.
    #[cold]
    fn wait(
        &self,
        mut message: M,
        ticket: Option<Ticket>,
    ) -> Result<Option<Ticket>, Undelivered<M>> {
        // Dropped after the lock.
        let life;
        let mut desk = self.desk.lock();
        let why = match desk.stage {
            Stage::Unbound => RefError::Unbound,
            Stage::Stopped => RefError::Stopped,
            Stage::Vacant | Stage::Living => {
                life = self.life.load_full();
                if let Some(life) = &life {
                    // Perhaps another than the one that was tried.
                    match life.offer(message) {
                        Ok(()) => return Ok(None),
                        Err(Refused::Full(message)) => return Err(overloaded(message)),
                        Err(Refused::Ended(back)) => message = back,
                    }
                }
                match desk.hold {
                    0 => RefError::Restarting,
                    hold if desk.held.len() >= hold => RefError::Overloaded,
                    _ => {
                        desk.held.push_back(Held { message, ticket: ticket.clone() });
                        return Ok(ticket);
                    }
                }
            }
        };
        Err(Undelivered { why, message })
    }

    /// An incarnation is there: it gets what was held, then everything else.
    pub(super) fn settle(&self, actor: ActorRef<M>, incarnation: u64, gauge: Arc<Gauge>) {
        let life = Life { actor, incarnation, gauge, dead: self.dead.clone() };
        let mut desk = self.desk.lock();
        while let Some(Held { message, ticket }) = desk.held.pop_front() {
            // Before it is sent: its answer may be there at once.
            if let Some(ticket) = &ticket {
                ticket.set(true);
            }
            life.gauge.force();
            if let Err(message) = life.pass(message) {
                // It has ended already; the rest is for the next.
                if let Some(ticket) = &ticket {
                    ticket.set(false);
                }
                desk.held.push_front(Held { message, ticket });
                break;
            }
        }
        desk.stage = Stage::Living;
        let before = self.life.swap(Some(Arc::new(life)));
        drop(desk);
        bury(before);
    }
}
