//! What two nodes agree on before they talk: one protocol, and for each kind of entity whether its
//! messages are the same on both sides. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Codec;

/// Most kinds that a node tells others of.
pub const KINDS_MAX: usize = 256;
/// Longest name of a kind that a node tells others of, in bytes.
pub const KIND_BYTES_MAX: usize = 63;

/// The protocols that a node speaks, all from the oldest to the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl Protocols {
    /// What this program speaks.
    pub const SPOKEN: Self = Self { min: 1, max: 1 };

    /// Whether `protocol` is among them.
    #[must_use]
    pub const fn has(self, protocol: u16) -> bool {
        self.min <= protocol && protocol <= self.max
    }

    /// The newest that both speak; `None` if there is none, also because a range is empty (its
    /// oldest newer than its newest). The same on both sides.
    #[must_use]
    pub fn newest_common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (self.has(newest) && other.has(newest)).then_some(newest)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            return write!(f, "{}", self.min);
        }
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// The kinds of entities that a node knows, with the schema numbers of their messages.
///
/// At most [`KINDS_MAX`] kinds, names of at most [`KIND_BYTES_MAX`] bytes, also in what others
/// send. Kinds that do not fit are left out, and spoken about in `MessagePack`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Schemas(BTreeMap<String, u16>);

impl Schemas {
    /// Of these kinds; where there are too many, the first ones by name.
    #[must_use]
    pub fn of<'k>(kinds: impl IntoIterator<Item = (&'k str, u16)>) -> Self {
        let short = kinds.into_iter().filter(|(kind, _)| kind.len() <= KIND_BYTES_MAX);
        let all: BTreeMap<_, _> = short.collect();
        Self(all.into_iter().take(KINDS_MAX).map(|(kind, schema)| (kind.into(), schema)).collect())
    }

    /// The schema number of `kind`, if it is known.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<u16> {
        self.0.get(kind).copied()
    }

    /// All kinds with their schema numbers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u16)> {
        self.0.iter().map(|(kind, schema)| (kind.as_str(), *schema))
    }

    /// What to write messages to `kind` in, at the node that sent these. `own` is the schema of
    /// whoever writes, which need not host the kind itself.
    #[must_use]
    pub fn codec(&self, kind: &str, own: u16) -> Codec {
        self.get(kind).map_or(Codec::Named, |theirs| Codec::between(own, theirs))
    }
}

impl<'de> Deserialize<'de> for Schemas {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Schemas;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {KINDS_MAX} kinds of at most {KIND_BYTES_MAX} bytes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Schemas, A::Error> {
                let mut kinds = BTreeMap::new();
                while let Some((kind, schema)) = map.next_entry::<String, u16>()? {
                    if kind.len() > KIND_BYTES_MAX {
                        return Err(A::Error::invalid_length(kind.len(), &self));
                    }
                    if kinds.len() == KINDS_MAX {
                        return Err(A::Error::invalid_length(KINDS_MAX.saturating_add(1), &self));
                    }
                    kinds.insert(kind, schema);
                }
                Ok(Schemas(kinds))
            }
        }

        from.deserialize_map(Bounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{WireError, from_named, to_named};

    #[test]
    fn the_newest_protocol_that_both_speak_is_taken() {
        let range = |(min, max)| Protocols { min, max };
        let table = [
            ((1, 1), (1, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)), // overlap
            ((1, 9), (3, 4), Some(4)), // inside
            ((1, 2), (2, 3), Some(2)), // touch
            ((1, 2), (3, 4), None),    // miss by one
            ((0, 0), (9, 9), None),
            ((0, u16::MAX), (7, 7), Some(7)),
            ((3, 1), (1, 3), None), // empty
            ((3, 1), (3, 1), None),
        ];
        for (ours, theirs, newest) in table {
            let (ours, theirs) = (range(ours), range(theirs));
            assert_eq!(ours.newest_common(theirs), newest, "{ours} and {theirs}");
            assert_eq!(theirs.newest_common(ours), newest, "{theirs} and {ours}");
        }
    }

    #[test]
    fn postcard_is_spoken_where_both_know_the_kind_under_one_schema() {
        let theirs = Schemas::of([("cart", 2), ("old", 3), ("odd", 0)]);
        let table = [
            ("cart", 2, 2),
            ("cart", 1, 0),
            ("old", 1, 0),
            ("unknown there", 7, 0),
            ("odd", 0, 0), // 0: never in postcard
        ];
        for (kind, own, schema) in table {
            assert_eq!(theirs.codec(kind, own).schema(), schema, "{kind} of {own}");
        }
    }

    #[test]
    fn schemas_are_bounded_on_both_sides() {
        let names: Vec<String> = (0..300).map(|index| format!("kind{index:03}")).collect();
        let long = "k".repeat(KIND_BYTES_MAX + 1);
        let all = names.iter().map(|name| (name.as_str(), 1)).chain([(long.as_str(), 1)]);
        let schemas = Schemas::of(all);
        assert_eq!(schemas.iter().count(), KINDS_MAX);
        assert_eq!((schemas.get("kind255"), schemas.get("kind256")), (Some(1), None));
        let bytes = to_named(&schemas).expect("encodes");
        assert_eq!(from_named::<Schemas>(&bytes), Ok(schemas.clone()));
        let mut more = schemas.0.clone();
        more.insert("one more".into(), 1);
        for lie in [more, BTreeMap::from([(long, 1)])] {
            let bytes = to_named(&lie).expect("encodes");
            let refused = from_named::<Schemas>(&bytes);
            let Err(WireError::Garbage(why)) = refused else { panic!("{refused:?}") };
            assert!(why.contains("at most 256 kinds of at most 63 bytes"), "{why}");
        }
    }
}
