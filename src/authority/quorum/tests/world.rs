//! Nodes without entities: directories, links and authorities, which start, die and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::super::*;
use crate::authority::formation::tests::joining::{NAME, Named};
use crate::base::{Clock, SeededRng, Spawner, TokioClock};
use crate::placement::{Change, ChangeId, DiskMark, Outcome, Owner, Precondition};
use crate::storage::SimDisk;
use crate::transport::{Identity, LinksConfig, Security};

/// How long a dead voter is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Shards of a cluster.
const SHARDS: u16 = 8;

/// What one start differs in.
#[derive(Clone)]
pub(super) struct How {
    pub(super) formation: Formation,
    pub(super) profile: Profile,
    pub(super) within: Duration,
}

/// A running process.
pub(super) struct Process {
    pub(super) links: Links,
    pub(super) authority: QuorumAuthority,
}

/// A machine: its disk, and whether a process runs on it.
pub(super) struct Host {
    pub(super) name: NodeId,
    pub(super) zone: String,
    pub(super) disk: SimDisk,
    pub(super) process: Option<Process>,
    lives: u64,
}

pub(super) struct Town {
    pub(super) clock: Arc<dyn Clock>,
    net: Named,
    pub(super) hosts: Vec<Host>,
    /// Where the name of the seeds leads.
    addrs: BTreeMap<usize, SocketAddr>,
    changes: u128,
}

pub(super) fn seeds() -> Seeds {
    Seeds { list: vec![NAME.into()], file: None }
}

pub(super) fn expecting(expect: usize) -> How {
    let formation = Formation::Expect { expect, seeds: seeds() };
    How { formation, profile: Profile::lan(), within: Duration::from_mins(1) }
}

pub(super) fn disk(number: u64) -> SimDisk {
    let host_boot = format!("h{number}");
    SimDisk::new(DiskMark { filesystem: 1, device: 1, lock_inode: number, host_boot })
}

impl Town {
    /// Machines with empty disks, named `n1`, `n2` and so on.
    pub(super) fn new(hosts: u64) -> Self {
        let host = |number: u64| Host {
            name: format!("n{number}").parse().unwrap(),
            zone: String::new(),
            disk: disk(number),
            process: None,
            lives: 0,
        };
        Self {
            clock: Arc::new(TokioClock::new()),
            net: Named::default(),
            hosts: (1..=hosts).map(host).collect(),
            addrs: BTreeMap::new(),
            changes: 0,
        }
    }

    /// One more machine, which may bear a name that there is already.
    pub(super) fn add_host(&mut self, name: &str) {
        let number = self.hosts.len() as u64 + 1;
        let (zone, name) = (String::new(), name.parse().unwrap());
        self.hosts.push(Host { name, zone, disk: disk(number), process: None, lives: 0 });
    }

    /// A cluster of all of them.
    pub(super) async fn formed(hosts: u64) -> Self {
        let mut town = Self::new(hosts);
        let all: Vec<usize> = (0..town.hosts.len()).collect();
        for started in town.start_all(&all, &expecting(all.len())).await {
            started.unwrap();
        }
        town
    }

    /// Starts several at once; what came of each.
    pub(super) async fn start_all(
        &mut self,
        places: &[usize],
        how: &How,
    ) -> Vec<Result<(), StartError>> {
        let mut starting = Vec::new();
        for &place in places {
            starting.push(self.begin(place, how).await);
        }
        let started = futures::future::join_all(starting).await;
        let mut results = Vec::new();
        for (&place, (links, started)) in places.iter().zip(started) {
            results.push(match started {
                Ok(authority) => {
                    self.hosts[place].process = Some(Process { links, authority });
                    Ok(())
                }
                Err(error) => {
                    self.addrs.remove(&place);
                    self.publish();
                    links.stop().await;
                    self.hosts[place].disk.kill();
                    Err(error)
                }
            });
        }
        results
    }

    /// Starts hosts, each after so many seconds and told to expect so many nodes.
    pub(super) async fn start_all_after(
        &mut self,
        told: &[(usize, u64, usize)],
        within: Duration,
    ) -> Vec<Result<(), StartError>> {
        let mut starting = Vec::new();
        for &(place, after, expect) in told {
            let how = How { within, ..expecting(expect) };
            let (begun, clock) = (self.begin(place, &how).await, self.clock.clone());
            starting.push(async move {
                clock.sleep(Duration::from_secs(after)).await;
                begun.await
            });
        }
        let mut results = Vec::new();
        for (&(place, ..), (links, started)) in
            told.iter().zip(futures::future::join_all(starting).await)
        {
            links.stop().await;
            self.hosts[place].disk.kill();
            self.addrs.remove(&place);
            if let Ok(authority) = &started {
                authority.stop().await;
            }
            results.push(started.map(drop));
        }
        self.publish();
        results
    }

    pub(super) async fn start(&mut self, place: usize, how: &How) -> Result<(), StartError> {
        self.start_all(&[place], how).await.remove(0)
    }

    fn publish(&self) {
        *self.net.addrs.lock() = self.addrs.values().copied().collect();
    }

    /// The process of a host, which looks for its cluster when the future is polled.
    async fn begin(
        &mut self,
        place: usize,
        how: &How,
    ) -> impl Future<Output = (Links, Result<QuorumAuthority, StartError>)> + use<> {
        let host = &mut self.hosts[place];
        host.lives += 1;
        let seams = Seams {
            clock: self.clock.clone(),
            rng: Arc::new(SeededRng::new(place as u64 * 1_000 + host.lives)),
            net: Arc::new(self.net.clone()),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: false,
        };
        let disk: Arc<dyn Disk> = Arc::new(host.disk.mount());
        let facts = Facts::open(&*disk, &host.name, &*seams.rng).unwrap();
        let store = facts.store().unwrap_or_else(|| StoreId(seams.rng.next_u128()));
        facts.set_store(store).unwrap();
        let boot = facts.begin_boot(&*seams.rng).unwrap();
        let identity = Identity { cluster_name: "t".into(), node: host.name.clone(), boot };
        // The same in each life, as a machine's is.
        let port = 60_000 + u16::try_from(place).expect("few hosts");
        let listen = SocketAddr::from(([127, 0, 0, 1], port));
        let token = facts.token(boot);
        let config =
            LinksConfig { token, ..LinksConfig::new(identity, listen, Security::Insecure) };
        let links = Links::start(config, seams.clone()).await.unwrap();
        let parts = QuorumParts {
            seams: seams.clone(),
            links: links.clone(),
            disk,
            facts,
            me: host.name.clone(),
            boot,
            store,
            addr: links.local_addr().to_string(),
            zone: host.zone.clone(),
            weight: 1,
            shards: SHARDS,
            profile: how.profile.clone(),
            formation: how.formation.clone(),
            replace_voters_after: PATIENCE,
        };
        self.addrs.insert(place, links.local_addr());
        self.publish();
        let deadline = self.clock.now() + how.within;
        async move { (links, QuorumAuthority::start(parts, deadline).await) }
    }

    /// The process is killed: nobody is told, and its disk keeps what was synced.
    pub(super) async fn kill(&mut self, place: usize) {
        let host = &mut self.hosts[place];
        host.disk.kill();
        self.addrs.remove(&place);
        if let Some(process) = host.process.take() {
            process.links.stop().await;
            process.authority.stop().await;
        }
        self.publish();
    }

    /// Another, empty disk in a machine that is off.
    pub(super) fn new_disk(&mut self, place: usize) {
        assert!(self.hosts[place].process.is_none());
        self.hosts[place].disk = disk(place as u64 + 100 + self.hosts[place].lives);
    }

    pub(super) fn node(&self, place: usize) -> &QuorumAuthority {
        &self.hosts[place].process.as_ref().unwrap().authority
    }

    pub(super) fn name(&self, place: usize) -> NodeId {
        self.hosts[place].name.clone()
    }

    /// The running ones.
    pub(super) fn up(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|at| self.hosts[*at].process.is_some()).collect()
    }

    pub(super) fn votes(&self, by: usize) -> Vec<String> {
        let mut names: Vec<_> =
            self.node(by).view().voters.values().map(ToString::to_string).collect();
        names.sort();
        names
    }

    /// Whether all that run are members with a lease, and have the same view.
    pub(super) fn is_whole(&self) -> bool {
        let up = self.up();
        let version = |at: &usize| self.node(*at).view().version;
        up.iter().all(|at| self.node(*at).lease().is_valid() && version(at) == version(&up[0]))
            && up.iter().all(|at| self.node(up[0]).view().members.contains_key(&self.name(*at)))
            && self.node(up[0]).view().members.len() == up.len()
    }

    /// Looks again and again until `wanted`, for so many seconds at most.
    pub(super) async fn until(&self, secs: u64, what: &str, wanted: impl Fn(&Self) -> bool) {
        let deadline = self.clock.now() + Duration::from_secs(secs);
        while !wanted(self) {
            if self.clock.now() >= deadline {
                let views: Vec<_> = self.up().iter().map(|at| self.node(*at).view()).collect();
                let shown = |view: &Arc<View>| {
                    format!("{}: {:?}, {:?}", view.version, view.members.keys(), view.voters)
                };
                panic!("not {what}: {:#?}", views.iter().map(shown).collect::<Vec<_>>());
            }
            self.clock.sleep(Duration::from_millis(5)).await;
        }
    }

    /// Who leads, looked for until somebody makes sure of it.
    pub(super) async fn leader(&self) -> usize {
        let deadline = self.clock.now() + Duration::from_secs(10);
        loop {
            for at in self.up() {
                let soon = self.clock.now() + Duration::from_millis(100);
                if self.node(at).core().barrier(soon).await.is_ok() {
                    return at;
                }
            }
            assert!(self.clock.now() < deadline, "nobody leads");
            self.clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// A change of the view that `place` proposes for a shard of its own; `None` if it owns none
    /// that can be changed so.
    pub(super) fn change(&mut self, place: usize) -> Option<Proposal> {
        let (view, me) = (self.node(place).view(), self.name(place));
        let owned = |owner: &Owner| owner.node == me;
        let (shard, now) = view
            .numbered()
            .find(|(_, one)| !one.has_records && one.owner.as_ref().is_some_and(owned))?;
        let when = Precondition {
            owner: now.owner.clone()?,
            epoch: now.epoch,
            in_sync_generation: now.in_sync_generation,
        };
        self.changes += 1;
        let change = Change::HasRecords { shard, in_sync: now.in_sync.clone(), when };
        Some(Proposal { id: ChangeId(self.changes), change })
    }

    /// Proposes it at `place`, which must be accepted within so many seconds.
    pub(super) async fn propose(&self, place: usize, proposal: Proposal, secs: u64) {
        let deadline = self.clock.now() + Duration::from_secs(secs);
        let done = self.node(place).propose(vec![proposal.clone()], deadline).await;
        assert_eq!(done, Ok(vec![(proposal.id, Outcome::Accepted)]));
    }
}
