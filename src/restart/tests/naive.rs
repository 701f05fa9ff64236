//! What a supervisor does, said as plainly as possible and as slowly: one list, looked through
//! anew for each question, and a history that forgets nothing.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Steady,
    Stopping(usize),
    Starting,
    Ending(End),
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Declared,
    Added,
    Asked,
    Restart,
}

#[derive(Debug, Clone)]
struct Kid {
    key: usize,
    rule: Rule,
    status: Status,
    why: Why,
    /// How many groups had gone down when it was to be terminated.
    terminated: Option<usize>,
    up_at: Option<Instant>,
    in_a_row: u32,
}

pub(super) struct Naive {
    config: Config,
    kids: Vec<Kid>,
    next_key: usize,
    /// Each restart that was allowed, and each group that went down, since the beginning.
    restarts: Vec<(Instant, usize)>,
    groups: Vec<usize>,
    stage: Stage,
    ready: bool,
    now: Instant,
    /// What was drawn for the backoffs of this step.
    drawn: Vec<Duration>,
    out: Vec<Output>,
}

impl Naive {
    pub(super) fn new(config: &Config) -> Self {
        let mut naive = Self {
            config: config.clone(),
            kids: Vec::new(),
            next_key: 0,
            restarts: Vec::new(),
            groups: Vec::new(),
            stage: Stage::New,
            ready: false,
            now: Instant::ZERO,
            drawn: Vec::new(),
            out: Vec::new(),
        };
        config.children.iter().for_each(|rule| naive.list(*rule, Why::Declared));
        naive
    }

    /// What must follow `input`, where the waits of `seen` are taken as drawn.
    pub(super) fn step(&mut self, now: Instant, input: Input, seen: &[Output]) -> Vec<Output> {
        self.now = now;
        for one in seen {
            if let Output::BackingOff(_, wait) = one {
                self.drawn.push(*wait);
            }
        }
        self.hear(input);
        while self.time() {}
        self.go_on();
        assert!(self.drawn.is_empty(), "more waits than restarts: {:?}", self.drawn);
        std::mem::take(&mut self.out)
    }

    pub(super) fn status(&self, key: usize) -> Option<Status> {
        let status = self.find(key)?.status;
        let waits = matches!(status, Status::Due | Status::BackingOff(_));
        Some(if waits && !self.runs() && self.stage != Stage::New {
            Status::Resting
        } else {
            status
        })
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines().into_iter().map(|(at, _)| at).min()
    }

    pub(super) fn restarts_left(&self, now: Instant) -> u32 {
        self.left(now, self.config.intensity, |_| true)
    }

    pub(super) fn budget_left(&self, key: usize, now: Instant) -> Option<u32> {
        Some(self.left(now, self.find(key)?.rule.budget?, |of| of == key))
    }

    pub(super) fn may(&self, key: usize) -> Result<(), Denied> {
        let down =
            |status| matches!(status, Status::Due | Status::BackingOff(_) | Status::Starting);
        match self.find(key).map(|kid| kid.status) {
            _ if !self.runs() => Err(Denied::Ending),
            None => Err(Denied::NotFound),
            Some(Status::Resting) => Ok(()),
            Some(status) if down(status) => Err(Denied::Restarting),
            Some(_) => Err(Denied::Running),
        }
    }

    fn list(&mut self, rule: Rule, why: Why) {
        let (key, status) = (self.next_key, Status::Due);
        self.next_key += 1;
        let (terminated, up_at, in_a_row) = (None, None, 0);
        self.kids.push(Kid { key, rule, status, why, terminated, up_at, in_a_row });
    }

    fn left(&self, now: Instant, limit: Intensity, of: impl Fn(usize) -> bool) -> u32 {
        let counts = |(then, key): &&(Instant, usize)| of(*key) && now.since(*then) <= limit.period;
        let count = self.restarts.iter().filter(counts).count();
        limit.restarts.saturating_sub(u32::try_from(count).expect("few"))
    }

    fn find(&self, key: usize) -> Option<&Kid> {
        self.kids.iter().find(|kid| kid.key == key)
    }

    fn kid(&mut self, key: usize) -> &mut Kid {
        self.kids.iter_mut().find(|kid| kid.key == key).expect("listed")
    }

    fn runs(&self) -> bool {
        matches!(self.stage, Stage::Steady | Stage::Stopping(_) | Stage::Starting)
    }

    fn alone(&self) -> bool {
        self.config.strategy == Strategy::OneForOne
    }

    fn goes_down(&self, key: usize) -> bool {
        matches!(self.stage, Stage::Stopping(from) if from <= key)
    }

    /// It was to be terminated, and its group went down since.
    fn returns(&self, kid: &Kid) -> bool {
        kid.terminated.is_some_and(|at| self.groups[at..].iter().any(|from| *from <= kid.key))
    }

    fn hear(&mut self, input: Input) {
        match input {
            Input::Begin if self.stage == Stage::New => self.stage = Stage::Starting,
            Input::Add(rule) if self.runs() => {
                self.list(rule, Why::Added);
                self.in_turn(self.next_key - 1);
            }
            Input::Restart(key) if self.may(key).is_ok() => {
                let kid = self.kid(key);
                (kid.why, kid.status) = (Why::Asked, Status::Due);
                self.in_turn(key);
            }
            Input::Delete(key) if self.may(key).is_ok() => self.unlist(key),
            Input::Shutdown if self.runs() || self.stage == Stage::New => {
                self.stage = Stage::Ending(End::Shutdown);
            }
            Input::Terminate(key) if self.runs() => self.terminate(key),
            Input::Exited(key, reason) => self.gone(key, &reason),
            Input::Declined(key) => self.declined(key),
            Input::Started(key) => {
                let now = self.now;
                if self.find(key).is_some_and(|kid| kid.status == Status::Starting) {
                    let kid = self.kid(key);
                    (kid.status, kid.why, kid.up_at) = (Status::Up, Why::Restart, Some(now));
                }
            }
            Input::Fell(key) => match self.find(key).map(|kid| kid.status) {
                Some(Status::Starting | Status::Up) => self.dies(key, false),
                Some(Status::Stopping(_)) => self.dies(key, true),
                _ => {}
            },
            Input::Hung(key) => {
                let status = self.find(key).map(|kid| kid.status);
                if let Some(Status::Starting | Status::Up) = status {
                    self.dies(key, false);
                    self.out.push(Output::Kill(key));
                }
            }
            // It comes too late, or too early.
            Input::Begin
            | Input::Add(_)
            | Input::Restart(_)
            | Input::Delete(_)
            | Input::Shutdown
            | Input::Terminate(_)
            | Input::Tick => {}
        }
    }

    fn in_turn(&mut self, key: usize) {
        if self.alone() && self.ready {
            self.start(key);
        } else if self.stage == Stage::Steady {
            self.stage = Stage::Starting;
        }
    }

    fn start(&mut self, key: usize) {
        self.kid(key).status = Status::Starting;
        self.out.push(Output::Start(key));
    }

    fn dies(&mut self, key: usize, asked: bool) {
        let stuck_at = self.now + STUCK_AFTER;
        self.kid(key).status = Status::Killed { stuck_at, asked };
    }

    fn unlist(&mut self, key: usize) {
        self.kids.retain(|kid| kid.key != key);
        self.out.push(Output::Forget(key));
    }

    /// It is down, and stays so.
    fn rest(&mut self, key: usize) {
        let kid = self.kid(key);
        if kid.rule.restart == Restart::Temporary {
            return self.unlist(key);
        }
        (kid.status, kid.why, kid.terminated, kid.in_a_row) =
            (Status::Resting, Why::Restart, None, 0);
        self.out.push(Output::Rest(key));
    }

    fn terminate(&mut self, key: usize) {
        let groups = self.groups.len();
        let Some(kid) = self.kids.iter_mut().find(|kid| kid.key == key) else { return };
        match kid.status {
            Status::Due | Status::BackingOff(_) => self.rest(key),
            Status::Starting | Status::Up => {
                kid.terminated = Some(groups);
                if !self.goes_down(key) {
                    self.stop(key);
                }
            }
            Status::Stopping(_) => kid.terminated = Some(groups),
            Status::Killed { stuck_at, .. } => {
                kid.terminated = Some(groups);
                kid.status = Status::Killed { stuck_at, asked: true };
            }
            Status::Stuck | Status::Resting => {}
        }
    }

    fn stop(&mut self, key: usize) {
        let now = self.now;
        let kid = self.kid(key);
        match kid.rule.shutdown {
            Shutdown::Kill => {
                self.dies(key, true);
                self.out.push(Output::Kill(key));
                return;
            }
            Shutdown::Within(time) => kid.status = Status::Stopping(now + time),
            Shutdown::Patient => kid.status = Status::Stopping(Instant::NEVER),
        }
        self.out.push(Output::Stop(key));
    }

    fn declined(&mut self, key: usize) {
        let Some(kid) = self.find(key) else { return };
        let own = matches!(kid.status, Status::Starting | Status::Killed { asked: false, .. });
        if own && self.runs() && !self.goes_down(key) {
            self.rest(key);
        } else if kid.status != Status::Up {
            self.gone(key, &ExitReason::Normal);
        }
    }

    fn gone(&mut self, key: usize, reason: &ExitReason) {
        let now = self.now;
        let Some(kid) = self.find(key).cloned() else { return };
        let asked = match kid.status {
            Status::Starting | Status::Up => false,
            Status::Killed { asked, .. } => asked,
            Status::Stopping(_) | Status::Stuck => true,
            Status::Due | Status::BackingOff(_) | Status::Resting => return,
        };
        if let Stage::Ending(_) = self.stage {
            let kid = self.kid(key);
            (kid.status, kid.terminated) = (Status::Resting, None);
        }
        if !self.runs() {
            return;
        }
        let since = self.kid(key).up_at.take();
        if let (Some(since), Some(backoff)) = (since, kid.rule.backoff)
            && now.since(since) >= backoff.reset_after
        {
            self.kid(key).in_a_row = 0;
        }
        let normal = matches!(reason, ExitReason::Normal | ExitReason::Shutdown);
        if kid.terminated.is_some() {
            let returns = self.returns(&kid) && kid.rule.restart != Restart::Temporary;
            self.rest(key);
            if returns {
                self.kid(key).status = Status::Due;
            }
        } else if asked || self.goes_down(key) {
            match kid.rule.restart {
                Restart::Temporary => self.unlist(key),
                Restart::Permanent | Restart::Transient => self.kid(key).status = Status::Due,
            }
        } else if kid.why == Why::Declared {
            self.kid(key).status = Status::Resting;
            self.stage = Stage::Ending(End::StartFailed(key));
        } else if kid.why == Why::Added {
            self.unlist(key);
        } else if kid.why == Why::Asked {
            self.rest(key);
        } else if kid.rule.restart == Restart::Permanent
            || (kid.rule.restart == Restart::Transient && !normal)
        {
            self.restart(key);
        } else {
            self.rest(key);
            self.after_end(key, kid.rule.significant);
        }
    }

    fn after_end(&mut self, key: usize, significant: bool) {
        let left = self.kids.iter().any(|kid| {
            let leaves = kid.terminated.is_some() && !self.returns(kid);
            kid.rule.significant && kid.status != Status::Resting && !leaves
        });
        let ends = match self.config.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !left,
        };
        if significant && ends {
            self.out.push(Output::AutoShutdown(key));
            self.stage = Stage::Ending(End::AutoShutdown);
        }
    }

    fn give_up(&mut self) {
        self.out.push(Output::Escalate);
        self.stage = Stage::Ending(End::GaveUp);
    }

    fn restart(&mut self, key: usize) {
        let now = self.now;
        if self.budget_left(key, now) == Some(0) || self.restarts_left(now) == 0 {
            self.kid(key).status = Status::Resting;
            return self.give_up();
        }
        let before = self.restarts_left(now);
        self.restarts.push((now, key));
        self.out.push(Output::Restarting(key, self.config.intensity.restarts - before + 1));
        let kid = self.kid(key);
        kid.status = Status::Due;
        if let Some(backoff) = kid.rule.backoff {
            kid.in_a_row += 1;
            let mut whole = backoff.min;
            for _ in 1..kid.in_a_row {
                whole = (2 * whole).min(backoff.max);
            }
            let wait = self.drawn.remove(0);
            let half = Duration::from_nanos(u64::try_from(whole.as_nanos()).expect("short") / 2);
            assert!(half <= wait && wait <= whole, "{wait:?} is not in {half:?}..={whole:?}");
            self.kid(key).status = Status::BackingOff(now + wait);
            self.out.push(Output::BackingOff(key, wait));
        }
        let from = match self.config.strategy {
            Strategy::OneForOne => {
                if self.kid(key).status == Status::Due {
                    self.start(key);
                }
                return;
            }
            Strategy::OneForAll => 0,
            Strategy::RestForOne => key,
        };
        self.groups.push(from);
        for kid in self.kids.iter_mut().filter(|kid| kid.key >= from) {
            if kid.status == Status::Resting {
                kid.status = Status::Due;
            }
        }
        let other = if let Stage::Stopping(other) = self.stage { other } else { from };
        self.stage = Stage::Stopping(from.min(other));
    }

    fn deadlines(&self) -> Vec<(Instant, usize)> {
        let of = |kid: &Kid| match kid.status {
            Status::Stopping(at) | Status::Killed { stuck_at: at, .. } => Some((at, kid.key)),
            Status::BackingOff(at) => self.runs().then_some((at, kid.key)),
            Status::Due | Status::Starting | Status::Up | Status::Stuck | Status::Resting => None,
        };
        self.kids.iter().filter_map(of).filter(|(at, _)| *at != Instant::NEVER).collect()
    }

    /// Does the first thing that is overdue.
    fn time(&mut self) -> bool {
        let Some((at, key)) = self.deadlines().into_iter().min() else { return false };
        if at > self.now {
            return false;
        }
        let status = self.kid(key).status;
        if let Status::BackingOff(_) = status {
            self.kid(key).status = Status::Due;
            if self.alone() {
                self.start(key);
            }
        } else if let Status::Stopping(_) = status {
            self.dies(key, true);
            self.out.push(Output::Kill(key));
        } else if self.kid(key).rule.abandon_stuck {
            self.out.push(Output::Abandon(key));
            self.gone(key, &ExitReason::Killed);
        } else {
            self.kid(key).status = Status::Stuck;
            self.kid(key).terminated = None;
            self.out.push(Output::Stuck(key));
            if self.runs() {
                self.give_up();
            }
        }
        true
    }

    /// Asks the last of those who live from `from` on; false if there is none.
    fn stop_last(&mut self, from: usize) -> bool {
        let last = self.kids.iter().rev().find(|kid| kid.key >= from && kid.status.live());
        let Some(last) = last else { return false };
        let key = last.key;
        if matches!(last.status, Status::Starting | Status::Up) {
            self.stop(key);
        }
        true
    }

    fn go_on(&mut self) {
        if let Stage::Stopping(from) = self.stage
            && !self.stop_last(from)
        {
            self.stage = Stage::Starting;
        }
        if let Stage::Ending(end) = self.stage
            && !self.stop_last(0)
        {
            let stuck = self.kids.iter().any(|kid| kid.status == Status::Stuck);
            self.stage = Stage::Ended;
            self.out.push(Output::End(if stuck { End::Stuck } else { end }));
        }
        let busy = |kid: &Kid| {
            matches!(kid.status, Status::Starting | Status::Killed { asked: false, .. })
        };
        if self.stage != Stage::Starting || self.kids.iter().any(busy) {
            return;
        }
        let alone = self.alone();
        let waits = |kid: &&Kid| {
            kid.status == Status::Due || (!alone && matches!(kid.status, Status::BackingOff(_)))
        };
        match self.kids.iter().find(waits).map(|kid| (kid.key, kid.status)) {
            Some((key, Status::Due)) => self.start(key),
            Some(_) => {}
            None => {
                self.stage = Stage::Steady;
                if !self.ready {
                    self.ready = true;
                    self.out.push(Output::Ready);
                }
            }
        }
    }
}
