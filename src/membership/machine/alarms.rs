//! What is to happen when.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::Timer;

use crate::base::{Boot, Instant, NodeId};
use crate::membership::GossipId;

/// One thing that is due at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Of SWIM itself.
    Swim(Timer<GossipId>),
    /// Look at whom this node watches.
    Watch,
    /// Say what changed in this node's card.
    Say,
    /// Compare all cards with somebody, as now and then.
    Sync,
    /// The same, once, because somebody joined.
    Compare,
    /// The node of a check did not answer at once: others are asked.
    AskOthers(NodeId, u8),
    /// A check ends.
    CheckEnds(NodeId, u8),
    /// A suspicion may have lasted long enough.
    Judge(NodeId),
    /// The silence of a node in this life may be too long.
    Silent(NodeId, Boot),
}

impl Alarm {
    /// Whether somebody is found wanting when it goes off.
    fn judges(&self) -> bool {
        match self {
            Self::Swim(timer) => match timer {
                Timer::ProbeRandomMember(_)
                | Timer::SendIndirectProbe { .. }
                | Timer::ChangeSuspectToDown { .. } => true,
                Timer::PeriodicAnnounce(_)
                | Timer::PeriodicAnnounceDown(_)
                | Timer::PeriodicGossip(_)
                | Timer::RemoveDown(_) => false,
            },
            Self::AskOthers(..) | Self::CheckEnds(..) | Self::Judge(_) | Self::Silent(..) => true,
            Self::Watch | Self::Say | Self::Sync | Self::Compare => false,
        }
    }
}

/// All alarms, in order of time and, at one instant, in the order they were set.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    by_time: BTreeMap<(Instant, u64), Alarm>,
    made: u64,
}

impl Alarms {
    /// Sets an alarm, and returns its number.
    pub(super) fn set(&mut self, at: Instant, alarm: Alarm) -> u64 {
        self.made += 1;
        self.by_time.insert((at, self.made), alarm);
        self.made
    }

    /// These go off no more. Looks at all there are: for what is rare.
    pub(super) fn cancel(&mut self, numbers: &[u64]) {
        self.by_time.retain(|(_, number), _| !numbers.contains(number));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out what is due. SWIM's go first and in foca's own order, which mends what a late loop
    /// would confuse.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Alarm> {
        if self.next().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let later = self.by_time.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut self.by_time, later).into_values();
        let (mut swim, others): (Vec<_>, Vec<_>) =
            due.partition(|alarm| matches!(alarm, Alarm::Swim(_)));
        swim.sort_by(|one, other| match (one, other) {
            (Alarm::Swim(one), Alarm::Swim(other)) => one.cmp(other),
            _ => std::cmp::Ordering::Equal,
        });
        swim.into_iter().chain(others).collect()
    }

    /// All that judges comes later by `span`, in the order it has.
    pub(super) fn postpone(&mut self, span: Duration) {
        let all = std::mem::take(&mut self.by_time).into_iter();
        self.by_time = all
            .map(|((at, number), alarm)| {
                let later = if alarm.judges() { at + span } else { at };
                ((later, number), alarm)
            })
            .collect();
    }

    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }
}
