//! Holding, admission and order, against a naive model.

use std::collections::{BTreeMap, VecDeque};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use proptest::prelude::*;
use ractor::Actor;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::supervisor::RefError;
use crate::supervisor::gauge::Gauge;
use crate::supervisor::shell::Shell;

/// A message with a number, and a port if it is a question.
type Numbered = (u64, Option<RpcReplyPort<u64>>);

/// Says which message it takes up and when that is done; finishes one for each permit.
struct Gated {
    tell: mpsc::UnboundedSender<Told>,
    finish: Arc<Semaphore>,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Began(u64),
    Done(u64),
}

#[ractor::actor(message = Numbered)]
impl Gated {
    async fn handle(
        &self,
        _myself: ActorRef<Numbered>,
        (number, port): Numbered,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.tell.send(Told::Began(number))?;
        self.finish.acquire().await?.forget();
        if let Some(port) = port {
            port.send(number)?;
        }
        Ok(self.tell.send(Told::Done(number))?)
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Cast,
    Call,
    /// The message in hand is done.
    Finish,
    /// The actor ends; nobody was told.
    Kill,
    Vacate,
    Close,
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Start),
        8 => Just(Step::Cast),
        4 => Just(Step::Call),
        5 => Just(Step::Finish),
        2 => Just(Step::Kill),
        2 => Just(Step::Vacate),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 1..80)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Unbound,
    Vacant,
    Living,
    /// Its task is gone.
    Ended,
    Stopped,
}

/// What should be.
struct Model {
    at: Where,
    limit: usize,
    hold: usize,
    in_hand: Option<u64>,
    waiting: VecDeque<u64>,
    held: VecDeque<u64>,
    dead: u64,
    /// How each call ends.
    answers: BTreeMap<u64, Result<u64, RefError>>,
    calls: Vec<u64>,
}

impl Model {
    fn send(&mut self, number: u64) -> Result<(), RefError> {
        match self.at {
            Where::Unbound => Err(RefError::Unbound),
            Where::Stopped => Err(RefError::Stopped),
            Where::Living if self.waiting.len() >= self.limit => Err(RefError::Overloaded),
            Where::Living => {
                self.waiting.push_back(number);
                Ok(())
            }
            Where::Vacant | Where::Ended if self.hold == 0 => Err(RefError::Restarting),
            Where::Vacant | Where::Ended if self.held.len() >= self.hold => {
                Err(RefError::Overloaded)
            }
            Where::Vacant | Where::Ended => {
                self.held.push_back(number);
                Ok(())
            }
        }
    }

    /// All of these end as `why`.
    fn end(&mut self, numbers: impl IntoIterator<Item = u64>, why: RefError) {
        self.answers.extend(numbers.into_iter().map(|number| (number, Err(why))));
    }

    fn lose(&mut self) -> u64 {
        let lost = std::mem::take(&mut self.waiting);
        let count = lost.len() as u64;
        self.dead += count;
        self.end(lost, RefError::Lost);
        count
    }

    /// Returns the casts among the held.
    fn close(&mut self) -> u64 {
        let held = std::mem::take(&mut self.held);
        let casts = held.iter().filter(|number| !self.calls.contains(number)).count() as u64;
        self.dead += casts;
        self.end(held, RefError::Stopped);
        casts
    }
}

struct Play {
    child: ChildRef<Numbered>,
    model: Model,
    clock: Arc<dyn Clock>,
    living: Option<(ActorRef<Numbered>, JoinHandle<()>)>,
    told: mpsc::UnboundedReceiver<Told>,
    finish: Arc<Semaphore>,
    incarnation: u64,
    calls: Vec<(u64, BoxFuture<'static, Result<u64, RefError>>)>,
}

impl Play {
    fn new(limit: usize, hold: usize) -> Self {
        let model = Model {
            at: Where::Unbound,
            limit,
            hold,
            in_hand: None,
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            dead: 0,
            answers: BTreeMap::new(),
            calls: Vec::new(),
        };
        Self {
            child: ChildRef::unbound(),
            model,
            clock: Arc::new(TokioClock::new()),
            living: None,
            told: mpsc::unbounded_channel().1,
            finish: Arc::new(Semaphore::new(0)),
            incarnation: 0,
            calls: Vec::new(),
        }
    }

    async fn step(&mut self, number: u64, step: Step) {
        match step {
            Step::Start => self.start().await,
            Step::Cast => {
                let sent = self.child.cast((number, None)).map_err(|undelivered| {
                    assert_eq!(undelivered.message.0, number, "it comes back");
                    undelivered.why
                });
                assert_eq!(sent, self.model.send(number));
            }
            Step::Call => self.call(number),
            Step::Finish => {
                if let Some(done) = self.model.in_hand.take() {
                    self.finish.add_permits(1);
                    assert_eq!(self.told.recv().await, Some(Told::Done(done)));
                    self.model.answers.insert(done, Ok(done));
                }
            }
            Step::Kill => {
                if let Some((actor, task)) = self.living.take() {
                    actor.kill();
                    task.await.expect("it does not panic");
                    let in_hand = self.model.in_hand.take();
                    self.model.end(in_hand, RefError::Lost);
                    self.model.at = Where::Ended;
                }
            }
            Step::Vacate if self.model.at == Where::Ended => {
                assert_eq!(self.child.vacate(), self.model.lose());
                self.model.at = Where::Vacant;
            }
            Step::Close if ![Where::Living, Where::Unbound].contains(&self.model.at) => {
                assert_eq!(self.child.close(), self.model.lose() + self.model.close());
                self.model.at = Where::Stopped;
            }
            Step::Vacate | Step::Close => {}
        }
        // What is next in the mailbox is taken up, and nothing else.
        if self.model.at == Where::Living && self.model.in_hand.is_none() {
            self.model.in_hand = self.model.waiting.pop_front();
            if let Some(next) = self.model.in_hand {
                assert_eq!(self.told.recv().await, Some(Told::Began(next)));
            }
        }
        self.told.try_recv().expect_err("only what may be");
        assert_eq!(self.child.dead_letters(), self.model.dead);
    }

    async fn start(&mut self) {
        if matches!(self.model.at, Where::Living | Where::Ended) {
            return;
        }
        self.child.open(self.model.hold, &self.clock);
        let (tell, told) = mpsc::unbounded_channel();
        self.told = told;
        self.finish = Arc::new(Semaphore::new(0));
        let gauge = Arc::new(Gauge::new(self.model.limit as u64, None));
        let actor = Gated { tell, finish: self.finish.clone() };
        let shell = Shell::new(actor, Some(gauge.clone()));
        let (actor, task) = Actor::spawn(None, shell, ()).await.expect("it starts");
        self.incarnation += 1;
        self.child.settle(actor.clone(), self.incarnation, gauge);
        assert_eq!(self.child.incarnation(), Some(self.incarnation));
        self.living = Some((actor, task));
        self.model.waiting = std::mem::take(&mut self.model.held);
        self.model.at = Where::Living;
    }

    fn call(&mut self, number: u64) {
        let child = self.child.clone();
        let question = move |port| (number, Some(port));
        let call = async move { child.call_within(HOUR, question).await };
        let mut call = call.boxed();
        let sent = (&mut call).now_or_never();
        match self.model.send(number) {
            Ok(()) => {
                assert!(sent.is_none(), "it waits for the answer");
                self.model.calls.push(number);
                self.calls.push((number, call));
            }
            Err(why) => assert_eq!(sent, Some(Err(why))),
        }
    }

    /// Everything ends, and every call has the answer it should.
    async fn end(mut self) {
        for step in [Step::Kill, Step::Vacate, Step::Close] {
            self.step(u64::MAX, step).await;
        }
        for (number, call) in self.calls {
            assert_eq!(call.await, self.model.answers[&number], "{number}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_ref_does_what_the_model_does(limit in 1_usize..5, hold in 0_usize..5, steps in steps()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut play = Play::new(limit, hold.min(limit));
            for (number, step) in (0..).zip(steps) {
                play.step(number, step).await;
            }
            play.end().await;
        });
    }
}
