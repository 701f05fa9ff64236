//! One thing that goes wrong, and which links it closes.

use std::time::Duration;

/// How long a flapping link stays as it is: half a gossip period of `lan`, a whole one, a lease.
pub(super) const FLAPS: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_millis(300), Duration::from_secs(1)];

/// One thing that goes wrong. Hosts are named by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The host is gone at once; it is started again at the end.
    PowerLoss(usize),
    /// As [`Fault::PowerLoss`], and the file with its records is gone: it comes back as another
    /// store. Its vote and its log of raft are on another disk.
    StoreLoss(usize),
    /// As [`Fault::PowerLoss`], and all that was on its disk is gone: it comes back as a new node
    /// under its old name.
    DiskLoss(usize),
    /// The process is killed, its host lives; it is started again at the end.
    Killed(usize),
    /// The process is stopped; it goes on at the end.
    Stopped(usize),
    /// The process is asked to leave; once it has ended, it is started again at the end.
    Left(usize),
    /// Nothing reaches the host and nothing leaves it.
    Isolated(usize),
    /// Nothing passes between the two.
    Cut(usize, usize),
    /// Nothing passes from the first to the second; the other way is open.
    OneWay(usize, usize),
    /// Nothing leaves the host; it still hears.
    Mute(usize),
    /// Nothing reaches the host; it still speaks.
    Deaf(usize),
    /// Nothing passes between the hosts whose bit is set and the others.
    Split(u64),
    /// The host is the only one that speaks with all: of the others those below it and those above
    /// it do not speak with each other.
    Bridge(usize),
    /// Every host speaks with its neighbours in a ring of this stride and with nobody else. Five
    /// hosts see a majority each, and no two the same one.
    Ring(usize),
    /// The link between the two is cut and whole in turns, each time for so long.
    Flapping(usize, usize, Duration),
    /// What the host sends and what is sent to it is late.
    Slow(usize),
    /// Whatever the host's disk is asked for takes long.
    SlowDisk(usize),
    /// Not a fault: an operator drains the node, and takes it back at the end.
    Drained(usize),
    /// Not a fault: an operator sets the lease D, and sets it back at the end.
    LeaseSet(Duration),
}

/// What may go wrong, without saying where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// [`Fault::PowerLoss`].
    PowerLoss,
    /// [`Fault::StoreLoss`].
    StoreLoss,
    /// [`Fault::DiskLoss`], once in a world.
    DiskLoss,
    /// [`Fault::Killed`].
    Killed,
    /// [`Fault::Stopped`].
    Stopped,
    /// [`Fault::Left`].
    Left,
    /// [`Fault::Isolated`].
    Isolated,
    /// [`Fault::Cut`].
    Cut,
    /// [`Fault::OneWay`].
    OneWay,
    /// [`Fault::Mute`].
    Mute,
    /// [`Fault::Deaf`].
    Deaf,
    /// [`Fault::Split`], a minority against the rest.
    Split,
    /// [`Fault::Bridge`].
    Bridge,
    /// [`Fault::Ring`]; [`Fault::Bridge`] where there are fewer than five hosts.
    Ring,
    /// [`Fault::Flapping`].
    Flapping,
    /// [`Fault::Slow`].
    Slow,
    /// [`Fault::SlowDisk`].
    SlowDisk,
    /// [`Fault::SlowDisk`], of the host that leads.
    LeaderSlowDisk,
    /// [`Fault::Drained`].
    Drained,
    /// [`Fault::LeaseSet`], a tenth shorter than it is or half as long again.
    LeaseSet,
    /// [`Fault::Killed`], of the host that leads.
    LeaderKilled,
    /// [`Fault::PowerLoss`], of the host that leads.
    LeaderPowerLoss,
    /// [`Fault::Stopped`], of the host that leads.
    LeaderStopped,
    /// [`Fault::Isolated`], of the host that leads.
    LeaderIsolated,
    /// [`Fault::Killed`], of the host that leads, whenever it has just marked a life for its
    /// eviction, and of all others but that one, which was stopped until then. It takes no other
    /// kind beside it.
    LeaderKilledMarking,
}

/// What may go wrong, each as likely as it stands here often.
pub(super) const KINDS: [FaultKind; 31] = [
    FaultKind::PowerLoss,
    FaultKind::PowerLoss,
    FaultKind::StoreLoss,
    FaultKind::StoreLoss,
    FaultKind::DiskLoss,
    FaultKind::DiskLoss,
    FaultKind::Killed,
    FaultKind::Killed,
    FaultKind::Stopped,
    FaultKind::Stopped,
    FaultKind::Left,
    FaultKind::Isolated,
    FaultKind::Cut,
    FaultKind::OneWay,
    FaultKind::Mute,
    FaultKind::Deaf,
    FaultKind::Split,
    FaultKind::Bridge,
    FaultKind::Ring,
    FaultKind::Flapping,
    FaultKind::Slow,
    FaultKind::Slow,
    FaultKind::SlowDisk,
    FaultKind::LeaderSlowDisk,
    FaultKind::Drained,
    FaultKind::Drained,
    FaultKind::LeaseSet,
    FaultKind::LeaderKilled,
    FaultKind::LeaderPowerLoss,
    FaultKind::LeaderStopped,
    FaultKind::LeaderIsolated,
];

impl Fault {
    /// The hosts that it concerns by themselves, and not by where they stand.
    #[must_use]
    pub fn hosts(self) -> (Option<usize>, Option<usize>) {
        match self {
            Self::PowerLoss(one)
            | Self::StoreLoss(one)
            | Self::DiskLoss(one)
            | Self::Killed(one)
            | Self::Stopped(one)
            | Self::Left(one)
            | Self::Isolated(one)
            | Self::Mute(one)
            | Self::Deaf(one)
            | Self::Slow(one)
            | Self::SlowDisk(one)
            | Self::Drained(one) => (Some(one), None),
            Self::Cut(one, other) | Self::OneWay(one, other) | Self::Flapping(one, other, _) => {
                (Some(one), Some(other))
            }
            Self::Split(_) | Self::Bridge(_) | Self::Ring(_) | Self::LeaseSet(_) => (None, None),
        }
    }

    /// Whether the host is without power.
    pub(super) fn takes_power_of(self, host: usize) -> bool {
        [Self::PowerLoss(host), Self::StoreLoss(host), Self::DiskLoss(host)].contains(&self)
    }

    /// Whether nothing passes from the host `from` to the host `to` at `now`, of `hosts`.
    pub(super) fn closes(self, from: usize, to: usize, hosts: usize, now: Duration) -> bool {
        let both = |one, other| [(from, to), (to, from)].contains(&(one, other));
        match self {
            Self::PowerLoss(one)
            | Self::StoreLoss(one)
            | Self::DiskLoss(one)
            | Self::Isolated(one) => one == from || one == to,
            Self::Cut(one, other) => both(one, other),
            Self::Flapping(one, other, each) => both(one, other) && is_flapped(now, each),
            Self::OneWay(one, other) => (one, other) == (from, to),
            Self::Mute(one) => one == from,
            Self::Deaf(one) => one == to,
            Self::Split(side) => (side >> from & 1) != (side >> to & 1),
            Self::Bridge(bridge) => {
                from != bridge && to != bridge && (from < bridge) != (to < bridge)
            }
            Self::Ring(stride) => (from + stride) % hosts != to && (to + stride) % hosts != from,
            Self::Killed(_)
            | Self::Stopped(_)
            | Self::Left(_)
            | Self::Slow(_)
            | Self::SlowDisk(_)
            | Self::Drained(_)
            | Self::LeaseSet(_) => false,
        }
    }

    /// Whether it is a link that is flapping, and cut at `now`.
    pub(super) fn is_flapped(self, now: Duration) -> bool {
        matches!(self, Self::Flapping(_, _, each) if is_flapped(now, each))
    }
}

/// Whether a link that stays `each` time as it is is cut at `now`.
fn is_flapped(now: Duration, each: Duration) -> bool {
    (now.as_nanos() / each.as_nanos().max(1)).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom each host speaks with, both ways, itself included.
    fn seen(fault: Fault, hosts: usize) -> Vec<Vec<usize>> {
        let open = |from, to| !fault.closes(from, to, hosts, Duration::ZERO);
        let speaks =
            |one: usize, other: usize| one == other || open(one, other) && open(other, one);
        (0..hosts).map(|one| (0..hosts).filter(|other| speaks(one, *other)).collect()).collect()
    }

    #[test]
    fn a_ring_of_five_shows_everybody_another_majority() {
        for stride in [1, 2] {
            let seen = seen(Fault::Ring(stride), 5);
            assert!(seen.iter().all(|hosts| hosts.len() == 3), "{seen:?}");
            let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
            assert_eq!(distinct.len(), 5, "{seen:?}");
        }
    }

    #[test]
    fn a_bridge_speaks_with_all_and_its_sides_not_with_each_other() {
        assert_eq!(seen(Fault::Bridge(1), 3), [vec![0, 1], vec![0, 1, 2], vec![1, 2]]);
        let five = seen(Fault::Bridge(2), 5);
        assert_eq!((five[2].len(), &five[0], &five[4]), (5, &vec![0, 1, 2], &vec![2, 3, 4]));
    }

    #[test]
    fn a_split_divides_and_a_flapping_link_comes_and_goes() {
        assert_eq!(seen(Fault::Split(0b011), 3), [vec![0, 1], vec![0, 1], vec![2]]);
        for each in FLAPS {
            let cut = |now| Fault::Flapping(0, 1, each).closes(1, 0, 3, now);
            assert!(cut(Duration::ZERO) && !cut(each) && cut(each * 2));
            assert!(!Fault::Flapping(0, 1, each).closes(1, 2, 3, Duration::ZERO));
        }
    }
}
