//! A tree of plain ractor actors under restart policies, one crash, the restart, an ordered stop.
//!
//! `cargo run --example supervise` prints:
//! ```text
//! shop: RestForOne
//!   ledger: Running, incarnation 1, restarts 0
//!   rates: Running, incarnation 1, restarts 0
//!   sweep: Running, incarnation 1, restarts 0
//! balance 12
//! the ledger fails
//!   #5 shop/ledger.1 exited: crashed: the books do not balance
//!   #6 shop/ledger.1 restarting, 1 within the period (by #5)
//!   #7 shop/sweep.1 stopping (by #6)
//!   #8 shop/sweep.1 exited: shutdown (by #7)
//!   #9 shop/rates.1 stopping (by #8)
//!   #10 shop/rates.1 exited: shutdown (by #9)
//!   #11 shop/ledger.2 started (by #10)
//!   #12 shop/rates.2 started (by #11)
//!   #13 shop/sweep.2 started (by #12)
//! balance 12
//! the shop closes
//!   #14 shop/sweep.2 stopping
//!   #15 shop/sweep.2 exited: shutdown (by #14)
//!   #16 shop/rates.2 stopping (by #15)
//!   #17 shop/rates.2 exited: shutdown (by #16)
//!   #18 shop/ledger.2 stopping (by #17)
//!   #19 shop/ledger.2 exited: shutdown (by #18)
//!   #20 shop.1 exited: shutdown (by #19)
//! ```
use std::time::Duration;

use evertree::event::{EventKind, Subscription};
use evertree::restart::Restart;
use evertree::supervisor::{ChildRef, Setting, Stop, SupervisorSpec, task, worker};
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};

type Done<T> = Result<T, ActorProcessingErr>;
type LedgerRef = ChildRef<Msg>;

/// Keeps a balance. A plain ractor actor: nothing in it knows of supervision.
struct Ledger;

enum Msg {
    Book(i64, RpcReplyPort<i64>),
    Audit,
}

#[ractor::actor(message = Msg, state = i64, arguments = i64)]
impl Ledger {
    async fn pre_start(&self, _me: ActorRef<Msg>, opening: i64) -> Done<i64> {
        Ok(opening)
    }

    async fn handle(&self, _me: ActorRef<Msg>, message: Msg, balance: &mut i64) -> Done<()> {
        match message {
            Msg::Book(amount, answer) => {
                *balance += amount;
                answer.send(*balance)?;
            }
            Msg::Audit => return Err("the books do not balance".into()),
        }
        Ok(())
    }
}

/// Holds a ref to the ledger, which outlives the ledger's restarts.
struct Rates;

#[ractor::actor(message = (), state = LedgerRef, arguments = LedgerRef)]
impl Rates {
    async fn pre_start(&self, _me: ActorRef<()>, ledger: LedgerRef) -> Done<LedgerRef> {
        Ok(ledger)
    }
}

async fn sweep(stop: Stop) {
    stop.requested().await;
}

/// A dead ledger takes those after it with it; a dead sweep takes nobody.
fn shop(ledger: &LedgerRef) -> SupervisorSpec {
    let to_ledger = ledger.clone();
    SupervisorSpec::rest_for_one("shop")
        .intensity(5, Duration::from_secs(30)) // the 6th restart within 30 s escalates
        .child(worker("ledger", || (Ledger, 10)).bind(ledger))
        .child(worker("rates", move || (Rates, to_ledger.clone())).restart(Restart::Transient))
        .child(task("sweep", sweep))
}

/// Prints the events up to the wanted one.
async fn print(events: &mut Subscription, until: &str, wanted: EventKind) {
    while let Some(event) = events.recv().await {
        println!("  {event}");
        if event.path.as_str() == until && event.kind == wanted {
            break;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = ChildRef::unbound();
    let tree = shop(&ledger).start_in(Setting::default()).await?;
    println!("{}", tree.snapshot());
    println!("balance {}", ledger.call(|answer| Msg::Book(2, answer)).await?);

    println!("the ledger fails");
    let mut events = tree.events().subscribe(100);
    ledger.cast(Msg::Audit).map_err(|undelivered| undelivered.why)?;
    print(&mut events, "shop/sweep", EventKind::Started).await;
    println!("balance {}", ledger.call(|answer| Msg::Book(2, answer)).await?);

    println!("the shop closes");
    let ended = tree.stop().await;
    drop(tree);
    print(&mut events, "shop", EventKind::Exited(ended.reason)).await;
    Ok(())
}
