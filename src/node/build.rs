//! From a configuration to a running node.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;

use super::answers::Answering;
use super::health::{Health, WatchedDisk};
use super::life::{self, Life};
use super::{ConfigError, Inner, Node, NodeConfig, Parts, Said, Security};
use crate::admin::{Limits, SOCKET_FILE, Server, ServerParts};
use crate::authority::{
    Formation, QuorumAuthority, QuorumParts, Seeds, StartError as AuthorityError, ViewAuthority,
};
use crate::base::{
    Boot, BootClock, ControlRuntime, Instant, LocalError, NodeId, Publisher, Seams, SeededRng,
    Spawner, Watched,
};
use crate::base::{TokioNet, within};
use crate::entity::{Entity, HostError, HostParts, HostedKind, Hosts, Kind, Kinds, Records};
use crate::membership::{Hints, MemberHub, Membership};
use crate::observe::{Desk, DeskParts, EventLog};
use crate::placement::ProfileError;
use crate::replica::{ReplicaParts, Replicas};
use crate::storage::{Directory, Disk, DiskError, Facts, Older, Store, StoreError, disk_worker};
use crate::supervisor::StartError as TreeError;
use crate::transport::{self, Identity, Links, LinksConfig, LinksError, TlsConfig, TlsError};
use crate::wire::negotiate::Schemas;

/// How long a node waits for its cluster if nothing else is said.
const START_WITHIN: Duration = Duration::from_mins(1);
/// A round trip and an fsync that a profile must at least allow for.
const LEAST: Duration = Duration::from_millis(1);

/// Why a node did not start. Nothing of it runs, and its files are closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings do not fit each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The timing does not fit.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file in the data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data directory is a copy of this node's, or was moved to another file system: it may
    /// have forgotten what the node has voted for and acknowledged since. Next: start the node from
    /// its own directory.
    #[error(
        "the data directory is a copy of that of {name}, which may know more: start the node from \
         its own directory, or with an empty one: then it joins anew"
    )]
    Copy {
        /// The node.
        name: crate::base::NodeId,
    },
    /// The data file is from an earlier start than the rest of the directory. Next: as it says.
    #[error(
        "{older}: writes that were acknowledged since may be missing from it, so that {name} must \
         not own or copy shards with it; nothing was changed; put back the one that was there when \
         {name} ran last, or, where other nodes have the records, start {name} with an empty data \
         directory: then it joins anew"
    )]
    Older {
        /// The node.
        name: NodeId,
        /// How much older it is.
        older: Older,
    },
    /// The certificates cannot be used.
    #[error("certificates of {name}: {error}")]
    Certificates {
        /// The node.
        name: crate::base::NodeId,
        /// What is wrong with them.
        error: TlsError,
    },
    /// A PEM is not text.
    #[error("certificates: {0} is not PEM text; make certificates anew")]
    Pem(&'static str),
    /// The port, or another setting of the links.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// The cluster.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// What it was to host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The admin socket in its data directory. Next: as it says, or do without
    /// ([`NodeConfig::admin`]).
    #[error("admin socket: {0}")]
    Admin(#[from] LocalError),
    /// Its own tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The operating system refused a thread.
    #[error("the operating system refuses a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A node that is not started yet.
#[derive(Debug)]
pub struct NodeBuilder {
    config: NodeConfig,
    kinds: Vec<HostedKind>,
    seams: Option<Seams>,
    disk: Option<Arc<dyn Disk>>,
    start_within: Duration,
}

/// What was opened before the cluster is looked for, closed again if that fails.
struct Opened {
    seams: Seams,
    control: Option<ControlRuntime>,
    disk: Arc<dyn Disk>,
    facts: Facts,
    boot: Boot,
    store: Store,
    links: Links,
    admin: Option<(Server, Arc<Answering>)>,
    health: Health,
}

impl NodeBuilder {
    pub(super) fn new(config: NodeConfig) -> Self {
        let start_within = START_WITHIN;
        Self { config, kinds: Vec::new(), seams: None, disk: None, start_within }
    }

    /// Hosts a kind of entity. All nodes of a cluster must host the same kinds.
    #[must_use]
    pub fn host<E: Entity>(mut self, kind: Kind<E>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Runs in this world instead of the machine's.
    #[must_use]
    pub fn seams(mut self, seams: Seams) -> Self {
        self.seams = Some(seams);
        self
    }

    /// Keeps its data there instead of in the configured directory.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// How long it may take to find the cluster and become a member; 60 s if nothing is said.
    #[must_use]
    pub fn start_within(mut self, span: Duration) -> Self {
        self.start_within = span;
        self
    }

    /// Starts the node: forms or finds its cluster, becomes a member, and holds a lease.
    ///
    /// # Errors
    /// [`StartError`]: nothing of the node is left running.
    pub async fn start(mut self) -> Result<Node, StartError> {
        self.config.validate()?;
        self.config.profile.validate(LEAST, LEAST)?;
        let kinds = Kinds::new(std::mem::take(&mut self.kinds))?;
        let opened = self.open(kinds.schemas()).await?;
        let deadline = opened.seams.clock.now() + self.start_within;
        let (links, health) = (opened.links.clone(), opened.health.clone());
        let started = start(&self.config, opened, kinds, deadline).await;
        if started.is_err() {
            health.stop();
            links.stop().await;
        }
        started
    }

    async fn open(&mut self, schemas: Schemas) -> Result<Opened, StartError> {
        let config = &self.config;
        // Where a world or a disk is given, nobody looks into a directory for a socket.
        let has_admin = config.admin && self.seams.is_none() && self.disk.is_none();
        let (seams, control) = if let Some(seams) = self.seams.take() {
            (seams, None)
        } else {
            let control = ControlRuntime::start(&format!("control-{}", config.name))?;
            (machine(&control), Some(control))
        };
        let disk: Arc<dyn Disk> = match self.disk.take() {
            Some(disk) => disk,
            None => Arc::new(Directory::open(&config.data)?),
        };
        let disk = Arc::new(WatchedDisk::new(disk, seams.clock.clone()));
        let facts = Facts::open(&*disk, &config.name, &*seams.rng)?;
        let mark = disk.mark();
        if facts.is_copy(&mark) {
            if facts.cluster().is_some() {
                return Err(StartError::Copy { name: config.name.clone() });
            }
            // Never of a cluster: nothing that was acknowledged is in it.
            tracing::warn!(name = %config.name, "the data directory is a copy: it starts empty");
            Store::discard(&*disk)?;
        }
        facts.set_mark(mark)?;
        let admin = if has_admin { Some(admin(config, &seams, disk.clone()).await?) } else { None };
        let worker = disk_worker(&*disk, &seams, &format!("store-{}", config.name))?;
        let store = Store::open(&*disk, worker, config.durability, &*seams.rng)?;
        if let Some(older) = store.older(&facts)? {
            return Err(StartError::Older { name: config.name.clone(), older });
        }
        facts.set_store(store.id())?;
        let security = security(&config.name, &config.security, &seams)?;
        let boot = facts.begin_boot(&*seams.rng)?;
        let identity =
            Identity { cluster_name: config.cluster.clone(), node: config.name.clone(), boot };
        let links_config = LinksConfig {
            schemas,
            token: facts.token(boot),
            ..LinksConfig::new(identity, config.listen, security)
        };
        let links = Links::start(links_config, seams.clone()).await?;
        let name = config.name.clone();
        let health = Health::start(name, &seams, &config.health, disk.clone(), &store);
        Ok(Opened { seams, control, disk, facts, boot, store, links, admin, health })
    }
}

/// The socket in the data directory. It answers from now on, if only that the node starts.
async fn admin(
    config: &NodeConfig,
    seams: &Seams,
    disk: Arc<dyn Disk>,
) -> Result<(Server, Arc<Answering>), StartError> {
    let answering = Arc::new(Answering::new(config.name.clone(), seams.clone()));
    let server = Server::start(ServerParts {
        path: config.data.join(SOCKET_FILE),
        seams: seams.clone(),
        disk,
        limits: Limits::default(),
        answers: answering.clone(),
    });
    Ok((server.await?, answering))
}

/// The machine's clock, chance, sockets, tasks and threads.
pub(super) fn machine(control: &ControlRuntime) -> Seams {
    Seams {
        clock: Arc::new(BootClock),
        rng: Arc::new(SeededRng::from_os()),
        net: Arc::new(TokioNet),
        control: Spawner::On(control.handle().clone()),
        work: Spawner::On(tokio::runtime::Handle::current()),
        threads: true,
    }
}

/// Certificates as the links want them.
pub(super) fn security(
    name: &NodeId,
    security: &Security,
    seams: &Seams,
) -> Result<transport::Security, StartError> {
    let Security::Tls { authorities, certificate, key } = security else {
        return Ok(transport::Security::Insecure);
    };
    let text = |pem, what| std::str::from_utf8(pem).map_err(|_| StartError::Pem(what));
    let clock = seams.clock.clone();
    let authorities = text(authorities, "the list of authorities")?;
    let (certificate, key) = (text(certificate, "the certificate")?, text(key, "the key")?);
    let tls = TlsConfig::from_pem(authorities, certificate, key, clock)
        .map_err(|error| StartError::Certificates { name: name.clone(), error })?;
    Ok(transport::Security::Tls(Arc::new(tls)))
}

/// Finds or forms the cluster, becomes a member, and counts the start with the records.
async fn authority(
    config: &NodeConfig,
    opened: &Opened,
    deadline: Instant,
) -> Result<QuorumAuthority, StartError> {
    let Opened { seams, disk, facts, boot, store, links, .. } = opened;
    let seeds = Seeds { list: config.seeds.clone(), file: config.seeds_file.clone() };
    let formation = if config.bootstrap {
        Formation::Bootstrap { seeds }
    } else if config.expect <= 1 && seeds == Seeds::default() {
        Formation::Alone
    } else {
        Formation::Expect { expect: config.expect, seeds }
    };
    let addr = config.advertise.clone().unwrap_or_else(|| links.local_addr().to_string());
    let parts = QuorumParts {
        seams: seams.clone(),
        links: links.clone(),
        disk: disk.clone(),
        facts: facts.clone(),
        me: config.name.clone(),
        boot: *boot,
        store: store.id(),
        addr,
        zone: config.zone.clone(),
        weight: config.weight,
        shards: config.shards,
        profile: config.profile.clone(),
        formation,
        replace_voters_after: config.replace_voters_after,
    };
    let authority = QuorumAuthority::start(parts, deadline).await?;
    // After raft's file was found to be the right one, and before anything is written: a start that
    // is refused for one file must not make the other one older.
    if let Err(error) = store.begin_start(facts) {
        authority.stop().await;
        return Err(error.into());
    }
    Ok(authority)
}

async fn start(
    config: &NodeConfig,
    opened: Opened,
    kinds: Kinds,
    deadline: Instant,
) -> Result<Node, StartError> {
    let authority = authority(config, &opened, deadline).await?;
    let Opened { seams, control, facts, store, links, health, admin, .. } = opened;
    let views: Arc<dyn ViewAuthority> = Arc::new(authority.clone());
    let lease = authority.lease();
    let name = config.name.clone();
    let replicas = Replicas::start(ReplicaParts {
        seams: seams.clone(),
        links: links.clone(),
        store: store.clone(),
        authority: views.clone(),
        lease: lease.clone(),
        node: name.clone(),
    });
    let hints = Hints::default();
    let records: Arc<dyn Records> = Arc::new(replicas.clone());
    let hosts = Hosts::start(HostParts {
        seams: seams.clone(),
        links: links.clone(),
        authority: views,
        lease,
        records: Some(records),
        me: name.clone(),
        kinds,
        hints: hints.clone(),
    });
    let membership = Publisher::new(None);
    let desk = desk((&seams, &links), &name, (&authority, &hosts), membership.watched());
    let events = EventLog::new(name.clone());
    // The view that it starts with changes nothing.
    events.see(&authority.view(), seams.clock.unix());
    let parts = Arc::new(Parts {
        name,
        seams,
        links,
        authority,
        store,
        replicas,
        hosts,
        membership,
        desk,
        said: Said::new(&config.zone),
        hub: MemberHub::default(),
        hints,
        health,
        events,
        left: Publisher::new(false),
        ended: Publisher::new(None),
    });
    let life = Life { parts: parts.clone(), facts, profile: config.profile.clone() };
    let tree = match life::tree(life).await {
        Ok(tree) => tree,
        Err(error) => {
            parts.stop(async {}).await;
            return Err(error.into());
        }
    };
    // It gossips at once: it is a member.
    let mut membership = parts.membership.watched().follow();
    let gossips = membership.until(Option::is_some).boxed();
    if within(&*parts.seams.clock, deadline, gossips).await.is_err() {
        tracing::warn!("the gossip has not begun yet");
    }
    let (admin, answering) = admin.unzip();
    let inner = Arc::new(Inner { parts, tree, admin, control: Mutex::new(control) });
    if let Some(answering) = answering {
        answering.started(&inner);
    }
    Ok(Node(inner))
}

/// Where other members ask from now on what this node says of itself.
fn desk(
    (seams, links): (&Seams, &Links),
    node: &NodeId,
    (authority, hosts): (&QuorumAuthority, &Hosts),
    membership: Watched<Option<Membership>>,
) -> Desk {
    let members = move || membership.get().as_ref().as_ref().map(Membership::members);
    Desk::open(DeskParts {
        seams: seams.clone(),
        links: links.clone(),
        node: node.clone(),
        authority: authority.clone(),
        hosts: hosts.clone(),
        members: Box::new(move || members().unwrap_or_default()),
    })
}
