//! The language of the data path: postcard, short and fast, for equal schemas.
//!
//! It knows no names: fields and variants are told by their place alone, so that both sides must
//! have the very same type. What describes itself while it is decoded (`flatten`, `untagged`,
//! `skip_serializing_if`) does not go through it; neither does a list of values without bytes.

use bytes::Bytes;
use postcard::de_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bounded::{State, bounded};
use super::{WireError, garbage};

/// Encodes `value`.
///
/// # Errors
/// [`WireError::Garbage`] if `value` has a serializer that fails: it may be a user's.
pub fn to_data<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, WireError> {
    let bytes = postcard::to_stdvec(value).map_err(|error| garbage(&error))?;
    Ok(bytes.into())
}

/// Decodes one whole value: at most 64 values inside each other, no length that the bytes cannot
/// hold, and room for at most 16 entries of a list before they are read: 64 KiB, if an entry itself
/// takes no more than 4 KiB.
///
/// # Errors
/// [`WireError::Garbage`] if the bytes are not such a value, or some are left over.
pub fn from_data<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let state = State::new(bytes);
    let mut decoder = postcard::Deserializer::from_flavor(Rest { bytes, state: &state });
    let value = T::deserialize(bounded(&mut decoder, &state, false));
    let value = value.map_err(|error| match state.fault.get() {
        Some(why) => WireError::Garbage(why.into()),
        None => garbage(&error),
    })?;
    match state.left() {
        0 => Ok(value),
        left => Err(WireError::Garbage(format!("{left} bytes are left over"))),
    }
}

/// What is to be decoded; `state` says from where on.
struct Rest<'de> {
    bytes: &'de [u8],
    state: &'de State,
}

impl<'de> Flavor<'de> for Rest<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    #[inline]
    fn pop(&mut self) -> postcard::Result<u8> {
        let at = self.state.at.get();
        let first = self.bytes.get(at).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.state.at.set(at.wrapping_add(1));
        Ok(*first)
    }

    /// Not said: lists would keep a length to themselves that is more than this.
    fn size_hint(&self) -> Option<usize> {
        None
    }

    #[inline]
    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        let at = self.state.at.get();
        let end = at.checked_add(count).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        let taken = self.bytes.get(at..end).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.state.at.set(end);
        Ok(taken)
    }

    fn finalize(self) -> postcard::Result<&'de [u8]> {
        Ok(self.bytes.get(self.state.at.get()..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_data_and_malformed_ones() {
        let bytes = to_data(&(300_u32, "ab")).expect("encodes");
        assert_eq!(&bytes[..], b"\xac\x02\x02ab");
        assert_eq!(from_data::<(u32, String)>(&bytes), Ok((300, "ab".into())));
        for cut in 0..bytes.len() {
            assert!(from_data::<(u32, String)>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(from_data::<(u32, String)>(b"\xac\x02\x02abc").is_err());
        assert!(from_data::<String>(b"\xff\xff\xff\xff\x0fab").is_err());
    }
}
