//! The watch channel openraft runs on: wakes its receivers in the order they were made.
//!
//! Tokio's own draws that order from the operating system, so that the leader's appends would leave
//! in another order in every run of a simulation. [`crate::base::Watch`] has the same order but
//! another shape: openraft asks for borrowed values and for changes in place.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker};

use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft::{OptionalSend, OptionalSync};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// Names the channel's types.
#[derive(Debug)]
pub(super) struct OrderedWatch;

struct Shared<T> {
    value: RwLock<T>,
    /// Taken while `value` is, never the other way round.
    ends: Mutex<Ends>,
}

struct Ends {
    /// Grows with each value. Changed only while the value is locked for writing.
    version: u64,
    senders: usize,
    receivers: usize,
    next_receiver: u64,
    waiting: BTreeMap<u64, Waker>,
}

pub(super) struct Sender<T>(Arc<Shared<T>>);

pub(super) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    me: u64,
    seen: u64,
}

fn wake(woken: BTreeMap<u64, Waker>) {
    woken.into_values().for_each(Waker::wake);
}

impl<T> Shared<T> {
    fn receiver(self: &Arc<Self>, seen: Option<u64>) -> Receiver<T> {
        let mut ends = self.ends.lock();
        ends.receivers += 1;
        ends.next_receiver += 1;
        Receiver {
            shared: self.clone(),
            me: ends.next_receiver,
            seen: seen.unwrap_or(ends.version),
        }
    }

    /// Readers may nest: openraft borrows while it holds a borrow.
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read_recursive()
    }
}

impl<T> Sender<T> {
    fn change(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.0.value.write();
        if !modify(&mut value) {
            return false;
        }
        let woken = {
            let mut ends = self.0.ends.lock();
            ends.version += 1;
            mem::take(&mut ends.waiting)
        };
        drop(value);
        wake(woken);
        true
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.ends.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let woken = {
            let mut ends = self.0.ends.lock();
            ends.senders -= 1;
            if ends.senders > 0 {
                return;
            }
            mem::take(&mut ends.waiting)
        };
        wake(woken);
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receiver(Some(self.seen))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut ends = self.shared.ends.lock();
        ends.receivers -= 1;
        ends.waiting.remove(&self.me);
    }
}

impl Watch for OrderedWatch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let ends = Ends {
            version: 0,
            senders: 1,
            receivers: 0,
            next_receiver: 0,
            waiting: BTreeMap::new(),
        };
        let shared = Arc::new(Shared { value: RwLock::new(init), ends: Mutex::new(ends) });
        let receiver = shared.receiver(None);
        (Sender(shared), receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<OrderedWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.ends.lock().receivers == 0 {
            return Err(SendError(value));
        }
        self.change(|old| {
            *old = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        self.change(modify)
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receiver(None)
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<OrderedWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|cx| {
            let mut ends = self.shared.ends.lock();
            if ends.version != self.seen {
                self.seen = ends.version;
                return Poll::Ready(Ok(()));
            }
            if ends.senders == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            ends.waiting.insert(self.me, cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.value.read_recursive();
        self.seen = self.shared.ends.lock().version;
        value
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Wake};

    use futures::FutureExt as _;

    use super::*;

    struct Woken(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.1.lock().push(self.0);
        }
    }

    #[test]
    fn receivers_are_woken_in_the_order_they_were_made() {
        let (sender, _first) = OrderedWatch::channel(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut receivers: Vec<_> = (0..8).map(|_| sender.subscribe()).collect();
        for (number, receiver) in receivers.iter_mut().enumerate().rev() {
            let waker = Arc::new(Woken(number as u64, order.clone())).into();
            let polled = receiver.changed().boxed().poll_unpin(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        sender.send(1).unwrap();
        assert_eq!(*order.lock(), (0..8).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_last_sender_ends_the_channel_and_the_last_receiver_refuses_values() {
        let (sender, mut receiver) = OrderedWatch::channel(0);
        let other = sender.clone();
        drop(sender);
        other.send(1).unwrap();
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow_and_update(), 1);
        drop(other);
        assert!(receiver.changed().await.is_err());
        let (sender, receiver) = OrderedWatch::channel(0);
        drop(receiver);
        assert_eq!(sender.send(2), Err(SendError(2)));
    }
}
