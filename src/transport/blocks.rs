//! The memory that bytes are read into, used again once the messages in it are gone.
//!
//! A message is a view of the block it was read into, and keeps all of it. Whoever handles messages
//! a little later would cost a new block for every read, which the allocator takes from the
//! operating system and gives back, page by page.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Bytes of a block, and the most that is read at a time.
const BLOCK_BYTES: usize = 64 << 10;
/// Room below which the next block is taken.
const ROOM_BYTES_MIN: usize = 16 << 10;
/// Full blocks that are kept for later: a megabyte.
const BLOCKS_MAX: usize = 16;

/// Full blocks of one connection.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Oldest first.
    full: VecDeque<BytesMut>,
    /// What is read into now has grown for a large message.
    is_large: bool,
    /// A block was filled since the last rest.
    is_used: bool,
}

impl Blocks {
    /// Makes room in `input` for the next read; what is in it stays.
    pub(super) fn make_room(&mut self, input: &mut BytesMut) {
        if input.capacity() - input.len() >= ROOM_BYTES_MIN {
            return;
        }
        if input.len() >= ROOM_BYTES_MIN {
            // Much of a large message is here: it needs one piece of memory.
            input.reserve(BLOCK_BYTES);
            self.is_large = true;
            return;
        }
        let mut block = self.next();
        block.extend_from_slice(input);
        let mut full = std::mem::replace(input, block);
        full.clear();
        self.is_used = true;
        if std::mem::take(&mut self.is_large) {
            return;
        }
        if self.full.len() == BLOCKS_MAX {
            self.full.pop_front();
        }
        self.full.push_back(full);
    }

    /// An empty block: one of before if nobody holds a message in it, else a new one.
    fn next(&mut self) -> BytesMut {
        let is_free = self.full.front_mut().is_some_and(|block| block.try_reclaim(BLOCK_BYTES));
        let free = if is_free { self.full.pop_front() } else { None };
        free.unwrap_or_else(|| BytesMut::with_capacity(BLOCK_BYTES))
    }

    /// Called now and then: gives all memory back if no block was filled since the last time.
    pub(super) fn rest(&mut self, input: &mut BytesMut) {
        if std::mem::take(&mut self.is_used) {
            return;
        }
        self.full.clear();
        if self.is_large && input.is_empty() {
            *input = BytesMut::new();
            self.is_large = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    /// Fills what room there is and takes all but the last byte off as one message.
    fn fill(input: &mut BytesMut, blocks: &mut Blocks) -> bytes::Bytes {
        blocks.make_room(input);
        let room = input.capacity() - input.len();
        assert!(room >= ROOM_BYTES_MIN);
        input.put_bytes(7, room);
        let message = input.split_to(input.len() - 1).freeze();
        assert_eq!(input.len(), 1, "the start of the next message stays");
        message
    }

    #[test]
    fn blocks_come_back_once_their_messages_are_gone() {
        let (mut input, mut blocks) = (BytesMut::new(), Blocks::default());
        let mut held: Vec<_> = (0..4).map(|_| fill(&mut input, &mut blocks)).collect();
        assert_eq!(blocks.full.len(), 4, "with the one without memory of the start");
        let memory = |message: &bytes::Bytes| message.as_ptr() as usize & !(BLOCK_BYTES - 1);
        let first = memory(&held.remove(0));
        // The one of the start has no memory to come back with, and goes first.
        let later: Vec<_> = (0..BLOCKS_MAX).map(|_| fill(&mut input, &mut blocks)).collect();
        assert!(later.iter().any(|message| memory(message) == first), "the same memory");
        assert!(held.iter().flatten().all(|byte| *byte == 7), "what is held is not touched");
    }

    #[test]
    fn a_large_message_grows_in_one_piece_and_few_blocks_are_kept() {
        let (mut input, mut blocks) = (BytesMut::new(), Blocks::default());
        for _ in 0..100 {
            blocks.make_room(&mut input);
            input.put_bytes(1, ROOM_BYTES_MIN);
        }
        assert!(input.len() >= 100 * ROOM_BYTES_MIN && blocks.full.len() <= 1);
        let mut held = Vec::new();
        for _ in 0..100 {
            input.clear();
            held.push(fill(&mut input, &mut blocks));
        }
        assert!(blocks.full.len() <= BLOCKS_MAX);
        blocks.rest(&mut input);
        assert!(!blocks.full.is_empty(), "they were used");
        blocks.rest(&mut input);
        assert!(blocks.full.is_empty());

        let mut large = BytesMut::zeroed(ROOM_BYTES_MIN);
        blocks.make_room(&mut large);
        assert!(blocks.is_large);
        large.clear();
        blocks.rest(&mut large);
        assert_eq!(large.capacity(), 0, "what a large message took is given back");
    }
}
