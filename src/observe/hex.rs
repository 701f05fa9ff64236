//! Numbers of more than 53 bits as hex digits: most readers of JSON hold numbers in a double.

use serde::{Deserialize, Deserializer, Serializer};

/// An [`Epoch`](crate::base::Epoch).
pub(super) mod epoch {
    use super::{Deserialize as _, Deserializer, Serializer, digits};
    use crate::base::Epoch;

    pub(in crate::observe) fn serialize<S: Serializer>(
        epoch: &Epoch,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:x}", epoch.0))
    }

    pub(in crate::observe) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Epoch, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map(Epoch).map_err(|_| digits())
    }
}

/// A [`StoreId`](crate::base::StoreId).
pub(super) mod store {
    use super::{Deserialize as _, Deserializer, Serializer, digits};
    use crate::base::StoreId;

    pub(in crate::observe) fn serialize<S: Serializer>(
        store: &StoreId,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:032x}", store.0))
    }

    pub(in crate::observe) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<StoreId, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map(StoreId).map_err(|_| digits())
    }
}

fn digits<E: serde::de::Error>() -> E {
    E::custom("hex digits were expected")
}
