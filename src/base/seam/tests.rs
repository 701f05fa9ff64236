//! Sleepers of a clock that goes on while their timers stand still.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_sleeper_wakes_soon_after_a_suspend_that_its_timer_did_not_count() {
    let (timers, suspended) = (TokioClock::new(), Arc::new(Mutex::new(Duration::ZERO)));
    let now = {
        let suspended = suspended.clone();
        move || timers.now() + *suspended.lock()
    };
    let (began, hour) = (now(), Duration::from_hours(1));
    let sleeper = tokio::spawn(sleep_on(now.clone(), began + hour));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!sleeper.is_finished(), "an hour has not passed");
    *suspended.lock() = 2 * hour;
    sleeper.await.expect("it does not panic");
    let awake = now().since(began + 2 * hour);
    assert_eq!(awake, Duration::from_secs(3), "it looks at the clock every second");
}

#[tokio::test(start_paused = true)]
async fn nobody_wakes_early() {
    let clock = TokioClock::new();
    for span in [Duration::ZERO, Duration::from_micros(1_500), Duration::from_secs(3)] {
        let at = clock.now() + span;
        sleep_on(move || clock.now(), at).await;
        assert!(clock.now() >= at && clock.now().since(at) < Duration::from_millis(1));
    }
}

#[tokio::test]
async fn the_boot_clock_sleeps_its_own_time() {
    for millis in [0, 1, 20] {
        let at = BootClock.now() + Duration::from_millis(millis);
        BootClock.sleep_until(at).await;
        assert!(BootClock.now() >= at, "awake before {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_sleepers_look_at_the_clock_at_the_same_moments() {
    let clock = TokioClock::new();
    let looks = Arc::new(Mutex::new(Vec::new()));
    let look = |asleep_since: Instant| {
        let looks = looks.clone();
        move || {
            let now = clock.now();
            if now != asleep_since {
                looks.lock().push(now.as_nanos());
            }
            now
        }
    };
    let at = clock.now() + LATE_MAX * 4;
    let first = tokio::spawn(sleep_on(look(clock.now()), at));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = tokio::spawn(sleep_on(look(clock.now()), at));
    first.await.expect("it does not panic");
    second.await.expect("it does not panic");
    let mut moments = looks.lock().clone();
    assert_eq!(moments.len(), 8, "four looks each: {moments:?}");
    moments.dedup();
    assert_eq!(moments.len(), 4, "{moments:?}");
}
