mod model;
mod naive;
mod requests;
mod rules;
mod significant;
mod table;

use std::time::Duration;

use super::*;
use crate::base::{ExitReason, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn crash() -> ExitReason {
    ExitReason::Crashed("boom".into())
}

fn no_start() -> ExitReason {
    ExitReason::StartFailed("no".into())
}

fn rule(restart: Restart) -> Rule {
    Rule::new(restart, Shutdown::WORKER)
}

fn config(strategy: Strategy, restarts: u32, children: &[Restart]) -> Config {
    let intensity = Intensity { restarts, period: SECOND };
    let children = children.iter().map(|restart| rule(*restart)).collect();
    Config { strategy, intensity, auto_shutdown: AutoShutdown::Never, seed: 7, children }
}

/// A machine that is stepped, checked, and whose outputs are shown one per word.
struct Bench {
    machine: Restarts,
    now: Instant,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self { machine: Restarts::new(config), now: at(0) }
    }

    /// Started, all children up.
    fn up(config: Config) -> Self {
        let children = config.children.len();
        let mut bench = Self::new(config);
        let mut out = bench.step(Input::Begin);
        for child in 0..children {
            assert_eq!(out, [Output::Start(child)]);
            out = bench.step(Input::Started(child));
        }
        assert_eq!(out, [Output::Ready]);
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.machine.step(self.now, input, &mut out);
        self.machine.check();
        out
    }

    fn at(&mut self, millis: u64) -> &mut Self {
        self.now = at(millis);
        self
    }

    /// Feeds `input`, then obeys at once until nothing more is wanted. What was done, in order.
    fn settle(&mut self, input: Input) -> Vec<Output> {
        let mut done = Vec::new();
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.step(input) {
                match &output {
                    Output::Start(child) => inputs.push_back(Input::Started(*child)),
                    Output::Stop(child) => {
                        inputs.push_back(Input::Exited(*child, ExitReason::Shutdown));
                    }
                    Output::Kill(child) => {
                        inputs.push_back(Input::Exited(*child, ExitReason::Killed));
                    }
                    Output::Restarting(..)
                    | Output::BackingOff(..)
                    | Output::Rest(_)
                    | Output::Forget(_)
                    | Output::Stuck(_)
                    | Output::Abandon(_)
                    | Output::Ready
                    | Output::Escalate
                    | Output::AutoShutdown(_)
                    | Output::End(_) => {}
                }
                done.push(output);
            }
        }
        done
    }
}
