//! The language of the data path: postcard, short and fast, for equal schemas.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WireError;

/// Encodes `value`.
///
/// # Errors
/// [`WireError::Garbage`] if `value` has a serializer that fails: it may be a user's.
pub fn to_data<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, WireError> {
    let bytes = postcard::to_stdvec(value).map_err(|e| WireError::Garbage(e.to_string()))?;
    Ok(bytes.into())
}

/// Decodes one whole value.
///
/// # Errors
/// [`WireError::Garbage`] if the bytes are not such a value, or some are left over.
pub fn from_data<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (value, rest) =
        postcard::take_from_bytes(bytes).map_err(|e| WireError::Garbage(e.to_string()))?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(WireError::Garbage(format!("{} bytes are left over", rest.len())))
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
