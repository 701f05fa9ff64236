//! S05: a child without a start function.

use evertree::supervisor::worker;

fn main() {
    let _ = worker("a");
}
