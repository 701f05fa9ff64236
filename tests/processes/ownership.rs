//! Who owns what, in three real processes that are stopped or killed under load: the short form of
//! the long runs `sigstop` and `power`.

use std::time::Duration;

use super::{power, sigstop, tickers};

const ENTRY: &[&str] =
    &["--exact", "processes::ownership::a_stopped_process_owns_nothing_meanwhile"];
/// Generous: how soon they serve is for the long runs.
const BOUND: Duration = Duration::from_secs(30);

/// Goal: no two valid tenures of one shard, no answered addition lost, and the stopped process is
/// back. Method: SIGSTOP for twice its lease; then the event logs of all are judged.
#[test]
fn a_stopped_process_owns_nothing_meanwhile() {
    if tickers::was_node() {
        return;
    }
    let sigstop::Report { text, broken } = sigstop::run(ENTRY, 1, &["n2"], BOUND);
    assert!(broken.is_empty(), "{text}");
}

/// Goal: after a kill of all at once nothing moves, nothing is lost, and all serve. Method:
/// SIGKILL to all three; then the event logs of all are judged.
#[test]
fn a_power_failure_moves_nothing() {
    let power::Report { text, broken } = power::run(ENTRY, 1, BOUND);
    assert!(broken.is_empty(), "{text}");
}
