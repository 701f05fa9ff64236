//! The asks of one connection that wait for an answer, found by call id.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::api::AskError;

/// An ask that waits.
#[derive(Debug)]
pub(super) struct Pending {
    /// Where its frame starts in the output.
    pub(super) start: u64,
    pub(super) answer: oneshot::Sender<Result<Bytes, AskError>>,
}

/// A table with generations: the id of an ask that is over never finds another one.
#[derive(Debug, Default)]
pub(super) struct Calls {
    places: Vec<Place>,
    free: Vec<u32>,
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

    pub(super) fn insert(&mut self, pending: Pending) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, pending: None });
            u32::try_from(self.places.len() - 1).expect("limits keep asks below 2^32")
        });
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        place.pending = Some(pending);
        u64::from(place.generation) << 32 | u64::from(index)
    }

    pub(super) fn remove(&mut self, call: u64) -> Option<Pending> {
        let index = u32::try_from(call & u64::from(u32::MAX)).ok()?;
        let place = self.places.get_mut(index as usize)?;
        if u64::from(place.generation) != call >> 32 {
            return None;
        }
        let pending = place.pending.take()?;
        self.free.push(index);
        Some(pending)
    }

    /// Takes all, in the order of their places.
    pub(super) fn drain(&mut self) -> Vec<Pending> {
        self.free.clear();
        std::mem::take(&mut self.places).into_iter().filter_map(|place| place.pending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(start: u64) -> Pending {
        Pending { start, answer: oneshot::channel().0 }
    }

    #[test]
    fn an_id_finds_its_own_ask_once_and_no_other() {
        let mut calls = Calls::default();
        let (first, second) = (calls.insert(pending(1)), calls.insert(pending(2)));
        assert_eq!(calls.remove(first).map(|p| p.start), Some(1));
        assert!(calls.remove(first).is_none());
        let third = calls.insert(pending(3));
        assert!(calls.remove(first).is_none(), "the place is used again, the id is not");
        assert_eq!(calls.len(), 2);
        assert_eq!(calls.remove(third).map(|p| p.start), Some(3));
        assert!(calls.remove(u64::MAX).is_none());
        assert_eq!(calls.drain().iter().map(|p| p.start).collect::<Vec<_>>(), [2]);
        assert!(calls.remove(second).is_none());
    }
}
