//! What can be said of any child, whatever runs in it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::Recovery;
use crate::restart::{Intensity, Restart, Shutdown};

/// The longest time that a spec may name: about ten years. Whoever wants forever leaves it out.
pub const SPAN_MAX: Duration = Duration::from_hours(87_600);

/// What a spec got wrong: which field, and why it is refused.
pub(super) type Objection = (&'static str, String);

/// What was said of a child, as it was said. Checked by [`objection`](Self::objection) at start.
#[derive(Debug, Clone)]
pub(super) struct ChildOptions {
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) significant: bool,
    pub(super) start_within: Option<Duration>,
    pub(super) backoff: Option<RangeInclusive<Duration>>,
    pub(super) budget: Option<Intensity>,
    pub(super) abandon_stuck: bool,
    pub(super) recovery: Option<Arc<dyn Recovery>>,
}

impl ChildOptions {
    /// Nothing said, but how it is stopped.
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self {
            restart: Restart::default(),
            shutdown,
            significant: false,
            start_within: None,
            backoff: None,
            budget: None,
            abandon_stuck: false,
            recovery: None,
        }
    }

    /// The first thing that is wrong.
    pub(super) fn objection(&self) -> Option<Objection> {
        if self.significant && self.restart == Restart::Permanent {
            let why = "a permanent child is always restarted, so nothing follows from its end";
            return Some(("significant", why.to_owned()));
        }
        if let Shutdown::Within(span) = self.shutdown
            && span > SPAN_MAX
        {
            return Some(("shutdown", format!("it must be at most {SPAN_MAX:?}, or `Patient`")));
        }
        if let Some(objection) =
            self.start_within.and_then(|span| span_objection("start_within", span))
        {
            return Some(objection);
        }
        if let Some(backoff) = &self.backoff {
            let (min, max) = (*backoff.start(), *backoff.end());
            if min > max {
                return Some(("backoff", format!("it begins with {min:?} and ends with {max:?}")));
            }
            let ends = [min, max];
            if let Some(objection) =
                ends.into_iter().find_map(|span| span_objection("backoff", span))
            {
                return Some(objection);
            }
        }
        let budget = self.budget?;
        let why = budget.validate().err().map(|error| ("budget", error.to_string()));
        why.or_else(|| span_objection("budget", budget.period))
    }
}

/// What is wrong with a time that must be some.
pub(super) fn span_objection(field: &'static str, span: Duration) -> Option<Objection> {
    let why = if span.is_zero() {
        "it must not be zero".to_owned()
    } else if span > SPAN_MAX {
        format!("it must be at most {SPAN_MAX:?}")
    } else {
        return None;
    };
    Some((field, why))
}

/// The methods that say these things, for a spec with a field `options`.
macro_rules! say_options {
    () => {
        /// When it is restarted; `Permanent` if nothing is said.
        #[must_use]
        pub fn restart(mut self, restart: $crate::restart::Restart) -> Self {
            self.options.restart = restart;
            self
        }

        /// How it is stopped: a time after which it is killed, or a
        /// [`Shutdown`](crate::restart::Shutdown). If nothing is said, a worker has 5 s and a
        /// supervisor as long as it needs.
        #[must_use]
        pub fn shutdown(mut self, shutdown: impl Into<$crate::restart::Shutdown>) -> Self {
            self.options.shutdown = shutdown.into();
            self
        }

        /// Makes its end matter to its supervisor's own, as that says. Only for a child that is
        /// not permanent.
        #[must_use]
        pub fn significant(mut self) -> Self {
            self.options.significant = true;
            self
        }

        /// A start that takes longer than `limit` is undone and has failed; without limit if
        /// nothing is said. More than zero, at most
        /// [`SPAN_MAX`](crate::supervisor::SPAN_MAX).
        #[must_use]
        pub fn start_within(mut self, limit: std::time::Duration) -> Self {
            self.options.start_within = Some(limit);
            self
        }

        /// Delays restarts: the first in a row by about the first of the two times, each further
        /// one by twice as much, up to about the second. At once if nothing is said. Both more
        /// than zero, at most [`SPAN_MAX`](crate::supervisor::SPAN_MAX).
        #[must_use]
        pub fn backoff(mut self, delay: std::ops::RangeInclusive<std::time::Duration>) -> Self {
            self.options.backoff = Some(delay);
            self
        }

        /// Gives it a budget of its own within its supervisor's: more than `restarts` of it within
        /// `period`, and the supervisor gives up. None if nothing is said.
        #[must_use]
        pub fn budget(mut self, restarts: u32, period: std::time::Duration) -> Self {
            self.options.budget = Some($crate::restart::Intensity { restarts, period });
            self
        }

        /// If its task outlives its kill by [`STUCK_AFTER`](crate::restart::STUCK_AFTER), leaves
        /// that task alone and goes on as if it had ended: what it holds (a port, a lock) is not
        /// free then, and an old incarnation may run beside the new one. If nothing is said, the
        /// supervisor gives up.
        #[must_use]
        pub fn abandon_stuck(mut self) -> Self {
            self.options.abandon_stuck = true;
            self
        }
    };
}

pub(super) use say_options;
