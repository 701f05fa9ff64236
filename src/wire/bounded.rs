//! What untrusted bytes may make a decoder do: serde's traits, wrapped, with three bounds.
//!
//! - Depth: each list, map, variant, option and newtype inside another one counts; more than
//!   [`DEPTH_MAX`] is refused. Postcard has no such bound, and in `MessagePack` options and
//!   newtypes take no byte of their own: one byte can stand for a value without end.
//! - Lengths: one above the number of bytes that are left is refused at once, and so is in
//!   postcard a list whose entries take no bytes: its length could be anything.
//! - Room: it is made for at most [`ROOM_MAX`] entries before they arrive. Serde's own bound is
//!   1 MiB for every list, however deep it lies in others.
//!
//! Longer than a wrapper should be, because serde has seven traits between a deserializer and the
//! entry of a list. `serde_stacker` grows the stack instead and knows no lengths.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// How deep values may nest. A tree of lists in an enum takes two for each level.
pub(super) const DEPTH_MAX: u8 = 64;
/// Entries for which room is made before they arrive. Under [`DEPTH_MAX`] lists that all lie, of
/// entries of 64 bytes, that is 64 KiB.
pub(super) const ROOM_MAX: usize = 16;

/// What one decoding has left, and why it was ended; some decoders drop the words of an error.
#[derive(Debug)]
pub(super) struct State {
    len: usize,
    /// How many bytes are read; stays 0 where the decoder does not say.
    pub(super) at: Cell<usize>,
    pub(super) fault: Cell<Option<&'static str>>,
}

impl State {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { len: bytes.len(), at: Cell::new(0), fault: Cell::new(None) }
    }

    #[inline]
    pub(super) fn left(&self) -> usize {
        self.len.saturating_sub(self.at.get())
    }
}

/// The bounds at one place of a value.
#[derive(Clone, Copy)]
struct Bounds<'s> {
    state: &'s State,
    depth: u8,
    /// Every length stands in the bytes, every entry takes at least one byte, and what is left is
    /// counted once, at the start: `MessagePack`.
    described: bool,
}

impl<'s> Bounds<'s> {
    fn refused<E: Error>(self, why: &'static str) -> E {
        self.state.fault.set(Some(why));
        E::custom(why)
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_add(1) {
            Some(depth) if depth <= DEPTH_MAX => Ok(Self { depth, ..self }),
            Some(_) | None => Err(self.refused("it nests too deep")),
        }
    }

    fn around<T>(self, inner: T) -> Bounded<'s, T> {
        Bounded { inner, bounds: self, counted: self.described }
    }

    /// Around what is handed the entries; `counted` if their number stands in the bytes.
    fn over<T>(self, inner: T, counted: bool) -> Bounded<'s, T> {
        Bounded { inner, bounds: self, counted: counted || self.described }
    }
}

/// A deserializer, a seed, a visitor or a variant inside the bounds.
pub(super) struct Bounded<'s, T> {
    inner: T,
    bounds: Bounds<'s>,
    counted: bool,
}

/// A decoder inside the bounds. `described`: see [`Bounds`].
pub(super) fn bounded<T>(inner: T, state: &State, described: bool) -> Bounded<'_, T> {
    Bounds { state, depth: 0, described }.around(inner)
}

impl<'s, T> Bounded<'s, T> {
    /// The bounds of the entries, and themselves if there are as many as are claimed.
    fn admit<A, E: Error>(&self, access: A, len: Option<usize>) -> Result<Entries<'s, A>, E> {
        if self.counted && len.is_some_and(|len| len > self.bounds.state.left()) {
            return Err(self.bounds.refused("a list claims more entries than bytes are left"));
        }
        let bounds = self.bounds.deeper()?;
        let at = bounds.state.at.get();
        Ok(Entries { inner: access, bounds, must_take: self.counted && !bounds.described, at })
    }
}

macro_rules! deserialize {
    ($counted:literal: $($name:ident($($arg:ident: $of:ty),*))*) => {$(
        #[inline]
        fn $name<V: Visitor<'de>>(self, $($arg: $of,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$name($($arg,)* self.bounds.over(visitor, $counted))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    deserialize! { true:
        deserialize_any() deserialize_ignored_any() deserialize_seq() deserialize_map()
        deserialize_bytes() deserialize_byte_buf()
    }

    deserialize! { false:
        deserialize_bool() deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_i128() deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
        deserialize_u128() deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_str() deserialize_string() deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.bounds.around(from))
    }
}

macro_rules! visit {
    ($($name:ident($of:ty))*) => {$(
        #[inline]
        fn $name<E: Error>(self, value: $of) -> Result<V::Value, E> {
            self.inner.$name(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64)
        visit_i128(i128) visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64)
        visit_u128(u128) visit_f32(f32) visit_f64(f64) visit_char(char) visit_str(&str)
        visit_borrowed_str(&'de str) visit_string(String) visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.bounds.deeper()?.around(from))
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.bounds.deeper()?.around(from))
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let len = access.size_hint();
        let entries = self.admit(access, len)?;
        self.inner.visit_seq(entries)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let len = access.size_hint();
        let entries = self.admit(access, len)?;
        self.inner.visit_map(entries)
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.bounds.deeper()?.around(access))
    }
}

/// The entries of a list or a map.
struct Entries<'s, A> {
    inner: A,
    bounds: Bounds<'s>,
    /// An entry that took no bytes is refused.
    must_take: bool,
    /// Where the entry in hand begins.
    at: usize,
}

impl<A> Entries<'_, A> {
    #[inline]
    fn took<E: Error>(&self) -> Result<(), E> {
        if self.must_take && self.at == self.bounds.state.at.get() {
            return Err(self.bounds.refused("it is a list of values that take no bytes"));
        }
        Ok(())
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.at = self.bounds.state.at.get();
        let found = self.inner.next_element_seed(self.bounds.around(seed))?;
        if found.is_some() {
            self.took()?;
        }
        Ok(found)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|len| len.min(ROOM_MAX))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.at = self.bounds.state.at.get();
        self.inner.next_key_seed(self.bounds.around(seed))
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.inner.next_value_seed(self.bounds.around(seed))?;
        self.took()?;
        Ok(value)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|len| len.min(ROOM_MAX))
    }
}

impl<'s, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'s, A> {
    type Error = A::Error;
    type Variant = Bounded<'s, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.bounds.around(seed))?;
        Ok((value, self.bounds.around(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.bounds.around(seed))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.bounds.over(visitor, false))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.bounds.over(visitor, false))
    }
}

#[cfg(test)]
mod tests;
