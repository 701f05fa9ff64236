//! Bugs that a simulation plants to show that its invariants find them.
//!
//! Each names one guard of the product, which is left out where the bug is planted: for the tests
//! of this crate in a simulated world, and on the thread of that world alone. Everywhere else
//! [`planted`] is the constant `false`.

/// A guard that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The gate does not read the clock: a lease once granted counts until the view changes.
    LeaseByFlag,
    /// A Renew is granted without a majority having confirmed the leader.
    NoBarrier,
    /// A new leader's table evicts at once, without its first D'.
    NoFirstWait,
    /// A Renew is granted to a boot that is marked *evicting*.
    RenewWhileEvicting,
    /// A restarted leader goes on without an election.
    TermRestored,
    /// A grant counts from the newest request instead of its own.
    AnyGrant,
    /// An Evict of an earlier boot ends the present one.
    OldBoot,
    /// A new ownership keeps the epoch of the one before.
    EpochReused,
    /// What an entry makes of the view depends on the node that applies it.
    PlannerInApply,
    /// A write is acknowledged when the owner's store alone has it.
    AckEarly,
    /// A new owner serves before the stores of `in_sync` hold its log.
    ServeEarly,
    /// A store accepts writes under an epoch lower than its seal.
    OldEpochStored,
}

/// Whether the guard that `bug` names is left out.
#[cfg(not(all(test, feature = "sim")))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

/// Whether no guard is left out. A debug assertion that repeats an invariant of the simulated world
/// asks this first: the world has to find a planted bug by itself, as it must in a release build.
#[cfg(not(all(test, feature = "sim")))]
pub(crate) const fn is_sound() -> bool {
    true
}

#[cfg(all(test, feature = "sim"))]
pub(crate) use switch::{is_sound, planted, with};

#[cfg(all(test, feature = "sim"))]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether the guard that `bug` names is left out on this thread.
    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Whether no guard is left out on this thread.
    pub(crate) fn is_sound() -> bool {
        PLANTED.get().is_none()
    }

    /// Takes the bug out again, also when a test panics.
    struct Out;

    impl Drop for Out {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    /// Runs `call` with `bug` planted on this thread.
    pub(crate) fn with<T>(bug: Option<Bug>, call: impl FnOnce() -> T) -> T {
        PLANTED.set(bug);
        let _out = Out;
        call()
    }
}
