use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const NOT_EXECUTED: Failure = Failure { not_executed: true, is_final: false };
const UNKNOWN: Failure = Failure { not_executed: false, is_final: false };

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn policy() -> Policy {
    Policy {
        attempts_max: 4,
        backoff_min: 10 * MS,
        backoff_max: 30 * MS,
        deadline: 1_000 * MS,
        repeat_unknown: false,
    }
}

#[test]
fn the_longest_pause_doubles_up_to_its_most() {
    let ceilings = |policy: Policy| [1, 2, 3, 4, 33, 1_000].map(|made| policy.ceiling(made));
    assert_eq!(ceilings(policy()), [10, 20, 30, 30, 30, 30].map(|millis| millis * MS));
    let vast = Policy { backoff_max: Duration::MAX, backoff_min: Duration::MAX, ..policy() };
    assert_eq!(ceilings(vast), [Duration::MAX; 6]);
}

#[test]
fn a_pause_is_the_drawn_share_of_the_longest() {
    let half = 1 << 63;
    let mut attempts = Attempts::new(policy(), at(0));
    assert_eq!(attempts.failed(at(1), NOT_EXECUTED, half, || true), Ok(at(6)));
    assert_eq!(attempts.failed(at(7), NOT_EXECUTED, half, || true), Ok(at(17)));
    assert_eq!(attempts.failed(at(18), NOT_EXECUTED, 0, || true), Ok(at(18)));
    assert_eq!(attempts.made(), 4);
    assert_eq!(attempts.failed(at(18), NOT_EXECUTED, 0, || true), Err(GaveUp::Attempts));
}

#[test]
fn what_may_have_been_executed_is_repeated_only_where_that_is_allowed() {
    let mut attempts = Attempts::new(policy(), at(0));
    assert_eq!(attempts.failed(at(1), UNKNOWN, 0, || true), Err(GaveUp::Unknown));
    assert!(!attempts.not_executed());

    let mut attempts = Attempts::new(Policy { repeat_unknown: true, ..policy() }, at(0));
    assert_eq!(attempts.failed(at(1), UNKNOWN, 0, || true), Ok(at(1)));
    assert_eq!(attempts.failed(at(2), NOT_EXECUTED, 0, || true), Ok(at(2)));
    assert!(!attempts.not_executed(), "the first one may have been");
}

#[test]
fn a_final_error_is_not_tried_again() {
    let mut attempts = Attempts::new(policy(), at(0));
    let failure = Failure { is_final: true, ..NOT_EXECUTED };
    assert_eq!(attempts.failed(at(1), failure, 0, || panic!("asked")), Err(GaveUp::Final));
    assert!(attempts.not_executed());
}

#[test]
fn the_budget_is_asked_last_and_its_word_holds() {
    let mut attempts = Attempts::new(Policy { attempts_max: 2, ..policy() }, at(0));
    assert_eq!(attempts.failed(at(1), NOT_EXECUTED, 0, || false), Err(GaveUp::Budget));
    let late = attempts.failed(at(1_000), NOT_EXECUTED, 0, || panic!("asked"));
    assert_eq!(late, Err(GaveUp::Deadline));
    assert_eq!(attempts.failed(at(1), NOT_EXECUTED, 0, || true), Ok(at(1)));
    let done = attempts.failed(at(1), NOT_EXECUTED, 0, || panic!("asked"));
    assert_eq!(done, Err(GaveUp::Attempts));
}

#[test]
fn a_bad_policy_is_refused_by_the_name_of_its_field() {
    let say = |policy: Policy| policy.validate().map_err(|error| error.to_string());
    assert_eq!(say(Policy::default()), Ok(()));
    let faults = [
        (Policy { attempts_max: 0, ..policy() }, "attempts_max must not be zero"),
        (Policy { attempts_max: 1_001, ..policy() }, "attempts_max is 1001, more than 1000"),
        (Policy { backoff_min: Duration::ZERO, ..policy() }, "backoff_min must not be zero"),
        (
            Policy { backoff_min: 31 * MS, ..policy() },
            "backoff_min is 31ms, more than backoff_max, 30ms",
        ),
        (Policy { deadline: Duration::ZERO, ..policy() }, "deadline must not be zero"),
    ];
    for (policy, fault) in faults {
        assert_eq!(say(policy), Err(fault.to_owned()));
    }
}

#[test]
fn bad_shares_are_refused_by_the_name_of_their_field() {
    let say = |shares: Shares| shares.validate().map_err(|error| error.to_string());
    let shares = Shares::default();
    assert_eq!(say(shares), Ok(()));
    let faults = [
        (Shares { success_permille: 1_001, ..shares }, "success_permille is 1001, more than 1000"),
        (Shares { second_min: 1_000_001, ..shares }, "second_min is 1000001, more than 1000000"),
        (Shares { saved_max: 0, ..shares }, "saved_max must not be zero"),
        (Shares { saved_max: 1_000_001, ..shares }, "saved_max is 1000001, more than 1000000"),
    ];
    for (shares, fault) in faults {
        assert_eq!(say(shares), Err(fault.to_owned()));
    }
}

#[test]
fn a_budget_earns_by_successes_and_by_time_up_to_its_most() {
    let shares = Shares { success_permille: 200, second_min: 2, saved_max: 3 };
    let mut budget = Budget::new(shares, at(0));
    let taken = (0..9).filter(|_| budget.take(at(0))).count();
    assert_eq!(taken, 3, "full at first");
    (0..4).for_each(|_| budget.succeeded());
    assert!(!budget.take(at(0)), "four fifths of a retry");
    budget.succeeded();
    assert!(budget.take(at(0)));
    assert!(!budget.take(at(499)));
    assert!(budget.take(at(500)));
    assert!(!budget.take(at(400)), "a clock that falls back");
    assert!(!budget.take(at(500)), "has earned nothing");
    assert_eq!(budget.left(at(60_000)), 3);
    assert_eq!(budget.left(at(501)), 0, "looking changes nothing");
    assert_eq!(budget.left(Instant::NEVER), 3);
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let millis = |most: u64| (1..most).prop_map(Duration::from_millis);
    (1..12_u32, millis(200), millis(2_000), millis(5_000), any::<bool>()).prop_map(
        |(attempts_max, backoff_min, more, deadline, repeat_unknown)| Policy {
            attempts_max,
            backoff_min,
            backoff_max: backoff_min + more,
            deadline,
            repeat_unknown,
        },
    )
}

fn any_failure() -> impl Strategy<Value = Failure> {
    (any::<bool>(), 0..20_u8)
        .prop_map(|(not_executed, end)| Failure { not_executed, is_final: end == 0 })
}

/// What a caller does next.
#[derive(Debug, Clone, Copy)]
enum Move {
    Succeed,
    Retry,
    Wait(u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![Just(Move::Succeed), Just(Move::Retry), (0..400_u64).prop_map(Move::Wait)]
}

fn any_shares() -> impl Strategy<Value = Shares> {
    (0..=1_000_u32, 0..20_u32, 1..10_u32).prop_map(|(success_permille, second_min, saved_max)| {
        Shares { success_permille, second_min, saved_max }
    })
}

proptest! {
    /// Goal: whatever fails, when, and however chance falls, no call has more attempts than
    /// allowed, no pause is longer than it may be, and none ends past the deadline.
    #[test]
    fn attempts_and_pauses_keep_to_the_policy(
        policy in any_policy(),
        ends in proptest::collection::vec((0..500_u64, any_failure(), any::<u64>()), 0..15),
    ) {
        prop_assert_eq!(policy.validate(), Ok(()));
        let (start, mut now) = (at(1_000), at(1_000));
        let mut attempts = Attempts::new(policy, start);
        let (mut pauses, mut certain) = (0, true);
        for (taken, failure, draw) in ends {
            now = now + Duration::from_millis(taken);
            certain &= failure.not_executed;
            let next = attempts.failed(now, failure, draw, || true);
            prop_assert_eq!(attempts.not_executed(), certain);
            let Ok(next) = next else { break };
            prop_assert!(!failure.is_final);
            prop_assert!(failure.not_executed || policy.repeat_unknown);
            prop_assert!(next >= now && next < start + policy.deadline);
            let ceiling = policy.backoff_min * 2_u32.pow(pauses);
            prop_assert!(next.since(now) <= ceiling.min(policy.backoff_max));
            pauses += 1;
            prop_assert_eq!(attempts.made(), pauses + 1);
            now = next;
        }
        prop_assert!(attempts.made() <= policy.attempts_max);
    }

    /// Goal: in every span of time, retries are no more than what is saved, the share of its
    /// successes, and the minimum of its seconds.
    #[test]
    fn retries_in_any_span_keep_to_the_shares(
        shares in any_shares(),
        moves in proptest::collection::vec(any_move(), 0..120),
    ) {
        prop_assert_eq!(shares.validate(), Ok(()));
        let (mut budget, mut now) = (Budget::new(shares, at(0)), 0_u64);
        let mut done = Vec::new();
        for step in moves {
            match step {
                Move::Wait(millis) => now += millis,
                Move::Succeed => {
                    budget.succeeded();
                    done.push((now, false));
                }
                Move::Retry => {
                    if budget.take(at(now)) {
                        done.push((now, true));
                    }
                }
            }
        }
        for first in 0..done.len() {
            let (mut retries, mut successes) = (0_u64, 0_u64);
            for (then, is_retry) in &done[first..] {
                if *is_retry { retries += 1 } else { successes += 1 }
                let earned = u64::from(shares.saved_max) * 1_000
                    + successes * u64::from(shares.success_permille)
                    + (then - done[first].0) * u64::from(shares.second_min);
                prop_assert!(retries * 1_000 <= earned, "{retries} retries, {successes} successes");
            }
        }
    }

    /// Goal: callers who all retry cannot multiply an overload. Method: a server that fails a
    /// share of its calls; each failure wants to be tried again at once, without end.
    #[test]
    fn the_load_of_a_failing_server_grows_by_no_more_than_the_share(
        failing_permille in 0..=1_000_u64,
        offered_per_ms in 1..5_u64,
        seed in any::<u64>(),
    ) {
        let shares = Shares { success_permille: 200, second_min: 10, saved_max: 20 };
        let mut budget = Budget::new(shares, at(0));
        let (mut load, mut offered, mut state) = (0_u64, 0_u64, seed);
        let mut fails = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % 1_000 < failing_permille
        };
        let millis = 2_000;
        for now in 0..millis {
            for _ in 0..offered_per_ms {
                offered += 1;
                load += 1;
                loop {
                    if !fails() {
                        budget.succeeded();
                        break;
                    }
                    if !budget.take(at(now)) {
                        break;
                    }
                    load += 1;
                }
            }
        }
        let beyond = u64::from(shares.saved_max) + u64::from(shares.second_min) * millis / 1_000;
        prop_assert!(load * 1_000 <= offered * 1_200 + beyond * 1_000, "{load} of {offered}");
    }
}
