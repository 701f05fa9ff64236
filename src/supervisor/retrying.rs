//! Calls that are tried again: [`retry`](crate::retry) carried out.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::reference::{RefError, Undelivered};
use crate::base::{Clock, Elapsed, Rng, SeededRng, TokioClock, within};
use crate::retry::{
    Attempts, Budget, Failure, GaveUp, NotExecuted, Policy, PolicyError, Shares, SharesError,
};

impl NotExecuted for RefError {
    fn not_executed(&self) -> bool {
        Self::not_executed(*self)
    }

    fn is_final(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

impl<M> NotExecuted for Undelivered<M> {
    fn not_executed(&self) -> bool {
        true
    }

    fn is_final(&self) -> bool {
        NotExecuted::is_final(&self.why)
    }
}

/// What all callers of something may retry together: a [`Budget`] that is shared. Cheap to clone.
/// Have one for each thing that can be overloaded.
#[derive(Clone)]
pub struct RetryBudget {
    clock: Arc<dyn Clock>,
    budget: Arc<Mutex<Budget>>,
}

impl RetryBudget {
    /// A full budget, on tokio's clock.
    ///
    /// # Errors
    /// [`SharesError`].
    pub fn new(shares: Shares) -> Result<Self, SharesError> {
        Self::on(shares, Arc::new(TokioClock::new()))
    }

    /// A full budget on `clock`.
    ///
    /// # Errors
    /// [`SharesError`].
    pub fn on(shares: Shares, clock: Arc<dyn Clock>) -> Result<Self, SharesError> {
        shares.validate()?;
        let budget = Arc::new(Mutex::new(Budget::new(shares, clock.now())));
        Ok(Self { clock, budget })
    }

    /// Retries that are left.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.budget.lock().left(self.clock.now())
    }

    fn succeeded(&self) {
        self.budget.lock().succeeded();
    }

    fn take(&self) -> bool {
        self.budget.lock().take(self.clock.now())
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryBudget(left: {})", self.left())
    }
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// How long it may take: what is left of the whole call's time. Pass it on, so that whoever is
    /// asked does not work for nobody: `db.call_within(attempt.left, DbMsg::Ping)`.
    pub left: Duration,
}

/// A call failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryError<E> {
    /// Why it is not tried again.
    pub why: GaveUp,
    /// Attempts made.
    pub attempts: u32,
    /// What the last attempt that ended said; none if the time was over before one did.
    pub last: Option<E>,
    /// Whether no attempt was executed, so that the whole call can be made again.
    pub not_executed: bool,
}

impl<E: fmt::Display> fmt::Display for RetryError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, attempts, last, .. } = self;
        let noun = if *attempts == 1 { "attempt" } else { "attempts" };
        write!(f, "{attempts} {noun}, {why}")?;
        last.as_ref().map_or(Ok(()), |last| write!(f, ": {last}"))
    }
}

impl<E: std::error::Error + 'static> std::error::Error for RetryError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last.as_ref().map(|last| last as _)
    }
}

impl<E: NotExecuted> NotExecuted for RetryError<E> {
    fn not_executed(&self) -> bool {
        self.not_executed
    }

    fn is_final(&self) -> bool {
        self.last.as_ref().is_some_and(E::is_final)
    }
}

/// Tries calls again, as [`retry`](crate::retry) decides. Cheap to clone.
///
/// ```
/// # use evertree::supervisor::ChildRef;
/// # enum Msg { Ping(ractor::RpcReplyPort<u8>) }
/// # async fn sketch(db: ChildRef<Msg>) -> Result<(), Box<dyn std::error::Error>> {
/// use evertree::retry::{Policy, Shares};
/// use evertree::supervisor::{Retry, RetryBudget};
///
/// let budget = RetryBudget::new(Shares::default())?;
/// let retry = Retry::new(Policy::default())?.budget(&budget);
/// let answer = retry.run(|attempt| db.call_within(attempt.left, Msg::Ping)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Retry {
    policy: Policy,
    budget: Option<RetryBudget>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl Retry {
    /// Calls under `policy`, on tokio's clock.
    ///
    /// # Errors
    /// [`PolicyError`].
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn new(policy: Policy) -> Result<Self, PolicyError> {
        Self::on(policy, Arc::new(TokioClock::new()), Arc::new(SeededRng::from_os()))
    }

    /// Calls under `policy`, with this clock and this source of chance.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn on(
        policy: Policy,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, PolicyError> {
        policy.validate()?;
        Ok(Self { policy, budget: None, clock, rng })
    }

    /// Takes its retries from `budget`, with all others who do.
    #[must_use]
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Makes attempts until one succeeds. `call` begins an attempt; one that is in hand at the
    /// deadline is dropped. Dropping the returned future drops the attempt in hand, too.
    ///
    /// # Errors
    /// [`RetryError`], with the attempts made and what the last one said.
    pub async fn run<T, E, F>(&self, mut call: impl FnMut(Attempt) -> F) -> Result<T, RetryError<E>>
    where
        E: NotExecuted,
        F: Future<Output = Result<T, E>>,
    {
        let clock = &*self.clock;
        let mut attempts = Attempts::new(self.policy, clock.now());
        let deadline = attempts.deadline();
        let mut last = None;
        loop {
            let number = attempts.made();
            let failed = |why, last, not_executed| {
                Err(RetryError { why, attempts: number, last, not_executed })
            };
            let attempt = Attempt { number, left: deadline.since(clock.now()) };
            let error = match within(clock, deadline, call(attempt)).await {
                Ok(Ok(value)) => {
                    self.succeeded();
                    return Ok(value);
                }
                Ok(Err(error)) => error,
                // Nobody will learn what became of the attempt in hand.
                Err(Elapsed) => return failed(GaveUp::Deadline, last, false),
            };
            let failure = Failure::of(&error);
            last = Some(error);
            match attempts.failed(clock.now(), failure, self.rng.next_u64(), || self.take()) {
                Ok(next) => clock.sleep_until(next).await,
                Err(why) => return failed(why, last, attempts.not_executed()),
            }
            // A timer may be late.
            if clock.now() >= deadline {
                return failed(GaveUp::Deadline, last, attempts.not_executed());
            }
        }
    }

    fn succeeded(&self) {
        if let Some(budget) = &self.budget {
            budget.succeeded();
        }
    }

    fn take(&self) -> bool {
        self.budget.as_ref().is_none_or(RetryBudget::take)
    }
}
