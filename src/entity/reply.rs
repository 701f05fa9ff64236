//! The way back to an asker, and the scope in which it travels.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use super::{Hosts, Unknown, frame};
use crate::authority::{Lease, Tenure};
use crate::transport::ReplyTo;
use crate::wire::Codec;

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// What asker, message and [`Reply`] share: whether the message was taken into a turn, and under
/// what right.
#[derive(Default)]
pub(super) struct Call {
    stage: AtomicU8,
    right: OnceLock<(Lease, Tenure)>,
}

impl Call {
    fn step(&self, to: u8) -> bool {
        let swap = self.stage.compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire);
        swap.is_ok()
    }

    /// A turn takes the message in hand; false if the asker withdrew it.
    pub(super) fn take(&self, lease: &Lease, tenure: Tenure) -> bool {
        // Set first, so that a reply never finds a taken call without its right.
        let _ = self.right.set((lease.clone(), tenure));
        self.step(TAKEN)
    }

    /// The asker wants it no more; true if it was not taken and never will be.
    pub(super) fn withdraw(&self) -> bool {
        self.step(WITHDRAWN)
    }

    /// Whether an answer may leave now.
    fn is_open(&self) -> bool {
        // Without a right it is not in a turn: the asker's own closure holds it.
        self.right.get().is_none_or(|(lease, tenure)| lease.check(tenure).is_ok())
    }
}

/// The way back over a link. Dropped unanswered by all who hold it, the asker learns *unknown*.
pub(super) struct Back(Mutex<Option<ReplyTo>>);

impl Back {
    pub(super) fn new(reply: ReplyTo) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(reply))))
    }

    /// Answers, unless that was done before.
    pub(super) fn send(&self, body: Bytes) {
        let reply = self.0.lock().take();
        if let Some(reply) = reply {
            reply.send(body);
        }
    }

    /// Says that it was not executed, unless it was answered before.
    pub(super) fn refuse(&self, body: Bytes) {
        let reply = self.0.lock().take();
        if let Some(reply) = reply {
            reply.refuse(body);
        }
    }
}

enum To<T> {
    /// The asker is on this node; the number tells its calls apart.
    Here(oneshot::Sender<T>, u64),
    /// The asker is on another node, and asked in this codec.
    There(Arc<Back>, Codec),
}

/// Answers one ask, once. Dropped, the asker gets *unknown*.
///
/// It travels inside a message to another node; anywhere else serialising it is an error.
pub struct Reply<T> {
    to: To<T>,
    call: Arc<Call>,
}

impl<T> Reply<T> {
    pub(super) fn here(number: u64) -> (Self, Arc<Call>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let call = Arc::new(Call::default());
        (Self { to: To::Here(sender, number), call: call.clone() }, call, receiver)
    }
}

impl<T: Serialize> Reply<T> {
    /// Answers. An asker that is gone is no error; and if this node may not speak for the entity
    /// any more, nothing leaves and the asker gets *unknown*.
    pub fn send(self, answer: T) {
        if !self.call.is_open() {
            return;
        }
        match self.to {
            // The asker may be gone.
            To::Here(sender, _) => drop(sender.send(answer)),
            To::There(back, codec) => back.send(match frame::encode_answer(codec, &answer) {
                Ok(body) => body,
                Err(why) => frame::encode_unknown(&Unknown::BadAnswer(why.to_string())),
            }),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// What the codec of frames knows while it works on one message.
enum Scope {
    /// A message is encoded; the number is of the ask it belongs to, `None` for a tell.
    Encode(Option<u64>),
    /// A message is decoded.
    Decode { codec: Codec, hosts: Hosts, back: Option<(Arc<Back>, Arc<Call>)> },
}

thread_local! {
    /// Set only while a message is encoded or decoded, which neither waits nor calls back.
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Puts back what was before, also when a user's codec panics.
struct Restore(Option<Scope>, PhantomData<*const ()>);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(self.0.take());
    }
}

fn scoped<T>(scope: Scope, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(SCOPE.replace(Some(scope)), PhantomData);
    work()
}

/// Runs `work` with replies of ask `call` encodable.
pub(super) fn encoding<T>(call: Option<u64>, work: impl FnOnce() -> T) -> T {
    scoped(Scope::Encode(call), work)
}

/// Runs `work` with the message's reply and its references decodable.
pub(super) fn decoding<T>(
    codec: Codec,
    hosts: &Hosts,
    back: Option<(Arc<Back>, Arc<Call>)>,
    work: impl FnOnce() -> T,
) -> T {
    scoped(Scope::Decode { codec, hosts: hosts.clone(), back }, work)
}

/// The node that decodes, inside the codec's scope.
pub(super) fn decoding_hosts() -> Option<Hosts> {
    SCOPE.with_borrow(|scope| match scope {
        Some(Scope::Decode { hosts, .. }) => Some(hosts.clone()),
        Some(Scope::Encode(_)) | None => None,
    })
}

/// Whether a message is being encoded.
pub(super) fn is_encoding() -> bool {
    SCOPE.with_borrow(|scope| matches!(scope, Some(Scope::Encode(_))))
}

impl<T> Serialize for Reply<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let call = SCOPE.with_borrow(|scope| match scope {
            Some(Scope::Encode(call)) => Some(*call),
            Some(Scope::Decode { .. }) | None => None,
        });
        match (call, &self.to) {
            (None, _) => Err(S::Error::custom("a reply travels only inside a message")),
            (Some(Some(call)), To::Here(_, own)) if call == *own => to.serialize_unit(),
            (Some(_), To::Here(..) | To::There(..)) => {
                Err(S::Error::custom("a message to another node carries only its own reply"))
            }
        }
    }
}

impl<'de, T: Serialize + DeserializeOwned> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <()>::deserialize(from)?;
        let back = SCOPE.with_borrow_mut(|scope| match scope {
            Some(Scope::Decode { codec, back, .. }) => back.take().map(|back| (*codec, back)),
            Some(Scope::Encode(_)) | None => None,
        });
        let Some((codec, (back, call))) = back else {
            return Err(D::Error::custom("a reply travels only inside an ask, once"));
        };
        Ok(Self { to: To::There(back, codec), call })
    }
}
