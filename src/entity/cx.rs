//! What a handler has beside its state and its message.

use std::fmt;
use std::future::{Future, poll_fn};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::records::{key, value};
use super::refs::Bound;
use super::{Entities, Entity, Failure, Hosts};
use crate::authority::Tenure;
use crate::base::Instant;
use crate::replica::{SaveError, Write};

/// The context of one message: who the entity is, what it may do.
pub struct Cx<'a, E: Entity> {
    pub(super) hosts: &'a Hosts,
    pub(super) env: &'a E::Env,
    pub(super) id: &'a str,
    pub(super) tenure: Tenure,
    pub(super) deadline: Instant,
    pub(super) durable: bool,
    pub(super) revision: u64,
    /// A save that was begun and has no outcome yet. It lives here and not in the handler, which
    /// may drop what it awaits; the turn sees it through.
    pub(super) saving: Option<Saving>,
    /// What memory holds is not what is saved: the state is loaded again before the next message.
    pub(super) stale: bool,
    /// A save failed for what the cluster did, not the handler: no crash is counted for it.
    pub(super) excused: bool,
}

/// A write under way, with the revision it makes.
pub(super) struct Saving {
    revision: u64,
    outcome: BoxFuture<'static, Result<(), SaveError>>,
}

impl<'a, E: Entity> Cx<'a, E> {
    /// The entity's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id
    }

    /// What all entities of the kind share on this node.
    #[must_use]
    pub fn env(&self) -> &E::Env {
        self.env
    }

    /// How many times the state was saved.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When the asker of the message in hand stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Entities of another kind, or of the same. Asks by way of these wait no longer than what is
    /// left of the message in hand, and leave only while this node may speak for this entity.
    #[must_use]
    pub fn entities<K: Entity>(&self) -> Entities<K> {
        let bound = Bound { tenure: self.tenure, deadline: self.deadline };
        Entities::bound(self.hosts.clone(), bound)
    }

    /// Keeps the state; gives the new revision when every store that must have it does. Nothing
    /// else is handled until then, even if the handler drops this future.
    ///
    /// # Errors
    /// [`Failure`] if it was not executed, or it is unknown whether it was. Passed on by the
    /// handler it is a crash, and the next message finds what was saved last.
    pub fn save<'c>(
        &'c mut self,
        state: &E,
    ) -> impl Future<Output = Result<u64, Failure>> + Send + use<'c, 'a, E> {
        let value = value(state);
        async move { self.write(value?, false).await }
    }

    /// Deletes the saved state; the next message finds the default. The revision goes on.
    ///
    /// # Errors
    /// As [`Cx::save`].
    pub async fn delete(&mut self) -> Result<u64, Failure> {
        let revision = self.write(Bytes::new(), true).await?;
        self.stale = true;
        Ok(revision)
    }

    async fn write(&mut self, value: Bytes, deleted: bool) -> Result<u64, Failure> {
        if !self.durable {
            return Err(Failure::new(format!("the kind {} is not durable", E::KIND)));
        }
        self.settle().await?;
        let Some(records) = self.hosts.records() else {
            return Err(Failure::new("this node keeps no records"));
        };
        self.hosts.gate(self.tenure).await?;
        let revision = self.revision + 1;
        let write = Write { key: key::<E>(self.id), revision, value, deleted };
        let outcome = records.save(self.tenure, write);
        self.saving = Some(Saving { revision, outcome });
        self.settle().await?;
        Ok(self.revision)
    }

    /// Waits for the save under way, if there is one.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        let outcome = poll_fn(|cx| match &mut self.saving {
            Some(saving) => saving.outcome.poll_unpin(cx).map(Some),
            None => std::task::Poll::Ready(None),
        })
        .await;
        let Some(saving) = self.saving.take() else { return Ok(()) };
        match outcome {
            Some(Ok(())) => {
                self.revision = saving.revision;
                Ok(())
            }
            Some(Err(error)) => {
                // Also where it was not executed: a conflict means that memory is behind.
                self.stale |= !matches!(error, SaveError::UnderReplicated { .. });
                // A cluster in trouble is no fault of the entity's: it must not rest for it.
                self.excused |= !matches!(error, SaveError::TooLong { .. });
                Err(error.into())
            }
            None => Ok(()),
        }
    }
}

impl<E: Entity> fmt::Debug for Cx<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cx({}/{}, {})", E::KIND, self.id, self.tenure.epoch)
    }
}
