//! The choice between the two languages of a message to an entity.
//!
//! One number says it all: the `schema` field of the frame's header.
//!
//! | schema | the body is                                             | read by         |
//! |--------|---------------------------------------------------------|-----------------|
//! | 0      | `MessagePack` with named fields ([`to_named`])          | every version   |
//! | other  | postcard ([`to_data`]) of that schema of the kind       | the same schema |
//!
//! A receiver compares the number with its own for the kind. Any other than 0 and its own is
//! refused before the body is looked at: [`WireError::OtherSchema`]. An answer is written in the
//! codec of its ask.

use std::num::NonZeroU16;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{WireError, from_data, from_named, to_data, to_named};

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// `MessagePack` with named fields and serde's defaults: between versions.
    #[default]
    Named,
    /// Postcard, between equal schemas.
    Postcard(NonZeroU16),
}

impl Codec {
    /// What two nodes speak about a kind whose schemas are these; 0 stands for a type that is not
    /// fit for postcard.
    #[must_use]
    pub const fn between(ours: u16, theirs: u16) -> Self {
        match NonZeroU16::new(ours) {
            Some(schema) if ours == theirs => Self::Postcard(schema),
            Some(_) | None => Self::Named,
        }
    }

    /// What a frame with this `schema` is written in, at a receiver whose kind has schema `own`.
    ///
    /// # Errors
    /// [`WireError::OtherSchema`]: it cannot be read here.
    pub const fn received(schema: u16, own: u16) -> Result<Self, WireError> {
        match NonZeroU16::new(schema) {
            None => Ok(Self::Named),
            Some(number) if schema == own => Ok(Self::Postcard(number)),
            Some(_) => Err(WireError::OtherSchema { schema, own }),
        }
    }

    /// The number in the header.
    #[must_use]
    pub const fn schema(self) -> u16 {
        match self {
            Self::Named => 0,
            Self::Postcard(schema) => schema.get(),
        }
    }

    /// Encodes `value`.
    ///
    /// # Errors
    /// [`WireError::Garbage`] if `value` has a serializer that fails.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, WireError> {
        match self {
            Self::Named => to_named(value),
            Self::Postcard(_) => to_data(value),
        }
    }

    /// Decodes one whole value.
    ///
    /// # Errors
    /// [`WireError::Garbage`] if the bytes are not such a value, or some are left over.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, WireError> {
        match self {
            Self::Named => from_named(bytes),
            Self::Postcard(_) => from_data(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What version one of a program sends.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Old {
        Add { item: String },
        List,
    }

    /// The same kind one version on: a field and a variant more.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum New {
        Add {
            item: String,
            #[serde(default)]
            count: Option<u32>,
        },
        Remove(String),
        List,
    }

    const OLD: u16 = 1;
    const NEW: u16 = 2;

    /// Sends `value` as the one side would and reads it as the other would.
    fn sent<T: Serialize, U: DeserializeOwned>(
        value: &T,
        from: u16,
        to: u16,
    ) -> Result<U, WireError> {
        let codec = Codec::between(from, to);
        let (schema, body) = (codec.schema(), codec.encode(value).expect("encodes"));
        Codec::received(schema, to)?.decode(&body)
    }

    #[test]
    fn versions_with_other_schemas_understand_each_other() {
        let add = |count| New::Add { item: "tea".into(), count };
        let old = Old::Add { item: "tea".into() };
        assert_eq!(Codec::between(OLD, NEW), Codec::Named);
        assert_eq!(sent(&old, OLD, NEW), Ok(add(None)));
        assert_eq!(sent(&add(Some(2)), NEW, OLD), Ok(old));
        // Moved to another place in the enum, and found by its name.
        assert_eq!(sent(&Old::List, OLD, NEW), Ok(New::List));
        assert_eq!(sent(&New::List, NEW, OLD), Ok(Old::List));
        let unknown = sent::<_, Old>(&New::Remove("tea".into()), NEW, OLD);
        let Err(WireError::Garbage(why)) = unknown else { panic!("{unknown:?}") };
        assert!(why.contains("Remove") && why.contains("Add"), "{why}");
    }

    #[test]
    fn equal_schemas_speak_postcard() {
        let codec = Codec::between(NEW, NEW);
        assert_eq!(codec.schema(), NEW);
        let add = New::Add { item: "tea".into(), count: Some(2) };
        let body = codec.encode(&add).expect("encodes");
        assert_eq!(&body[..], b"\x00\x03tea\x01\x02");
        assert_eq!(Codec::received(NEW, NEW).expect("its own").decode(&body), Ok(add));
        // A type that is not fit for postcard has schema 0 and never speaks it.
        assert_eq!(Codec::between(0, 0), Codec::Named);
    }

    #[test]
    fn postcard_of_another_schema_is_refused_before_it_is_read() {
        let error = Codec::received(OLD, NEW).expect_err("another schema");
        assert_eq!(error, WireError::OtherSchema { schema: OLD, own: NEW });
        let words = "it is written under schema 1 of its kind, and this node reads 2";
        assert_eq!(error.to_string(), words);
        assert!(Codec::received(OLD, 0).is_err(), "a kind that speaks no postcard");
    }
}
