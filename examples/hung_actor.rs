//! Two ways to hang, and how each is found out: a handler that never ends, by its limit; an actor
//! that is busy but no longer well, by a probe.
//!
//! `cargo run --example hung_actor` prints:
//! ```text
//! a handler never ends
//! unknown: the child ended before it answered, or dropped the question
//! unknown: the child ended before it answered, or dropped the question
//!   #4 app/limited.1 hung: a message in hand for more than 200ms
//!   #5 app/limited.1 killing (by #4)
//!   #6 app/limited.1 exited: hung (by #5)
//!   #7 app/limited.1 dead letters: 1 (by #6)
//!   #8 app/limited.1 restarting, 1 within the period (by #6)
//!   #9 app/limited.2 started (by #8)
//! an answer
//! a service is lost
//!   #10 app/probed.1 hung: the probe was dropped without an answer
//!   #11 app/probed.1 killing (by #10)
//!   #12 app/probed.1 exited: hung (by #11)
//!   #13 app/probed.1 restarting, 2 within the period (by #12)
//!   #14 app/probed.2 started (by #13)
//! an answer
//! ```
use std::error::Error;
use std::future::pending;
use std::time::Duration;

use evertree::event::{EventKind, Subscription};
use evertree::supervisor::{ChildRef, SupervisorSpec, worker};
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};

/// Speaks to some service; its state is whether that still answers.
struct Client;

enum Msg {
    Get(RpcReplyPort<&'static str>),
    /// Waits for an answer that never comes.
    Wait(RpcReplyPort<&'static str>),
    /// Goes on, with a service that does not.
    Lose,
    /// The question of the probe.
    IsWell(RpcReplyPort<()>),
}

#[ractor::actor(message = Msg, state = bool, arguments = ())]
impl Client {
    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<bool, ActorProcessingErr> {
        Ok(true)
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        well: &mut bool,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Get(answer) => answer.send("an answer")?,
            Msg::Wait(answer) => {
                pending::<()>().await;
                answer.send("never")?;
            }
            Msg::Lose => *well = false,
            Msg::IsWell(answer) if *well => answer.send(())?,
            Msg::IsWell(_) => {} // no answer is an answer
        }
        Ok(())
    }
}

/// Prints what happens up to the second start of the child.
async fn print(events: &mut Subscription) {
    while let Some(event) = events.recv().await {
        println!("  {event}");
        if event.incarnation == 2 && event.kind == EventKind::Started {
            break;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (limit, every) = (Duration::from_millis(200), Duration::from_millis(100));
    let (limited, probed) = (ChildRef::unbound(), ChildRef::unbound());
    let tree = SupervisorSpec::one_for_one("app")
        .child(worker("limited", || (Client, ())).handler_limit(limit).bind(&limited))
        .child(worker("probed", || (Client, ())).probe(every, limit, Msg::IsWell).bind(&probed))
        .start()
        .await?;
    let mut events = tree.events().subscribe(100);

    println!("a handler never ends");
    let (hung, lost) = tokio::join!(limited.call(Msg::Wait), limited.call(Msg::Get));
    for result in [hung, lost] {
        println!("{}", result.map_or_else(|error| error.to_string(), str::to_owned));
    }
    print(&mut events).await;
    println!("{}", limited.call(Msg::Get).await?);

    println!("a service is lost");
    probed.cast(Msg::Lose)?;
    print(&mut events).await;
    println!("{}", probed.call(Msg::Get).await?);
    tree.stop().await;
    Ok(())
}
