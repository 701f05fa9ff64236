//! Whom the leader refuses: the cluster must be able to do without it.

use super::Table;
use crate::authority::office::Office;
use crate::base::{Instant, NodeId};
use crate::detector::{Charge, Span};
use crate::placement::{Member, View};

/// Refuses one boot against which something is held, if the cluster can do without it: never the
/// leader, one at a time, a majority of the members stays, and so do `write_min` stores of every
/// shard that it holds records of. Only members that are neither ending nor overdue count as
/// staying.
pub(super) fn refuse_one(office: &Office, table: &mut Table, view: &View, at: (Instant, Span)) {
    let (now, span) = at;
    // Asked in every round: reports count by how long they last.
    let charges = table.charges(now, span);
    if view.members.iter().any(|(node, member)| table.is_ending(node, member.boot)) {
        return;
    }
    let stays = |node: &NodeId, member: &Member| !table.is_due(node, member.boot, now);
    let chosen = charges.into_iter().find(|charge| {
        charge.node != office.me
            && view.has_boot(&charge.node, charge.boot)
            && can_do_without(view, &charge.node, stays)
    });
    if let Some(Charge { node, boot, reports }) = chosen {
        let why = if reports > 0 { "most find it unreachable" } else { "no grant reaches it" };
        tracing::warn!(%node, %boot, reports, version = %view.version, "refused: {why}");
        table.refuse(&node, boot, now);
    }
}

/// Whether a majority of the members and `write_min` stores of every shard with records stay when
/// `node` goes.
fn can_do_without(view: &View, node: &NodeId, stays: impl Fn(&NodeId, &Member) -> bool) -> bool {
    let Some(own) = view.members.get(node).map(|member| member.store) else { return false };
    let others = || view.members.iter().filter(|(other, one)| *other != node && stays(other, one));
    let write_min = view.constants.as_ref().map_or(1, |all| usize::from(all.write_min));
    let mut held =
        view.numbered().filter(|(_, shard)| shard.has_records && shard.in_sync.contains(&own));
    others().count() * 2 > view.members.len()
        && held.all(|(_, shard)| {
            let left = others().filter(|(_, other)| shard.in_sync.contains(&other.store));
            left.take(write_min).count() == write_min
        })
}
