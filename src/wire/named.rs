//! `MessagePack` with the names of fields: fields and variants can be added without a break.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};

use super::bounded::{State, bounded};
use super::{WireError, garbage};

/// Encodes `value`.
///
/// # Errors
/// [`WireError::Garbage`] if `value` has a serializer that fails: it may be a user's.
pub fn to_named<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, WireError> {
    let mut out = BytesMut::new();
    write_named(&mut out, value)?;
    Ok(out.freeze())
}

pub(super) fn write_named<T: Serialize + ?Sized>(
    out: &mut BytesMut,
    value: &T,
) -> Result<(), WireError> {
    rmp_serde::encode::write_named(&mut out.writer(), value).map_err(|error| garbage(&error))
}

/// Decodes one whole value: at most 64 values inside each other, no length that the bytes cannot
/// hold, and room for at most 16 entries of a list before they are read: 64 KiB, if an entry itself
/// takes no more than 4 KiB.
///
/// # Errors
/// [`WireError::Garbage`] if the bytes are not such a value, or some are left over.
pub fn from_named<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    use rmp_serde::decode::Error::InvalidMarkerRead;
    let state = State::new(bytes);
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(bounded(&mut decoder, &state, true));
    let value = value.map_err(|error| match state.fault.get() {
        Some(why) => WireError::Garbage(why.into()),
        None => garbage(&error),
    })?;
    // The decoder does not say where it stands. Reading a number fails in this way only if there
    // is no first byte.
    match u8::deserialize(&mut decoder) {
        Err(InvalidMarkerRead(_)) => Ok(value),
        Ok(_) | Err(_) => Err(WireError::Garbage("bytes are left over".into())),
    }
}
