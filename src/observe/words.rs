//! Words that several reports use.

use std::time::Duration;

use crate::placement::Status;
use crate::wire::printable;

/// Longest text of others in a table, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// What another chose, fit for a terminal.
pub(super) fn shown(text: &str) -> String {
    printable(text, SHOWN_CHARS_MAX)
}

/// The same; a dash if there is nothing.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { shown(text) }
}

/// The agreed status.
pub(super) fn status(status: Status) -> &'static str {
    match status {
        Status::Joining => "joining",
        Status::Up => "up",
        Status::Leaving => "leaving",
    }
}

/// A long span in its two largest units: `2 d 3 h`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

/// A short span in milliseconds with two places: `0.43 ms`.
pub(super) fn millis(span: Duration) -> String {
    let hundredths = (span.as_nanos() + 5_000) / 10_000;
    format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let long = [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_660, "1 h 1 min")];
        for (seconds, text) in long.into_iter().chain([(183_600, "2 d 3 h")]) {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        let short = [(0, "0.00 ms"), (433_000, "0.43 ms"), (12_345_678, "12.35 ms")];
        for (nanos, text) in short {
            assert_eq!(millis(Duration::from_nanos(nanos)), text);
        }
    }
}
