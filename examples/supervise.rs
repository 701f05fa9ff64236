//! The three strategies: a child in the middle crashes, and who is restarted with it.
//!
//! `cargo run --example supervise` prints the events, each with the one that led to it:
//! ```text
//! OneForOne
//!   #5 shop/cache.1 exited: crashed: the cache is corrupt
//!   #6 shop/cache.1 restarting, 1 within the period (by #5)
//!   #7 shop/cache.2 started (by #6)
//! shop: OneForOne, 4 restarts left
//!   db: Running, incarnation 1, restarts 0
//!   cache: Running, incarnation 2, restarts 1
//!   web: Running, incarnation 1, restarts 0
//! OneForAll
//!   #5 shop/cache.1 exited: crashed: the cache is corrupt
//!   #6 shop/cache.1 restarting, 1 within the period (by #5)
//!   #7 shop/web.1 stopping (by #6)
//!   #8 shop/web.1 exited: shutdown (by #7)
//!   #9 shop/db.1 stopping (by #8)
//!   #10 shop/db.1 exited: shutdown (by #9)
//!   #11 shop/db.2 started (by #10)
//!   #12 shop/cache.2 started (by #11)
//!   #13 shop/web.2 started (by #12)
//! shop: OneForAll, 4 restarts left
//!   db: Running, incarnation 2, restarts 0
//!   cache: Running, incarnation 2, restarts 1
//!   web: Running, incarnation 2, restarts 0
//! RestForOne
//!   #5 shop/cache.1 exited: crashed: the cache is corrupt
//!   #6 shop/cache.1 restarting, 1 within the period (by #5)
//!   #7 shop/web.1 stopping (by #6)
//!   #8 shop/web.1 exited: shutdown (by #7)
//!   #9 shop/cache.2 started (by #8)
//!   #10 shop/web.2 started (by #9)
//! shop: RestForOne, 4 restarts left
//!   db: Running, incarnation 1, restarts 0
//!   cache: Running, incarnation 2, restarts 1
//!   web: Running, incarnation 2, restarts 0
//! ```
use std::error::Error;
use std::time::Duration;

use evertree::event::EventKind;
use evertree::restart::Strategy;
use evertree::supervisor::{ChildRef, SupervisorSpec, worker};
use ractor::{ActorProcessingErr, ActorRef};

/// A part of a shop. A plain ractor actor: nothing in it knows of supervision.
struct Part;

enum Order {
    Fail,
}

#[ractor::actor(message = Order)]
impl Part {
    async fn handle(
        &self,
        _myself: ActorRef<Order>,
        Order::Fail: Order,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // An error is a crash, and so is a panic: what follows is the supervisor's to decide.
        Err("the cache is corrupt".into())
    }
}

/// The database is there before the cache, and the cache before the web server.
fn shop(strategy: Strategy, cache: &ChildRef<Order>) -> SupervisorSpec {
    SupervisorSpec::new("shop", strategy)
        .intensity(5, Duration::from_secs(30)) // the 6th restart within 30 s escalates
        .child(worker("db", || (Part, ())))
        .child(worker("cache", || (Part, ())).bind(cache))
        .child(worker("web", || (Part, ())).shutdown(Duration::from_secs(2)))
}

/// Crashes the cache, and prints what happens until `last` has started again.
async fn crash(strategy: Strategy, last: &str) -> Result<(), Box<dyn Error>> {
    let cache = ChildRef::unbound(); // valid across all restarts of the cache
    let tree = shop(strategy, &cache).start().await?;
    let mut events = tree.events().subscribe(100);
    println!("{strategy:?}");
    cache.cast(Order::Fail)?;
    while let Some(event) = events.recv().await {
        println!("  {event}");
        if event.path.as_str() == last && event.kind == EventKind::Started {
            break;
        }
    }
    println!("{}", tree.snapshot());
    tree.stop().await; // the web server first, the database last
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    crash(Strategy::OneForOne, "shop/cache").await?;
    crash(Strategy::OneForAll, "shop/web").await?;
    crash(Strategy::RestForOne, "shop/web").await
}
