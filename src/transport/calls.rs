//! The asks of one connection that wait for an answer, found by call id.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::api::AskError;
use super::deadlines::Deadlines;
use crate::base::Instant;

/// Where a message waits to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Its frame starts here, in bytes since the start of the connection.
    At(u64),
    /// It travels in parts, and has this number among such.
    Large(u64),
}

/// An ask that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) start: Start,
    pub(super) lane: u8,
    /// On the wire.
    pub(super) bytes: u64,
    pub(super) answer: oneshot::Sender<Result<Bytes, AskError>>,
}

/// A table with generations: the id of an ask that is over never finds another one.
#[derive(Debug, Default)]
pub(super) struct Calls {
    places: Vec<Place>,
    free: Vec<u32>,
    deadlines: Deadlines,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    pending: Option<Pending>,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// A place for an ask: its id.
    pub(super) fn reserve(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, pending: None });
            u32::try_from(self.places.len() - 1).expect("limits keep asks below 2^32")
        });
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        u64::from(place.generation) << 32 | u64::from(index)
    }

    /// The ask for the place that was reserved as `call`.
    pub(super) fn fill(&mut self, call: u64, pending: Pending, deadline: Instant) {
        if let Some((index, place)) = self.place(call) {
            place.pending = Some(pending);
            self.deadlines.enter(index, deadline);
        }
    }

    /// When an ask may expire next.
    pub(super) fn next_deadline(&self) -> Instant {
        self.deadlines.next()
    }

    /// An ask whose deadline has passed; its place is free again.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Pending> {
        let index = self.deadlines.expired(now)?;
        let generation = self.places.get(index as usize)?.generation;
        self.remove(u64::from(generation) << 32 | u64::from(index))
    }

    /// The ask of this id; its place is free again.
    pub(super) fn remove(&mut self, call: u64) -> Option<Pending> {
        let (index, place) = self.place(call)?;
        let pending = place.pending.take();
        // Whatever comes later under this id is nobody's.
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        self.deadlines.leave(index);
        pending
    }

    fn place(&mut self, call: u64) -> Option<(u32, &mut Place)> {
        let index = u32::try_from(call & u64::from(u32::MAX)).ok()?;
        let place = self.places.get_mut(index as usize)?;
        (u64::from(place.generation) == call >> 32).then_some((index, place))
    }

    /// Takes all, in the order of their places.
    pub(super) fn drain(&mut self) -> Vec<Pending> {
        self.free.clear();
        self.deadlines = Deadlines::default();
        std::mem::take(&mut self.places).into_iter().filter_map(|place| place.pending).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn insert(calls: &mut Calls, at: u64) -> u64 {
        let call = calls.reserve();
        let answer = oneshot::channel().0;
        let pending = Pending { start: Start::At(at), lane: 0, bytes: 0, answer };
        calls.fill(call, pending, Instant::ZERO + Duration::from_secs(at));
        call
    }

    fn start(pending: &Pending) -> Start {
        pending.start
    }

    #[test]
    fn an_id_finds_its_own_ask_once_and_no_other() {
        let mut calls = Calls::default();
        let (first, _) = (insert(&mut calls, 1), insert(&mut calls, 2));
        assert_eq!(calls.remove(first).as_ref().map(start), Some(Start::At(1)));
        assert!(calls.remove(first).is_none());
        let third = insert(&mut calls, 3);
        assert!(calls.remove(first).is_none(), "the place is used again, the id is not");
        assert_eq!(calls.len(), 2);
        assert_eq!(calls.expired(Instant::ZERO + Duration::from_secs(1)).as_ref().map(start), None);
        assert_eq!(calls.remove(third).as_ref().map(start), Some(Start::At(3)));
        assert!(calls.remove(u64::MAX).is_none());
        let late = Instant::ZERO + Duration::from_secs(5);
        let fourth = insert(&mut calls, 4);
        assert_eq!(calls.expired(late).as_ref().map(start), Some(Start::At(2)));
        assert_eq!(calls.expired(late).as_ref().map(start), Some(Start::At(4)));
        assert!(calls.remove(fourth).is_none() && calls.expired(Instant::NEVER).is_none());
        let second = insert(&mut calls, 2);
        assert_eq!(calls.drain().iter().map(start).collect::<Vec<_>>(), [Start::At(2)]);
        assert!(calls.remove(second).is_none());
        assert_eq!(calls.len(), 0);
    }
}
