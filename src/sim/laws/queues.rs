//! I8: no queue holds more than its limit says.

use crate::base::Fill;
use crate::placement::{DEPARTED_MAX, HISTORY_MAX, RECENT_MAX, View};

/// Looked at in every so many steps: a queue above its limit comes down slowly.
pub(super) const EVERY: u64 = 20;

/// What a view remembers, which is part of every snapshot.
pub(super) fn of_view(view: &View) -> [Fill; 3] {
    [
        Fill::of("answers to repeats", view.recent.len(), RECENT_MAX),
        Fill::of("departed boots", view.departed.len(), DEPARTED_MAX),
        Fill::of("causes of views", view.history.len(), HISTORY_MAX),
    ]
}

/// Whether all of them keep their limits.
pub(super) fn within(fills: impl IntoIterator<Item = Fill>) -> Result<(), String> {
    match fills.into_iter().find(|fill| fill.has > fill.max) {
        Some(Fill { queue, has, max }) => Err(format!("I8: {queue}: {has}, and {max} at most")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_above_its_limit_is_found() {
        assert_eq!(within([Fill::of("one", 3, 3), Fill::of("other", 0, 1)]), Ok(()));
        let above = within([Fill::of("one", 3, 3), Fill::of("other", 2, 1)]);
        assert_eq!(above, Err("I8: other: 2, and 1 at most".into()));
    }
}
