//! When a probe runs and what its outcomes mean, as a machine: outcomes and instants in, starts and
//! verdicts out. It knows no task and no clock.

use std::time::Duration;

use crate::base::Instant;

/// Failures in a row that make a node unhealthy, if nothing else is said.
const FAILURES: u32 = 2;
/// Passes in a row that make it healthy again, if nothing else is said.
const PASSES: u32 = 2;
/// A timer that comes this late at least may say more of this node than of the probe.
const LATE: Duration = Duration::from_millis(100);

/// When a probe runs, and how many of its outcomes count.
///
/// Two failures in a row and two passes in a row are the default, so that one slow run changes
/// nothing for anybody, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeConfig {
    /// From one start to the next. A run that takes longer delays the next one: two of a probe
    /// never run at once. At least 10 ms.
    pub every: Duration,
    /// How long one run may take. One that still runs then has failed, whatever it says later, and
    /// fails again after every further `every`. At least 1 ms.
    pub deadline: Duration,
    /// Failures in a row that make the node unhealthy; at least 1.
    pub failures: u32,
    /// Passes in a row that make it healthy again; at least 1.
    pub passes: u32,
}

impl ProbeConfig {
    /// This rhythm, and two outcomes in a row for either verdict.
    ///
    /// What hangs is found `deadline` after its start at the earliest, and at the latest
    /// `2 x every + deadline` after it began to hang.
    #[must_use]
    pub const fn new(every: Duration, deadline: Duration) -> Self {
        Self { every, deadline, failures: FAILURES, passes: PASSES }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// A deadline may have passed.
    TimePassed,
    /// The run ended.
    Ended(Result<(), String>),
}

/// What must be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Start a run; none runs.
    Start,
    /// The probe fails from now on: why.
    Failing(String),
    /// It failed before and failed again: why.
    StillFailing(String),
    /// It passes from now on.
    Passing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// None runs; the next one starts then.
    Rests { until: Instant },
    /// One runs. It is counted as failed at `due`; `missed` says that this has happened already.
    Runs { began: Instant, due: Instant, missed: bool },
}

/// One probe.
#[derive(Debug)]
pub(super) struct Probe {
    config: ProbeConfig,
    turn: Turn,
    failing: bool,
    /// Outcomes in a row that speak against the present verdict.
    against: u32,
}

impl Probe {
    /// A probe that passes until it is found otherwise, and first runs at `now`.
    pub(super) fn new(config: ProbeConfig, now: Instant) -> Self {
        Self { config, turn: Turn::Rests { until: now }, failing: false, against: 0 }
    }

    /// When [`Input::TimePassed`] is next of use.
    pub(super) fn next_deadline(&self) -> Instant {
        match self.turn {
            Turn::Rests { until } => until,
            Turn::Runs { due, .. } => due,
        }
    }

    /// Takes one input at `now` and appends what must be done, in order.
    pub(super) fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match (self.turn, input) {
            (Turn::Rests { until }, Input::TimePassed) => {
                if until <= now {
                    let due = now + self.config.deadline;
                    self.turn = Turn::Runs { began: now, due, missed: false };
                    out.push(Output::Start);
                }
            }
            // The outcome of no run: none is expected, and none is counted.
            (Turn::Rests { .. }, Input::Ended(_)) => {}
            (Turn::Runs { began, due, missed }, Input::TimePassed) => {
                if due <= now {
                    self.turn = self.missed(now, (began, due, missed), out);
                }
            }
            (Turn::Runs { began, missed, .. }, Input::Ended(outcome)) => {
                self.turn = Turn::Rests { until: now.max(began + self.config.every) };
                match outcome {
                    // It has failed already, when its deadline passed.
                    Ok(()) | Err(_) if missed => {}
                    Ok(()) => self.passed(out),
                    Err(why) => self.failed(why, out),
                }
            }
        }
        self.check();
    }

    /// The run is not done at `due`.
    fn missed(
        &mut self,
        now: Instant,
        (began, due, missed): (Instant, Instant, bool),
        out: &mut Vec<Output>,
    ) -> Turn {
        // Whoever looks this late was stopped or starved himself, and so perhaps was the run: it
        // gets its time anew. The idea is Lifeguard's (section 4.1): doubt yourself first.
        if now.since(due) > self.config.deadline.max(LATE) {
            return Turn::Runs { began, due: now + self.config.deadline, missed };
        }
        self.failed(format!("not done within {:?}", self.config.deadline), out);
        Turn::Runs { began, due: now + self.config.every, missed: true }
    }

    fn failed(&mut self, why: String, out: &mut Vec<Output>) {
        if self.failing {
            self.against = 0;
            out.push(Output::StillFailing(why));
            return;
        }
        self.against += 1;
        if self.against >= self.config.failures {
            (self.failing, self.against) = (true, 0);
            out.push(Output::Failing(why));
        }
    }

    fn passed(&mut self, out: &mut Vec<Output>) {
        if !self.failing {
            self.against = 0;
            return;
        }
        self.against += 1;
        if self.against >= self.config.passes {
            (self.failing, self.against) = (false, 0);
            out.push(Output::Passing);
        }
    }

    /// What speaks against a verdict is fewer than what turns it.
    fn check(&self) {
        let needed = if self.failing { self.config.passes } else { self.config.failures };
        assert!(self.against < needed.max(1), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);
    const DEADLINE: Duration = Duration::from_millis(300);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn probe() -> Probe {
        Probe::new(ProbeConfig::new(EVERY, DEADLINE), at(0))
    }

    fn step(probe: &mut Probe, millis: u64, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        probe.step(at(millis), input, &mut out);
        out
    }

    /// The outputs of runs that start every second and end at once.
    fn runs(probe: &mut Probe, from: u64, outcomes: &[Result<(), &str>]) -> Vec<Output> {
        let mut out = Vec::new();
        for (second, outcome) in (from..).zip(outcomes) {
            let millis = second * 1000;
            assert_eq!(step(probe, millis, Input::TimePassed), [Output::Start]);
            out.extend(step(probe, millis + 1, Input::Ended(outcome.map_err(str::to_owned))));
        }
        out
    }

    fn failing(why: &str) -> Output {
        Output::Failing(why.into())
    }

    fn late() -> String {
        "not done within 300ms".into()
    }

    #[test]
    fn two_in_a_row_turn_the_verdict_and_one_does_not() {
        let mut probe = probe();
        let (good, bad) = (Ok(()), Err("no"));
        assert_eq!(runs(&mut probe, 0, &[good, bad, good, bad, good]), []);
        assert_eq!(runs(&mut probe, 5, &[bad, Err("still no")]), [failing("still no")]);
        let again = Output::StillFailing("no".into());
        assert_eq!(runs(&mut probe, 7, &[good, bad, good]), [again], "one pass is not enough");
        assert_eq!(runs(&mut probe, 10, &[good, good]), [Output::Passing]);
        assert_eq!(runs(&mut probe, 12, &[bad, good, good, bad]), []);
    }

    #[test]
    fn as_many_count_as_were_asked_for() {
        let config = ProbeConfig { failures: 1, passes: 3, ..ProbeConfig::new(EVERY, DEADLINE) };
        let mut probe = Probe::new(config, at(0));
        assert_eq!(runs(&mut probe, 0, &[Err("no")]), [failing("no")]);
        assert_eq!(runs(&mut probe, 1, &[Ok(()), Ok(())]), []);
        assert_eq!(runs(&mut probe, 3, &[Ok(())]), [Output::Passing]);
    }

    #[test]
    fn a_run_that_hangs_fails_again_every_period_and_no_other_starts_beside_it() {
        let mut probe = probe();
        assert_eq!(step(&mut probe, 0, Input::TimePassed), [Output::Start]);
        assert_eq!(probe.next_deadline(), at(300));
        assert_eq!(step(&mut probe, 299, Input::TimePassed), [], "a timer may come early");
        assert_eq!(step(&mut probe, 300, Input::TimePassed), [], "the first of two");
        assert_eq!(probe.next_deadline(), at(1300));
        assert_eq!(step(&mut probe, 1300, Input::TimePassed), [failing(&late())]);
        let again = Output::StillFailing(late());
        assert_eq!(step(&mut probe, 2300, Input::TimePassed), [again]);
        // It ends, well, but too late: what counts is the next one, which starts at once.
        assert_eq!(step(&mut probe, 2500, Input::Ended(Ok(()))), []);
        assert_eq!(step(&mut probe, 2500, Input::TimePassed), [Output::Start]);
        assert_eq!(step(&mut probe, 2501, Input::Ended(Ok(()))), [], "the first of two");
        assert_eq!(probe.next_deadline(), at(3500));
        assert_eq!(runs(&mut probe, 4, &[Ok(())]), [Output::Passing]);
    }

    #[test]
    fn slow_runs_fail_though_each_of_them_ends_well() {
        let mut probe = probe();
        for (second, expected) in [(0, vec![]), (1, vec![failing(&late())])] {
            assert_eq!(step(&mut probe, second * 1000, Input::TimePassed), [Output::Start]);
            assert_eq!(step(&mut probe, second * 1000 + 300, Input::TimePassed), expected);
            assert_eq!(step(&mut probe, second * 1000 + 310, Input::Ended(Ok(()))), []);
        }
    }

    #[test]
    fn who_looks_late_accuses_nobody() {
        let mut probe = probe();
        assert_eq!(step(&mut probe, 0, Input::TimePassed), [Output::Start]);
        // Stopped for an hour, with the run.
        for late in [3_600_000, 7_200_000] {
            assert_eq!(step(&mut probe, late, Input::TimePassed), []);
            assert_eq!(probe.next_deadline(), at(late + 300));
        }
        assert_eq!(step(&mut probe, 7_200_001, Input::Ended(Ok(()))), []);
        assert_eq!(probe.against, 0);
        // A little late is late, but not too late to judge.
        assert_eq!(step(&mut probe, 7_200_001, Input::TimePassed), [Output::Start]);
        assert_eq!(step(&mut probe, 7_200_600, Input::TimePassed), []);
        assert_eq!(probe.against, 1);
    }

    #[test]
    fn an_outcome_without_a_run_counts_for_nothing() {
        let mut probe = probe();
        for _ in 0..3 {
            assert_eq!(step(&mut probe, 0, Input::Ended(Err("no".into()))), []);
        }
        assert_eq!((probe.against, probe.next_deadline()), (0, at(0)));
    }
}
