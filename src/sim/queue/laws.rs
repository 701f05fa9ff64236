//! What must hold after every step, whatever goes wrong.

use std::collections::BTreeSet;

use super::host::{Host, INBOX_MAX};
use super::machine::{Reachability, Seen};
use crate::base::Instant;
use crate::membership::OBSERVERS;

/// A law does not hold, or a judgement went against the machines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {what}")]
pub struct Broken {
    /// When, by the world's clock.
    pub at: Instant,
    /// What is wrong.
    pub what: String,
}

/// Who is named must be enough: two distinct members other than the subject, or as many as are
/// left, and none of them twice. `by` is the node that sees; those it does not doubt are left.
pub(super) fn named(
    host: &Host,
    now: Instant,
    (by, of): (usize, usize),
    seen: &Seen,
) -> Result<(), String> {
    let Seen { reachability, observers, .. } = seen;
    if by == of {
        return Err(format!("node {by} observes itself: {reachability:?}"));
    }
    if *reachability != Reachability::Unreachable {
        return Ok(());
    }
    let distinct: BTreeSet<usize> = observers.iter().copied().collect();
    if distinct.len() != observers.len() || distinct.contains(&of) {
        return Err(format!("node {by} finds {of} unreachable on the word of {observers:?}"));
    }
    let machine = host.machine.as_ref();
    let left = 1 + machine.map_or(0, |machine| machine.others_left(host.local(now), of));
    if distinct.len() < left.min(OBSERVERS) {
        return Err(format!(
            "node {by} finds {of} unreachable on the word of {observers:?} alone, of {left} left"
        ));
    }
    Ok(())
}

/// The bounds of what waits for a node of a swarm of so many.
pub(super) fn bounds(host: &Host, nodes: usize) -> Result<(), String> {
    let inputs = host.inbox.len();
    // Beside packets, what the driver is told of links and of the agreed view.
    if inputs > INBOX_MAX + 4 * nodes {
        return Err(format!("{inputs} inputs wait"));
    }
    Ok(())
}
