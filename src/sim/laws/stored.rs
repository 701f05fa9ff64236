//! I2 at the stores: the writes of a shard are accepted strictly by epoch.

use std::collections::BTreeMap;

use crate::base::{Epoch, ShardId, StoreId};

/// The epoch under which each store last took something of each shard. It outlives the lives of
/// its node, as what a store has taken does.
#[derive(Debug, Default)]
pub(super) struct Stored(BTreeMap<(StoreId, ShardId), Epoch>);

impl Stored {
    /// `store` committed a change of `shard` under `epoch`.
    pub(super) fn took(
        &mut self,
        store: StoreId,
        shard: ShardId,
        epoch: Epoch,
    ) -> Result<(), String> {
        let last = self.0.entry((store, shard)).or_default();
        if epoch < *last {
            return Err(format!("I2: {store} took {shard} under {epoch} after {last}"));
        }
        *last = epoch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_goes_back_to_an_earlier_epoch_is_found() {
        let (mut stored, shard) = (Stored::default(), ShardId(7));
        let mut took = |store, epoch| stored.took(StoreId(store), shard, Epoch::new(0, epoch));
        assert_eq!((took(1, 3), took(1, 3), took(1, 5)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(took(2, 4), Ok(()), "another store may be behind");
        assert!(took(1, 4).is_err_and(|what| what.starts_with("I2: ")));
    }
}
