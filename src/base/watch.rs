//! A value that many tasks follow. Wakes its followers in the order they began to wait, so that a
//! simulation repeats; tokio's own watch draws that order from the operating system.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

struct Inner<T> {
    value: Arc<T>,
    changes: u64,
    open: bool,
    next_waiter: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// The side that changes the value. When it is dropped followers learn that no change will come.
pub struct Publisher<T>(Arc<Mutex<Inner<T>>>);

/// Makes followers of one value; cheap to clone.
pub struct Watched<T>(Arc<Mutex<Inner<T>>>);

/// One follower of the value.
pub struct Watch<T> {
    inner: Arc<Mutex<Inner<T>>>,
    seen: u64,
    waiter: Option<u64>,
}

impl<T> Publisher<T> {
    /// A value that can be followed.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            value: Arc::new(value),
            changes: 0,
            open: true,
            next_waiter: 0,
            waiting: BTreeMap::new(),
        })))
    }

    /// Replaces the value and wakes the followers.
    pub fn publish(&self, value: Arc<T>) {
        let woken = {
            let mut inner = self.0.lock();
            inner.value = value;
            inner.changes += 1;
            std::mem::take(&mut inner.waiting)
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.lock().value.clone()
    }

    /// A maker of followers.
    #[must_use]
    pub fn watched(&self) -> Watched<T> {
        Watched(self.0.clone())
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        let woken = {
            let mut inner = self.0.lock();
            inner.open = false;
            std::mem::take(&mut inner.waiting)
        };
        woken.into_values().for_each(Waker::wake);
    }
}

impl<T> Watched<T> {
    /// The present value.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.lock().value.clone()
    }

    /// A follower that has seen the present value.
    #[must_use]
    pub fn follow(&self) -> Watch<T> {
        let seen = self.0.lock().changes;
        Watch { inner: self.0.clone(), seen, waiter: None }
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Watch<T> {
    /// The present value, counted as seen.
    pub fn get(&mut self) -> Arc<T> {
        let inner = self.inner.lock();
        self.seen = inner.changes;
        inner.value.clone()
    }

    /// Waits for a value not seen yet; `None` when the publisher is gone. Several changes in a row
    /// may be seen as one.
    pub async fn changed(&mut self) -> Option<Arc<T>> {
        poll_fn(|cx| {
            let mut inner = self.inner.lock();
            if inner.changes != self.seen {
                self.seen = inner.changes;
                return Poll::Ready(Some(inner.value.clone()));
            }
            if !inner.open {
                return Poll::Ready(None);
            }
            let waiter = *self.waiter.get_or_insert_with(|| {
                inner.next_waiter += 1;
                inner.next_waiter
            });
            inner.waiting.insert(waiter, cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until the value satisfies `wanted`, which is asked of the present value first; `None`
    /// when the publisher is gone.
    pub async fn until(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Option<Arc<T>> {
        let mut value = self.get();
        while !wanted(&value) {
            value = self.changed().await?;
        }
        Some(value)
    }
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            self.inner.lock().waiting.remove(&waiter);
        }
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
opaque!(Publisher, Watched, Watch);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_follower_sees_the_last_value_and_the_end() {
        let publisher = Publisher::new(1);
        let mut watch = publisher.watched().follow();
        publisher.publish(Arc::new(2));
        publisher.publish(Arc::new(3));
        assert_eq!(watch.changed().await.as_deref(), Some(&3));
        drop(publisher);
        assert_eq!(watch.changed().await, None);
    }
}
