//! What an operator would set, and what follows from it: worked out before anything is agreed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::counted;
use crate::base::Version;
use crate::detector::lease_at_leader;
use crate::placement::{Constants, ProfileError, View};

/// What is to be set; what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetAsk {
    /// Stores that hold each shard (R).
    pub replicas: Option<u8>,
    /// Stores that must hold a write before it is acknowledged.
    pub write_min: Option<u8>,
    /// Lease D.
    pub lease: Option<Duration>,
    /// To be agreed, if the constants are still these. `None`: only what would follow is asked.
    pub seen: Option<Constants>,
}

/// Why constants cannot be set. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is no cluster yet.
    #[error("this node is in no cluster yet: there is nothing to set")]
    NotFormed,
    /// Nothing would be another.
    #[error("all of it is so already")]
    Same,
    /// A number does not fit another.
    #[error("{what} = {value}: expected {expected}")]
    Number {
        /// Which flag.
        what: &'static str,
        /// What was given.
        value: u8,
        /// What would do.
        expected: String,
    },
    /// A lease change is under way.
    #[error(
        "the lease is still being changed from {before:?} to {now:?}: try again once `evertree \
         events` says that it settled"
    )]
    Settling {
        /// What it was.
        before: Duration,
        /// What it becomes.
        now: Duration,
    },
    /// A lease that does not fit the timing of raft and renewals, or the network.
    #[error("lease = {lease:?}: {why}")]
    Lease {
        /// What was given.
        lease: Duration,
        /// Which rule is broken.
        why: ProfileError,
    },
    /// They are others than the operator saw.
    #[error("the constants are others by now: look at them again")]
    Moved,
}

/// What would be set, and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetReport {
    /// Of the view it was computed from.
    pub version: Version,
    /// What holds.
    pub before: Constants,
    /// What is to hold.
    pub after: Constants,
    /// What follows, a sentence each.
    pub follows: Vec<String>,
    /// Whether it is agreed.
    pub is_agreed: bool,
}

impl SetReport {
    /// What `ask` would change in `view`, with the `rtt` of the network and the `fsync` of the
    /// disks that the lease must allow for.
    ///
    /// # Errors
    /// [`SetError`].
    pub fn new(
        view: &View,
        ask: &SetAsk,
        (rtt, fsync): (Duration, Duration),
    ) -> Result<Self, SetError> {
        let before = view.constants.clone().ok_or(SetError::NotFormed)?;
        if ask.seen.as_ref().is_some_and(|seen| *seen != before) {
            return Err(SetError::Moved);
        }
        let mut after = before.clone();
        after.copies = ask.replicas.unwrap_or(before.copies);
        after.write_min = ask.write_min.unwrap_or(before.write_min);
        after.profile.lease = ask.lease.unwrap_or(before.profile.lease);
        if after == before {
            return Err(SetError::Same);
        }
        numbers(&after, view.members.len(), ask)?;
        if after.profile.lease != before.profile.lease {
            let now = before.profile.lease;
            if let Some(before) = before.lease_before {
                return Err(SetError::Settling { before, now });
            }
            let lease = after.profile.lease;
            let is_valid = after.profile.validate(rtt, fsync);
            is_valid.map_err(|why| SetError::Lease { lease, why })?;
        }
        let follows = follows(view, &before, &after);
        Ok(Self { version: view.version, before, after, follows, is_agreed: false })
    }
}

/// 1 <= `write_min` <= replicas <= members. What was asked for is named, not what stands already.
fn numbers(after: &Constants, members: usize, ask: &SetAsk) -> Result<(), SetError> {
    let Constants { copies, write_min, .. } = *after;
    let refuse = |what, value, expected| Err(SetError::Number { what, value, expected });
    if ask.replicas.is_some() && (copies == 0 || usize::from(copies) > members) {
        return refuse("replicas", copies, format!("1 to {members}: so many members there are"));
    }
    if write_min == 0 || write_min > copies {
        return match (ask.write_min, ask.replicas) {
            (None, Some(replicas)) => {
                let expected = format!("at least write-min, which is {write_min}");
                refuse("replicas", replicas, expected)
            }
            _ => refuse("write-min", write_min, format!("1 to replicas, which is {copies}")),
        };
    }
    if ask.write_min.is_some() && usize::from(write_min) > members {
        return refuse(
            "write-min",
            write_min,
            format!("1 to {members}: so many members there are"),
        );
    }
    Ok(())
}

/// What follows, for people.
fn follows(view: &View, before: &Constants, after: &Constants) -> Vec<String> {
    let mut said = Vec::new();
    let live = |shard: &crate::placement::Shard| {
        shard.in_sync.iter().filter(|store| view.member_of_store(**store).is_some()).count()
    };
    let shards = |few: usize| {
        let all = view.shards.iter();
        all.filter(|shard| shard.has_records && live(shard) < few).count()
    };
    if after.copies > before.copies {
        let few = counted(shards(usize::from(after.copies)), "shard");
        said.push(format!("{few} with records are copied to more stores, in the background"));
    }
    if after.copies < before.copies {
        let most = after.copies;
        said.push(format!("copies beyond {most} of each shard are dropped, in the background"));
    }
    if after.write_min != before.write_min {
        said.push(match after.write_min - 1 {
            0 => "an acknowledged write may be lost with one store".into(),
            survives => {
                let stores = counted(survives.into(), "store");
                // What was acknowledged before gets there as its shard is copied.
                let more = after.write_min > before.write_min;
                let since = if more { " from then on" } else { "" };
                format!("a write acknowledged{since} survives the loss of any {stores}")
            }
        });
    }
    if after.write_min > before.write_min {
        let few = counted(shards(usize::from(after.write_min)), "shard");
        said.push(format!("{few} with records take no writes until more stores hold them"));
    }
    let (old, new) = (before.profile.lease, after.profile.lease);
    if old != new {
        let rounded = |lease| {
            let exact = lease_at_leader(lease, after.profile.drift_permille);
            Duration::from_millis(u64::try_from(exact.as_millis()).unwrap_or(u64::MAX))
        };
        let (larger, at_leader) = (rounded(old.max(new)), rounded(new));
        said.push(format!("for {larger:?} from then on, evictions wait for the larger of both"));
        said.push(format!("after that, a node that is silent is evicted after {at_leader:?}"));
        said.push("nodes take it from the view: their own profile does not say it any more".into());
    }
    said
}

impl fmt::Display for SetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (&self.before, &self.after);
        let rows = [
            ("replicas", old.copies.to_string(), new.copies.to_string()),
            ("write-min", old.write_min.to_string(), new.write_min.to_string()),
            ("lease", format!("{:?}", old.profile.lease), format!("{:?}", new.profile.lease)),
        ];
        writeln!(f, "{}:", self.version)?;
        for (what, old, new) in rows {
            if old == new {
                writeln!(f, "  {what:<9}  {old}")?;
            } else {
                writeln!(f, "  {what:<9}  {old} -> {new}")?;
            }
        }
        for line in &self.follows {
            writeln!(f, "  - {line}")?;
        }
        if self.is_agreed {
            writeln!(f, "It is agreed.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Change;
    use crate::placement::tests::{Cluster, constants};

    const MS: Duration = Duration::from_millis(1);

    fn ask(replicas: Option<u8>, write_min: Option<u8>, lease: Option<u64>) -> SetAsk {
        SetAsk { replicas, write_min, lease: lease.map(Duration::from_millis), seen: None }
    }

    fn said(view: &View, ask: &SetAsk) -> String {
        SetReport::new(view, ask, (MS, MS)).expect_err("it cannot be").to_string()
    }

    #[test]
    fn what_cannot_be_set_is_told_with_what_would_do() {
        let mut view = Cluster::formed(3, &constants(3, 2)).view;
        let table = [
            (ask(None, None, None), "all of it is so already"),
            (ask(Some(3), Some(2), Some(1_000)), "all of it is so already"),
            (ask(Some(4), None, None), "replicas = 4: expected 1 to 3: so many members there are"),
            (ask(Some(0), None, None), "replicas = 0: expected 1 to 3"),
            (ask(Some(1), None, None), "replicas = 1: expected at least write-min, which is 2"),
            (ask(None, Some(4), None), "write-min = 4: expected 1 to replicas, which is 3"),
            (ask(None, Some(0), None), "write-min = 0: expected 1 to replicas, which is 3"),
            (ask(Some(2), Some(3), None), "write-min = 3: expected 1 to replicas, which is 2"),
            (ask(None, None, Some(600)), "lease = 600ms: profile lan: lease and election_max"),
        ];
        for (ask, says) in table {
            let said = said(&view, &ask);
            assert!(said.starts_with(says), "{says}: {said}");
        }
        let slow = SetReport::new(&view, &ask(None, None, Some(1_500)), (MS * 30, MS));
        let why = slow.expect_err("the network is slow").to_string();
        assert!(why.contains("renew and rtt"), "{why}");
        let seen = Some(constants(2, 2));
        let moved = SetAsk { seen, ..ask(Some(2), None, None) };
        assert!(said(&view, &moved).contains("others by now"));
        let constants = view.constants.as_mut().expect("formed");
        constants.lease_before = Some(MS * 700);
        let settling = said(&view, &ask(None, None, Some(2_000)));
        assert!(settling.contains("still being changed from 700ms to 1s"), "{settling}");
        assert_eq!(
            said(&View::default(), &ask(Some(2), None, None)),
            SetError::NotFormed.to_string()
        );
    }

    #[test]
    fn what_is_shown_is_what_the_view_then_has() {
        let mut cluster = Cluster::formed(3, &constants(3, 2));
        for shard in 0..16 {
            cluster.write(crate::base::ShardId(shard));
        }
        let wanted = ask(Some(2), Some(1), Some(2_000));
        let report = SetReport::new(&cluster.view, &wanted, (MS, MS)).expect("it can be set");
        let text = report.to_string();
        for words in [
            "  replicas   3 -> 2\n",
            "  write-min  2 -> 1\n",
            "  lease      1s -> 2s\n",
            "copies beyond 2 of each shard are dropped",
            "may be lost with one store",
            "evicted after 2.08",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
        let Constants { copies, write_min, profile, .. } = report.after.clone();
        let seen = report.before.clone();
        cluster.accept(Change::Set { seen, copies, write_min, lease: profile.lease });
        let now = cluster.view.constants.clone().expect("formed");
        assert_eq!((now.copies, now.write_min, now.profile), (2, 1, profile));
        let json = serde_json::to_string(&report).expect("it is written");
        assert_eq!(serde_json::from_str::<SetReport>(&json).expect("it is read"), report);
        let more = SetReport::new(&cluster.view, &ask(Some(3), Some(3), None), (MS, MS));
        let text = more.expect("it can be set").to_string();
        for words in [
            "0 shards with records are copied",
            "a write acknowledged from then on survives the loss of any 2 stores",
            "0 shards with records take no writes until more stores hold them",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
    }
}
