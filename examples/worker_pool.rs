//! A pool that grows and shrinks by request: a dynamic supervisor with a limit.
//!
//! `cargo run --example worker_pool` prints:
//! ```text
//! squarer-0: 1 squared is 1
//! squarer-1: 2 squared is 4
//! squarer-2: 3 squared is 9
//! 3 listed, 3 running
//! one more: not executed: app/pool has 3 children, as many as it may
//! squarer-1: 13 squared is unknown: the child ended before it answered, or dropped the question
//! squarer-1: 12 squared is 144
//! 3 listed, 3 running
//! squarer-0 is gone
//! 2 listed, 2 running
//! squarer-3 is hired in its place
//! app: OneForOne, 3 restarts left
//!   pool: Running, incarnation 1, restarts 0, OneForOne, 9 restarts left
//!     squarer-1: Running, incarnation 2, restarts 1
//!     squarer-2: Running, incarnation 1, restarts 0
//!     squarer-3: Running, incarnation 1, restarts 0
//! ```
use std::error::Error;
use std::time::Duration;

use evertree::event::EventKind;
use evertree::supervisor::{ChildRef, RequestError, SupervisorRef, SupervisorSpec, worker};
use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};

/// Squares numbers, of which it has a low opinion of one.
struct Squarer;

enum Job {
    Square(u64, RpcReplyPort<u64>),
}

#[ractor::actor(message = Job)]
impl Squarer {
    async fn handle(
        &self,
        _: ActorRef<Job>,
        Job::Square(number, answer): Job,
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if number == 13 {
            return Err("13 is bad luck".into());
        }
        Ok(answer.send(number * number)?)
    }
}

/// Starts one more worker: its name, which the pool gives it, and its ref.
async fn hire(pool: &SupervisorRef) -> Result<(String, ChildRef<Job>), RequestError> {
    let squarer = ChildRef::unbound();
    let child = worker("squarer", || (Squarer, ())).bind(&squarer);
    let hired = pool.start_child(child).await?;
    Ok((hired.map(|child| child.name).unwrap_or_default(), squarer))
}

fn count(pool: &SupervisorRef) {
    let counts = pool.count_children();
    println!("{} listed, {} running", counts.specs, counts.active);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Made before anything starts, so that any child of the tree can hold it.
    let pool = SupervisorRef::unbound();
    let workers = SupervisorSpec::dynamic("pool")
        .max_children(3)
        .intensity(10, Duration::from_mins(1))
        .bind(&pool);
    let tree = SupervisorSpec::one_for_one("app").child(workers).start().await?;
    let mut events = tree.events().subscribe(100);

    let mut hired = Vec::new();
    for number in 1..=3 {
        let (name, squarer) = hire(&pool).await?;
        println!("{name}: {number} squared is {}", square(&squarer, number).await);
        hired.push((name, squarer));
    }
    count(&pool);
    if let Err(error) = hire(&pool).await {
        println!("one more: {error}");
    }

    let (name, squarer) = &hired[1];
    println!("{name}: 13 squared is {}", square(squarer, 13).await);
    while let Some(event) = events.recv().await {
        if event.path.name() == name && event.incarnation == 2 && event.kind == EventKind::Started {
            break;
        }
    }
    println!("{name}: 12 squared is {}", square(squarer, 12).await);
    count(&pool);

    pool.terminate_child(&hired[0].0).await?;
    println!("{} is gone", hired[0].0);
    count(&pool);
    println!("{} is hired in its place", hire(&pool).await?.0);
    println!("{}", tree.snapshot());
    tree.stop().await;
    Ok(())
}

async fn square(squarer: &ChildRef<Job>, number: u64) -> String {
    match squarer.call(|answer| Job::Square(number, answer)).await {
        Ok(square) => square.to_string(),
        Err(error) => error.to_string(),
    }
}
