use std::cell::Cell;
use std::future::pending;

use super::*;
use crate::base::Instant;

const MS: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum No {
    #[error("not executed")]
    NotExecuted,
    #[error("unknown")]
    Unknown,
}

impl NotExecuted for No {
    fn not_executed(&self) -> bool {
        *self == Self::NotExecuted
    }
}

fn policy() -> Policy {
    Policy {
        attempts_max: 4,
        backoff_min: 10 * MS,
        backoff_max: 40 * MS,
        deadline: 1_000 * MS,
        repeat_unknown: false,
    }
}

fn retry(policy: Policy) -> (Retry, Arc<TokioClock>) {
    let clock = Arc::new(TokioClock::new());
    let rng = Arc::new(SeededRng::new(7));
    (Retry::on(policy, clock.clone(), rng).expect("a good policy"), clock)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_tried_again_after_growing_pauses_until_it_succeeds() {
    let (retry, clock) = retry(policy());
    let mut begun: Vec<(u32, Instant)> = Vec::new();
    let answer = retry.run(|attempt| {
        begun.push((attempt.number, clock.now()));
        async move { if attempt.number == 4 { Ok("yes") } else { Err(No::NotExecuted) } }
    });
    assert_eq!(answer.await, Ok("yes"));
    assert_eq!(begun.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (pair, ceiling) in begun.windows(2).zip([10, 20, 40]) {
        // Tokio's timers end on whole milliseconds.
        assert!(pair[1].1.since(pair[0].1) <= (ceiling + 1) * MS, "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_at_the_end_carries_the_attempts_and_the_last_error() {
    let (retry, _) = retry(policy());
    let error = retry.run(|_| async { Err::<(), _>(No::NotExecuted) }).await.expect_err("no");
    assert_eq!(error.to_string(), "4 attempts, no attempts left: not executed");
    assert!(NotExecuted::not_executed(&error));

    let error = retry.run(|_| async { Err::<(), _>(No::Unknown) }).await.expect_err("no");
    assert_eq!(error.to_string(), "1 attempt, it may have been executed: unknown");
    assert!(!NotExecuted::not_executed(&error));
    assert_eq!(error.last, Some(No::Unknown));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_in_hand_is_given_up_at_the_deadline() {
    let (retry, clock) = retry(policy());
    let begun = clock.now();
    let call = retry.run(|attempt| async move {
        if attempt.number == 1 {
            return Err(No::NotExecuted);
        }
        pending::<Result<(), No>>().await
    });
    let error = call.await.expect_err("no");
    assert_eq!((error.why, error.attempts), (GaveUp::Deadline, 2));
    assert_eq!(error.last, Some(No::NotExecuted));
    assert!(!error.not_executed, "the second attempt is lost");
    let took = clock.now().since(begun);
    assert!(took >= 1_000 * MS && took <= 1_002 * MS, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_knows_how_long_it_may_take() {
    let (retry, clock) = retry(Policy { backoff_min: 40 * MS, ..policy() });
    let start = clock.now();
    let wrong = Cell::new(0);
    let call = retry.run(|attempt| {
        let left = (start + 1_000 * MS).since(clock.now());
        wrong.set(wrong.get() + u32::from(attempt.left != left));
        async { Err::<(), _>(No::NotExecuted) }
    });
    assert_eq!(call.await.map_err(|error| error.attempts), Err(4));
    assert_eq!(wrong.get(), 0);
}

/// Goal: retries do not multiply an overload. Method: 500 callers with 4 attempts each, who share
/// a budget, of a server that fails them all.
#[tokio::test(start_paused = true)]
async fn callers_who_share_a_budget_retry_no_more_than_it_allows() {
    let (retry, clock) = retry(policy());
    let shares = Shares { success_permille: 200, second_min: 10, saved_max: 20 };
    let budget = RetryBudget::on(shares, clock.clone()).expect("good shares");
    let retry = retry.budget(&budget);
    let begun = clock.now();
    let load = Cell::new(0_u32);
    let calls = (0..500).map(|_| {
        retry.run(|_| {
            load.set(load.get() + 1);
            async { Err::<(), _>(No::NotExecuted) }
        })
    });
    let ends = futures::future::join_all(calls).await;
    assert!(ends.iter().filter_map(|end| end.as_ref().err()).any(|end| end.why == GaveUp::Budget));
    let seconds = u32::try_from(clock.now().since(begun).as_secs()).expect("few") + 1;
    assert!(load.get() <= 500 + 20 + 10 * seconds, "{} calls", load.get());
    assert!(load.get() >= 520, "{} calls", load.get());

    // Successes earn it back.
    let before = budget.left();
    for _ in 0..50 {
        assert_eq!(retry.run(|_| async { Ok::<_, No>(()) }).await, Ok(()));
    }
    assert_eq!(budget.left(), before + 10);
}

#[test]
fn a_ref_says_what_may_be_repeated() {
    let said = [
        RefError::Unbound,
        RefError::Restarting,
        RefError::Stopped,
        RefError::Lost,
        RefError::TimedOut,
    ]
    .map(|error| Failure::of(&error));
    assert_eq!(said.map(|failure| failure.not_executed), [true, true, true, false, false]);
    assert_eq!(said.map(|failure| failure.is_final), [false, false, true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_made_from_a_task() {
    let (retry, _) = retry(policy());
    let call = async move { retry.run(|_| async { Ok::<_, No>(1) }).await };
    assert_eq!(tokio::spawn(call).await.expect("it ends"), Ok(1));
}
