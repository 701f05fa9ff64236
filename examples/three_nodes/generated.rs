//! A file made from a seed, so that every byte of it can be checked without keeping it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, ReadBuf};

/// `left` bytes of noise.
#[derive(Debug, Clone)]
pub(crate) struct Noise {
    rng: SmallRng,
    word: [u8; 8],
    used: usize,
    left: u64,
}

impl Noise {
    pub(crate) fn new(seed: u64, size: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), word: [0; 8], used: 8, left: size }
    }

    /// The next bytes, as many as fit; none at the end.
    fn fill(&mut self, space: &mut [u8]) -> usize {
        let count = space.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for byte in &mut space[..count] {
            if self.used == self.word.len() {
                self.word = self.rng.next_u64().to_le_bytes();
                self.used = 0;
            }
            *byte = self.word[self.used];
            self.used += 1;
        }
        self.left -= count as u64;
        count
    }

    /// The SHA-1 of all that is left, in hexadecimal.
    pub(crate) fn sha1(mut self) -> String {
        let mut whole = Sha1::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let filled = self.fill(&mut buffer);
            if filled == 0 {
                return crate::entities::hex(&whole.finalize());
            }
            whole.update(&buffer[..filled]);
        }
    }
}

impl AsyncRead for Noise {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = self.fill(buf.initialize_unfilled());
        buf.advance(filled);
        Poll::Ready(Ok(()))
    }
}
