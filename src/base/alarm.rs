//! A thread that looks again and again, whatever blocks all others.

use std::fmt;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::Worker;

/// Looks as long as this is kept. For what must be noticed while every runtime is blocked; whoever
/// decides by time reads the clock itself.
pub struct Alarm {
    /// Dropped: the thread ends.
    _end: SyncSender<()>,
}

impl Alarm {
    /// Calls `look` on a thread named `name`, waits as long as it says, and calls it again; `None`:
    /// there is nothing to look at any more.
    ///
    /// # Errors
    /// If the operating system refuses the thread.
    pub fn start(
        name: &str,
        mut look: impl FnMut() -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        let thread = Worker::thread(name)?;
        let (end, ended) = sync_channel(0);
        let watch = move || {
            while let Some(wait) = look() {
                if ended.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        thread.submit(watch).map_err(io::Error::other)?;
        Ok(Self { _end: end })
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn it_looks_until_there_is_nothing_or_it_is_dropped() {
        let (tell, told) = channel();
        let mut left = 3;
        let few = Alarm::start("few", move || {
            tell.send(left).expect("somebody listens");
            left -= 1;
            (left > 0).then_some(Duration::from_millis(1))
        });
        assert_eq!(told.iter().collect::<Vec<_>>(), [3, 2, 1]);
        drop(few);
        let (tell, told) = channel();
        let long = Alarm::start("long", move || {
            tell.send(()).expect("somebody listens");
            Some(Duration::from_hours(1))
        });
        assert_eq!(told.recv(), Ok(()));
        drop(long);
        assert!(told.recv().is_err(), "dropped, it does not wait for its hour");
    }
}
