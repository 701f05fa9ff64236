//! Like versions of one entry: an owner that finds a copy whole proposes a change for each shard,
//! and a hundred of them are one line for people.

use std::collections::BTreeSet;

use crate::base::{ShardId, Version};
use crate::placement::Noted;

/// What stands before the number of a shard in a cause.
const SHARD: &str = "shard ";
/// Ranges of shards that a cause names; the rest is counted.
const RANGES_MAX: usize = 6;

/// Versions that one entry made after each other for one reason, but for the shard that it names.
pub(super) struct Like<'a> {
    first: &'a Noted,
    last: Version,
    named: BTreeSet<ShardId>,
}

impl<'a> Like<'a> {
    pub(super) fn of(note: &'a Noted) -> Self {
        let named = parts(&note.cause).map(|(_, shard, _)| shard);
        Self { first: note, last: note.version, named: named.into_iter().collect() }
    }

    /// Takes in `note`, if it is the next version and alike; whether it was.
    pub(super) fn takes(&mut self, note: &Noted) -> bool {
        let (Some(own), Some(other)) = (parts(&self.first.cause), parts(&note.cause)) else {
            return false;
        };
        let is_next = note.version.0 == self.last.0 + 1;
        let is_alike = (own.0, own.2) == (other.0, other.2);
        let is_of_it = (self.first.epoch, &self.first.node) == (note.epoch, &note.node);
        // Twice about one shard are two things that happened.
        let takes = is_next && is_alike && is_of_it && self.named.insert(other.1);
        if takes {
            self.last = note.version;
        }
        takes
    }

    /// The first note, the last version, the cause for all, and the shards that it names.
    pub(super) fn done(self) -> (&'a Noted, Version, String, BTreeSet<ShardId>) {
        let Self { first, last, named } = self;
        let cause = match parts(&first.cause) {
            Some((before, _, after)) if named.len() > 1 => {
                format!("{before}shards {}{after}", ranges(&named))
            }
            Some(_) | None => first.cause.clone(),
        };
        (first, last, cause, named)
    }
}

/// A cause that names one shard: what stands before it, the shard, and what comes after.
fn parts(cause: &str) -> Option<(&str, ShardId, &str)> {
    let (before, rest) = cause.split_once(SHARD)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(digits);
    Some((before, ShardId(number.parse().ok()?), after))
}

/// `1 to 3, 7 and 9`; of many the first, and how many more.
fn ranges(shards: &BTreeSet<ShardId>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for ShardId(shard) in shards {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *shard => *last = *shard,
            Some(_) | None => ranges.push((*shard, *shard)),
        }
    }
    let word = |(first, last): &(u16, u16)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    let mut words: Vec<String> = ranges.iter().take(RANGES_MAX).map(word).collect();
    let more = ranges.iter().skip(RANGES_MAX).map(|(first, last)| usize::from(last - first) + 1);
    let more: usize = more.sum();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} and {last}", words.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;

    #[test]
    fn ranges_read_as_one_would_say_them() {
        let said = |shards: &[u16]| ranges(&shards.iter().copied().map(ShardId).collect());
        assert_eq!(said(&[4]), "4");
        assert_eq!(said(&[1, 2, 3, 7, 9, 10]), "1 to 3, 7 and 9, 10");
        assert_eq!(said(&[0, 2, 4, 6, 8, 10, 12, 13, 20]), "0, 2, 4, 6, 8, 10 and 3 more");
    }

    #[test]
    fn only_what_differs_in_the_shard_alone_and_comes_next_is_alike() {
        let note = |version, epoch, cause: &str, node: &str| Noted {
            version: Version(version),
            epoch: Epoch(epoch),
            cause: cause.into(),
            node: Some(node.parse().expect("a plain name")),
        };
        let first = note(4, 9, "store a holds shard 3 too", "n1");
        let mut like = Like::of(&first);
        for other in [
            note(5, 9, "store b holds shard 4 too", "n1"),
            note(5, 9, "store a holds shard 4 no longer", "n1"),
            note(5, 9, "store a holds shard 4 too", "n2"),
            note(5, 8, "store a holds shard 4 too", "n1"),
            note(6, 9, "store a holds shard 4 too", "n1"),
            note(5, 9, "store a holds shard 3 too", "n1"),
            note(5, 9, "it left", "n1"),
        ] {
            assert!(!like.takes(&other), "{other:?}");
        }
        assert!(like.takes(&note(5, 9, "store a holds shard 4 too", "n1")));
        assert!(like.takes(&note(6, 9, "store a holds shard 5 too", "n1")));
        let (_, last, cause, named) = like.done();
        assert_eq!((last, &*cause), (Version(6), "store a holds shards 3 to 5 too"));
        assert_eq!(named.len(), 3);
    }
}
