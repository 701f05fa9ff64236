//! Where a child lives.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where a child lives: the names from the root of its tree down, as in `shop/orders/db`.
///
/// Cheap to clone. One allocation of 16 bytes and the text: a path made of its parent and a name
/// would need two and be larger, unless the parent's text is longer than about 40 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path(Arc<str>);

impl Path {
    /// The path of a tree's root.
    #[must_use]
    pub fn root(name: &str) -> Self {
        Self(name.into())
    }

    /// The path of the child `name` of this.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self([&*self.0, "/", name].concat().into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name: the child's own.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The path of its supervisor as text; none of a root.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
