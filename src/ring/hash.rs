//! Where names, keys and shards lie on the circle.
//!
//! What is hashed here is part of what is on disk and on the wire: it never changes.

use sha1::block_api::compress;
use sha1::{Digest as _, Sha1};

use crate::base::{NodeId, ShardId};

const BLOCK: usize = 64;
/// A block ends with the number of bits.
const BITS_AT: usize = BLOCK - 8;
/// What SHA-1 begins with.
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// SHA-1 of the parts, one after the other.
#[must_use]
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut hash = [0; 20];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(words(parts)) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

/// Where the parts, one after the other, lie on the circle: the first eight bytes of their SHA-1,
/// big-endian.
#[must_use]
pub fn point(parts: &[&[u8]]) -> u64 {
    let [high, low, ..] = words(parts);
    u64::from(high) << 32 | u64::from(low)
}

/// SHA-1 of the parts as big-endian words.
///
/// What is hashed on every look-up is short. What fits in one block is put there directly, without
/// the hasher's own buffer: 44 ns instead of 49.
fn words(parts: &[&[u8]]) -> [u32; 5] {
    let mut block = [0; BLOCK];
    let mut end = 0;
    for part in parts {
        match block[..BITS_AT - 1].get_mut(end..end + part.len()) {
            Some(room) => room.copy_from_slice(part),
            None => return words_of_many(parts),
        }
        end += part.len();
    }
    // Padding of FIPS 180: one bit, zeros, and how many bits there were.
    block[end] = 0x80;
    block[BITS_AT..].copy_from_slice(&(8 * end as u64).to_be_bytes());
    let mut state = INITIAL;
    compress(&mut state, &[block]);
    state
}

fn words_of_many(parts: &[&[u8]]) -> [u32; 5] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    let hash: [u8; 20] = hash.finalize().into();
    let mut words = [0; 5];
    for (word, bytes) in words.iter_mut().zip(hash.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// Token `index` of a node: the point of its name, `#`, and the index in decimal.
///
/// No name contains `#`, so no label is that of another node or index.
#[must_use]
pub fn token(node: &NodeId, index: u32) -> u64 {
    point(&[node.as_str().as_bytes(), b"#", index.to_string().as_bytes()])
}

/// Where a shard lies on the circle: the point of `shard#` and its number in decimal.
#[must_use]
pub fn shard_point(shard: ShardId) -> u64 {
    point(&[b"shard#", shard.0.to_string().as_bytes()])
}

/// The shard of the entity `kind/id`: the top bits of the point of kind, a zero byte, and id.
/// `shards` is the cluster's shard count, a power of two.
#[must_use]
pub fn shard_of(kind: &str, id: &[u8], shards: u16) -> ShardId {
    let bits = u32::from(shards.max(1)).ilog2();
    let hash = point(&[kind.as_bytes(), &[0], id]);
    // Shifting by 64 is not defined: one shard needs no bits.
    let top = hash.checked_shr(u64::BITS - bits).unwrap_or(0);
    ShardId(u16::try_from(top).unwrap_or(u16::MAX))
}
