//! A map whose keys only grow, as dense as a vector.

/// A map from keys that are given in order and never again.
///
/// Entries lie in one vector, in order; a removed one leaves a gap, and when half are gaps they are
/// closed. So an entry costs its own size and an eighth, where a `BTreeMap` to which keys are added
/// in order is half empty. A look-up costs one comparison while there are no gaps, else a binary
/// search.
#[derive(Debug, Clone)]
pub(crate) struct Keyed<T> {
    entries: Vec<(usize, Option<T>)>,
    len: usize,
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), len: 0 }
    }
}

impl<T> Keyed<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn place(&self, key: usize) -> Option<usize> {
        let first = self.entries.first()?.0;
        let guess = key.checked_sub(first)?;
        if self.entries.get(guess).is_some_and(|entry| entry.0 == key) {
            return Some(guess);
        }
        // Keys are distinct, so none lies behind its guess.
        let end = guess.min(self.entries.len());
        self.entries[..end].binary_search_by_key(&key, |entry| entry.0).ok()
    }

    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        self.entries[self.place(key)?].1.as_ref()
    }

    /// All values, in the order of their keys.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|(_, value)| value.as_mut())
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        let place = self.place(key)?;
        self.entries[place].1.as_mut()
    }

    /// Adds an entry behind all others.
    ///
    /// # Panics
    /// If the key is not larger than all before it.
    pub(crate) fn push(&mut self, key: usize, value: T) {
        assert!(self.entries.last().is_none_or(|last| last.0 < key), "{key} is out of order");
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(self.entries.len() / 8 + 4);
        }
        self.entries.push((key, Some(value)));
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<T> {
        let place = self.place(key)?;
        let value = self.entries[place].1.take()?;
        self.len -= 1;
        if self.len * 2 < self.entries.len() {
            self.entries.retain(|entry| entry.1.is_some());
            self.entries.shrink_to(self.len + self.len / 8);
        }
        Some(value)
    }

    /// In order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.entries.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|(_, value)| value.as_mut())
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }
}

/// In order.
impl<T> FromIterator<(usize, T)> for Keyed<T> {
    fn from_iter<I: IntoIterator<Item = (usize, T)>>(entries: I) -> Self {
        let entries: Vec<_> = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let len = entries.len();
        Self { entries, len }
    }
}
