//! Where durable state is kept, as the entities see it.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Entity, Failure};
use crate::authority::Tenure;
use crate::base::Instant;
use crate::replica::{ReplicaError, Replicas, SaveError, Write};
use crate::storage::Record;
use crate::wire::from_named;

/// Loads and saves records under a tenure: the replication, or a table in a test.
pub trait Records: fmt::Debug + Send + Sync + 'static {
    /// The record of `key`, once the shard is served.
    fn load(
        &self,
        tenure: Tenure,
        key: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Option<Record>, ReplicaError>>;

    /// Writes; resolves when all stores that must have it do.
    fn save(&self, tenure: Tenure, write: Write) -> BoxFuture<'static, Result<(), SaveError>>;
}

impl Records for Replicas {
    fn load(
        &self,
        tenure: Tenure,
        key: Bytes,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Option<Record>, ReplicaError>> {
        async move { Self::load(self, tenure, &key, deadline).await }.boxed()
    }

    fn save(&self, tenure: Tenure, write: Write) -> BoxFuture<'static, Result<(), SaveError>> {
        let replicas = self.clone();
        async move { Self::save(&replicas, tenure, write).await }.boxed()
    }
}

/// The key of an entity's record: kind, a zero byte, id.
pub(super) fn key<E: Entity>(id: &str) -> Bytes {
    [E::KIND.as_bytes(), b"\0", id.as_bytes()].concat().into()
}

/// The value: two bytes version, the state in named-field `MessagePack`.
pub(super) fn value<E: Entity>(state: &E) -> Result<Bytes, Failure> {
    let state = rmp_serde::to_vec_named(state)?;
    let mut value = BytesMut::with_capacity(2 + state.len());
    value.put_u16(E::VERSION);
    value.put_slice(&state);
    Ok(value.freeze())
}

/// The state in a record's value.
pub(super) fn state<E: Entity>(value: &[u8]) -> Result<E, Failure> {
    let Some((version, saved)) = value.split_first_chunk::<2>() else {
        return Err(Failure::new("the record is too short"));
    };
    let version = u16::from_be_bytes(*version);
    match version.cmp(&E::VERSION) {
        std::cmp::Ordering::Equal => Ok(from_named(saved)?),
        std::cmp::Ordering::Less => E::upgrade(version, saved),
        std::cmp::Ordering::Greater => Err(Failure::new(format!(
            "it was saved by version {version}, this program knows {} at most",
            E::VERSION
        ))),
    }
}
