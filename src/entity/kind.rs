//! What a user says about a kind of entity.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hosted::{AnyKind, Host};
use super::{Cx, Failure};
use crate::restart::{Intensity, Restart};

/// Messages that wait for one entity before senders get `Overloaded`.
pub const LANE_MESSAGES: usize = 256;
/// A durable entity that nobody talked to for so long is dropped from memory.
pub const PASSIVATE_AFTER: Duration = Duration::from_mins(5);

/// An actor with a name and one home. The struct is its state.
///
/// It starts with [`Default`] or its saved state on the first message, and handles one message at a
/// time. A failed or panicked handler drops the state: no half-changed state survives.
pub trait Entity: Default + Serialize + DeserializeOwned + Send + 'static {
    /// Names the kind on the wire and on disk; never a Rust type name.
    const KIND: &'static str;
    /// Of the saved state. Older ones go through [`Entity::upgrade`].
    const VERSION: u16 = 1;
    /// Of the messages and their answers. Raise it with every change of their types: nodes of equal
    /// schemas write them in postcard, which tells fields and variants by their place alone. Nodes
    /// of different ones write them in `MessagePack` by name, so that added variants, and added
    /// fields with `#[serde(default)]`, can be rolled out node by node.
    ///
    /// 0: always `MessagePack`. For types that postcard cannot carry: with `flatten`, `untagged`,
    /// a `tag`, `skip_serializing_if`, or lists of values that take no bytes.
    const SCHEMA: u16 = 1;
    /// What it understands.
    type Msg: Serialize + DeserializeOwned + Send + 'static;
    /// What every entity of the kind uses: pools, clients; `()` if nothing.
    type Env: Send + Sync + 'static;

    /// Handles one message. An error is a crash: the caller gets *unknown*, and the next message
    /// finds the state that was saved last.
    fn handle(
        &mut self,
        msg: Self::Msg,
        cx: &mut Cx<'_, Self>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Makes today's state of one saved by `version`, in named-field `MessagePack`. By default it
    /// is decoded as it is: added fields take serde's defaults.
    ///
    /// # Errors
    /// [`Failure`]: the entity does not start.
    fn upgrade(version: u16, saved: &[u8]) -> Result<Self, Failure> {
        let _ = version;
        Ok(rmp_serde::from_slice(saved)?)
    }
}

/// How the state of a durable kind is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durable {
    /// Each `save` keeps the whole state, on as many stores as the cluster's `write_min` at least.
    Snapshots,
}

/// How the entities of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) durable: bool,
    pub(super) lane_messages_max: usize,
    pub(super) passivate_after: Option<Duration>,
    pub(super) restart: Restart,
    /// More crashes than this and the entity rests for a period.
    pub(super) intensity: Intensity,
}

/// A kind of entity as a node hosts it.
pub struct Kind<E: Entity> {
    env: Arc<E::Env>,
    policy: Policy,
}

impl<E: Entity> Kind<E> {
    /// A volatile kind whose entities share `env`.
    #[must_use]
    pub fn new(env: E::Env) -> Self {
        Self::shared(Arc::new(env))
    }

    /// The same, with an `env` that others hold too.
    #[must_use]
    pub fn shared(env: Arc<E::Env>) -> Self {
        let policy = Policy {
            durable: false,
            lane_messages_max: LANE_MESSAGES,
            passivate_after: None,
            restart: Restart::Permanent,
            intensity: Intensity::default(),
        };
        Self { env, policy }
    }

    /// The state outlives its node: `cx.save` keeps it.
    #[must_use]
    pub fn durable(mut self, how: Durable) -> Self {
        let Durable::Snapshots = how;
        self.policy.durable = true;
        self.policy.passivate_after.get_or_insert(PASSIVATE_AFTER);
        self
    }

    /// What a crash means for the messages that wait. `Permanent` and `Transient`: they are handled
    /// by the restarted entity. `Temporary`: they are refused, as not executed.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// More crashes of one entity than this, and it takes no messages for a period.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.policy.intensity = intensity;
        self
    }

    /// How many messages may wait for one entity: [`LANE_MESSAGES`] by default, at least one.
    #[must_use]
    pub fn lane(mut self, messages_max: usize) -> Self {
        self.policy.lane_messages_max = messages_max.max(1);
        self
    }

    /// An entity that nobody talked to for `idle` is dropped from memory. What a volatile one knew
    /// is gone then. By default volatile kinds stay, durable ones go after [`PASSIVATE_AFTER`].
    #[must_use]
    pub fn passivate_after(mut self, idle: Duration) -> Self {
        self.policy.passivate_after = Some(idle);
        self
    }
}

impl<E: Entity> fmt::Debug for Kind<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("kind", &E::KIND)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// A [`Kind`] whose type is forgotten, as a node keeps it.
pub struct HostedKind {
    pub(super) name: &'static str,
    pub(super) host: Arc<dyn AnyKind>,
}

impl<E: Entity> From<Kind<E>> for HostedKind {
    fn from(kind: Kind<E>) -> Self {
        Self { name: E::KIND, host: Arc::new(Host::<E>::new(kind.env, kind.policy)) }
    }
}

impl fmt::Debug for HostedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostedKind({})", self.name)
    }
}
