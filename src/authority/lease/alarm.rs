//! The alarm: a thread of its own that says when the lease has run out, whatever blocks the others.
//!
//! It is not the check. The gate reads the clock, and would be right if this thread never ran.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Inner, Lease};
use crate::base::{Boot, Instant, Seams, Worker};

/// How often it looks again while there is no lease whose end it could wait for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The alarm of one lease; it ends with this.
#[derive(Debug)]
pub(in crate::authority) struct Alarm {
    _thread: Worker,
    /// Dropped: the thread ends.
    _end: SyncSender<()>,
}

impl Alarm {
    /// Calls `lapsed` once for every deadline of `lease` that passes, a little later. In a
    /// simulation there are no threads: the world looks at the lease itself, and this is `None`.
    ///
    /// # Errors
    /// If the operating system refuses the thread.
    pub(in crate::authority) fn start(
        seams: &Seams,
        lease: &Lease,
        lapsed: impl Fn(Boot, Instant) + Send + 'static,
    ) -> std::io::Result<Option<Self>> {
        if !seams.threads {
            return Ok(None);
        }
        let thread = seams.worker("lease-alarm")?;
        let (end, ended) = sync_channel(0);
        let lease = Arc::downgrade(&lease.0);
        let watch = move || {
            let mut told = Instant::ZERO;
            while let Some(wait) = look(&lease, &mut told, &lapsed) {
                if ended.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        thread.submit(watch).map_err(std::io::Error::other)?;
        Ok(Some(Self { _thread: thread, _end: end }))
    }
}

/// Says so if the deadline has passed, and for how long to wait; `None`: the lease is gone.
fn look(
    lease: &Weak<Inner>,
    told: &mut Instant,
    lapsed: &impl Fn(Boot, Instant),
) -> Option<Duration> {
    let lease = Lease(lease.upgrade()?);
    let (boot, until) = (lease.boot(), lease.valid_until());
    if boot == Boot(0) || until == Instant::ZERO {
        return Some(LOOK_EVERY);
    }
    let left = until.since(lease.0.clock.now());
    if !left.is_zero() {
        return Some(left);
    }
    if *told != until {
        *told = until;
        lapsed(boot, until);
    }
    Some(LOOK_EVERY)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::base::{BootClock, Clock as _, SeededRng, Spawner, TokioNet};

    fn seams(threads: bool) -> Seams {
        Seams {
            clock: Arc::new(BootClock),
            rng: Arc::new(SeededRng::new(1)),
            net: Arc::new(TokioNet),
            control: Spawner::Current,
            work: Spawner::Current,
            threads,
        }
    }

    #[test]
    fn it_says_once_of_every_deadline_that_it_passed_and_ends_with_its_handle() {
        let lease = Lease::new(Arc::new(BootClock), "n1".parse().expect("a name"));
        let (tell, told) = channel();
        let say = move |boot, until| tell.send((boot, until)).expect("somebody listens");
        let alarm = Alarm::start(&seams(true), &lease, say).expect("a thread");
        assert!(alarm.is_some());
        lease.begin(Boot(1));
        for _ in 0..2 {
            let until = BootClock.now() + Duration::from_millis(30);
            lease.extend(Boot(1), until);
            // Nothing but the thread runs here.
            assert_eq!(told.recv().expect("it is said"), (Boot(1), until));
            assert!(BootClock.now() >= until);
        }
        drop(alarm);
        assert!(told.recv().is_err(), "the thread has ended, and said nothing more");
    }

    #[test]
    fn where_there_are_no_threads_there_is_no_alarm() {
        let lease = Lease::new(Arc::new(BootClock), "n1".parse().expect("a name"));
        let alarm = Alarm::start(&seams(false), &lease, |_, _| panic!("no thread, no alarm"));
        assert!(alarm.expect("no thread is asked for").is_none());
    }
}
