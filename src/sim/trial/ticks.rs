//! Per owned shard a ticker under its tenure, and what is to hold of all of their ticks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::oracle::Oracle;
use crate::authority::Tenure;
use crate::base::ShardId;
use crate::node::Node;

/// From one tick of a shard to the next.
const EVERY: Duration = Duration::from_millis(100);
/// How often a node looks which shards are its own.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One tick: (host, tenure, number within the tenure), and when it came.
#[derive(Debug, Clone, Copy)]
struct Tick {
    host: usize,
    tenure: Tenure,
    number: u64,
    at: Duration,
}

/// The last tick of every shard.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    last: BTreeMap<ShardId, Tick>,
    pub(super) count: u64,
    /// At nodes that did not vote.
    pub(super) at_clients: u64,
}

impl Ticks {
    /// I2, and what I1 is there for: the epochs of a shard never go back, an epoch is one life's of
    /// one host, and within it every tick comes once and in order.
    pub(super) fn took(
        &mut self,
        (host, at): (usize, Duration),
        tenure: Tenure,
        number: u64,
    ) -> Result<(), String> {
        self.count += 1;
        let shard = tenure.shard;
        let tick = Tick { host, tenure, number, at };
        let Some(last) = self.last.insert(shard, tick) else { return Ok(()) };
        let fault = |what| {
            let (one, other) = (last.host + 1, host + 1);
            let (before, after) = (last.tenure, tenure);
            Err(format!("I2: {shard}: {what}: n{one} ticked as {before:?}, n{other} as {after:?}"))
        };
        if tenure.epoch < last.tenure.epoch {
            return fault("its epochs went back");
        }
        if tenure.epoch > last.tenure.epoch {
            return Ok(());
        }
        if (tenure, host) != (last.tenure, last.host) {
            return fault("two lives have one epoch");
        }
        if number != last.number + 1 {
            return fault("ticks of one tenure are out of order");
        }
        Ok(())
    }

    /// The shards, of `shards`, that did not tick since `since`.
    pub(super) fn silent_since(&self, since: Duration, shards: u16) -> Vec<ShardId> {
        let ticked = |shard: &ShardId| self.last.get(shard).is_some_and(|tick| tick.at >= since);
        (0..shards).map(ShardId).filter(|shard| !ticked(shard)).collect()
    }
}

/// Lets every shard tick that `node` on `host` owns, without end.
pub(super) async fn tick(oracle: Oracle, node: Node, host: usize) {
    let (lease, mut running, mut tickers) =
        (node.lease(), BTreeSet::new(), FuturesUnordered::new());
    loop {
        let shards = u16::try_from(node.view().shards.len()).unwrap_or(u16::MAX);
        for tenure in (0..shards).filter_map(|shard| lease.owned(ShardId(shard))) {
            if running.insert(tenure) {
                tickers.push(one(oracle.clone(), node.clone(), host, tenure));
            }
        }
        let look_again = tokio::time::sleep(LOOK_EVERY);
        tokio::pin!(look_again);
        loop {
            tokio::select! {
                biased;
                Some(ended) = tickers.next() => {
                    running.remove(&ended);
                }
                () = &mut look_again => break,
            }
        }
    }
}

/// The ticker of one tenure; ends with it.
async fn one(oracle: Oracle, node: Node, host: usize, tenure: Tenure) -> Tenure {
    let lease = node.lease();
    let turn = async {
        for number in 0.. {
            tokio::time::sleep(EVERY).await;
            // What leaves a turn passes the gate besides.
            if lease.check(&tenure).is_ok() {
                let view = node.view();
                let votes = view.voters.is_empty() || view.votes(node.name());
                oracle.ticked(host, votes, tenure, number);
            }
        }
    };
    let _ended = lease.through(tenure, turn).await;
    tenure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Boot, Epoch};

    #[test]
    fn ticks_of_two_owners_that_mix_are_found() {
        let tenure = |boot, epoch| Tenure {
            boot: Boot(boot),
            shard: ShardId(1),
            epoch: Epoch::new(0, epoch),
        };
        let mut ticks = Ticks::default();
        let mut took = |host, tenure, number| ticks.took((host, Duration::ZERO), tenure, number);
        assert_eq!(took(0, tenure(1, 3), 0), Ok(()));
        assert_eq!(took(0, tenure(1, 3), 1), Ok(()));
        assert_eq!(took(1, tenure(4, 7), 0), Ok(()));
        assert!(took(0, tenure(1, 3), 2).is_err(), "an older epoch");
        assert_eq!(took(1, tenure(4, 8), 0), Ok(()));
        assert!(took(0, tenure(4, 8), 1).is_err(), "the same epoch elsewhere");
        assert_eq!(took(0, tenure(5, 9), 0), Ok(()));
        assert!(took(0, tenure(5, 9), 2).is_err(), "one is missing");
    }

    #[test]
    fn a_shard_that_does_not_tick_is_named() {
        let mut ticks = Ticks::default();
        let tenure = Tenure { boot: Boot(1), shard: ShardId(0), epoch: Epoch::new(0, 1) };
        ticks.took((0, Duration::from_secs(3)), tenure, 0).expect("the first");
        assert_eq!(ticks.silent_since(Duration::from_secs(3), 2), [ShardId(1)]);
        assert_eq!(ticks.silent_since(Duration::from_secs(4), 1), [ShardId(0)]);
    }
}
