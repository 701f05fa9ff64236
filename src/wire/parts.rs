//! Large control messages in small parts, so that a heartbeat never waits behind a snapshot.
//!
//! A message larger than [`PART_BYTES_MAX`] travels as frames that repeat its header, each with the
//! next piece of its body; other frames may stand between them, other parts may not.

use bytes::{Bytes, BytesMut};

use super::{Frame, Header, Part, WireError};

/// Longest body of one part, in bytes.
pub const PART_BYTES_MAX: usize = 32 << 10;
/// Longest message that may travel in parts, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The next part of a message of which `rest` is left: its header and its body, taken off `rest`.
#[must_use]
pub fn next_part(header: &Header, rest: &mut Bytes) -> (Header, Bytes) {
    let body = rest.split_to(rest.len().min(PART_BYTES_MAX));
    let part = if rest.is_empty() { Part::Last } else { Part::More };
    (Header { part, ..*header }, body)
}

/// Puts parts together again. Holds at most one message, and no more than has arrived of it.
#[derive(Debug)]
pub struct Assembler {
    bytes_max: usize,
    begun: Option<(Header, BytesMut)>,
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new(MESSAGE_BYTES_MAX)
    }
}

impl Assembler {
    /// For messages of at most so many bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, begun: None }
    }

    /// Takes a frame in: gives it back if it is whole, or the message it completes.
    ///
    /// # Errors
    /// [`WireError`] if a part is not the next one of the message begun, or it grows too long: the
    /// connection cannot be used further.
    pub fn take(&mut self, frame: Frame) -> Result<Option<Frame>, WireError> {
        let Frame { header, body } = frame;
        if header.part == Part::Whole {
            return Ok(Some(Frame { header, body }));
        }
        let whole = Header { part: Part::Whole, ..header };
        let (begun, mut gathered) = self.begun.take().unwrap_or((whole, BytesMut::new()));
        if begun != whole {
            return Err(WireError::Garbage("parts of two messages are mixed".into()));
        }
        if header.part == Part::More && body.is_empty() {
            return Err(WireError::Garbage("a part is empty".into()));
        }
        let bytes = gathered.len().saturating_add(body.len());
        let bytes_max = self.bytes_max;
        if bytes > bytes_max {
            return Err(WireError::TooLong { bytes, bytes_max });
        }
        gathered.extend_from_slice(&body);
        if header.part == Part::More {
            self.begun = Some((whole, gathered));
            return Ok(None);
        }
        Ok(Some(Frame { header: whole, body: gathered.freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Kind;

    fn cut(call: u64, body: &Bytes) -> Vec<Frame> {
        let (header, mut rest, mut frames) =
            (Header::of(Kind::Ask, call), body.clone(), Vec::new());
        loop {
            let (header, body) = next_part(&header, &mut rest);
            frames.push(Frame { header, body });
            if rest.is_empty() {
                return frames;
            }
        }
    }

    proptest! {
        #[test]
        fn messages_survive_and_whole_frames_pass_between(length in 0..200_000_usize) {
            let body: Bytes = (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect();
            let mut assembler = Assembler::default();
            let between = Frame { header: Header::of(Kind::Tell, 0), body: Bytes::from("beat") };
            let frames = cut(9, &body);
            let last = frames.len() - 1;
            for (at, frame) in frames.into_iter().enumerate() {
                prop_assert!(frame.body.len() <= PART_BYTES_MAX);
                let done = assembler.take(frame).expect("in order");
                prop_assert_eq!(done.is_some(), at == last);
                if let Some(frame) = done {
                    prop_assert_eq!(frame.header, Header::of(Kind::Ask, 9));
                    prop_assert_eq!(&frame.body, &body);
                }
                let passed = assembler.take(between.clone());
                prop_assert_eq!(passed, Ok(Some(between.clone())));
            }
        }
    }

    #[test]
    fn mixed_empty_and_endless_parts_are_refused() {
        let body = Bytes::from(vec![7; 100_000]);
        let (mut one, mut other) = (cut(1, &body).into_iter(), cut(2, &body).into_iter());
        let mut assembler = Assembler::default();
        assert_eq!(assembler.take(one.next().expect("three parts")), Ok(None));
        let mixed = assembler.take(other.next().expect("three parts"));
        assert_eq!(mixed, Err(WireError::Garbage("parts of two messages are mixed".into())));

        let more = Header { part: Part::More, ..Header::of(Kind::Ask, 1) };
        let empty = Assembler::default().take(Frame { header: more, body: Bytes::new() });
        assert_eq!(empty, Err(WireError::Garbage("a part is empty".into())));

        let mut assembler = Assembler::default();
        let part = Frame { header: more, body: Bytes::from(vec![0; PART_BYTES_MAX]) };
        for _ in 0..MESSAGE_BYTES_MAX / PART_BYTES_MAX {
            assert_eq!(assembler.take(part.clone()), Ok(None));
        }
        let bytes = MESSAGE_BYTES_MAX + PART_BYTES_MAX;
        let endless = Err(WireError::TooLong { bytes, bytes_max: MESSAGE_BYTES_MAX });
        assert_eq!(assembler.take(part), endless);
    }
}
