//! Numbers of more than 53 bits as hex digits: most readers of JSON hold numbers in a double.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

use crate::base::{Epoch, StoreId, VoterId};

/// A number that is written in hex digits.
pub(super) trait Digits: Copy {
    /// Least digits.
    const WIDTH: usize;

    fn number(self) -> u128;

    fn of(number: u128) -> Option<Self>;
}

impl Digits for Epoch {
    const WIDTH: usize = 1;

    fn number(self) -> u128 {
        self.0.into()
    }

    fn of(number: u128) -> Option<Self> {
        u64::try_from(number).map(Self).ok()
    }
}

impl Digits for VoterId {
    const WIDTH: usize = 16;

    fn number(self) -> u128 {
        self.0.into()
    }

    fn of(number: u128) -> Option<Self> {
        u64::try_from(number).map(Self).ok()
    }
}

impl Digits for StoreId {
    const WIDTH: usize = 32;

    fn number(self) -> u128 {
        self.0
    }

    fn of(number: u128) -> Option<Self> {
        Some(Self(number))
    }
}

pub(super) fn serialize<T: Digits, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    let width = T::WIDTH;
    to.collect_str(&format_args!("{:0width$x}", value.number()))
}

pub(super) fn deserialize<'de, T: Digits, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    let number = u128::from_str_radix(&text, 16).ok().and_then(T::of);
    number.ok_or_else(|| D::Error::custom("hex digits were expected"))
}
