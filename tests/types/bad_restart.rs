//! S05: a restart type that does not exist.

use evertree::restart::Restart;
use evertree::supervisor::{Stop, task};

fn main() {
    let _ = task("a", |stop: Stop| async move { stop.requested().await }).restart(Restart::Never);
}
