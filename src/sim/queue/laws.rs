//! What must hold after every step, whatever goes wrong.

use std::collections::BTreeSet;

use super::host::{Host, INBOX_MAX};
use super::machine::{Reachability, Seen};
use crate::base::Instant;

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
/// left, and none of them twice. `by` is the node that sees.
pub(super) fn named(host: &Host, (by, of): (usize, usize), seen: &Seen) -> Result<(), String> {
    if by == of && seen.reachability != Reachability::Reachable {
        return Err(format!("node {by} finds itself {:?}", seen.reachability));
    }
    let (Reachability::Unreachable, Some(observers)) = (seen.reachability, &seen.observers) else {
        return Ok(());
    };
    let distinct: BTreeSet<usize> = observers.iter().copied().collect();
    if distinct.len() != observers.len() || distinct.contains(&of) {
        return Err(format!("node {by} finds {of} unreachable on the word of {observers:?}"));
    }
    let is_left = |other: &usize| {
        let seen = host.seen.get(*other).and_then(Option::as_ref);
        let is_lost = |seen: &Seen| seen.reachability == Reachability::Unreachable;
        *other != by && *other != of && seen.is_some_and(|seen| !is_lost(seen))
    };
    // Itself, and those it can still reach.
    let left = 1 + (0..host.seen.len()).filter(is_left).count();
    if distinct.len() < left.min(2) {
        return Err(format!(
            "node {by} finds {of} unreachable on the word of {observers:?} alone, of {left} left"
        ));
    }
    Ok(())
}

/// The bounds of what waits, and the machine's own invariants.
pub(super) fn host(node: usize, host: &Host) -> Result<(), String> {
    let packets = host.inbox.len();
    // Beside packets, what the driver is told of links: at most one word per node.
    if packets > INBOX_MAX + host.seen.len() {
        return Err(format!("{packets} inputs wait for node {node}"));
    }
    let checked = host.machine.as_ref().map_or(Ok(()), super::machine::Machine::check);
    checked.map_err(|what| format!("node {node}: {what}"))
}
