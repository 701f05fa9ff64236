//! A tree as the whole of a process.

use std::process::ExitCode;

use futures::future::{Either, select};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::tree::{Ended, Tree};
use crate::base::ExitReason;

/// The tree has stopped in order, because of a signal or by itself.
pub const EXIT_STOPPED: u8 = 0;
/// The tree gave up: more restarts than its root survives.
pub const EXIT_GAVE_UP: u8 = 1;
/// A child is stuck: its task outlived its kill. From `sysexits.h`: an internal software error.
pub const EXIT_STUCK: u8 = 70;
/// No signal can be waited for. From `sysexits.h`: an error of the operating system.
pub const EXIT_NO_SIGNALS: u8 = 71;
/// Added to the number of a signal that ended the process at once, as shells do.
pub const EXIT_SIGNAL: u8 = 128;

impl Tree {
    /// Runs until the tree ends, or until SIGINT or SIGTERM, which stop it in reverse order; a
    /// second signal ends the process at once, without another word.
    ///
    /// | exit code | when |
    /// |---|---|
    /// | [`EXIT_STOPPED`], 0 | stopped in order |
    /// | [`EXIT_GAVE_UP`], 1 | gave up; the reason is printed to standard error |
    /// | [`EXIT_STUCK`], 70 | a child is stuck; its path is printed to standard error |
    /// | [`EXIT_NO_SIGNALS`], 71 | the operating system refuses to tell of signals |
    /// | 130, 143 | a second SIGINT, SIGTERM |
    ///
    /// ```no_run
    /// # use evertree::supervisor::SupervisorSpec;
    /// # use std::process::ExitCode;
    /// #[tokio::main]
    /// async fn main() -> ExitCode {
    ///     match SupervisorSpec::one_for_one("app").start().await {
    ///         Ok(tree) => tree.run_until_signal().await,
    ///         Err(error) => {
    ///             eprintln!("{error}");
    ///             ExitCode::FAILURE
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn run_until_signal(self) -> ExitCode {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("no signal can be waited for, so the tree is stopped: {error}");
                self.stop().await;
                return ExitCode::from(EXIT_NO_SIGNALS);
            }
        };
        let ended = {
            let wait = std::pin::pin!(self.wait());
            let first = std::pin::pin!(signals.next());
            match select(wait, first).await {
                Either::Left((ended, _)) => Some(ended),
                Either::Right(_) => None,
            }
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            let stop = std::pin::pin!(self.stop());
            let second = std::pin::pin!(signals.next());
            match select(stop, second).await {
                Either::Left((ended, _)) => ended,
                Either::Right((number, _)) => std::process::exit(i32::from(EXIT_SIGNAL) + number),
            }
        };
        let code = code_of(&ended);
        if code == EXIT_STUCK {
            // The runtime would wait for the stuck task for ever.
            std::process::exit(i32::from(code));
        }
        ExitCode::from(code)
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    /// The number of the next signal.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    }
}

/// Says on standard error what an operator must know.
fn code_of(ended: &Ended) -> u8 {
    if !ended.stuck.is_empty() {
        for path in &ended.stuck {
            eprintln!("{path} is stuck: its task outlived its kill");
        }
        return EXIT_STUCK;
    }
    match &ended.reason {
        ExitReason::Normal | ExitReason::Shutdown => EXIT_STOPPED,
        ExitReason::Killed
        | ExitReason::Crashed(_)
        | ExitReason::StartFailed(_)
        | ExitReason::Hung
        | ExitReason::GaveUp => {
            eprintln!("the tree ended: {}", ended.reason);
            EXIT_GAVE_UP
        }
    }
}
