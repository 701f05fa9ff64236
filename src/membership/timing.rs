//! How times and counts grow with the size of the cluster. Integers only: the same on every
//! machine.
//!
//! Source: memberlist, `util.go` and `suspicion.go`; Dadgar, Phillips, Currey, "Lifeguard", DSN-W
//! 2018, IV.B.

#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

use std::time::Duration;

/// Fractional bits of a logarithm.
const BITS: u32 = 32;
/// log10(2), with [`BITS`] fractional bits.
const LOG10_2: u128 = 1_292_913_986;
/// Up to so many nodes a full sync comes at its least interval.
const FULL_SYNC_NODES: u32 = 32;

/// log2 of `number`, with 32 fractional bits, rounded down; 0 for 0 and 1.
fn log2(number: u32) -> u64 {
    let Some(whole) = number.checked_ilog2() else { return 0 };
    // In [1, 2), with 63 fractional bits; squared once for each bit of the logarithm.
    let mut rest = u128::from(number) << (63 - whole);
    let mut bits = u64::from(whole);
    for _ in 0..BITS {
        rest = (rest * rest) >> 63;
        let over = rest >> 64 != 0;
        if over {
            rest >>= 1;
        }
        bits = bits << 1 | u64::from(over);
    }
    bits
}

/// log10 of `number` in thousandths, rounded down; 0 for 0 and 1.
fn log10_permille(number: u32) -> u32 {
    // A little more than what the roundings may have taken, so that powers of ten are exact.
    let log10 = ((u128::from(log2(number)) + 64) * LOG10_2) >> BITS;
    u32::try_from((log10 * 1_000 + 4_096) >> BITS).unwrap_or(u32::MAX)
}

/// The least time that a suspect has to refute: `multiplier x max(1, log10 nodes) x period`, in
/// whole milliseconds.
#[must_use]
pub(super) fn suspicion_min(period: Duration, multiplier: u8, nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let permille = log10_permille(nodes).max(1_000);
    let nanos = period.as_nanos() * u128::from(multiplier) * u128::from(permille) / 1_000;
    let millis = u64::try_from(nanos / 1_000_000).unwrap_or(u64::MAX);
    Duration::from_millis(millis)
}

/// How long a suspicion lasts that `confirmations` further observers share, of `expected`: `max`
/// at first, `min` when all expected ones have come, in whole milliseconds:
/// `max - (max - min) x log(confirmations + 1) / log(expected + 1)`.
#[must_use]
pub(super) fn suspicion(range: [Duration; 2], expected: u32, confirmations: u32) -> Duration {
    let [min, max] = range;
    if confirmations >= expected {
        return min;
    }
    let (part, whole) = (log2(confirmations + 1), log2(expected + 1));
    let span = max.saturating_sub(min).as_nanos() * u128::from(part) / u128::from(whole.max(1));
    let span = u64::try_from(span).unwrap_or(u64::MAX);
    let left = max.saturating_sub(Duration::from_nanos(span));
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis).max(min)
}

/// How often one piece of news is passed on: `multiplier x ceil(log10(nodes + 1))`.
#[must_use]
pub(super) fn transmissions(multiplier: u8, nodes: usize) -> u32 {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).saturating_add(1);
    let digits = nodes.checked_ilog10().unwrap_or(0);
    let exact = 10_u32.checked_pow(digits) == Some(nodes);
    u32::from(multiplier) * (digits + u32::from(!exact))
}

/// How often two members compare all they know: `base` up to 32 nodes, twice that up to 64, three
/// times up to 128, and so on.
#[must_use]
pub(super) fn full_sync_every(base: Duration, nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(FULL_SYNC_NODES);
    let doublings = nodes.div_ceil(FULL_SYNC_NODES).next_power_of_two().trailing_zeros();
    base * (doublings + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn f12_a_suspicion_ends_sooner_with_every_confirmation() {
        let range = [SECOND * 2, SECOND * 30];
        let left = |confirmations, elapsed: i64| {
            let all = suspicion(range, 3, confirmations).as_millis();
            i64::try_from(all).expect("short") - elapsed * 1_000
        };
        let found = [(0, 0), (1, 2), (2, 3), (3, 4), (4, 5), (5, 10)].map(|(c, e)| left(c, e));
        assert_eq!(found, [30_000, 14_000, 4_810, -2_000, -3_000, -8_000]);
    }

    #[test]
    fn f15_suspicions_and_full_syncs_grow_slowly_with_the_cluster() {
        let nodes = [5, 10, 50, 100, 500, 1_000];
        let found = nodes.map(|nodes| suspicion_min(SECOND, 3, nodes).as_millis());
        assert_eq!(found, [3_000, 3_000, 5_094, 6_000, 8_094, 9_000]);
        let of_foca = [5, 10, 100].map(|nodes| suspicion_min(SECOND, 4, nodes));
        assert_eq!(of_foca, [SECOND * 4, SECOND * 4, SECOND * 8]);
        let syncs = [0, 1, 32, 33, 64, 65, 128, 129].map(|nodes| full_sync_every(SECOND, nodes));
        assert_eq!(syncs, [1, 1, 1, 2, 2, 3, 3, 4].map(|times| SECOND * times));
    }

    #[test]
    fn f16_news_is_passed_on_as_often_as_the_cluster_needs() {
        assert_eq!([0, 1, 99].map(|nodes| transmissions(3, nodes)), [0, 3, 6]);
        assert_eq!([9, 10, 100].map(|nodes| transmissions(1, nodes)), [1, 2, 3]);
    }

    #[test]
    fn logarithms_are_those_of_floats() {
        for number in 1..20_000_u32 {
            let want = f64::from(number).log10() * 1_000.;
            let found = f64::from(log10_permille(number));
            assert!(found <= want + 1e-3 && want - found < 1., "{number}: {found} of {want}");
        }
        assert_eq!([0, 1, 10, 100, 1_000].map(log10_permille), [0, 0, 1_000, 2_000, 3_000]);
    }
}
