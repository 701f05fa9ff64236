//! A panic within a node is a fault of it, wherever it was caught.
//!
//! A task that panics leaves it in its handle, which often nobody reads: the world would go on
//! and show nothing. So panics are counted where they begin.

use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// What the panics on this thread said, while somebody listens.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `call`.
///
/// # Errors
/// What the first panic below it said, caught or not.
pub(super) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            before(info);
        }));
    });
    PANICS.set(Some(Vec::new()));
    let result = call();
    match PANICS.take().into_iter().flatten().next() {
        Some(what) => Err(format!("a panic: {what}")),
        None => Ok(result),
    }
}

fn note(info: &PanicHookInfo<'_>) {
    PANICS.with_borrow_mut(|panics| {
        // The first is the cause.
        if let Some(panics) = panics.as_mut().filter(|panics| panics.is_empty()) {
            panics.push(info.to_string().replace('\n', " "));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_somebody_caught_is_known_and_no_other_threads() {
        let caught_it = || panic::catch_unwind(|| panic!("of this thread")).is_err();
        let said = caught(caught_it).expect_err("it is known");
        assert!(said.starts_with("a panic: ") && said.contains("of this thread"), "{said}");
        let elsewhere = || std::thread::scope(|scope| scope.spawn(caught_it).join());
        assert!(caught(elsewhere).is_ok_and(|joined| joined.is_ok_and(|panicked| panicked)));
    }
}
