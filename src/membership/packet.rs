//! Packets of the gossip, read before foca sees them: who may say what.
//!
//! | from            | may say                                                                  |
//! |-----------------|--------------------------------------------------------------------------|
//! | the sender      | anything of itself: its link proves its name and its life                |
//! | anybody         | that a member is alive or suspect, under an incarnation near to the known |
//! | nobody          | that another is down: only the agreed view takes a member away           |
//!
//! So a member that lies, or whose memory is broken, costs those it names a refutation.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use foca::{Codec as _, Header, Member, Message, PostcardCodec};

use super::GossipId;

/// Largest packet, in bytes, its kind included.
pub(super) const PACKET_BYTES_MAX: usize = 1_200;
/// By how much an incarnation may grow from one rumour to the next. Only its owner raises it by
/// more, so that a single rumour cannot use up all the numbers there are.
pub(super) const LEAP_MAX: u32 = 1_000;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// SWIM's, and news with it.
    Swim = 0,
    /// A hash of all cards, to compare.
    Digest = 1,
    /// Cards that the other side may lack.
    Cards = 2,
}

impl Kind {
    const fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Swim,
            1 => Self::Digest,
            2 => Self::Cards,
            _ => return None,
        })
    }

    pub(super) fn framed(self, body: &[u8]) -> Bytes {
        [&[self as u8], body].concat().into()
    }

    /// Splits a packet into its kind and the rest.
    pub(super) fn split(packet: &Bytes) -> Option<(Self, Bytes)> {
        let kind = Self::from_wire(*packet.first()?)?;
        (packet.len() <= PACKET_BYTES_MAX).then(|| (kind, packet.slice(1..)))
    }
}

/// One of SWIM's packets, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) header: Header<GossipId>,
    pub(super) updates: Vec<Member<GossipId>>,
    /// Encoded news.
    pub(super) records: Vec<Bytes>,
}

impl Packet {
    /// A packet of this node's own making.
    pub(super) fn new(
        src: &GossipId,
        src_incarnation: u16,
        dst: &GossipId,
        message: Message<GossipId>,
    ) -> Self {
        let header = Header { src: src.clone(), src_incarnation, dst: dst.clone(), message };
        Self { header, updates: Vec::new(), records: Vec::new() }
    }

    /// Reads one; `None` if it is malformed.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let header: Header<GossipId> = PostcardCodec.decode_header(&mut bytes).ok()?;
        let mut updates = Vec::new();
        if bytes.len() >= 2 && header.message != Message::Broadcast {
            for _ in 0..bytes.get_u16() {
                updates.push(PostcardCodec.decode_member(&mut bytes).ok()?);
            }
        }
        let mut records = Vec::new();
        while bytes.has_remaining() {
            let len = usize::from(bytes.try_get_u16().ok()?);
            if len == 0 || len > bytes.len() {
                return None;
            }
            records.push(bytes.split_to(len));
        }
        Some(Self { header, updates, records })
    }

    /// As foca reads it, without the news.
    pub(super) fn encode(&self) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        PostcardCodec.encode_header(&self.header, &mut bytes).ok()?;
        if !self.updates.is_empty() {
            bytes.put_u16(u16::try_from(self.updates.len()).ok()?);
        }
        for update in &self.updates {
            PostcardCodec.encode_member(update, &mut bytes).ok()?;
        }
        Some(bytes.freeze())
    }
}
