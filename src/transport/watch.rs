//! The clock of a connection: a task beside the one that serves it, always on the control runtime.
//!
//! It ends asks whose deadline has passed, and rings the connection's task for its regular look at
//! the other side. So links of messages bring no timer to the runtime they share with user code: a
//! runtime without timers waits for sockets alone, which is cheaper for every message.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;

use super::conn::Conn;
use crate::base::{Clock, Instant};

/// One timer.
#[derive(Default)]
struct Alarm(Option<(Instant, BoxFuture<'static, ()>)>);

impl Alarm {
    /// Ready at `at` or earlier. A later instant than before does not set it anew: it goes off,
    /// and whoever waits looks again.
    fn poll(&mut self, clock: &dyn Clock, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if at == Instant::NEVER {
            return Poll::Pending;
        }
        let (_, timer) = match &mut self.0 {
            Some(set) if set.0 <= at => set,
            set => set.insert((at, clock.sleep_until(at))),
        };
        ready!(timer.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}

/// Ends asks in time until the connection ends; rings its task every `interval`, if there is one.
pub(super) async fn until_ended(clock: &dyn Clock, conn: &Conn, interval: Option<Duration>) {
    let mut alarm = Alarm::default();
    let tick_after = |now: Instant| interval.map_or(Instant::NEVER, |interval| now + interval);
    let mut next_tick = tick_after(clock.now());
    poll_fn(|cx| {
        while let Err(deadline) = conn.poll_alarm(cx) {
            ready!(alarm.poll(clock, deadline.min(next_tick), cx));
            let now = clock.now();
            conn.expire(now);
            if now >= next_tick {
                next_tick = tick_after(now);
                conn.tick();
            }
        }
        Poll::Ready(())
    })
    .await;
}
