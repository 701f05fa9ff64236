//! S05: a negative time to shut down.

use evertree::supervisor::{Stop, task};

fn main() {
    let _ = task("a", |stop: Stop| async move { stop.requested().await }).shutdown(-10);
}
