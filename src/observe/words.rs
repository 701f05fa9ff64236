//! Words that several reports use.

use std::time::Duration;

use crate::placement::Status;
use crate::wire::printable;

/// Digits of a cluster's id that are shown.
pub(super) const CLUSTER_DIGITS: usize = 12;
/// Names of one list that are shown; the rest is counted.
const LISTED_MAX: usize = 20;
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

/// A number with commas between thousands: `1,365`.
pub(super) fn number(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of what is called `one`: `1 voter`, `1,365 voters`.
pub(super) fn counted(count: usize, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {one}{plural}", number(u64::try_from(count).unwrap_or(u64::MAX)))
}

/// `n1, n2 and n3`; of many names the first, and how many more there are.
pub(super) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let more = names.len().saturating_sub(LISTED_MAX);
    let mut words: Vec<String> =
        names.iter().take(LISTED_MAX).map(|name| name.as_ref().to_owned()).collect();
    if more > 0 {
        words.push(format!("{more} others"));
    }
    match words.pop() {
        None => String::new(),
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} and {last}", words.join(", ")),
    }
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
    fn counts_and_lists_read_as_one_would_say_them() {
        let numbers = [(0_u64, "0"), (999, "999"), (1_365, "1,365"), (1_000_000, "1,000,000")];
        for (count, text) in numbers {
            assert_eq!(number(count), text);
        }
        assert_eq!(
            (counted(1, "shard"), counted(2_000, "shard")),
            ("1 shard".into(), "2,000 shards".into())
        );
        assert_eq!(listed::<&str>(&[]), "");
        assert_eq!((listed(&["a"]), listed(&["a", "b", "c"])), ("a".into(), "a, b and c".into()));
        let many: Vec<String> = (0..25).map(|node| format!("n{node}")).collect();
        assert!(listed(&many).ends_with("n18, n19 and 5 others"), "{}", listed(&many));
    }

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
