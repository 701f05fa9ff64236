//! A ref of one message type bound to an actor of another.

use evertree::supervisor::{ChildRef, Worker};
use ractor::Actor;

fn bind<A: Actor<Msg = u8>>(child: Worker<A>, other: &ChildRef<String>) -> Worker<A> {
    child.bind(other)
}

fn main() {}
