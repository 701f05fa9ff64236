//! One host: a disk and a clock that outlive its lives, and the node that runs in each of them.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use parking_lot::Mutex;

use super::net::Loss;
use super::operator::Operator;
use super::process::Process;
use super::{SimClock, SimNet, mix};
use crate::authority::StartError as AuthorityError;
use crate::base::{Clock, NodeId, Publisher, Seams, SeededRng, Spawner};
use crate::node::{Node, NodeBuilder, NodeConfig, Security, StartError};
use crate::placement::{DiskMark, Profile};
use crate::storage::SimDisk;

/// Where every node listens.
const PORT: u16 = 7000;
/// How long one start may take before the process gives up and is started again.
const START_WITHIN: Duration = Duration::from_secs(20);
/// How long whoever watches the process waits before that.
const START_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Says what a node hosts.
pub type Prepare = Arc<dyn Fn(NodeBuilder) -> NodeBuilder>;
/// What runs beside a node, on its host, from each of its starts on: the node, and the number of
/// its host.
pub type Load = Arc<dyn Fn(Node, usize) -> LocalBoxFuture<'static, ()>>;

/// What is wanted of the process of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// That it runs, and is started again when it ends.
    Run,
    /// That it leaves its cluster and ends.
    Leave,
    /// That it ends at once.
    Die,
}

/// What all hosts of a world share.
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) shards: u16,
    pub(super) profile: Profile,
    pub(super) replace_voters_after: Duration,
    pub(super) names: Vec<NodeId>,
    pub(super) loss: Arc<Loss>,
    pub(super) operator: Operator,
    pub(super) prepare: Prepare,
    pub(super) load: Load,
}

/// One host, seen from inside and outside of its runtime.
pub(super) struct Host {
    pub(super) index: usize,
    pub(super) name: NodeId,
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<SimClock>,
    pub(super) security: Security,
    pub(super) process: Arc<Process>,
    order: Publisher<Order>,
    /// How many times a process was started here.
    lives: AtomicU64,
    /// The one that runs now.
    node: Mutex<Option<Node>>,
    /// Why starts failed, if others than those that hope for a cluster.
    failed: Mutex<Option<String>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({}, life {})", self.name, self.life())
    }
}

impl Host {
    pub(super) fn new(
        index: usize,
        name: NodeId,
        clock: SimClock,
        security: Security,
        seed: u64,
    ) -> Self {
        let process = Arc::new(Process::default());
        let mark = DiskMark {
            filesystem: 1,
            device: 1,
            lock_inode: index as u64 + 1,
            host_boot: format!("{name}-0"),
        };
        let clock = Arc::new(clock.of(process.gate.clone()));
        let rng = Arc::new(SeededRng::new(mix(&[seed, index as u64, 0xd15c])));
        Self {
            index,
            name,
            disk: SimDisk::new(mark).paced(clock.clone(), rng),
            clock,
            security,
            process,
            order: Publisher::new(Order::Run),
            lives: AtomicU64::new(0),
            node: Mutex::new(None),
            failed: Mutex::new(None),
        }
    }

    pub(super) fn life(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    /// The node that runs here, once it has started.
    pub(super) fn node(&self) -> Option<Node> {
        self.node.lock().clone()
    }

    pub(super) fn failed(&self) -> Option<String> {
        self.failed.lock().clone()
    }

    /// Wants this of the process from now on.
    pub(super) fn order(&self, order: Order) {
        if *self.order.get() != order {
            self.order.publish(Arc::new(order));
        }
    }

    async fn ordered(&self, order: Order) {
        let mut orders = self.order.watched().follow();
        if orders.until(|now| *now == order).await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// The host is about to be gone.
    pub(super) fn forget(&self) {
        // The host's own task holds another: nothing of it ends here, outside of its runtime.
        drop(self.node.lock().take());
    }

    /// What the host runs: a process that is started again whenever it finds no cluster.
    pub(super) async fn run(self: Arc<Self>, plan: Rc<Plan>) {
        loop {
            self.ordered(Order::Run).await;
            let lived = tokio::select! {
                biased;
                () = self.ordered(Order::Die) => {
                    self.process.close_sockets();
                    // All else ends with the runtime, which the world takes away after this step.
                    return std::future::pending().await;
                }
                lived = self.clone().live(&plan) => lived,
            };
            match lived {
                Ok(()) => {}
                Err(StartError::Authority(AuthorityError::NoCluster(why))) => {
                    tracing::info!(name = %self.name, why, "started in vain");
                }
                Err(error) => {
                    *self.failed.lock() = Some(error.to_string());
                }
            }
            self.forget();
            self.clock.sleep(START_AGAIN_AFTER).await;
        }
    }

    /// One process.
    async fn live(self: Arc<Self>, plan: &Plan) -> Result<(), StartError> {
        let life = self.lives.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(name = %self.name, life, "starts");
        let seed = mix(&[plan.seed, self.index as u64, life]);
        let seams = Seams {
            clock: self.clock.clone(),
            rng: Arc::new(SeededRng::new(seed)),
            net: Arc::new(SimNet::new(self.name.clone(), plan.loss.clone(), self.process.clone())),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: false,
        };
        let address = |name: &NodeId| format!("{name}:{PORT}");
        let config = NodeConfig {
            cluster: "sim".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], PORT)),
            advertise: Some(address(&self.name)),
            seeds: plan.names.iter().map(address).collect(),
            expect: plan.names.len(),
            profile: plan.profile.clone(),
            replace_voters_after: plan.replace_voters_after,
            shards: plan.shards,
            ..NodeConfig::new(self.name.clone(), self.security.clone())
        };
        let disk = Arc::new(self.disk.mount());
        let builder = Node::build(config).seams(seams).disk(disk).start_within(START_WITHIN);
        let node = (plan.prepare)(builder).start().await?;
        tracing::info!(name = %self.name, life, "started");
        *self.node.lock() = Some(node.clone());
        let load = async {
            // Part of the process: it stops with it.
            let load = (plan.load)(node.clone(), self.index);
            let operated = plan.operator.run(&node, &*self.clock);
            self.process.gate.through(futures::future::join(load, operated)).await;
        };
        let why = tokio::select! {
            biased;
            why = node.ended() => why,
            () = self.ordered(Order::Leave) => {
                tracing::info!(name = %self.name, life, "leaves");
                // Until it has ended, what it knows and acknowledges is there to be seen.
                node.stop().await;
                return Ok(());
            }
            () = load => return Ok(()),
        };
        *self.failed.lock() = Some(format!("the node ended: {why}"));
        node.stop().await;
        Ok(())
    }
}
