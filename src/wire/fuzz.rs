//! What the fuzz targets of all modules share.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Decodes, and if that goes well encodes, decodes and encodes again, which must give the same.
pub(crate) fn stable<T: DeserializeOwned>(
    bytes: &[u8],
    from: impl Fn(&[u8]) -> Option<T>,
    to: impl Fn(&T) -> Option<Vec<u8>>,
) -> bool {
    let Some(value) = from(bytes) else { return false };
    let written = to(&value).expect("what was read can be written");
    let again = from(&written).expect("what was written can be read");
    assert!(to(&again).as_ref() == Some(&written), "{written:?} is read otherwise");
    true
}

/// What a user's message may look like at its worst: a tree of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Tree {
    /// A number.
    Leaf(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Tree>),
    /// A map.
    Map(BTreeMap<String, Tree>),
    /// Boxes.
    Boxed(Option<Box<Tree>>),
    /// A struct.
    Fields {
        /// Always there.
        left: Box<Tree>,
        /// Added later.
        #[serde(default)]
        right: Option<Box<Tree>>,
    },
    /// Values without bytes.
    Units(Vec<()>),
    /// A newtype without end.
    Endless(Endless),
    /// Numbers of all sizes.
    Numbers(Option<(u8, i16, u32, i64, u128, char, bool)>),
}

/// A newtype and an option, in each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Endless(Option<Box<Endless>>);
