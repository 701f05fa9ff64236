//! The alarm: a thread of its own that says when the lease has run out, whatever blocks the others.
//!
//! It is not the check. The gate reads the clock, and would be right if this thread never ran.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Inner, Lease};
use crate::base::{Alarm, Boot, Instant, Seams};

/// How often it looks again while there is no lease whose end it could wait for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Calls `lapsed` once for every deadline of `lease` that passes, a little later, until what this
/// returns is dropped. In a simulation there are no threads: the world looks at the lease itself,
/// and this is `None`.
///
/// # Errors
/// If the operating system refuses the thread.
pub(in crate::authority) fn alarm(
    seams: &Seams,
    lease: &Lease,
    lapsed: impl Fn(Boot, Instant) + Send + 'static,
) -> io::Result<Option<Alarm>> {
    if !seams.threads {
        return Ok(None);
    }
    let (lease, mut told) = (Arc::downgrade(&lease.0), Instant::ZERO);
    Alarm::start("lease-alarm", move || look(&lease, &mut told, &lapsed)).map(Some)
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
        let started = alarm(&seams(true), &lease, say).expect("a thread");
        assert!(started.is_some());
        lease.begin(Boot(1));
        for _ in 0..2 {
            let until = BootClock.now() + Duration::from_millis(30);
            lease.extend(Boot(1), until);
            // Nothing but the thread runs here.
            assert_eq!(told.recv().expect("it is said"), (Boot(1), until));
            assert!(BootClock.now() >= until);
        }
        drop(started);
        assert!(told.recv().is_err(), "the thread has ended, and said nothing more");
    }

    #[test]
    fn where_there_are_no_threads_there_is_no_alarm() {
        let lease = Lease::new(Arc::new(BootClock), "n1".parse().expect("a name"));
        let started = alarm(&seams(false), &lease, |_, _| panic!("no thread, no alarm"));
        assert!(started.expect("no thread is asked for").is_none());
    }
}
