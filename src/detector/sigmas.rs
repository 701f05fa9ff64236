//! k of a phi threshold, in integers, so that it is the same on every machine.

#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

/// One, in fixed point.
const ONE: u128 = 1_000_000_000_000_000_000;
const LN_10: u128 = 2_302_585_092_994_045_684;
const ONE_OVER_E: u128 = 367_879_441_171_442_322;
/// No threshold that fits in a `u32` needs more, in thousandths.
const SIGMAS_PERMILLE_MAX: u32 = 520_000;

/// The least k, in thousandths, with which phi at `mean + k sigma` reaches `phi_permille`
/// thousandths. It is 0 for thresholds that phi has passed at the mean already, up to 0.301.
pub(super) const fn sigmas_permille(phi_permille: u32) -> u32 {
    let (mut low, mut high) = (0, SIGMAS_PERMILLE_MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if reaches(middle, phi_permille) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Whether phi at `mean + k sigma` is at least the threshold.
///
/// With `a = k (1.5976 + 0.070566 k^2)` and L the natural logarithm of ten to the threshold it asks
/// whether `1 + e^a >= e^L`, that is `e^-(L - a) + e^-L >= 1`, which needs no large number.
const fn reaches(sigmas_permille: u32, phi_permille: u32) -> bool {
    let k = sigmas_permille as u128;
    let a = k * (ONE * 15_976 / 10_000 / 1_000)
        + k * k * k * (ONE / 1_000_000_000 * 70_566 / 1_000_000);
    let l = phi_permille as u128 * LN_10 / 1_000;
    a >= l || exp_of_minus(l - a) + exp_of_minus(l) >= ONE
}

/// `e^-x`, of which at most the last two digits are wrong.
const fn exp_of_minus(x: u128) -> u128 {
    let (mut whole, part) = (x / ONE, x % ONE);
    // e^-42 is less than the last digit.
    if whole >= 42 {
        return 0;
    }
    // 1 - x + x^2/2 - x^3/6 and so on: the 20th term of x < 1 is less than the last digit.
    let (mut sum, mut term, mut n) = (ONE, ONE, 1);
    while n <= 20 {
        term = term * part / ONE / n;
        if n % 2 == 1 {
            sum -= term;
        } else {
            sum += term;
        }
        n += 1;
    }
    while whole > 0 {
        sum = sum * ONE_OVER_E / ONE;
        whole -= 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::detector::phi::phi;

    fn phi_at(sigmas_permille: u32) -> f64 {
        let elapsed = Duration::from_millis(sigmas_permille.into());
        phi(elapsed, Duration::ZERO, Duration::from_secs(1))
    }

    /// Roots of `k (1.5976 + 0.070566 k^2) = ln(10^phi - 1)` in fifty digits, by another program.
    #[test]
    fn k_is_the_root_rounded_up() {
        for (phi_permille, want) in [
            (0, 0),
            (301, 0),
            (302, 3),
            (1_000, 1_283),  // 1.2822
            (2_000, 2_323),  // 2.3227
            (3_000, 3_059),  // 3.0589
            (5_000, 4_120),  // 4.1191
            (8_000, 5_226),  // 5.2259
            (10_000, 5_800), // 5.7990
            (12_000, 6_293), // 6.2921
            (16_000, 7_120), // 7.1196
        ] {
            assert_eq!(sigmas_permille(phi_permille), want, "of {phi_permille}");
        }
        assert!(reaches(SIGMAS_PERMILLE_MAX, u32::MAX), "the search has an end");
    }

    #[test]
    fn k_is_the_least_that_reaches_any_threshold() {
        for phi_permille in (302..30_000).chain((30_000..4_000_000_000).step_by(9_999_991)) {
            let (k, threshold) = (sigmas_permille(phi_permille), f64::from(phi_permille) / 1_000.);
            let precision = threshold * 1e-14 + 1e-14;
            assert!(phi_at(k) >= threshold - precision, "k = {k} of {threshold} is too little");
            assert!(phi_at(k - 1) < threshold + precision, "k = {k} of {threshold} is too much");
        }
    }

    #[test]
    fn the_exponential_function_is_right_to_sixteen_digits() {
        for thousandths in 0..50_000_u32 {
            let got = exp_of_minus(u128::from(thousandths) * ONE / 1_000);
            let want = (-f64::from(thousandths) / 1_000.).exp() * 1e18;
            let got: f64 = got.to_string().parse().expect("a number");
            assert!((got - want).abs() < 300., "e^-{thousandths}/1000: {got}, not {want}");
        }
    }
}
