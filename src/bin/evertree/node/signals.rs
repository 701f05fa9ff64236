//! The signals a node listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// SIGINT or SIGTERM, by its number: stop.
    End(i32),
    /// SIGHUP: read the certificates again.
    Reload,
}

/// From now on these signals do not end the process by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What the next signal asks for. One that came before is not lost.
    pub(super) async fn next(&mut self) -> Ask {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Ask::End(SignalKind::interrupt().as_raw_value()),
            _ = self.terminate.recv() => Ask::End(SignalKind::terminate().as_raw_value()),
            _ = self.hangup.recv() => Ask::Reload,
        }
    }

    /// The number of the next signal that asks for the end.
    pub(super) async fn end(&mut self) -> i32 {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    }
}
