//! Stretches of the circle: who owns which, and which change hands between two rings. PURE.

use std::fmt;

use super::Ring;
use crate::base::NodeId;

/// The points after [`after`](Self::after), clockwise, up to and with [`upto`](Self::upto).
///
/// Never empty. It passes over zero if `upto` is not greater than `after`; if the two are equal, it
/// is the whole circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    /// The last point before it.
    pub after: u64,
    /// Its last point.
    pub upto: u64,
}

impl Range {
    /// All points.
    pub const WHOLE: Self = Self { after: u64::MAX, upto: u64::MAX };

    /// Whether `point` lies in it.
    #[must_use]
    pub const fn contains(self, point: u64) -> bool {
        // Steps from its first point, which is the one after `after`.
        let first = self.after.wrapping_add(1);
        point.wrapping_sub(first) <= self.upto.wrapping_sub(first)
    }

    /// How many points it has: from 1 to 2^64.
    #[must_use]
    pub fn points(self) -> u128 {
        u128::from(self.upto.wrapping_sub(self.after.wrapping_add(1))) + 1
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:016x}, {:016x}]", self.after, self.upto)
    }
}

/// A stretch of the circle that changes hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The points.
    pub range: Range,
    /// Their owner on the old ring; `None` if that has no tokens.
    pub from: Option<NodeId>,
    /// Their owner on the new ring, another one; `None` if that has no tokens.
    pub to: Option<NodeId>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [&self.from, &self.to].map(|owner| match owner {
            Some(node) => node.as_str(),
            None => "nobody",
        });
        write!(f, "{} from {from} to {to}", self.range)
    }
}

impl Ring {
    /// What changes hands when this ring becomes `new`: the points whose owners differ, as the
    /// fewest ranges, in the order in which they end. Only the first can pass over zero.
    ///
    /// Cost: the tokens of both are sorted together, then walked over once.
    #[must_use]
    pub fn difference(&self, new: &Self) -> Vec<Change> {
        let mut points = [self.points.as_slice(), new.points.as_slice()].concat();
        points.sort_unstable();
        points.dedup();
        let (mut from, mut to) = (self.owners(), new.owners());
        let owners = between(&points).map(|range| (range, (from(range.upto), to(range.upto))));
        let changes = joined(owners).into_iter().filter(|(_, (from, to))| from != to);
        let change = |(range, (from, to)): (Range, (Option<&NodeId>, Option<&NodeId>))| Change {
            range,
            from: from.cloned(),
            to: to.cloned(),
        };
        changes.map(change).collect()
    }

    /// Who owns what: the whole circle as the fewest ranges, in the order in which they end. Only
    /// the first can pass over zero. Empty if no node has a token.
    #[must_use]
    pub fn ranges(&self) -> Vec<(Range, &NodeId)> {
        let mut points = self.points.as_slice().to_vec();
        points.dedup();
        let mut owner = self.owners();
        joined(between(&points).filter_map(|range| Some((range, owner(range.upto)?))))
    }

    /// The ranges that `node` owns, in the order in which they end.
    #[must_use]
    pub fn ranges_of(&self, node: &NodeId) -> Vec<Range> {
        let own = |(range, owner): (Range, &NodeId)| (owner == node).then_some(range);
        self.ranges().into_iter().filter_map(own).collect()
    }
}

/// The ranges that end at each of `points`, which are sorted and distinct. They cover the circle.
fn between(points: &[u64]) -> impl Iterator<Item = Range> {
    let before = points.last().into_iter().chain(points);
    before.zip(points).map(|(&after, &upto)| Range { after, upto })
}

/// Joins neighbours of the same owner. The ranges cover the circle, in the order in which they end.
fn joined<T: PartialEq>(ranges: impl Iterator<Item = (Range, T)>) -> Vec<(Range, T)> {
    let mut joined: Vec<(Range, T)> = Vec::new();
    for (range, owner) in ranges {
        match joined.last_mut() {
            Some((before, same)) if *same == owner => before.upto = range.upto,
            Some(_) | None => joined.push((range, owner)),
        }
    }
    // The last one's neighbour is the first.
    if let [(first, owner), .., (last, same)] = &mut joined[..]
        && owner == same
    {
        first.after = last.after;
        joined.pop();
    }
    if let [(range, _)] = &mut joined[..] {
        *range = Range::WHOLE;
    }
    joined
}
