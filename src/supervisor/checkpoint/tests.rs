use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

/// Two strikes within 10 s.
fn checkpoint<S>(generations: usize) -> Checkpoint<S> {
    Checkpoint::new(generations).strikes(2).probation(10 * SECOND)
}

/// One incarnation from `from` to `to`, in seconds.
fn life<S: Send + Sync>(
    checkpoint: &Checkpoint<S>,
    from: u64,
    to: u64,
    reason: &ExitReason,
) -> Option<RolledBack> {
    checkpoint.begun(at(from));
    checkpoint.ended(reason, at(to))
}

fn crash() -> ExitReason {
    ExitReason::Crashed("boom".into())
}

#[test]
fn the_newest_generation_is_restored_and_the_oldest_falls_out() {
    let checkpoint = checkpoint(2);
    assert_eq!((checkpoint.newest(), checkpoint.generation()), (None, None));
    assert_eq!(["a", "b", "c"].map(|state| checkpoint.save(state)), [1, 2, 3]);
    assert_eq!(checkpoint.restore(), Some("c"));
    assert_eq!(format!("{checkpoint:?}"), "Checkpoint({2: 0, 3: 0})");
    // Clones are one checkpoint.
    checkpoint.clone().save("d");
    assert_eq!(checkpoint.newest().as_deref(), Some(&"d"));
}

#[test]
fn a_generation_that_keeps_crashing_its_child_is_given_up_for_the_one_before_at_last_for_none() {
    let checkpoint = checkpoint(3);
    checkpoint.save("good");
    checkpoint.save("bad");
    assert_eq!(life(&checkpoint, 0, 1, &crash()), None);
    assert_eq!(life(&checkpoint, 1, 2, &crash()), Some(RolledBack { from: 2, to: Some(1) }));
    assert_eq!(checkpoint.restore(), Some("good"));
    assert_eq!(life(&checkpoint, 2, 3, &crash()), None);
    assert_eq!(life(&checkpoint, 3, 4, &crash()), Some(RolledBack { from: 1, to: None }));
    assert_eq!(checkpoint.restore(), None);
    assert_eq!(life(&checkpoint, 4, 5, &crash()), None);
    assert_eq!(checkpoint.save("new"), 3, "no number is used twice");
}

#[test]
fn only_crashes_within_probation_count_its_end_included() {
    let blamed = |to, reason| {
        let checkpoint = checkpoint(1).strikes(1);
        checkpoint.save(());
        life(&checkpoint, 5, to, &reason).is_some()
    };
    assert!(blamed(5, crash()));
    assert!(blamed(15, crash()));
    assert!(!blamed(16, crash()));
    assert!(blamed(6, ExitReason::StartFailed("no".into())));
    assert!(blamed(6, ExitReason::Hung));
    assert!(blamed(6, ExitReason::GaveUp));
    assert!(!blamed(6, ExitReason::Normal));
    assert!(!blamed(6, ExitReason::Shutdown));
    assert!(!blamed(6, ExitReason::Killed));
}

#[test]
fn a_generation_that_outlives_its_probation_has_its_strikes_taken_back() {
    let checkpoint = checkpoint(2);
    checkpoint.save(());
    assert_eq!(life(&checkpoint, 0, 1, &crash()), None);
    assert_eq!(life(&checkpoint, 1, 20, &crash()), None);
    assert_eq!(life(&checkpoint, 20, 21, &crash()), None, "the first again");
    assert_eq!(life(&checkpoint, 21, 22, &ExitReason::Shutdown), None);
    let gone = Some(RolledBack { from: 1, to: None });
    assert_eq!(life(&checkpoint, 22, 23, &crash()), gone, "an order takes nothing back");
}

#[test]
fn a_crash_after_a_newer_save_counts_against_neither() {
    let checkpoint = checkpoint(3).strikes(1);
    checkpoint.save(());
    checkpoint.begun(at(0));
    checkpoint.save(());
    assert_eq!(checkpoint.ended(&crash(), at(1)), None);
    assert_eq!(checkpoint.generation(), Some(2));
    let back = Some(RolledBack { from: 2, to: Some(1) });
    assert_eq!(life(&checkpoint, 1, 2, &crash()), back);
}

#[test]
fn an_end_without_a_start_counts_for_nothing() {
    let checkpoint = checkpoint(1).strikes(1);
    checkpoint.save(());
    assert_eq!(checkpoint.ended(&crash(), at(1)), None);
    assert_eq!(life(&checkpoint, 2, 3, &crash()), Some(RolledBack { from: 1, to: None }));
    assert_eq!(checkpoint.ended(&crash(), at(3)), None);
}

/// Counts how often it was dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_supervisor_drops_no_state_of_its_child() {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = || drops.load(Ordering::Relaxed);
    let checkpoint = checkpoint(2).strikes(1);
    (0..3).for_each(|_| {
        checkpoint.save(Dropped(drops.clone()));
    });
    assert_eq!(count(), 1, "the oldest fell out");
    assert!(life(&checkpoint, 0, 1, &crash()).is_some());
    assert_eq!(count(), 1);
    assert!(checkpoint.newest().is_some());
    assert_eq!(count(), 2, "the child that starts drops it");
}

#[test]
fn what_is_out_of_range_is_refused_by_its_name() {
    let say = |checkpoint: Checkpoint<()>| {
        checkpoint.validate().map_err(|error| (error.field(), error.to_string()))
    };
    assert_eq!(say(Checkpoint::new(1)), Ok(()));
    let faults = [
        (Checkpoint::new(0), "checkpoint.generations", "generations must not be zero"),
        (Checkpoint::new(1_001), "checkpoint.generations", "generations is 1001, more than 1000"),
        (Checkpoint::new(1).strikes(0), "checkpoint.strikes", "strikes must not be zero"),
        (
            Checkpoint::new(1).probation(Duration::ZERO),
            "checkpoint.probation",
            "probation must not be zero",
        ),
    ];
    for (checkpoint, field, fault) in faults {
        assert_eq!(say(checkpoint), Err((field, fault.to_owned())));
    }
}

/// One thing that happens to a checkpoint.
#[derive(Debug, Clone)]
enum Step {
    Save,
    Begun,
    Ended(ExitReason),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let reasons = prop_oneof![
        4 => Just(crash()),
        1 => Just(ExitReason::Hung),
        1 => Just(ExitReason::Normal),
        1 => Just(ExitReason::Killed),
    ];
    prop_oneof![
        2 => Just(Step::Save),
        4 => Just(Step::Begun),
        4 => reasons.prop_map(Step::Ended),
        2 => (0..6_u64).prop_map(Step::Wait),
    ]
}

/// What became of one incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Strike,
    Outlived,
    Nothing,
}

/// The rules once more, naively: the whole history, read anew for each question.
#[derive(Debug, Default)]
struct History {
    saved: u64,
    given_up: Vec<u64>,
    fallen_out: Vec<u64>,
    verdicts: Vec<(u64, Verdict)>,
    living: Option<(u64, u64)>,
}

impl History {
    fn kept(&self) -> Vec<u64> {
        let is_gone = |one: &u64| self.given_up.contains(one) || self.fallen_out.contains(one);
        (1..=self.saved).filter(|one| !is_gone(one)).collect()
    }

    fn strikes(&self, generation: u64) -> usize {
        let verdicts = self.verdicts.iter().rev();
        let own = verdicts.filter(|(blamed, _)| *blamed == generation);
        let recent = own.take_while(|(_, verdict)| *verdict != Verdict::Outlived);
        recent.filter(|(_, verdict)| *verdict == Verdict::Strike).count()
    }

    fn save(&mut self, generations: usize) {
        self.saved += 1;
        let kept = self.kept();
        if kept.len() > generations {
            self.fallen_out.push(kept[0]);
        }
    }

    fn ended(&mut self, crashed: bool, now: u64, strikes: usize) -> Option<RolledBack> {
        let (generation, begun) = self.living.take()?;
        let newest = self.kept().last() == Some(&generation);
        let verdict = if now - begun > 10 {
            Verdict::Outlived
        } else if crashed && newest {
            Verdict::Strike
        } else {
            Verdict::Nothing
        };
        self.verdicts.push((generation, verdict));
        let enough = self.strikes(generation) >= strikes;
        (verdict == Verdict::Strike && enough).then(|| {
            self.given_up.push(generation);
            RolledBack { from: generation, to: self.kept().last().copied() }
        })
    }
}

proptest! {
    /// Goal: the generations are those of the naive rules, after every step.
    #[test]
    fn generations_are_those_of_the_naive_rules(
        generations in 1..4_usize,
        strikes in 1..4_u32,
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let checkpoint = Checkpoint::new(generations).strikes(strikes).probation(10 * SECOND);
        let (mut history, mut now) = (History::default(), 0);
        for step in steps {
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Save => {
                    history.save(generations);
                    prop_assert_eq!(checkpoint.save(history.saved), history.saved);
                }
                Step::Begun => {
                    history.living = history.kept().last().map(|newest| (*newest, now));
                    checkpoint.begun(at(now));
                }
                Step::Ended(reason) => {
                    let crashed = matches!(reason, ExitReason::Crashed(_) | ExitReason::Hung);
                    let strikes = usize::try_from(strikes).expect("few");
                    let expected = history.ended(crashed, now, strikes);
                    prop_assert_eq!(checkpoint.ended(&reason, at(now)), expected);
                }
            }
            prop_assert_eq!(checkpoint.restore(), history.kept().last().copied());
            let counts = history.kept().into_iter().map(|one| (one, history.strikes(one)));
            let counts: Vec<_> = counts.map(|(one, count)| format!("{one}: {count}")).collect();
            let expected = format!("Checkpoint({{{}}})", counts.join(", "));
            prop_assert_eq!(format!("{checkpoint:?}"), expected);
        }
    }
}
