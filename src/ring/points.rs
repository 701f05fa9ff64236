//! Sorted points, and a table that says where to look among them. PURE.

/// Points on the circle, sorted.
///
/// The circle is cut into as many equal sectors as there are points, or up to twice as many, and of
/// each it is known where its points begin. Points that are hashes lie evenly, so a look-up has one
/// or two to choose from; among points that do not lie evenly it searches, and is only slower.
///
/// A point takes 8 bytes, its part of the table 8 to 16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Points {
    sorted: Vec<u64>,
    /// How many points lie before each sector, and at last how many there are.
    before: Vec<usize>,
    /// A point shifted right by so much is the number of its sector.
    shift: u32,
}

impl Points {
    /// Of points that are sorted.
    pub(super) fn new(sorted: Vec<u64>) -> Self {
        let sectors = sorted.len().next_power_of_two();
        let shift = u64::BITS - sectors.ilog2();
        let mut before = Vec::with_capacity(sectors + 1);
        for (place, point) in sorted.iter().enumerate() {
            // The first of its sector is that of the empty ones before it, too.
            let known = before.len().max(sector(*point, shift) + 1);
            before.resize(known, place);
        }
        before.resize(sectors + 1, sorted.len());
        Self { sorted, before, shift }
    }

    pub(super) fn as_slice(&self) -> &[u64] {
        &self.sorted
    }

    /// The place of the first point that is not less than `point`; if there is none, how many
    /// points there are.
    pub(super) fn first_from(&self, point: u64) -> usize {
        let sector = sector(point, self.shift);
        let (start, end) = (self.before[sector], self.before[sector + 1]);
        start + self.sorted[start..end].partition_point(|&other| other < point)
    }
}

/// There are about as many sectors as points, which are in memory: the number fits.
fn sector(point: u64, shift: u32) -> usize {
    // Shifting by 64 is not defined: a single sector has number 0.
    usize::try_from(point.checked_shr(shift).unwrap_or(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_table_finds_what_a_search_finds(
            mut points in prop_oneof![
                proptest::collection::vec(any::<u64>(), 0..300),
                proptest::collection::vec(prop_oneof![0..9_u64, u64::MAX - 9..=u64::MAX], 0..40),
            ],
            others in proptest::collection::vec(any::<u64>(), 50),
        ) {
            points.sort_unstable();
            let table = Points::new(points.clone());
            let beside = points.iter().flat_map(|p| [p.wrapping_sub(1), *p, p.wrapping_add(1)]);
            for point in beside.chain([0, u64::MAX]).chain(others) {
                let want = points.iter().filter(|other| **other < point).count();
                prop_assert_eq!(table.first_from(point), want, "{}", point);
            }
        }
    }
}
