//! Names of entities, and the way of a message to them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use super::frame::{self, Address, Refusal};
use super::lane::{Ended, Envelope, Fate};
use super::reply::{Call, decoding_hosts, is_encoding};
use super::{ASK_WITHIN, AskError, Entity, Hosts, NotExecuted, Reply, Unknown};
use crate::authority::Tenure;
use crate::base::{Instant, NodeId, ShardId, within};
use crate::placement::{Owner, View};
use crate::transport::{self, Class, Head, Service};
use crate::wire::{Codec, WireError};

/// First wait before a message is tried again; a newer view ends it early.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);
/// Longest wait; each is twice the one before.
const RETRY_AFTER_MAX: Duration = Duration::from_millis(200);

/// The entity on whose behalf something is asked, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) tenure: Tenure,
    pub(super) deadline: Instant,
}

tokio::task_local! {
    /// The turn that is polled: whatever reference its handler uses, it speaks for this entity.
    pub(super) static TURN: Bound;
}

/// All entities of one kind, wherever they are.
pub struct Entities<E: Entity> {
    hosts: Hosts,
    bound: Option<Bound>,
    kind: PhantomData<fn() -> E>,
}

impl<E: Entity> Entities<E> {
    pub(super) fn new(hosts: Hosts) -> Self {
        Self { hosts, bound: None, kind: PhantomData }
    }

    pub(super) fn bound(hosts: Hosts, bound: Bound) -> Self {
        Self { hosts, bound: Some(bound), kind: PhantomData }
    }

    /// The entity named `id`. Naming it does not start it.
    #[must_use]
    pub fn get(&self, id: &str) -> EntityRef<E> {
        let (hosts, bound) = (self.hosts.clone(), self.bound);
        EntityRef { hosts, bound, id: id.into(), shard: OnceLock::new(), kind: PhantomData }
    }
}

impl<E: Entity> Clone for Entities<E> {
    fn clone(&self) -> Self {
        Self { hosts: self.hosts.clone(), bound: self.bound, kind: PhantomData }
    }
}

impl<E: Entity> fmt::Debug for Entities<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entities({})", E::KIND)
    }
}

/// One entity, by name. Cheap to clone; it stays right when the entity moves.
///
/// It travels inside messages; anywhere else serialising it is an error.
pub struct EntityRef<E: Entity> {
    hosts: Hosts,
    bound: Option<Bound>,
    id: Arc<str>,
    /// Hashed once, when the cluster's shard count is known.
    shard: OnceLock<ShardId>,
    kind: PhantomData<fn() -> E>,
}

impl<E: Entity> Clone for EntityRef<E> {
    fn clone(&self) -> Self {
        let (hosts, bound, id) = (self.hosts.clone(), self.bound, self.id.clone());
        Self { hosts, bound, id, shard: self.shard.clone(), kind: PhantomData }
    }
}

impl<E: Entity> fmt::Display for EntityRef<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", E::KIND, self.id)
    }
}

impl<E: Entity> fmt::Debug for EntityRef<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntityRef({self})")
    }
}

impl<E: Entity> Serialize for EntityRef<E> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if is_encoding() {
            to.serialize_str(&self.id)
        } else {
            Err(S::Error::custom("a reference travels only inside a message; save the id"))
        }
    }
}

impl<'de, E: Entity> Deserialize<'de> for EntityRef<E> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let id = String::deserialize(from)?;
        let hosts = decoding_hosts()
            .ok_or_else(|| D::Error::custom("a reference travels only inside a message"))?;
        Ok(Entities::new(hosts).get(&id))
    }
}

/// One ask on its way. The message stays here while no entity has it.
struct Ask<M, T> {
    msg: Option<M>,
    number: u64,
    call: Arc<Call>,
    answer: oneshot::Receiver<T>,
    encoded: Option<(Codec, Bytes)>,
    /// A node knows its kind under another schema than it said: named fields, from then on.
    named: bool,
    deadline: Instant,
}

/// How one try ended.
enum Try<T> {
    Over(Result<T, AskError>),
    /// Not executed, and another try may do better.
    Again(NotExecuted),
}

fn refused<T>(why: impl Into<AskError>) -> Try<T> {
    Try::Over(Err(why.into()))
}

impl<E: Entity> EntityRef<E> {
    /// The entity's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Asks, and waits for the answer at most [`ASK_WITHIN`].
    ///
    /// `make` puts the [`Reply`] into the message. Where it is sure that the message was not
    /// handled it is sent again, also to another owner, until the deadline.
    ///
    /// # Errors
    /// [`AskError`] says whether the message may have been handled.
    pub async fn ask<T, F>(&self, make: F) -> Result<T, AskError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce(Reply<T>) -> E::Msg,
    {
        self.ask_within(ASK_WITHIN, make).await
    }

    /// Asks, and waits for the answer at most `patience`; inside a handler at most as long as the
    /// asker of the message in hand waits.
    ///
    /// # Errors
    /// [`AskError`] says whether the message may have been handled.
    pub async fn ask_within<T, F>(&self, patience: Duration, make: F) -> Result<T, AskError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce(Reply<T>) -> E::Msg,
    {
        let number = self.hosts.next_call();
        let (reply, call, answer) = Reply::here(number);
        let mut deadline = self.hosts.now() + patience;
        if let Some(bound) = self.speaks_for() {
            deadline = deadline.min(bound.deadline);
        }
        let msg = Some(make(reply));
        let mut ask = Ask { msg, number, call, answer, encoded: None, named: false, deadline };
        self.drive(&mut ask).await
    }

    async fn drive<T>(&self, ask: &mut Ask<E::Msg, T>) -> Result<T, AskError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let mut watch = self.hosts.watched().follow();
        let mut wait = RETRY_AFTER_MIN;
        loop {
            let view = watch.get();
            let why = match self.attempt(&view, ask).await {
                Try::Over(result) => return result,
                Try::Again(why) => why,
            };
            let now = self.hosts.now();
            if now >= ask.deadline {
                return Err(why.into());
            }
            let until = ask.deadline.min(now + wait);
            wait = (wait * 2).min(RETRY_AFTER_MAX);
            // A newer view, or time to try the same one again: the owner may have been late.
            if let Ok(None) = within(self.hosts.clock(), until, watch.changed()).await {
                return Err(NotExecuted::Stopping.into());
            }
        }
    }

    async fn attempt<T>(&self, view: &View, ask: &mut Ask<E::Msg, T>) -> Try<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let (shard, owner) = match self.route(view) {
            Ok(route) => route,
            Err(why @ NotExecuted::NoOwner(_)) => return Try::Again(why),
            Err(why) => return refused(why),
        };
        if owner.node == *self.hosts.me() {
            self.attempt_here(shard, ask).await
        } else {
            self.attempt_there(view, shard, &owner.node, ask).await
        }
    }

    /// On whose behalf this is used: the turn it is used in, else the one whose context made it,
    /// which a task may have outlived.
    pub(super) fn speaks_for(&self) -> Option<Bound> {
        TURN.try_with(|bound| *bound).ok().or(self.bound)
    }

    /// Where the entity is in this view, if this node may speak at all.
    fn route<'v>(&self, view: &'v View) -> Result<(ShardId, &'v Owner), NotExecuted> {
        if self.hosts.is_stopping() {
            return Err(NotExecuted::Stopping);
        }
        if self.speaks_for().is_some_and(|bound| self.hosts.lease().check(&bound.tenure).is_err()) {
            return Err(NotExecuted::Lapsed);
        }
        if E::KIND.len() + self.id.len() > frame::NAME_BYTES_MAX {
            return Err(NotExecuted::BadMessage("kind and id are too long".into()));
        }
        let Some(constants) = &view.constants else {
            return Err(NotExecuted::NoOwner(ShardId(0)));
        };
        let hash = || crate::ring::shard_of(E::KIND, self.id.as_bytes(), constants.shards);
        let shard = *self.shard.get_or_init(hash);
        let owner = view.shard(shard).and_then(|shard| shard.owner.as_ref());
        Ok((shard, owner.ok_or(NotExecuted::NoOwner(shard))?))
    }

    async fn attempt_here<T>(&self, shard: ShardId, ask: &mut Ask<E::Msg, T>) -> Try<T> {
        let Some(host) = self.hosts.host::<E>() else {
            return refused(NotExecuted::NotHosted(E::KIND.into()));
        };
        let Some(home) = host.home(&self.hosts, shard) else {
            return Try::Again(NotExecuted::NotOwner(shard));
        };
        let Some(msg) = ask.msg.take() else { return refused(Unknown::Lapsed) };
        let (sender, fate) = oneshot::channel();
        let envelope = Envelope {
            msg,
            call: ask.call.clone(),
            deadline: ask.deadline,
            fate: Fate::Here(sender),
        };
        if let Err((envelope, why)) = home.push(&self.id, envelope) {
            ask.msg = Some(envelope.msg);
            return again(shard, why);
        }
        let outcome = outcome(&mut ask.answer, fate);
        match within(self.hosts.clock(), ask.deadline, outcome).await {
            Ok(Outcome::Answer(answer)) => Try::Over(Ok(answer)),
            Ok(Outcome::Returned(msg, why)) => {
                ask.msg = Some(msg);
                again(shard, why)
            }
            // Dropped with its lane: if no turn had it, none ever will.
            Ok(Outcome::Unknown(Unknown::Lapsed)) if ask.call.withdraw() => {
                refused(NotExecuted::NotOwner(shard))
            }
            Ok(Outcome::Unknown(why)) => refused(why),
            Err(_) if ask.call.withdraw() => refused(NotExecuted::Deadline),
            Err(_) => refused(Unknown::Deadline),
        }
    }

    async fn attempt_there<T: DeserializeOwned>(
        &self,
        view: &View,
        shard: ShardId,
        owner: &NodeId,
        ask: &mut Ask<E::Msg, T>,
    ) -> Try<T> {
        if let Err(why) = self.within_reach(owner) {
            return Try::Again(why);
        }
        let left = ask.deadline.since(self.hosts.now());
        if left.is_zero() {
            return Try::Again(NotExecuted::Deadline);
        }
        let codec = if ask.named { Codec::Named } else { self.hosts.codec::<E>(owner) };
        let msg = match (&ask.encoded, &ask.msg) {
            (Some((before, encoded)), _) if *before == codec => Ok(encoded.clone()),
            (Some(_) | None, Some(msg)) => frame::encode_message(codec, Some(ask.number), msg),
            (Some(_) | None, None) => return refused(Unknown::Lapsed),
        };
        let body = msg.and_then(|msg| {
            let (_, msg) = ask.encoded.insert((codec, msg));
            self.envelope(Some(left), msg)
        });
        let body = match body {
            Ok(body) => body,
            Err(why) => return refused(why),
        };
        let head = head(view, shard, codec);
        let (class, service) = (Class::Message, Service::Entity);
        let asked = self.hosts.links().ask(owner, class, service, head, body, ask.deadline).await;
        match asked {
            Ok(body) => Try::Over(frame::decode_answer(codec, &body)),
            Err(transport::AskError::Refused(body)) => match frame::decode_refusal(&body) {
                Some(why) => {
                    ask.named |= matches!(why, Refusal::OtherSchema { .. });
                    again(shard, why)
                }
                None => Try::Again(NotExecuted::Unreachable(format!("{owner} is starting"))),
            },
            Err(transport::AskError::NotExecuted(why)) => Try::Again(NotExecuted::Unreachable(why)),
            Err(transport::AskError::Unknown(_)) if self.hosts.now() >= ask.deadline => {
                refused(Unknown::Deadline)
            }
            Err(transport::AskError::Unknown(why)) => refused(Unknown::Link(why)),
        }
    }

    /// Sending to a node that seems gone would most likely end as *unknown*: an ask waits until it
    /// is heard or the shard has another owner.
    fn within_reach(&self, owner: &NodeId) -> Result<(), NotExecuted> {
        if self.hosts.hints().avoids(owner) {
            return Err(NotExecuted::Unreachable(format!("{owner} seems gone at present")));
        }
        Ok(())
    }

    fn envelope(&self, left: Option<Duration>, msg: &Bytes) -> Result<Bytes, NotExecuted> {
        let address = Address { kind: E::KIND.into(), id: String::from(&*self.id), left };
        let body = frame::envelope(&address, msg)?;
        let most = Class::Message.body_bytes_max();
        if body.len() > most {
            let text = format!("it has {} bytes, a frame at most {most}", body.len());
            return Err(NotExecuted::BadMessage(text));
        }
        Ok(body)
    }

    /// Sends without waiting: at most once, in order with what this node sent to the entity before.
    ///
    /// # Errors
    /// [`NotExecuted`]: it was not sent. Without an error nothing is known of its arrival.
    pub fn tell(&self, msg: E::Msg) -> Result<(), NotExecuted> {
        let view = self.hosts.view();
        let (shard, owner) = self.route(&view)?;
        if owner.node == *self.hosts.me() {
            let host = self.hosts.host::<E>();
            let host = host.ok_or_else(|| NotExecuted::NotHosted(E::KIND.into()))?;
            let home = host.home(&self.hosts, shard).ok_or(NotExecuted::NotOwner(shard))?;
            let pushed = home.push(&self.id, Envelope::tell(msg));
            return pushed.map_err(|(_, why)| not_executed(shard, why));
        }
        self.within_reach(&owner.node)?;
        let codec = self.hosts.codec::<E>(&owner.node);
        let body = self.envelope(None, &frame::encode_message(codec, None, &msg)?)?;
        let (class, service) = (Class::Message, Service::Entity);
        let head = head(&view, shard, codec);
        let sent = self.hosts.links().tell(&owner.node, class, service, head, body);
        sent.map_err(|error| NotExecuted::Unreachable(error.to_string()))
    }
}

fn head(view: &View, shard: ShardId, codec: Codec) -> Head {
    let epoch = view.shard(shard).map_or_else(Default::default, |shard| shard.epoch);
    // All that one sender says to one entity is of one shard, so of one lane.
    let lane = shard.0.to_be_bytes()[1];
    Head { version: view.version, shard: Some(shard), epoch, lane, schema: codec.schema() }
}

fn again<T>(shard: ShardId, why: Refusal) -> Try<T> {
    match why {
        Refusal::Because(why) => refused(why),
        Refusal::NotOwner(_) | Refusal::OtherSchema { .. } => Try::Again(not_executed(shard, why)),
    }
}

fn not_executed(shard: ShardId, why: Refusal) -> NotExecuted {
    match why {
        Refusal::NotOwner(_) => NotExecuted::NotOwner(shard),
        Refusal::Because(why) => why,
        Refusal::OtherSchema { schema, own } => {
            NotExecuted::BadMessage(WireError::OtherSchema { schema, own }.to_string())
        }
    }
}

enum Outcome<T, M> {
    Answer(T),
    Returned(M, Refusal),
    Unknown(Unknown),
}

/// Waits for the answer, or for what became of the message if there will be none.
async fn outcome<T, M>(
    answer: &mut oneshot::Receiver<T>,
    mut fate: oneshot::Receiver<Ended<M>>,
) -> Outcome<T, M> {
    let mut closed = false;
    let mut handled = false;
    while !(closed && handled) {
        let ended = tokio::select! {
            biased;
            answered = &mut *answer, if !closed => {
                if let Ok(answer) = answered {
                    return Outcome::Answer(answer);
                }
                closed = true;
                continue;
            }
            ended = &mut fate, if !handled => ended,
        };
        let why = match ended {
            Ok(Ended::Returned(msg, why)) => return Outcome::Returned(msg, why),
            // The handler may have kept the reply, to answer later.
            Ok(Ended::Handled) => {
                handled = true;
                continue;
            }
            Ok(Ended::Crashed(why)) => Unknown::Crashed(why),
            Err(_) => Unknown::Lapsed,
        };
        // It may have answered before that.
        return match if closed { None } else { answer.try_recv().ok() } {
            Some(answer) => Outcome::Answer(answer),
            None => Outcome::Unknown(why),
        };
    }
    Outcome::Unknown(Unknown::NoAnswer)
}
