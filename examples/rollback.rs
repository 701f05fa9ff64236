//! A child saves a state that is bad without looking so. Every incarnation that restores it fails,
//! until its checkpoint gives that generation up for the one before.
//!
//! `cargo run --example rollback` prints:
//! ```text
//! taught 5, saved as generation 1
//! taught 0, saved as generation 2
//! 100 makes no answer, unknown: the child ended before it answered, or dropped the question
//!   #3 app/divider.1 exited: crashed: attempt to divide by zero
//! 100 makes 20
//! meanwhile
//!   #4 app/divider.1 restarting, 1 within the period (by #3)
//!   #5 app/divider.2 exited: start failed: attempt to divide by zero
//!   #6 app/divider.2 restarting, 2 within the period (by #5)
//!   #7 app/divider.3 exited: start failed: attempt to divide by zero
//!   #8 app/divider.3 rolled back from generation 2 to 1 (by #7)
//!   #9 app/divider.3 restarting, 3 within the period (by #7)
//!   #10 app/divider.4 started (by #9)
//! ```
use std::error::Error;
use std::time::Duration;

use evertree::event::{EventKind, Subscription};
use evertree::supervisor::{Checkpoint, ChildRef, SupervisorSpec, worker};
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};

type Ratios = Vec<u32>;

/// Divides by all ratios it was taught.
struct Divider(Checkpoint<Ratios>);

enum Msg {
    Teach(u32, RpcReplyPort<u64>),
    Divide(u32, RpcReplyPort<u32>),
}

fn divide(number: u32, ratios: &Ratios) -> u32 {
    ratios.iter().fold(number, |rest, ratio| rest / ratio) // panics if one is zero
}

#[ractor::actor(message = Msg, state = Ratios, arguments = ())]
impl Divider {
    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<Ratios, ActorProcessingErr> {
        let ratios = self.0.restore().unwrap_or_default();
        divide(1, &ratios); // a child that tries its state before it serves fails early
        Ok(ratios)
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        ratios: &mut Ratios,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Teach(ratio, answer) => {
                ratios.push(ratio);
                answer.send(self.0.save(ratios.clone()))?;
            }
            Msg::Divide(number, answer) => answer.send(divide(number, ratios))?,
        }
        Ok(())
    }
}

/// Prints what happens, up to the first event that is wanted.
async fn print(events: &mut Subscription, wanted: impl Fn(&EventKind) -> bool) {
    while let Some(event) = events.recv().await {
        println!("  {event}");
        if wanted(&event.kind) {
            break;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    std::panic::set_hook(Box::new(|_| {})); // the events say what the panics did

    // It belongs to the tree, and so outlives the incarnations that save into it.
    let checkpoint = Checkpoint::new(3).strikes(2).probation(Duration::from_secs(10));
    let (divider, restored) = (ChildRef::unbound(), checkpoint.clone());
    let child = worker("divider", move || (Divider(restored.clone()), ()))
        .checkpoint(&checkpoint)
        .hold(8) // questions wait while there is no incarnation
        .bind(&divider);
    let tree = SupervisorSpec::one_for_one("app")
        .intensity(5, Duration::from_secs(30))
        .child(child)
        .start()
        .await?;
    let mut events = tree.events().subscribe(100);

    for ratio in [5, 0] {
        let generation = divider.call(|answer| Msg::Teach(ratio, answer)).await?;
        println!("taught {ratio}, saved as generation {generation}");
    }
    match divider.call(|answer| Msg::Divide(100, answer)).await {
        Ok(result) => println!("100 makes {result}"),
        Err(error) => println!("100 makes no answer, {error}"),
    }
    print(&mut events, |kind| matches!(kind, EventKind::Exited(_))).await;
    // Held until an incarnation has started, which is the one that restored generation 1.
    println!("100 makes {}", divider.call(|answer| Msg::Divide(100, answer)).await?);
    println!("meanwhile");
    print(&mut events, |kind| *kind == EventKind::Started).await;
    tree.stop().await;
    Ok(())
}
