//! When a change of D is over.

use super::Table;
use crate::base::Instant;
use crate::detector::Span;
use crate::placement::{Change, View};

/// The entry that ends a change of D, once the longer D' has passed since this leadership learnt of
/// the change: no grant of the D before is in force then. To be asked in every round.
pub(super) fn settle(table: &mut Table, view: &View, now: Instant, span: Span) -> Option<Change> {
    let constants = view.constants.as_ref()?;
    let lease = constants.profile.lease;
    let change = constants.lease_before.map(|before| (before, lease));
    table.has_settled(change, now, span).then_some(Change::LeaseSettled { lease })
}
