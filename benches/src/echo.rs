//! The actor that is started, asked and crashed: the same for the baseline and for us.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

/// What the panic says.
const BOOM: &str = "boom";

/// What an [`Echo`] is told.
#[derive(Debug)]
pub enum Msg {
    Add(u64),
    Sum(RpcReplyPort<u64>),
    /// Notes the time, and panics.
    Crash,
    /// Notes the time, and fails with an error.
    Fail,
}

/// Adds up.
#[derive(Debug)]
pub struct Echo;

impl Actor for Echo {
    type Msg = Msg;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        msg: Msg,
        sum: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Add(more) => *sum = sum.wrapping_add(more),
            Msg::Sum(answer) => {
                // Whoever asked may be gone.
                let _ = answer.send(*sum);
            }
            Msg::Crash => {
                mark_crash();
                std::panic::panic_any(BOOM);
            }
            Msg::Fail => {
                mark_crash();
                return Err(BOOM.into());
            }
        }
        Ok(())
    }
}

/// Nanoseconds since the first call.
pub fn now_ns() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let elapsed = FIRST.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

static LAST_CRASH: AtomicU64 = AtomicU64::new(0);

fn mark_crash() {
    LAST_CRASH.fetch_max(now_ns(), Ordering::SeqCst);
}

/// When the last [`Echo`] crashed, as [`now_ns`] says it.
#[must_use]
pub fn last_crash_ns() -> u64 {
    LAST_CRASH.load(Ordering::SeqCst)
}

/// Prints no word about the crashes of [`Echo`]; other panics are real failures.
pub fn silence_crashes() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&BOOM) {
            hook(panic);
        }
    }));
}
