//! Every decoder of bytes from outside, by name: what the fuzz targets and the test of their stored
//! corpus call. Not part of the interface.

use bytes::BytesMut;

use crate::wire::fuzz::{Tree, stable};
use crate::wire::hello::Greeting;
use crate::wire::{Assembler, Splitter, from_data, from_named, to_data, to_named};

/// Bodies of frames that the splitter lets through here, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A decoder, or those of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The handshake.
    Greeting,
    /// Frames and the messages whose parts they are.
    Frames,
    /// What nodes say before there is a cluster.
    Formation,
    /// What voters say to each other.
    Raft,
    /// Renewals, claims and their answers.
    Lease,
    /// Proposals and their outcomes.
    Propose,
    /// A view in a snapshot.
    View,
    /// Views for nodes that do not vote.
    Feed,
    /// Gossip packets.
    Gossip,
    /// What stores say to each other.
    Replica,
    /// Addresses, refusals and answers.
    Entity,
    /// What nodes say of themselves.
    Status,
    /// A user's type in postcard.
    Data,
    /// The same in named-field `MessagePack`.
    Named,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Greeting,
        Self::Frames,
        Self::Formation,
        Self::Raft,
        Self::Lease,
        Self::Propose,
        Self::View,
        Self::Feed,
        Self::Gossip,
        Self::Replica,
        Self::Entity,
        Self::Status,
        Self::Data,
        Self::Named,
    ];

    /// The fuzz target's name, and the folder of its corpus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Frames => "frames",
            Self::Formation => "formation",
            Self::Raft => "raft",
            Self::Lease => "lease",
            Self::Propose => "propose",
            Self::View => "view",
            Self::Feed => "feed",
            Self::Gossip => "gossip",
            Self::Replica => "replica",
            Self::Entity => "entity",
            Self::Status => "status",
            Self::Data => "data",
            Self::Named => "named",
        }
    }
}

/// Hands `bytes` to the decoders of `target`; whether one of them took all of it.
///
/// # Panics
/// If a decoder is at fault: it panics itself, or reads what it read otherwise once that is written
/// and read again.
#[must_use]
pub fn decode(target: Target, bytes: &[u8]) -> bool {
    match target {
        Target::Greeting => greetings(bytes),
        Target::Frames => frames(bytes),
        Target::Formation => crate::authority::fuzz_formation(bytes),
        Target::Raft => crate::authority::fuzz_raft(bytes),
        Target::Lease => crate::authority::fuzz_lease(bytes),
        Target::Propose => crate::authority::fuzz_propose(bytes),
        Target::View => crate::authority::fuzz_view(bytes),
        Target::Feed => crate::authority::fuzz_feed(bytes),
        Target::Gossip => crate::membership::fuzz_gossip(bytes),
        Target::Replica => crate::replica::fuzz_replica(bytes),
        Target::Entity => crate::entity::fuzz_entity(bytes),
        Target::Status => crate::observe::fuzz_status(bytes),
        Target::Data => stable::<Tree>(
            bytes,
            |bytes| from_data(bytes).ok(),
            |value| to_data(value).ok().map(Into::into),
        ),
        Target::Named => stable::<Tree>(
            bytes,
            |bytes| from_named(bytes).ok(),
            |value| to_named(value).ok().map(Into::into),
        ),
    }
}

fn greetings(bytes: &[u8]) -> bool {
    let mut input = BytesMut::from(bytes);
    let Ok(Some(greeting)) = Greeting::decode(&mut input) else { return false };
    let mut written = greeting.encode();
    assert_eq!(Greeting::decode(&mut written), Ok(Some(greeting)));
    input.is_empty()
}

fn frames(bytes: &[u8]) -> bool {
    let mut input = BytesMut::from(bytes);
    let (splitter, mut assembler) = (Splitter::new(BODY_BYTES_MAX), Assembler::default());
    let mut taken = 0_usize;
    while let Ok(Some(frame)) = splitter.next(&mut input) {
        let mut written = BytesMut::new();
        crate::wire::encode(&frame.header, &frame.body, &mut written);
        assert_eq!(splitter.next(&mut written).as_ref(), Ok(&Some(frame.clone())));
        if assembler.take(frame).is_err() {
            return false;
        }
        taken += 1;
    }
    taken > 0 && input.is_empty()
}

#[cfg(test)]
mod tests;
