//! The invariants that are checked after every step.

mod queues;
mod renewals;
mod stored;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use super::host::Host;
use renewals::Renewals;
use stored::Stored;

use crate::base::{Epoch, Seen, ShardId, Version};
use crate::node::Node;
use crate::placement::View;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Laws {
    /// What each version was, at whichever node it was seen first.
    versions: BTreeMap<Version, u64>,
    /// Per host: in which life, and the newest view of it.
    seen: Vec<Option<(u64, Arc<View>)>>,
    /// The newest of all views that were seen.
    newest: Option<Arc<View>>,
    /// Ownerships that were seen.
    ownerships: u64,
    /// How often it was checked.
    checks: u64,
    stored: Stored,
    renewals: Renewals,
}

impl Laws {
    /// Checks all of them for the hosts that are up, `now` being the world's time.
    pub(super) fn check(&mut self, hosts: &[Arc<Host>], now: Duration) -> Result<(), String> {
        self.seen.resize(hosts.len(), None);
        self.checks += 1;
        let mut up = Vec::new();
        for host in hosts {
            if let Some(why) = host.failed() {
                return Err(format!("{}: {why}", host.name));
            }
            let Some(node) = host.node() else { continue };
            self.views_grow(host, &node)?;
            if self.checks.is_multiple_of(queues::EVERY) {
                let fills = node.fills().into_iter().chain(queues::of_view(&node.view()));
                queues::within(fills).map_err(|what| format!("{}: {what}", host.name))?;
            }
            up.push((host, node));
        }
        one_holder(&up, now)
    }

    /// Takes in what was seen inside of the nodes during a step.
    pub(super) fn witnessed(&mut self, seen: Vec<Seen>) -> Result<(), String> {
        for one in seen {
            match one {
                Seen::Stored { store, shard, epoch } => self.stored.took(store, shard, epoch)?,
                Seen::Renewing { office, node, boot, at } => {
                    self.renewals.came(office, (node, boot), at);
                }
                Seen::Evicting { office, node, boot, at, lease } => {
                    self.renewals.marked(&office, (node, boot), at, lease);
                }
            }
        }
        Ok(())
    }

    /// The highest version that any node showed.
    pub(super) fn version(&self) -> Version {
        self.versions.keys().next_back().copied().unwrap_or_default()
    }

    /// The newest view that any node showed, whether or not it still runs.
    pub(super) fn newest(&self) -> Option<&Arc<View>> {
        self.newest.as_ref()
    }

    /// How many ownerships of shards there were.
    pub(super) fn ownerships(&self) -> u64 {
        self.ownerships
    }

    /// I4: versions and epochs only grow, at each node in each of its lives; a version is the same
    /// wherever it is seen; every view keeps its own rules.
    fn views_grow(&mut self, host: &Host, node: &Node) -> Result<(), String> {
        let view = node.view();
        let before = self.seen[host.index].replace((host.life(), view.clone()));
        let before = before.filter(|(life, _)| *life == host.life()).map(|(_, view)| view);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &view)) {
            return Ok(());
        }
        let fault = |what: String| Err(format!("{}, {}: {what}", host.name, view.version));
        if let Err(what) = view.check() {
            return fault(format!("I4: {what}"));
        }
        self.renewals.shown(&view)?;
        // The memory of refused changes alone may differ: they make no new version.
        let agreed = View { recent: std::collections::VecDeque::new(), ..(*view).clone() };
        let bytes = postcard::to_stdvec(&agreed).map_err(|error| error.to_string())?;
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        if *self.versions.entry(view.version).or_insert(hash) != hash {
            return fault("I4: another node has another view of this version".into());
        }
        if self.newest.as_ref().is_none_or(|newest| newest.version < view.version) {
            self.newest = Some(view.clone());
        }
        let noted = view
            .history
            .iter()
            .filter(|one| before.as_ref().is_some_and(|before| one.version > before.version));
        for one in noted {
            tracing::info!(host = %host.name, version = %one.version, cause = one.cause, "view");
        }
        let Some(before) = before else { return Ok(()) };
        if view.version == before.version {
            // Told by a voter and then applied: the same, as the hash has shown.
            return Ok(());
        }
        if view.version < before.version {
            return fault(format!("I4: it comes after {}", before.version));
        }
        for ((shard, then), (_, now)) in before.numbered().zip(view.numbered()) {
            if now.epoch < then.epoch || now.in_sync_generation < then.in_sync_generation {
                return fault(format!("I4: {shard} went back from {then:?} to {now:?}"));
            }
            self.ownerships += u64::from(now.epoch > then.epoch);
        }
        Ok(())
    }
}

/// I1: at most one node with a valid lease, by its own clock, has the gate of a shard open.
fn one_holder(up: &[(&Arc<Host>, Node)], now: Duration) -> Result<(), String> {
    let mut holders: BTreeMap<ShardId, (&Host, Epoch)> = BTreeMap::new();
    for (host, node) in up {
        let lease = node.lease();
        if host.clock.at(now) >= lease.valid_until() {
            continue;
        }
        let shards = u16::try_from(node.view().shards.len()).unwrap_or(u16::MAX);
        for tenure in (0..shards).filter_map(|shard| lease.owned(ShardId(shard))) {
            let (shard, epoch) = (tenure.shard, tenure.epoch);
            if let Some((other, theirs)) = holders.insert(shard, (host, epoch)) {
                return Err(format!(
                    "I1: {shard} is served by {} under {theirs} and by {} under {epoch}",
                    other.name, host.name,
                ));
            }
        }
    }
    Ok(())
}
