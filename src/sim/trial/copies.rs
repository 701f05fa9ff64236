//! I3: what is acknowledged is on every store of the current `in_sync`, `write_min` at least.

use std::collections::BTreeSet;

use super::oracle::Counter;
use crate::entity::Entity as _;
use crate::ring::shard_of;
use crate::sim::World;
use crate::wire::from_named;

/// Before the state in a record's value: the version of its kind.
const VERSION_BYTES: usize = 2;

/// Looks at the copies of the counter `id`, which must have `tokens`: on the disks, whether their
/// hosts are up or not. A store that was destroyed is not asked; the world destroys none that is
/// the last to hold a shard.
pub(super) fn check(world: &World, id: &str, tokens: &BTreeSet<u64>) -> Result<(), String> {
    // Of a shard without records the view promises nothing.
    let Some(view) = world.agreed().filter(|_| !tokens.is_empty()) else { return Ok(()) };
    let Some(constants) = &view.constants else { return Ok(()) };
    let number = shard_of(Counter::KIND, id.as_bytes(), constants.shards);
    let Some(shard) = view.shard(number) else { return Ok(()) };
    let fault = |what: String| Err(format!("I3: {id} in {number} at {}: {what}", view.version));
    let there = shard.in_sync.iter().copied().filter(|store| !world.is_destroyed(*store));
    let there: Vec<_> = there.collect();
    // Where one of its stores was destroyed, copies are made anew while it may be read already.
    let least = if world.is_thin(number) { 1 } else { usize::from(constants.write_min) };
    if there.len() < least {
        return fault(format!("it is on {there:?} only"));
    }
    let key = [Counter::KIND.as_bytes(), b"\0", id.as_bytes()].concat();
    for store in there {
        let record = world.record(&view, store, (number, &key))?;
        let value = record.map(|record| record.value).unwrap_or_default();
        let state = value.get(VERSION_BYTES..).unwrap_or_default();
        let has = if state.is_empty() {
            BTreeSet::new()
        } else {
            let state: Counter = from_named(state).map_err(|error| error.to_string())?;
            state.tokens.into_keys().collect()
        };
        let lacks: Vec<_> = tokens.difference(&has).collect();
        if !lacks.is_empty() {
            return fault(format!("{store} lacks {lacks:?} of what was acknowledged or shown"));
        }
    }
    Ok(())
}
