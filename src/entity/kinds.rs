//! The kinds that a node hosts, checked before anything of the node starts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::HostedKind;
use super::hosted::AnyKind;
use crate::wire::negotiate::Schemas;

/// Why a node cannot host what it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Two kinds have one name.
    #[error("two kinds are named {0}: give one of them another `Entity::KIND`")]
    KindTwice(&'static str),
    /// A kind's name is empty or holds a zero byte.
    #[error("{0:?} is no name for a kind: it must not be empty or hold a zero byte")]
    KindName(&'static str),
}

/// Kinds whose names do.
pub struct Kinds(pub(super) BTreeMap<&'static str, Arc<dyn AnyKind>>);

impl Kinds {
    /// Checks the names.
    ///
    /// # Errors
    /// [`HostError`], which names the kind.
    pub fn new(all: Vec<HostedKind>) -> Result<Self, HostError> {
        let mut kinds = BTreeMap::new();
        for kind in all {
            if kind.name.is_empty() || kind.name.contains('\0') {
                return Err(HostError::KindName(kind.name));
            }
            if kinds.insert(kind.name, kind.host).is_some() {
                return Err(HostError::KindTwice(kind.name));
            }
        }
        Ok(Self(kinds))
    }

    /// The schema numbers of their messages, for the handshake.
    #[must_use]
    pub fn schemas(&self) -> Schemas {
        Schemas::of(self.0.iter().map(|(name, kind)| (*name, kind.schema())))
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
