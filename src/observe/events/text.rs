//! A change as one line for people.

use std::fmt;
use std::time::Duration;

use super::{ConstantsChange, Held, Life, MemberChange, Passed, ViewChange, ViewEvent};
use crate::base::{Epoch, NodeId};
use crate::observe::words::{counted, listed, number, shown, status};
use crate::placement::{Constants, Departure};
use crate::wire::printable;

/// Longest cause that is shown, in characters.
const CAUSE_CHARS_MAX: usize = 200;

impl fmt::Display for ViewEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", time_of_day(Duration::from_millis(self.at_ms)), self.change)
    }
}

/// Hours, minutes and seconds in UTC: `10:03:11.204`.
fn time_of_day(unix: Duration) -> String {
    let seconds = unix.as_secs() % 86_400;
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{rest:02}.{:03}Z", unix.subsec_millis())
}

impl fmt::Display for ViewChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.version.0 - self.since.0 > 1 {
            write!(f, "views {} to {}", self.since.0 + 1, self.version.0)?;
            // Like versions of one entry; else they are of several.
            if self.epoch > Epoch::NONE {
                write!(f, ", epoch {}", self.epoch.0)?;
            }
            f.write_str(": ")?;
        } else {
            write!(f, "{}, epoch {}: ", self.version, self.epoch.0)?;
        }
        if let Some(node) = &self.node {
            write!(f, "{node}: ")?;
        }
        write!(f, "{}", printable(&self.cause, CAUSE_CHARS_MAX))?;
        let facts = self.facts();
        if facts.is_empty() { Ok(()) } else { write!(f, ": {}", facts.join("; ")) }
    }
}

impl ViewChange {
    /// What changed, a clause for each thing.
    pub(super) fn facts(&self) -> Vec<String> {
        let mut facts: Vec<String> = self.members.iter().map(member).collect();
        if let Some(voters) = &self.voters {
            facts.push(format!("{} now", counted(voters.len(), "voter")));
        }
        if let Some(ConstantsChange { before, after }) = &self.constants {
            facts.push(constants(before.as_ref(), after));
        }
        facts.extend(owners(&self.owners));
        for passed in &self.moves {
            let from = name(passed.from.as_ref());
            let shards = shards(passed.shards);
            let are = be(passed.shards);
            facts.push(format!("{shards} of {from} {are} to go to {}", name(passed.to.as_ref())));
        }
        for passed in &self.stays {
            let (from, to) = (name(passed.from.as_ref()), name(passed.to.as_ref()));
            let (count, are) = (shards(passed.shards), be(passed.shards));
            facts.push(format!("{count} of {from} {are} not to go to {to} any more"));
        }
        facts.extend(self.holders.iter().map(held));
        if self.recorded > 0 {
            facts.push(format!("first records in {}", shards(self.recorded)));
        }
        if self.lost > 0 {
            facts.push(format!(
                "{} LOST: every store that held them is destroyed",
                shards(self.lost)
            ));
        }
        facts
    }
}

fn shards(count: u32) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "shard")
}

fn be(count: u32) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

fn name(node: Option<&NodeId>) -> &str {
    node.map_or("nobody", NodeId::as_str)
}

fn member(change: &MemberChange) -> String {
    let MemberChange { node, before, after, departure } = change;
    match (before, after) {
        (None, Some(Life { boot, .. })) => format!("{node} is a member, {boot}"),
        (Some(Life { boot, .. }), None) => {
            let how = match departure {
                Some(Departure::Released) => "it left",
                Some(Departure::Evicted) => "evicted",
                Some(Departure::Replaced) => "replaced",
                None => "gone",
            };
            format!("{node}, {boot}, is no member any more ({how})")
        }
        (Some(old), Some(new)) if old.boot != new.boot => {
            format!("{node} goes on as {} in the place of {}", new.boot, old.boot)
        }
        (_, Some(now)) => format!("{node} is {}", status(now.status)),
        (None, None) => format!("{node} is no member"),
    }
}

/// Only what differs.
fn constants(before: Option<&Constants>, after: &Constants) -> String {
    let Some(before) = before else {
        let Constants { shards, copies, write_min, .. } = after;
        let lease = after.profile.lease;
        return format!(
            "{} shards, {copies} replicas, {write_min} for a write, lease {lease:?}",
            number(*shards)
        );
    };
    let mut said = Vec::new();
    let mut differs = |what: &str, old: String, new: String| {
        if old != new {
            said.push(format!("{what} {old} -> {new}"));
        }
    };
    differs("replicas", before.copies.to_string(), after.copies.to_string());
    differs("write-min", before.write_min.to_string(), after.write_min.to_string());
    let lease = |constants: &Constants| format!("{:?}", constants.profile.lease);
    differs("lease", lease(before), lease(after));
    let settling = |constants: &Constants| match constants.lease_before {
        Some(lease) => format!("{lease:?}"),
        None => "none".into(),
    };
    differs("lease that may still be counted", settling(before), settling(after));
    if said.is_empty() { "constants changed".into() } else { shown(&said.join(", ")) }
}

/// From each node to whom: `1,365 shards of n2 go to n1 (683) and n3 (682)`.
fn owners(passed: &[Passed]) -> Vec<String> {
    let mut facts = Vec::new();
    for group in passed.chunk_by(|one, other| one.from == other.from) {
        let from = group.first().and_then(|one| one.from.as_ref());
        let (kept, given): (Vec<&Passed>, Vec<&Passed>) =
            group.iter().partition(|one| one.from == one.to);
        let (none, some): (Vec<&Passed>, Vec<&Passed>) =
            given.into_iter().partition(|one| one.to.is_none());
        for one in kept {
            let (count, name) = (shards(one.shards), name(from));
            let epochs = if one.shards == 1 { "a new epoch" } else { "new epochs" };
            facts.push(format!("{count} of {name} under {epochs}"));
        }
        if !some.is_empty() {
            let all: u32 = some.iter().map(|one| one.shards).sum();
            let single = some.len() == 1;
            let to: Vec<String> = some
                .iter()
                .map(|one| match (name(one.to.as_ref()), single) {
                    (to, true) => to.to_owned(),
                    (to, false) => format!("{to} ({})", number(one.shards)),
                })
                .collect();
            let of = from.map_or(" without an owner".into(), |from| format!(" of {from}"));
            let go = if all == 1 { "goes" } else { "go" };
            facts.push(format!("{}{of} {go} to {}", shards(all), listed(&to)));
        }
        for one in none {
            let (count, name) = (shards(one.shards), name(from));
            facts.push(format!("{count} of {name} {} without an owner", be(one.shards)));
        }
    }
    facts
}

fn held(held: &Held) -> String {
    let Held { node, more, fewer } = held;
    match (more, fewer) {
        (more, 0) => format!("{node} holds {} more", shards(*more)),
        (0, fewer) => format!("{node} holds {} fewer", shards(*fewer)),
        (more, fewer) => {
            format!("{node} holds {} more and {} fewer", shards(*more), number(*fewer))
        }
    }
}
