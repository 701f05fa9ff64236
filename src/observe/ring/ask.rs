//! What is asked of the ring, as a person writes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::{NAME_BYTES_MAX, NodeId};
use crate::placement::WEIGHT_MAX;

/// Longest `kind/id`, in bytes: as long as the key of a record may be.
const KEY_BYTES_MAX: usize = 1 << 10;

/// Why a text is no name of an entity, or of a node that may join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct NameError {
    /// What was given; its beginning if it is long.
    pub text: String,
    /// What was expected instead.
    pub expected: String,
}

fn not<T>(text: &str, expected: impl Into<String>) -> Result<T, NameError> {
    Err(NameError { text: text.chars().take(80).collect(), expected: expected.into() })
}

/// The name of an entity: `cart/alice`. The kind ends at the first slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    /// The kind.
    pub kind: String,
    /// The id, unique in the kind.
    pub id: String,
}

impl FromStr for Key {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let expected = || format!("kind/id, of at most {KEY_BYTES_MAX} bytes");
        match text.split_once('/') {
            Some((kind, id))
                if !kind.is_empty() && !kind.contains('\0') && text.len() <= KEY_BYTES_MAX =>
            {
                Ok(Self { kind: kind.into(), id: id.into() })
            }
            Some(_) | None => not(text, expected()),
        }
    }
}

impl TryFrom<String> for Key {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// A node that might join, written `name`, `name:weight` or `name:weight:zone`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Joiner {
    /// Its name.
    pub node: NodeId,
    /// Units of 128 virtual nodes, at least 1; 1 if nothing is said.
    pub weight: u16,
    /// Its failure zone; empty for none.
    pub zone: String,
}

impl FromStr for Joiner {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let expected = || {
            format!(
                "name[:weight[:zone]], with a node's name, a weight from 1 to {WEIGHT_MAX} and a \
                 zone of at most {NAME_BYTES_MAX} bytes"
            )
        };
        let mut parts = text.splitn(3, ':');
        let node = parts.next().and_then(|name| name.parse().ok());
        let weight = parts.next().map_or(Some(1), |weight| weight.parse().ok());
        let zone = parts.next().unwrap_or_default();
        match (node, weight) {
            (Some(node), Some(weight))
                if (1..=WEIGHT_MAX).contains(&weight) && zone.len() <= NAME_BYTES_MAX =>
            {
                Ok(Self { node, weight, zone: zone.into() })
            }
            _ => not(text, expected()),
        }
    }
}

impl TryFrom<String> for Joiner {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Joiner> for String {
    fn from(joiner: Joiner) -> Self {
        joiner.to_string()
    }
}

impl fmt::Display for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.weight)?;
        if self.zone.is_empty() { Ok(()) } else { write!(f, ":{}", self.zone) }
    }
}

/// What is asked besides the shares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingAsk {
    /// Where this entity is.
    pub key: Option<Key>,
    /// What would move if this node joined.
    pub join: Option<Joiner>,
    /// What would move if this member were lost.
    pub lose: Option<NodeId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_joiners_are_read_as_people_write_them() {
        let key: Key = "cart/alice/2".parse().expect("a key");
        assert_eq!((key.kind.as_str(), key.id.as_str()), ("cart", "alice/2"));
        assert_eq!(key.to_string(), "cart/alice/2");
        for (text, weight, zone) in [("n4", 1, ""), ("n4:3", 3, ""), ("n4:2:eu:a", 2, "eu:a")] {
            let joiner: Joiner = text.parse().expect("a joiner");
            assert_eq!((joiner.node.as_str(), joiner.weight), ("n4", weight), "{text}");
            assert_eq!(joiner.zone, zone, "{text}");
            assert_eq!(joiner.to_string().parse(), Ok(joiner), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_what_was_expected() {
        for text in ["", "cart", "/alice", "a\0b/c", &format!("cart/{}", "x".repeat(1024))] {
            let error = text.parse::<Key>().expect_err(text).to_string();
            assert!(error.contains("is not kind/id") && error.len() < 200, "{error}");
        }
        let long = format!("n4:1:{}", "z".repeat(64));
        for text in ["", "N4", "n4:", "n4:0", "n4:257", "n4:-1", "n4:x", &long] {
            let error = text.parse::<Joiner>().expect_err(text).to_string();
            assert!(error.contains("is not name[:weight[:zone]]"), "{error}");
        }
        let ask = r#"{"key":"cart/alice","join":"n4:2","lose":"n1"}"#;
        let read: RingAsk = serde_json::from_str(ask).expect("it is read");
        assert_eq!(serde_json::to_string(&read).expect("it is written"), ask);
        for bad in [r#"{"loose":"n1"}"#, r#"{"lose":"N1"}"#, r#"{"join":"n4:0"}"#] {
            assert!(serde_json::from_str::<RingAsk>(bad).is_err(), "{bad}");
        }
    }
}
