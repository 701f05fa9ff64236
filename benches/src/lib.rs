//! Evertree measured against what does the same job without it: each figure is a ratio to a baseline
//! that runs in turn with it.
//!
//! | program | measures |
//! |---|---|
//! | `cargo bench --bench supervision` | spawn, cast, call, crash to first answer, with criterion |
//! | `cargo run --release --bin ratios` | the same in turn, as ratios, with percentiles |
//! | `cargo run --release --bin crowd` | 100,000 children: memory, ordered stop, a crash of all |
//! | `cargo run --release --bin links` | messages between two processes, beside bare TCP |
//! | `cargo run --release --bin decode` | what bounds on decoding cost, and refusing hostile bytes |
//! | `cargo run --release --bin silent` | a handshake beside a thousand silent clients |
//! | `cargo run --release --bin renewals` | renewals that one leader answers, over TLS |
//! | `cargo run --release --bin placement` | look-ups of a shard's owner: table, SHA-1, ring |
//!
//! All run on a multi-thread tokio runtime with [`WORKERS`] workers.

pub mod by_hand;
pub mod bytes;
pub mod echo;
pub mod figures;
pub mod supervised;
pub mod wired;

use std::future::Future;

/// Threads of the runtime that everything runs on.
pub const WORKERS: usize = 2;
/// Tasks that start children at the same time, where many do.
pub const STARTERS: u64 = 64;
/// Casts that are sent before the sender waits until they are handled.
pub const BURST: u64 = 1_000;

/// The runtime of all figures.
///
/// # Panics
/// If the operating system gives no threads.
#[must_use]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_time()
        .build()
        .expect("a runtime of two threads")
}

/// Runs `work` on a worker: the thread that waits is not one of them.
///
/// # Panics
/// If `work` does.
pub fn on_worker<T: Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    runtime.block_on(async { tokio::spawn(work).await }).expect("the figure was taken")
}
