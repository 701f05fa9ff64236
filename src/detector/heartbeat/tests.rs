use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn beats(config: HeartbeatConfig, millis: &[u64]) -> Heartbeats {
    let mut beats = Heartbeats::new(config);
    for &millis in millis {
        beats.heard(at(millis));
    }
    beats
}

fn with_pause() -> HeartbeatConfig {
    HeartbeatConfig { pause: Duration::from_secs(3), ..HeartbeatConfig::default() }
}

#[test]
fn f01_the_deadline_is_where_phi_passes_its_threshold() {
    for phi_permille in [1_000, 3_000, 8_000, 12_000, 16_000] {
        let sigmas_permille = HeartbeatConfig::sigmas_of(phi_permille);
        let config = HeartbeatConfig { sigmas_permille, ..HeartbeatConfig::default() };
        let beats = beats(config, &[0, 1_000, 1_900, 3_000]);
        let (deadline, threshold) = (beats.deadline(), f64::from(phi_permille) / 1_000.);
        // A thousandth of the deviation, by which k is rounded up, is at most 0.006 of phi here.
        let (at, before) = (beats.phi(deadline), beats.phi(deadline - Duration::from_millis(1)));
        assert!((threshold..threshold + 0.007).contains(&at), "{at} for {threshold}");
        assert!(before < threshold, "{before} for {threshold}");
    }
}

#[test]
fn f03_who_was_never_heard_is_available_and_not_monitored() {
    let mut fresh = Heartbeats::new(HeartbeatConfig::default());
    for millis in [0, 1_000_000, 1_000_000_000] {
        assert_eq!(fresh.phi(at(millis)).to_bits(), 0_f64.to_bits());
        assert!(fresh.is_available(at(millis)));
    }
    assert!(!fresh.is_monitored());
    for millis in [0, 1_000, 1_100] {
        fresh.heard(at(millis));
        assert!(fresh.is_monitored());
        assert!(fresh.is_available(at(millis)));
    }
    assert!(fresh.is_available(at(1_200)));
    assert!(fresh.phi(at(1_200)) > 0.);
}

#[test]
fn f05_missed_heartbeats_mark_a_node() {
    let config = HeartbeatConfig { sigmas_permille: HeartbeatConfig::PHI_3, ..Default::default() };
    let beats = beats(config, &[0, 1_000, 1_100]);
    assert!(beats.is_available(at(1_200)));
    assert!(!beats.is_available(at(8_200)));
    assert!(beats.phi(at(1_200)) < 3. && beats.phi(at(8_200)) > 3.);
}

/// The two runs of the suite.
#[test]
fn f07_some_missing_beats_are_accepted_and_more_are_not() {
    let mut some = beats(with_pause(), &[0, 1_000, 2_000]);
    assert!(some.is_available(at(6_000)), "a gap of 4 s");
    some.heard(at(6_000));
    assert!(some.is_available(at(7_000)));
    some.heard(at(8_000));
    assert!(some.is_available(at(8_000)));
    let mut more = beats(with_pause(), &[0, 1_000, 2_000, 3_000, 4_000, 5_000]);
    assert!(more.is_available(at(5_500)));
    more.heard(at(6_000));
    assert!(!more.is_available(at(11_000)), "a gap of 5 s");
}

/// As the case tells it: one gap after the other, of a peer that is known well.
#[test]
fn f07_a_gap_of_four_seconds_is_accepted_and_then_one_of_five_is_not() {
    let seconds: Vec<u64> = (0..1_000).map(|beat| beat * 1_000).collect();
    let mut beats = beats(with_pause(), &seconds);
    let last = 999_000;
    assert!(beats.is_available(at(last + 4_000)));
    beats.heard(at(last + 4_000));
    assert!(beats.is_available(at(last + 8_000)), "4 s once more");
    assert!(!beats.is_available(at(last + 9_000)), "a gap of 5 s");
}

#[test]
fn a_long_absence_is_not_learnt_and_old_intervals_are_forgotten() {
    let config = HeartbeatConfig { window: 10, ..HeartbeatConfig::default() };
    let mut beats = beats(config, &(0..20).map(|beat| beat * 100).collect::<Vec<_>>());
    // Ten intervals of exactly 100 ms: mean 100, deviation at its least, 100 ms.
    assert_eq!(beats.deadline().since(at(1_900)), Duration::from_micros(622_600));
    beats.heard(at(60_000));
    assert_eq!(beats.deadline().since(at(60_000)), Duration::from_micros(622_600));
    beats.heard(at(59_000));
    assert!(beats.deadline() > at(60_000), "a clock that steps back does no harm");
}

#[test]
fn a_deviation_of_zero_is_shown_without_fault() {
    let config =
        HeartbeatConfig { deviation_min: Duration::ZERO, window: 2, ..HeartbeatConfig::default() };
    let beats = beats(config, &[0, 1_000, 2_000, 3_000]);
    assert!(beats.phi(at(3_999)) < 0.001, "before the mean");
    assert!(beats.phi(at(4_001)) > 1e9, "after it");
    assert_eq!(beats.deadline(), at(4_000));
}

proptest! {
    #[test]
    fn the_deadline_is_after_the_last_beat_and_sums_do_not_drift(
        gaps in prop::collection::vec(any::<u64>(), 1..200),
        window in 1..20_usize,
    ) {
        let config = HeartbeatConfig { window, ..HeartbeatConfig::default() };
        let mut beats = Heartbeats::new(config);
        let mut now = Instant::ZERO;
        for gap in gaps {
            now = now + Duration::from_nanos(gap >> (gap % 64));
            beats.heard(now);
            prop_assert!(beats.deadline() > now || now == Instant::NEVER);
            prop_assert!(beats.intervals.len() <= window);
            let sum: u128 = beats.intervals.iter().map(|&i| u128::from(i)).sum();
            prop_assert_eq!(sum, beats.sum);
        }
    }

    /// Goal: the integer deadline says what phi says. Method: ask both, at random.
    #[test]
    fn a_peer_is_available_while_phi_is_below_its_threshold(
        gaps in prop::collection::vec(1..5_000_u64, 1..100),
        phi_permille in 400..16_000_u32,
        pause in 0..4_000_u64,
        silence in 0..40_000_u64,
    ) {
        let config = HeartbeatConfig {
            sigmas_permille: HeartbeatConfig::sigmas_of(phi_permille),
            pause: Duration::from_millis(pause),
            ..HeartbeatConfig::default()
        };
        let mut now = 0;
        let millis: Vec<u64> = gaps.iter().map(|gap| { now += gap; now }).collect();
        let beats = beats(config, &millis);
        let (phi, threshold) = (beats.phi(at(now + silence)), f64::from(phi_permille) / 1_000.);
        if (phi - threshold).abs() > 0.01 {
            prop_assert_eq!(beats.is_available(at(now + silence)), phi < threshold, "{}", phi);
        }
    }
}
