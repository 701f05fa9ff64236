//! Letting others in: each handshake is a task of its own, with a deadline, and there is a most of
//! them; what is refused is said in the log, at a bounded rate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::conn::{Conn, Role};
use super::handshake::{self, Caller};
use super::links::Shared;
use super::tally::count;
use crate::base::{Instant, Listener, Stream, within};

/// Wait before the next accept when the operating system refuses one for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether an accept failed by the fault of one connection alone.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Says refusals in the log, so many per second at most: whoever knocks fast fills no disk.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Second>);

#[derive(Debug, Default)]
struct Second {
    began: Instant,
    said: u32,
    unsaid: u64,
}

/// Refusals in the log per second.
const SAID_MAX: u32 = 10;

impl Refusals {
    /// Whether one may be said now; if so, how many were not since the last that was.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut second = self.0.lock();
        if now.since(second.began) >= Duration::from_secs(1) {
            (second.began, second.said) = (now, 0);
        }
        if second.said >= SAID_MAX {
            second.unsaid += 1;
            return None;
        }
        second.said += 1;
        Some(std::mem::take(&mut second.unsaid))
    }
}

impl Shared {
    /// Accepts until the links stop.
    pub(super) async fn accept_all(self: Arc<Self>, listener: Box<dyn Listener>) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let (number, must_go) = self.crowd.enter(from.ip(), self.limits.handshakes_max);
                    let (shared, task) = (self.clone(), self.tasks.guard());
                    self.seams.control.spawn(async move {
                        shared.accept(stream, from, must_go).await;
                        shared.crowd.leave(number);
                        drop(task);
                    });
                }
                // It went before it was accepted: the next one has nothing to do with that.
                Err(error) if is_of_one(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    let pause = self.seams.clock.sleep(ACCEPT_PAUSE);
                    tokio::select! {
                        biased;
                        () = self.stopping.cancelled() => return,
                        () = pause => {}
                    }
                }
            }
        }
    }

    async fn accept(
        self: &Arc<Self>,
        stream: Stream,
        from: SocketAddr,
        must_go: CancellationToken,
    ) {
        let (me, security) = (self.me(), self.security.load_full());
        let deadline = self.now() + self.timing.handshake;
        let admit = |caller: Caller| {
            let me = &me;
            async move { self.admit(me, &caller).await }
        };
        let shake = handshake::accept(&me, &security, stream, admit);
        let met = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return,
            () = must_go.cancelled() => {
                Ok(Err("it made way for newer ones before its handshake was done".into()))
            }
            met = within(&*self.seams.clock, deadline, shake) => met,
        };
        let why = match met.unwrap_or_else(|_| Err("its handshake took too long".into())) {
            Ok(met) => {
                let label = met.peer.node.to_string();
                let conn = self.new_conn(met.class, Role::Accepted, label);
                match self.adopt(&me, &conn, met) {
                    Ok(()) => {
                        count(&self.tally.accepted);
                        return;
                    }
                    Err(why) => why.into(),
                }
            }
            Err(why) => why,
        };
        count(&self.tally.refused);
        if let Some(unsaid) = self.refusals.admit(self.now()) {
            tracing::warn!(%from, why, unsaid, "refused a connection");
        }
        self.hooks.refused(from, &why);
    }

    /// A handshake with somebody this node dialled failed: one of the two refused the other.
    pub(super) fn decline(&self, addr: &str, why: &str) {
        if let Some(unsaid) = self.refusals.admit(self.now()) {
            tracing::warn!(to = addr, why, unsaid, "no link with whom it dialled");
        }
    }

    /// A node that was let in does not keep to the protocol: its connection ends for that.
    pub(super) fn accuse(&self, conn: &Conn, why: &str) {
        if let Some(unsaid) = self.refusals.admit(self.now()) {
            tracing::warn!(node = conn.label, class = %conn.class, why, unsaid, "ended a link");
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn only_what_is_wanting_makes_accepting_pause() {
        let error = |errno: &Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let of_one = [Errno::CONNABORTED, Errno::CONNRESET, Errno::INTR];
        assert!(of_one.iter().all(|errno| is_of_one(&error(errno))));
        let wanting = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
        assert!(!wanting.iter().any(|errno| is_of_one(&error(errno))));
    }

    #[test]
    fn refusals_are_said_at_a_bounded_rate_and_the_others_counted() {
        let refusals = Refusals::default();
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        let said = (0..1_000).filter(|_| refusals.admit(at(1_000)).is_some()).count();
        assert_eq!(said, 10);
        assert_eq!(refusals.admit(at(1_999)), None);
        assert_eq!(refusals.admit(at(2_000)), Some(991));
        assert_eq!(refusals.admit(at(2_001)), Some(0));
    }
}
