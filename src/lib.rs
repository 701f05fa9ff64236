//! Erlang-style supervision trees for ractor actors, and entities with replicated state.
//!
//! The crate has two halves. The *local half* (`default-features = false`) puts plain ractor actors
//! under OTP supervision trees. The *cluster half* (feature `cluster`, on by default) places
//! entities on nodes by a SHA-1 consistent-hash ring and moves them, with their acknowledged state,
//! off failed nodes.
//!
//! The order of the `mod` lines below is the layer table: a module may only import modules above
//! it. `tests/tidy.rs` holds that.

// layer 0
pub mod base;
pub mod event;
// layer 1: pure
pub mod restart;
pub mod retry;
#[cfg(feature = "cluster")]
pub mod ring;
#[cfg(feature = "cluster")]
pub mod detector;
#[cfg(feature = "cluster")]
pub mod placement;
// layer 2
#[cfg(feature = "cluster")]
pub mod wire;
#[cfg(feature = "cluster")]
pub mod transport;
#[cfg(feature = "cluster")]
pub mod storage;
// layer 3
pub mod supervisor;
#[cfg(feature = "cluster")]
pub mod membership;
#[cfg(feature = "cluster")]
pub mod authority;
#[cfg(feature = "cluster")]
pub mod replica;
// layer 4
#[cfg(feature = "cluster")]
pub mod entity;
// layer 5: what is seen and asked of a node, which starts it
#[cfg(feature = "cluster")]
pub mod observe;
#[cfg(feature = "cluster")]
pub mod admin;
#[cfg(feature = "cluster")]
pub mod node;
// testing
#[cfg(feature = "testing")]
pub mod testing;
// fuzzing: the decoders by name, for the targets in `fuzz/` and the test of their corpus
#[cfg(all(any(test, feature = "fuzzing"), feature = "cluster"))]
#[doc(hidden)]
pub mod fuzzing;
// simulation
#[cfg(feature = "sim")]
pub mod sim;

/// The README's code, compiled by `cargo test`.
#[cfg(all(doctest, feature = "cluster"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code of the page on supervision, compiled and run by `cargo test`.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/supervision.md")]
struct Supervision;
