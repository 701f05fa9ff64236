//! What is there after a new quorum was begun: real nodes, real stores.

use std::collections::BTreeSet;

use super::*;
use crate::base::ClusterId;
use crate::entity::AskError;
use crate::node::{RecoverError, RecoverReport, Recovery, follow_quorum};
use crate::observe::SetAsk;

/// Until a survivor alone has found that the others do not come back.
const LONG: Duration = Duration::from_secs(90);

impl Trio {
    /// Counters of all three nodes, each at 2.
    async fn counted(&self) -> Vec<String> {
        let counters: Vec<String> = (0..24).map(|one| format!("c{one}")).collect();
        for (round, id) in counters.iter().enumerate() {
            let entity = self.nodes[round % 3].entities::<Counter>().get(id);
            for value in 1..=2 {
                assert_eq!(entity.ask_within(PATIENCE, CounterMsg::Add).await, Ok(value));
            }
        }
        let owner = |id: &String| {
            let (view, shard) = (self.nodes[0].view(), self.nodes[0].shard_of("counter", id));
            view.shard(shard)?.owner.as_ref().map(|owner| owner.node.clone())
        };
        let owners: BTreeSet<_> = counters.iter().filter_map(owner).collect();
        assert!(owners.len() > 1, "one node owns them all: the test shows too little");
        counters
    }

    /// All are cut off and stopped, and n3 begins a new quorum.
    async fn begun_by_third(&mut self) -> RecoverReport {
        for node in &self.nodes {
            node.0.parts.links.stop().await;
        }
        for node in self.nodes.drain(..) {
            node.stop().await;
        }
        let lost = ["n1", "n2"].map(|name| name.parse().expect("a plain name")).into();
        // Its last task may be about to let go of the directory.
        let recovery = loop {
            match Recovery::look(&self.config(2, self.listens[2], &self.data(2)), &lost) {
                Err(RecoverError::Disk(DiskError::InUse { .. })) => {
                    tokio::task::yield_now().await;
                }
                found => break found.expect("it voted"),
            }
        };
        let begun = recovery.begin().await.expect("nobody answers");
        assert_eq!(begun.held, begun.with_records, "{begun}");
        begun
    }
}

/// Goal: what was acknowledged, and is on the survivors' stores, is all there after a new quorum
/// was begun. Method: counters of all three nodes; all are cut off and stopped, n1 is lost, n3
/// begins anew and n2 follows; then each counter is read through both, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_quorum_has_all_that_was_acknowledged() {
    let mut trio = Trio::start(Profile::dev()).await;
    let counters = trio.counted().await;
    trio.settled().await;
    let cluster = trio.begun_by_third().await.cluster;
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&cluster[2 * at..2 * at + 2], 16).expect("hex digits");
    }
    let second = trio.config(1, trio.listens[1], &trio.data(1));
    follow_quorum(&second, ClusterId(bytes)).expect("it follows");
    let starts = [2, 1].map(|at| trio.build(at, trio.listens[at], &trio.data(at)).start());
    let nodes = futures::future::try_join_all(starts).await.expect("they go on");
    for (node, value) in nodes.iter().zip(3..) {
        for id in &counters {
            let entity = node.entities::<Counter>().get(id);
            assert_eq!(entity.ask_within(PATIENCE, CounterMsg::Add).await, Ok(value), "{id}");
        }
    }
    for node in nodes {
        node.stop().await;
    }
}

/// What a counter answers once its shard is served.
async fn answer(node: &Node, id: &str) -> u64 {
    let entity = node.entities::<Counter>().get(id);
    loop {
        match entity.ask_within(PATIENCE, CounterMsg::Add).await {
            Ok(value) => return value,
            Err(AskError::NotExecuted(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{id}: {error}"),
        }
    }
}

/// Goal: one survivor of three has all that was acknowledged, and serves it alone once an operator
/// says that one store is enough; before, nothing is answered. Method: as above, and nobody
/// follows; each counter is read and goes on, twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_alone_serves_all_of_it_once_one_store_is_enough() {
    let mut trio = Trio::start(Profile::dev()).await;
    let counters = trio.counted().await;
    trio.settled().await;
    trio.begun_by_third().await;
    let node = trio.build(2, trio.listens[2], &trio.data(2)).start().await.expect("it goes on");
    let owns = |id: &&String| {
        let (view, shard) = (node.view(), node.shard_of("counter", id));
        let owner = view.shard(shard).and_then(|shard| shard.owner.clone());
        owner.is_some_and(|owner| owner.node.as_str() == "n3")
    };
    let own = counters.iter().find(owns).expect("it owns some");
    let entity = node.entities::<Counter>().get(own);
    let waits = entity.ask_within(Duration::from_secs(3), CounterMsg::Add).await;
    assert!(matches!(waits, Err(AskError::NotExecuted(_))), "by one store of two: {waits:?}");
    let seen = node.view().constants.clone();
    let ask = SetAsk { write_min: Some(1), seen, ..SetAsk::default() };
    assert!(node.set(&ask).await.expect("it leads").is_agreed);
    for value in 3..=4 {
        for id in &counters {
            let answered = timeout(LONG, answer(&node, id)).await;
            assert_eq!(answered.ok(), Some(value), "{id}");
        }
    }
    node.stop().await;
}
