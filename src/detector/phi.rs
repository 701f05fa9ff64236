//! Phi as people know it, for display: it decides nothing. The only floats of the detector.

use std::f64::consts::LN_10;
use std::time::Duration;

/// How unlikely it is that the next arrival is still to come after `elapsed`, as
/// `-log10(1 - CDF)` of a normal distribution in its logistic form: `CDF = 1 / (1 + e^-a)` with
/// `a = y (1.5976 + 0.070566 y^2)` and `y = (elapsed - mean) / deviation`.
///
/// Never less than 0. `deviation` is not zero.
///
/// Source: Hayashibara et al., SRDS 2004; logistic form: Pekko, `PhiAccrualFailureDetector.phi`.
/// Differs: the suite's `-log10(e / (1 + e))`, with `e = exp(-a)`, is written so that neither a
/// long nor a short silence loses digits or becomes infinite.
pub(super) fn phi(elapsed: Duration, mean: Duration, deviation: Duration) -> f64 {
    let y = (elapsed.as_secs_f64() - mean.as_secs_f64()) / deviation.as_secs_f64();
    let a = y * (1.5976 + 0.070_566 * y * y);
    (a.max(0.) + (-a.abs()).exp().ln_1p()) / LN_10
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in milliseconds.
    fn phi_of(elapsed: u64, mean: u64, deviation: u64) -> f64 {
        let [elapsed, mean, deviation] = [elapsed, mean, deviation].map(Duration::from_millis);
        phi(elapsed, mean, deviation)
    }

    #[test]
    fn f01_phi_has_the_values_of_the_suite() {
        let table = [
            (0, 0.),
            (500, 0.1),
            (1000, 0.3),
            (1200, 1.6),
            (1400, 4.7),
            (1600, 10.8),
            (1700, 15.3),
        ];
        for (elapsed, want) in table {
            let got = phi_of(elapsed, 1_000, 100);
            assert!((got - want).abs() < 0.1, "at {elapsed} ms {got}, not {want}");
        }
        assert!(phi_of(1_100, 1_000, 500) < phi_of(1_100, 1_000, 100), "larger sd, lower phi");
    }

    #[test]
    fn f01_the_distribution_is_close_enough_to_the_normal_one() {
        let table =
            [(0, 0.5), (6, 0.7257), (15, 0.9332), (20, 0.97725), (25, 0.99379), (35, 0.99977)];
        for (elapsed, want) in table {
            let got = 1. - 10_f64.powf(-phi_of(elapsed, 0, 10));
            assert!((got - want).abs() < 0.001, "at {elapsed} ms {got}, not {want}");
        }
    }

    #[test]
    fn f01_phi_rises_strictly_however_long_the_silence_and_falls_with_the_deviation() {
        let mut before = -1.;
        for elapsed in (0..3_000).chain((3_000..100_000_000).step_by(999_983)) {
            let now = phi_of(elapsed, 1_000, 100);
            assert!(now > before && now.is_finite(), "at {elapsed} ms {now} after {before}");
            before = now;
        }
        for deviation in 1..1_000 {
            assert!(phi_of(1_100, 1_000, deviation + 1) < phi_of(1_100, 1_000, deviation));
        }
    }
}
