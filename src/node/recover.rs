//! A new quorum when too few voters of the old one are left: begun on the directory of one survivor
//! while no node runs on it, and followed on the directories of the others.
//!
//! It gives up what only the lost voters knew. It is safe for what is left, because: no member may
//! answer, so none that could be led goes on; D' passes, so no lease that was granted is valid any
//! more; the new generation is above every epoch that was sealed here; and the cluster gets another
//! id, so that nobody of the old quorum is spoken with when it comes back after all.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::NodeConfig;
use super::build::machine;
use crate::authority::{OpenError, Remains, Voter};
use crate::base::{
    ClusterId, ControlRuntime, Epoch, NodeId, Seams, ShardId, StoreId, Version, within,
};
use crate::placement::Profile;
use crate::storage::{
    Counted, DATA_FILE, Directory, Disk, DiskError, Durability, Facts, Older, Store, StoreError,
};

/// How long a member may take to answer a dial.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Bits of an epoch below its quorum generation.
const INDEX_BITS: u32 = 48;

/// Bytes of a cluster's id that tell from which cluster it was begun.
const ORIGIN_BYTES: usize = 8;

/// Why no new quorum is begun, or none followed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The directory is in use, or cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file of it cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log of its voter cannot be read or written.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The operating system gave no thread.
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Its records may be older than those of the directory it was copied from.
    #[error("the data directory of {0} is a copy of another: it is no survivor")]
    Copy(NodeId),
    /// One of its files is from an earlier start than the others.
    #[error("{0}; put back the one that was there last, or choose another survivor")]
    Older(#[from] Older),
    /// There is nothing to recover.
    #[error("the data directory of {0} is of no cluster")]
    NoCluster(NodeId),
    /// What it voted, and the view it knew, are lost.
    #[error(
        "raft.redb is missing from the data directory of {0}: nothing was changed; put it back as \
         it was, or move the directory away and start {0} with an empty one beside those that are \
         left"
    )]
    NoLog(NodeId),
    /// Its records are lost.
    #[error(
        "data.redb is missing from the data directory of {0}, so that it is no survivor: nothing \
         was changed; put it back as it was, or choose another survivor"
    )]
    NoStore(NodeId),
    /// There is nothing to follow.
    #[error("{node} is of cluster {cluster} already: nothing was changed; start it")]
    Follows {
        /// Who.
        node: NodeId,
        /// Which cluster it was to follow.
        cluster: ClusterId,
    },
    /// It has been of a cluster which the new quorum knows nothing of: epochs that it has sealed
    /// may be those of the new quorum, and what it wrote since would be taken for what is agreed.
    #[error(
        "cluster {cluster} was not begun from cluster {own}, which {node} is of: nothing was \
         changed; if it was begun from one that was itself begun from {own}, follow that one \
         first; if {node} has gone on by itself, what it wrote since is not taken over: move its \
         data directory away and start it with an empty one"
    )]
    OtherLine {
        /// Who.
        node: NodeId,
        /// Of which cluster it is.
        own: ClusterId,
        /// Which cluster it was to follow.
        cluster: ClusterId,
    },
    /// It has never voted, so that it knows no view.
    #[error("{0} has no view on its disk: choose a survivor that voted, and follow it with {0}")]
    NoView(NodeId),
    /// It votes alone.
    #[error("{0} is the only voter of its cluster: start it, nothing is to be recovered")]
    Alone(NodeId),
    /// Who is given up must be named: a majority behind a cut does not answer either, and goes on.
    #[error("the voters that are lost for good must be named, all of them and no other: {0}")]
    NotNamed(String),
    /// Another member answers.
    #[error(
        "{node} answers at {addr}: while any member runs, a quorum may be there; if its voters are \
         lost for good, stop it too, and let it follow the new quorum"
    )]
    Answers {
        /// Who.
        node: NodeId,
        /// Where.
        addr: String,
    },
    /// There was a recovery for each generation that fits into an epoch.
    #[error("quorum generations are used up: {0} is the last one")]
    UsedUp(u16),
    /// The view cannot be gone on with.
    #[error("the view cannot be gone on with: {0}")]
    View(String),
}

/// What a new quorum would begin with, or has begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverReport {
    /// The survivor, which is to be the only voter.
    pub node: NodeId,
    /// The cluster until now, in hex digits.
    pub cluster_before: String,
    /// The cluster from then on, in hex digits: the others follow it by this.
    pub cluster: String,
    /// Of the last view that the survivor knows.
    pub version: Version,
    /// Entries in it of which the survivor does not know that they were agreed.
    pub doubtful: u64,
    /// The quorum generation until now.
    pub generation_before: u16,
    /// From then on: above that of every epoch that was sealed here.
    pub generation: u16,
    /// Voters that are given up.
    pub voters_lost: Vec<NodeId>,
    /// Members that are to follow, or that will be evicted.
    pub others: Vec<NodeId>,
    /// Shards with records.
    pub with_records: u32,
    /// Of these, shards that the survivor's store holds.
    pub held: u32,
    /// How long no lease may be taken for over yet.
    pub wait: Duration,
    /// Whether it was begun.
    pub is_begun: bool,
}

/// A survivor's directory, ours alone, and what was found in it.
#[derive(Debug)]
pub struct Recovery {
    seams: Seams,
    /// Lives as long as this: the seams run on it.
    _control: ControlRuntime,
    disk: Arc<dyn Disk>,
    facts: Facts,
    remains: Remains,
    me: Voter,
    cluster: ClusterId,
    report: RecoverReport,
}

impl Recovery {
    /// Reads what is left in the directory that `config` names. `lost` are the voters that are
    /// given up: all but this one. Nothing is changed.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn look(config: &NodeConfig, lost: &BTreeSet<NodeId>) -> Result<Self, RecoverError> {
        let (seams, control, disk, facts) = open(config)?;
        let name = &config.name;
        facts.cluster().ok_or_else(|| RecoverError::NoCluster(name.clone()))?;
        let remains = Remains::read(&*disk, seams.worker("raft-log")?)?;
        let remains = remains.ok_or_else(|| RecoverError::NoLog(name.clone()))?;
        facts.check(Counted::Raft, remains.starts)?;
        let is_kept = config.durability == Durability::Disk;
        if is_kept && !disk.exists(DATA_FILE).map_err(StoreError::from)? {
            return Err(RecoverError::NoStore(name.clone()));
        }
        let constants = remains.view.constants.clone();
        let constants = constants.ok_or_else(|| RecoverError::NoView(name.clone()))?;
        if remains.voters.values().all(|voter| voter.node == *name) {
            return Err(RecoverError::Alone(name.clone()));
        }
        named(&remains, name, lost)?;
        let addr = remains.addr_of(name);
        let addr = addr.ok_or_else(|| RecoverError::NoView(name.clone()))?;
        let store = seals(config, &seams, (&*disk, &facts), constants.shards)?;
        let generation = generation(&remains, store.newest)?;
        // Of the view: begun before and not to its end, the directory is of the new cluster.
        let before = remains.view.cluster;
        let cluster = cluster_after(before, generation, store.id);
        let lease = constants.profile.lease.max(constants.lease_before.unwrap_or_default());
        let wait = Profile::lease_at_leader(lease, constants.profile.drift_permille);
        let report = report(&remains, (name, store.id), (before, cluster), (generation, wait));
        let me = Voter { node: name.clone(), addr };
        Ok(Self { seams, _control: control, disk, facts, remains, me, cluster, report })
    }

    /// What was found, and what would be begun.
    #[must_use]
    pub fn report(&self) -> &RecoverReport {
        &self.report
    }

    /// Begins the new quorum, after it has made sure twice, D' apart, that no member answers. The
    /// log before is kept beside the new one.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub async fn begin(self) -> Result<RecoverReport, RecoverError> {
        let mut view = self.remains.view.clone();
        let (generation, voter) = (self.report.generation, self.facts.voter());
        let new = (generation, self.cluster);
        let recovered = view.recover(self.remains.next(), new, (voter, self.me.node.clone()));
        recovered.and_then(|()| view.check()).map_err(RecoverError::View)?;
        self.nobody_answers().await?;
        self.seams.clock.sleep(self.report.wait).await;
        self.nobody_answers().await?;
        // In this order: stopped in between, it is of the new cluster and has the old log, with
        // which no quorum comes about; begun again, it comes to the same.
        self.facts.set_cluster(self.cluster)?;
        self.remains.begin(&*self.disk, (voter, self.me.clone()), &view)?;
        Ok(RecoverReport { is_begun: true, ..self.report })
    }

    /// Dials every other voter and member at once.
    async fn nobody_answers(&self) -> Result<(), RecoverError> {
        let remains = &self.remains;
        let voters = remains.voters.values().map(|voter| &voter.node);
        let others: BTreeSet<&NodeId> = remains
            .view
            .members
            .keys()
            .chain(voters)
            .filter(|node| **node != self.me.node)
            .collect();
        let dials = others.into_iter().filter_map(|node| {
            let addr = remains.addr_of(node)?;
            Some(async move { self.answers(&addr).await.then(|| (node.clone(), addr)) })
        });
        match join_all(dials).await.into_iter().flatten().next() {
            Some((node, addr)) => Err(RecoverError::Answers { node, addr }),
            None => Ok(()),
        }
    }

    async fn answers(&self, addr: &str) -> bool {
        let Seams { clock, net, .. } = &self.seams;
        let dial = async {
            for place in net.resolve(addr).await.unwrap_or_default() {
                if net.connect(place).await.is_ok() {
                    return true;
                }
            }
            false
        };
        within(&**clock, clock.now() + ANSWER_WITHIN, dial).await.unwrap_or(false)
    }
}

/// Lets the node whose directory `config` names follow a new quorum: it forgets what it voted, and
/// joins `cluster` at its next start, with the records that it holds. Must be called on a runtime
/// of tokio, as [`Recovery::look`].
///
/// `cluster` must have been begun from the one that the directory is of, so that its epochs are
/// above all that were sealed here.
///
/// # Errors
/// [`RecoverError`].
pub fn follow_quorum(config: &NodeConfig, cluster: ClusterId) -> Result<(), RecoverError> {
    let (seams, _control, disk, facts) = open(config)?;
    let node = config.name.clone();
    let own = facts.cluster().ok_or_else(|| RecoverError::NoCluster(node.clone()))?;
    if own == cluster {
        return Err(RecoverError::Follows { node, cluster });
    }
    let own = match Remains::read(&*disk, seams.worker("raft-log")?) {
        Ok(None) => return Err(RecoverError::NoLog(node)),
        // Another than `own` where a quorum was begun and not to its end: it never ran as of that.
        Ok(Some(remains)) if remains.view.is_formed() => remains.view.cluster,
        // It never voted, or has forgotten already; or it cannot be read, and is put aside anyway.
        Ok(Some(_)) | Err(_) => own,
    };
    if !is_begun_from(cluster, own) {
        return Err(RecoverError::OtherLine { node, own, cluster });
    }
    // In this order: stopped in between, it is of the old cluster and has no view of it, with which
    // it does not start beside nodes of the new one.
    Remains::forget(&*disk, facts.starts(Counted::Raft))?;
    Ok(facts.set_cluster(cluster)?)
}

type Opened = (Seams, ControlRuntime, Arc<dyn Disk>, Facts);

/// Takes the directory for itself.
fn open(config: &NodeConfig) -> Result<Opened, RecoverError> {
    let control = ControlRuntime::start(&format!("recover-{}", config.name))?;
    let seams = machine(&control);
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(&config.data)?);
    let facts = Facts::open(&*disk, &config.name, &*seams.rng)?;
    if facts.is_copy(&disk.mark()) {
        return Err(RecoverError::Copy(config.name.clone()));
    }
    Ok((seams, control, disk, facts))
}

/// Whether `lost` are all the other voters.
fn named(remains: &Remains, me: &NodeId, lost: &BTreeSet<NodeId>) -> Result<(), RecoverError> {
    let voters = remains.voters.values().map(|voter| voter.node.clone());
    let others: BTreeSet<NodeId> = voters.filter(|voter| voter != me).collect();
    if *lost == others {
        return Ok(());
    }
    let names: Vec<&str> = others.iter().map(NodeId::as_str).collect();
    Err(RecoverError::NotNamed(names.join(",")))
}

/// What the store says.
struct Seals {
    id: StoreId,
    /// The newest epoch that any shard is sealed under.
    newest: Epoch,
}

fn seals(
    config: &NodeConfig,
    seams: &Seams,
    (disk, facts): (&dyn Disk, &Facts),
    shards: u16,
) -> Result<Seals, RecoverError> {
    let worker = seams.worker("store")?;
    let store = Store::open(disk, worker, config.durability, &*seams.rng)?;
    if let Some(older) = store.older(facts)? {
        return Err(older.into());
    }
    let mut newest = Epoch::NONE;
    if config.durability == Durability::Disk {
        for shard in (0..shards).map(ShardId) {
            newest = newest.max(store.head(shard)?.sealed);
        }
    }
    Ok(Seals { id: store.id(), newest })
}

/// Above that of the view, of every ownership in it, and of every seal.
fn generation(remains: &Remains, sealed: Epoch) -> Result<u16, RecoverError> {
    let epochs = remains.view.shards.iter().map(|shard| shard.epoch);
    let newest = epochs.chain([sealed]).max().unwrap_or(Epoch::NONE);
    let found = u16::try_from(newest.0 >> INDEX_BITS).unwrap_or(u16::MAX);
    let found = found.max(remains.view.quorum_generation);
    found.checked_add(1).ok_or(RecoverError::UsedUp(found))
}

/// The same whenever it is begun again from the same remains. Its last bytes tell from which
/// cluster it was begun.
fn cluster_after(before: ClusterId, generation: u16, store: StoreId) -> ClusterId {
    let mut hash = Sha256::new();
    hash.update(before.0);
    hash.update(generation.to_be_bytes());
    hash.update(store.0.to_be_bytes());
    let mut id: [u8; 32] = hash.finalize().into();
    id[32 - ORIGIN_BYTES..].copy_from_slice(&origin(before));
    ClusterId(id)
}

/// Whether a new quorum was begun from `before` under this id.
fn is_begun_from(cluster: ClusterId, before: ClusterId) -> bool {
    cluster.0.ends_with(&origin(before))
}

fn origin(before: ClusterId) -> [u8; ORIGIN_BYTES] {
    let hash: [u8; 32] = Sha256::digest(before.0).into();
    std::array::from_fn(|place| hash[place])
}

fn report(
    remains: &Remains,
    (node, store): (&NodeId, StoreId),
    (before, after): (ClusterId, ClusterId),
    (generation, wait): (u16, Duration),
) -> RecoverReport {
    let view = &remains.view;
    let count = |holds: &dyn Fn(&[StoreId]) -> bool| {
        let shards = view.shards.iter();
        let shards = shards.filter(|shard| shard.has_records && holds(&shard.in_sync)).count();
        u32::try_from(shards).unwrap_or(u32::MAX)
    };
    let is_other = |other: &&NodeId| *other != node;
    let lost: BTreeSet<&NodeId> =
        remains.voters.values().map(|voter| &voter.node).filter(is_other).collect();
    RecoverReport {
        node: node.clone(),
        cluster_before: before.to_string(),
        cluster: after.to_string(),
        version: view.version,
        doubtful: remains.doubtful,
        generation_before: view.quorum_generation,
        generation,
        voters_lost: lost.into_iter().cloned().collect(),
        others: view.members.keys().filter(is_other).cloned().collect(),
        with_records: count(&|_| true),
        held: count(&|stores| stores.contains(&store)),
        wait,
        is_begun: false,
    }
}

impl fmt::Display for RecoverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, version, doubtful, generation_before, generation, .. } = self;
        let names = |nodes: &[NodeId]| {
            let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
            if names.is_empty() { "none".into() } else { names.join(", ") }
        };
        let doubt = match doubtful {
            0 => String::new(),
            some => {
                format!(", with {some} entries of which it does not know that they were agreed")
            }
        };
        writeln!(f, "{node} knows {version}{doubt}")?;
        writeln!(f, "  voters given up    {}", names(&self.voters_lost))?;
        writeln!(f, "  members to follow  {}", names(&self.others))?;
        writeln!(f, "  quorum generation  {generation_before} -> {generation}")?;
        writeln!(f, "  cluster            {} -> {}", self.cluster_before, self.cluster)?;
        let (held, all) = (self.held, self.with_records);
        writeln!(f, "  shards held        {held} of {all} with records")?;
        if self.is_begun {
            writeln!(f, "The new quorum is begun. Start {node}; the others follow it with")?;
            writeln!(f, "  evertree recover --follow {}", self.cluster)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
