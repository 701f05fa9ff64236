//! The language of the control plane and of stored records: a schema byte, then `MessagePack` with
//! named fields, so that fields can be added without a break.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WireError;
use super::named::{from_named, write_named};

/// The schema byte of everything written today.
pub const CONTROL_SCHEMA: u8 = 1;

/// Encodes `value`.
///
/// # Panics
/// If `value` has a serializer that fails, or a map or list of unknown length. Ours have neither.
pub fn to_control<T: Serialize + ?Sized>(value: &T) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(CONTROL_SCHEMA);
    write_named(&mut out, value).expect("our types serialize, and memory takes any bytes");
    out.freeze()
}

/// Decodes one whole value, within the bounds of [`from_named`].
///
/// # Errors
/// [`WireError`] if the schema is unknown, the bytes are not such a value, or some are left over.
pub fn from_control<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (schema, rest) =
        bytes.split_first().ok_or_else(|| WireError::Garbage("no byte at all".into()))?;
    if *schema != CONTROL_SCHEMA {
        return Err(WireError::Schema(u16::from(*schema)));
    }
    from_named(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, ShardId};

    type Sample = (NodeId, Vec<ShardId>, Option<u64>);

    fn sample() -> Sample {
        ("n1".parse().expect("a name"), vec![ShardId(3)], Some(70_000))
    }

    #[test]
    fn golden_bytes_of_control() {
        let bytes = to_control(&sample());
        assert_eq!(&bytes[..], b"\x01\x93\xa2n1\x91\x03\xce\x00\x01\x11\x70");
        assert_eq!(from_control::<Sample>(&bytes), Ok(sample()));
    }

    #[test]
    fn malformed_control_is_refused() {
        let good = to_control(&sample());
        for cut in 0..good.len() {
            assert!(from_control::<Sample>(&good[..cut]).is_err(), "cut at {cut}");
        }
        let longer = [&good[..], b"\x00"].concat();
        let left = WireError::Garbage("bytes are left over".into());
        assert_eq!(from_control::<Sample>(&longer), Err(left));
        let newer = [&b"\x02"[..], &good[1..]].concat();
        assert_eq!(from_control::<Sample>(&newer), Err(WireError::Schema(2)));
        let lies: [&[u8]; 4] = [
            b"\x01\x93\xdb\xff\xff\xff\xffn1",         // a text of 4 GiB
            b"\x01\x93\xa2n1\xdd\xff\xff\xff\xff\x01", // a list of 4 G entries
            b"\x01\x93\xa2n1\xdf\xff\xff\xff\xff",
            b"\x01\xc6\xff\xff\xff\xff",
        ];
        for lie in lies {
            assert!(from_control::<Sample>(lie).is_err(), "{lie:?}");
        }
        assert!(from_control::<Vec<u8>>(&[1, 0xdd, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }
}
