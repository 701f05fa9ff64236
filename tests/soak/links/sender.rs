//! Sends at a steady pace in every lane: tells, and asks between them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use evertree::base::{BootClock, Clock as _};
use evertree::transport::{AskError, Head, Link, SendError};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::account::{Asks, Fate, Sent, answer_to, body_of, fate_of};

/// One message of so many is an ask.
const ASK_EVERY: u64 = 64;
/// One ask of so many is abandoned as soon as it was sent.
const ABANDONED_EVERY: u64 = 32;
/// Asks of a lane that wait for an answer at one time.
const ASKS_MAX: usize = 64;
/// How long a message waits for room, and an ask for its answer.
const SEND_MAX: Duration = Duration::from_millis(500);
const ASK_MAX: Duration = Duration::from_secs(2);
/// A lane sends what is due this often, and tries again so soon where there is no way.
const TICK: Duration = Duration::from_millis(10);
/// What a lane could not send in time for longer than this is not made up for.
const DEBT_MAX: Duration = Duration::from_secs(1);
/// Bytes of an ask on the control connection: it travels in parts.
const CONTROL_BYTES: usize = 100 << 10;
const CONTROL_EVERY: Duration = Duration::from_millis(50);

type Asked = (u64, Result<Bytes, AskError>);

/// One lane of one link.
pub(super) struct Lane {
    link: Arc<Link>,
    head: Head,
    sent: Sent,
    waiting: FuturesUnordered<BoxFuture<'static, Asked>>,
}

/// Asks; gives its number with what came of it.
fn ask(link: &Arc<Link>, head: Head, number: u64, body: Bytes) -> BoxFuture<'static, Asked> {
    let link = link.clone();
    let asked = async move {
        let deadline = BootClock.now() + ASK_MAX;
        (number, link.ask(head, body, deadline).await)
    };
    asked.boxed()
}

/// Enters an outcome, and judges it.
fn settle(asks: &mut Asks, (number, outcome): Asked, expected: &Bytes) {
    let fate = fate_of(number);
    let is_wrong = match &outcome {
        Ok(answer) => {
            asks.answered += 1;
            fate != Fate::Answered || answer != expected
        }
        Err(AskError::Refused(why)) => {
            asks.refused += 1;
            fate != Fate::Refused || why != expected
        }
        Err(AskError::Unknown(_)) => {
            asks.unknown += 1;
            false
        }
        Err(AskError::NotExecuted(_)) => {
            asks.not_executed(number);
            false
        }
        Err(_) => true,
    };
    if is_wrong {
        asks.wrong.add(|| format!("ask {number} was to be {fate:?}, and is {outcome:?}"));
    }
}

impl Lane {
    pub(super) fn new(link: Arc<Link>, lane: u8) -> Self {
        let head = Head { lane, ..Head::default() };
        Self { link, head, sent: Sent::default(), waiting: FuturesUnordered::new() }
    }

    /// Sends `per_second` messages a second until it is to be `quiet`, then until an ask is
    /// answered: all that was sent before has arrived then, or is lost.
    pub(super) async fn run(mut self, per_second: u64, quiet: CancellationToken) -> Sent {
        let mut begun = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done: u64 = 0;
        while !quiet.is_cancelled() {
            ticks.tick().await;
            let owed = |done: u64| Duration::from_nanos(done * 1_000_000_000 / per_second);
            let debt = begun.elapsed().saturating_sub(owed(done));
            begun += debt.saturating_sub(DEBT_MAX);
            while begun.elapsed() > owed(done) && !quiet.is_cancelled() {
                let went = if done.is_multiple_of(ASK_EVERY) {
                    self.ask().await;
                    true
                } else {
                    self.tell().await
                };
                done += u64::from(went);
                if !went {
                    break;
                }
            }
            while let Some(Some(asked)) = self.waiting.next().now_or_never() {
                self.settle(asked);
            }
        }
        while let Some(asked) = self.waiting.next().await {
            self.settle(asked);
        }
        self.drain().await;
        self.sent
    }

    fn settle(&mut self, asked: Asked) {
        let expected = answer_to(asked.0);
        settle(&mut self.sent.asks, asked, &expected);
    }

    /// Whether the next tell was taken.
    async fn tell(&mut self) -> bool {
        let body = body_of(self.sent.accepted + 1);
        let deadline = BootClock.now() + SEND_MAX;
        match self.link.send(self.head, body, deadline).await {
            Ok(()) => self.sent.accepted += 1,
            Err(SendError::Overloaded(_)) => {
                self.sent.overloaded += 1;
                return false;
            }
            Err(_) => {
                self.sent.unreachable += 1;
                return false;
            }
        }
        true
    }

    async fn ask(&mut self) {
        if self.waiting.len() >= ASKS_MAX
            && let Some(asked) = self.waiting.next().await
        {
            self.settle(asked);
        }
        let number = self.sent.asks.begun;
        self.sent.asks.begun += 1;
        let mut asked = ask(&self.link, self.head, number, body_of(number));
        // From here on it is under way, in its place among the tells.
        match futures::poll!(&mut asked) {
            std::task::Poll::Ready(asked) => self.settle(asked),
            std::task::Poll::Pending if number % ABANDONED_EVERY == 3 => {
                self.sent.asks.abandoned += 1;
            }
            std::task::Poll::Pending => self.waiting.push(asked),
        }
    }

    async fn drain(&mut self) {
        let mut ticks = tokio::time::interval(TICK);
        while {
            let before = self.sent.asks.answered;
            let number = self.sent.asks.begun;
            self.sent.asks.begun += 1;
            let asked = ask(&self.link, self.head, number, body_of(number)).await;
            self.settle(asked);
            self.sent.asks.answered == before
        } {
            ticks.tick().await;
        }
    }
}

/// Large asks on the control connection until it is to be quiet.
pub(super) async fn control(link: Arc<Link>, quiet: CancellationToken) -> Asks {
    let mut asks = Asks::default();
    let mut ticks = tokio::time::interval(CONTROL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !quiet.is_cancelled() {
        ticks.tick().await;
        // Only numbers that are to be answered.
        let number = asks.begun * 64;
        asks.begun += 1;
        let body = control_body(number);
        let asked = ask(&link, Head::default(), number, body).await;
        settle(&mut asks, asked, &answer_to(number));
    }
    asks
}

fn control_body(number: u64) -> Bytes {
    let mut body = BytesMut::with_capacity(CONTROL_BYTES);
    while body.len() < CONTROL_BYTES {
        body.put_u64(number);
    }
    body.freeze()
}

/// The number of a large ask, if all its parts have come, in order.
pub(super) fn control_number(body: &Bytes) -> Option<u64> {
    let number = u64::from_be_bytes(*body.first_chunk()?);
    (control_body(number) == body).then_some(number)
}
