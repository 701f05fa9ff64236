//! What is left of a quorum in the file of one voter, and a new quorum of that one alone. No voter
//! runs meanwhile.
//!
//! Every entry of the log counts, agreed or not: nobody is left who could say which were. Of the
//! changes of a view each is safe to make although it may not have been agreed: an owner gets a new
//! epoch, a holder fewer or one that has everything, a shard its first record. To drop one that was
//! agreed would not be: a shard whose first record was acknowledged would count as empty.
//!
//! Differs: etcd's `--force-new-cluster` drops what is not known to be agreed; its values are not
//! about who holds what.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use openraft::impls::leader_id_adv::LeaderId;
use openraft::{Membership as Config, StoredMembership};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::file::{Loaded, RAFT_FILE, RaftFile, Write, begin_anew, seal, whole};
use super::machine::{StoredSnapshot, encode, replay};
use super::types::{LogId, OpenError, SnapshotMeta, Vote, Voter};
use crate::base::{NodeId, VoterId, Worker};
use crate::placement::{DiskMark, View};
use crate::storage::Disk;

/// What one voter's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    /// The view with every entry of the log in it.
    pub(crate) view: View,
    /// Index of the last entry.
    pub(crate) last: u64,
    /// Entries of which it is not known here that they were agreed.
    pub(crate) doubtful: u64,
    /// The highest term that it has heard of.
    pub(crate) term: u64,
    /// The last start that was begun with the file.
    pub(crate) starts: u64,
    /// Who votes, by its last membership, agreed or not.
    pub(crate) voters: BTreeMap<VoterId, Voter>,
}

impl Remains {
    /// Reads the file of `disk`, and changes nothing there. `None`: there is no file. Whoever made
    /// one would hide from the next start that what was voted is lost.
    ///
    /// # Errors
    /// [`OpenError`]: it cannot be read, or is not what was written.
    pub(crate) fn read(disk: &dyn Disk, worker: Worker) -> Result<Option<Self>, OpenError> {
        if !disk.exists(RAFT_FILE)? {
            return Ok(None);
        }
        let copy = Copied { bytes: whole(disk, RAFT_FILE)?, mark: disk.mark() };
        let (_, loaded) = RaftFile::open(&copy, worker)?;
        let remains = Self::of(&loaded).map_err(|error| OpenError::Damaged(error.to_string()));
        remains.map(Some)
    }

    fn of(loaded: &Loaded) -> io::Result<Self> {
        let (view, last, membership) = replay(loaded)?;
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        let agreed = index(loaded.committed)
            .max(index(loaded.snapshot.as_ref().and_then(|one| one.meta.last_log_id)));
        let voted = loaded.vote.as_ref().map_or(0, |vote| vote.leader_id.term);
        let logged = last.map_or(0, |id| id.committed_leader_id().term);
        let config = membership.membership();
        let of_id = |id: u64| Some((VoterId(id), config.get_node(&id)?.clone()));
        Ok(Self {
            view,
            last: index(last),
            doubtful: index(last).saturating_sub(agreed),
            term: voted.max(logged),
            starts: loaded.starts,
            voters: config.voter_ids().filter_map(of_id).collect(),
        })
    }

    /// Index of the entry that a new quorum begins with.
    pub(crate) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Puts a quorum of `me` alone in the place of what is in the file, with `view` as its first;
    /// the file before is kept. Later than any term that this voter knows.
    ///
    /// # Errors
    /// [`OpenError`]: the file is as it was.
    pub(crate) fn begin(
        &self,
        disk: &dyn Disk,
        (me, voter): (VoterId, Voter),
        view: &View,
    ) -> Result<(), OpenError> {
        let leader = LeaderId { term: self.term + 1, node_id: me.0 };
        let id = LogId::new(leader, self.next());
        let nodes: BTreeMap<u64, Voter> = [(me.0, voter)].into();
        let config = Config::new(vec![BTreeSet::from([me.0])], nodes);
        let config = config.map_err(|error| OpenError::Raft(error.to_string()))?;
        let last_membership = StoredMembership::new(Some(id), config);
        let meta = SnapshotMeta { last_log_id: Some(id), last_membership };
        let snapshot = StoredSnapshot { meta, view: encode(view)? };
        let writes = [
            Write::Snapshot(seal(&snapshot)?),
            Write::Purge(self.next(), seal(&id)?),
            Write::Committed(seal(&Some(id))?),
            Write::Vote(seal(&Vote::new(self.term + 1, me.0))?),
            Write::Starts(seal(&self.starts)?),
        ];
        Ok(begin_anew(disk, &writes)?)
    }

    /// Puts an empty file in the place of what is in it, for a node that has no part in the new
    /// quorum; the file before is kept. The new one is of the start `starts`, the last one that the
    /// facts know.
    ///
    /// # Errors
    /// [`OpenError`]: the file is as it was.
    pub(crate) fn forget(disk: &dyn Disk, starts: u64) -> Result<(), OpenError> {
        Ok(begin_anew(disk, &[Write::Starts(seal(&starts)?)])?)
    }

    /// Where `node` is reached, as its voter or as a member.
    pub(crate) fn addr_of(&self, node: &NodeId) -> Option<String> {
        let member = self.view.members.get(node).map(|member| member.addr.clone());
        member.or_else(|| {
            let voter = self.voters.values().find(|voter| voter.node == *node);
            voter.map(|voter| voter.addr.clone())
        })
    }
}

/// The file in memory: a database writes to its file when it is opened, also to one that is
/// damaged.
#[derive(Debug)]
struct Copied {
    bytes: Vec<u8>,
    mark: DiskMark,
}

impl Disk for Copied {
    fn open(&self, _: &str) -> io::Result<Box<dyn StorageBackend>> {
        let memory = InMemoryBackend::new();
        memory.set_len(self.bytes.len() as u64)?;
        memory.write(0, &self.bytes)?;
        Ok(Box::new(memory))
    }

    fn exists(&self, _: &str) -> io::Result<bool> {
        Ok(true)
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn mark(&self) -> DiskMark {
        self.mark.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openraft::EntryPayload;
    use openraft::entry::RaftEntry as _;

    use super::super::file::FILE_BEFORE;
    use super::super::types::{Batch, Entry};
    use super::*;
    use crate::base::{Boot, ClusterId, Seams, SeededRng, Spawner, TokioClock, TokioNet};
    use crate::placement::tests::{Cluster, constants, id};
    use crate::placement::{Change, ChangeId, Proposal};
    use crate::storage::SimDisk;

    fn seams() -> Seams {
        Seams {
            clock: Arc::new(TokioClock::new()),
            rng: Arc::new(SeededRng::new(1)),
            net: Arc::new(TokioNet),
            control: Spawner::Current,
            work: Spawner::Current,
            threads: false,
        }
    }

    fn worker() -> Worker {
        seams().worker("raft-log").expect("a worker")
    }

    fn read(disk: &dyn Disk) -> Option<Remains> {
        Remains::read(disk, worker()).expect("it is whole")
    }

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 3, node_id: 1 }, index)
    }

    fn voter(node: u16) -> Voter {
        Voter { node: id(node), addr: format!("127.0.0.1:{}", 4000 + node) }
    }

    /// A disk as `n3` leaves it: a snapshot of entry 40, and entry 41, which may not be agreed: a
    /// drain of `n1`.
    fn left_behind(view: &View) -> SimDisk {
        let mark = DiskMark { filesystem: 1, device: 1, lock_inode: 1, host_boot: "a".into() };
        let disk = SimDisk::new(mark);
        let mount = disk.mount();
        drop(RaftFile::open(&mount, worker()).expect("a new file"));
        let nodes: BTreeMap<u64, Voter> = (1..=3).map(|node| (node.into(), voter(node))).collect();
        let config = Config::new(vec![(1..=3).collect()], nodes).expect("voters with addresses");
        let last_membership = StoredMembership::new(Some(log_id(1)), config);
        let meta = SnapshotMeta { last_log_id: Some(log_id(40)), last_membership };
        let snapshot = StoredSnapshot { meta, view: encode(view).expect("it is written") };
        let change = Change::Drain { node: id(1), boot: Boot(1), on: true };
        let batch = Batch(vec![Proposal { id: ChangeId(77), change }]);
        let entry: Entry = Entry::new(log_id(41), EntryPayload::Normal(batch));
        let writes = [
            Write::Snapshot(seal(&snapshot).expect("it is written")),
            Write::Purge(40, seal(&log_id(40)).expect("it is written")),
            Write::Append(vec![(41, seal(&entry).expect("it is written"))]),
            Write::Committed(seal(&Some(log_id(40))).expect("it is written")),
            Write::Vote(seal(&Vote::new_committed(3, 1)).expect("it is written")),
            Write::Starts(seal(&5_u64).expect("it is written")),
        ];
        begin_anew(&mount, &writes).expect("it is written");
        drop(mount);
        disk
    }

    /// Goal: nothing that may have been agreed is forgotten, and the new quorum is of one voter, in
    /// a later term. Method: read what a voter left behind, begin anew, and read that.
    #[tokio::test]
    async fn what_may_have_been_agreed_counts_and_the_new_quorum_is_later() {
        let view = Cluster::formed(3, &constants(3, 2)).view;
        let disk = left_behind(&view);
        let mount = disk.mount();
        let remains = read(&mount).expect("it is there");
        assert_eq!((remains.last, remains.doubtful, remains.term), (41, 1, 3));
        assert_eq!(remains.voters.len(), 3);
        assert_eq!(remains.view.version.0, view.version.0 + 1, "the drain counts");
        assert_eq!(remains.addr_of(&id(2)), view.members.get(&id(2)).map(|one| one.addr.clone()));
        let mut next = remains.view.clone();
        let new = (1, ClusterId([9; 32]));
        next.recover(remains.next(), new, (VoterId(3), id(3))).expect("it is above");
        remains.begin(&mount, (VoterId(3), voter(3)), &next).expect("it is written");
        assert!(mount.exists(FILE_BEFORE).expect("a disk"), "the file before is kept");
        let begun = read(&mount).expect("it is there");
        assert_eq!((begun.last, begun.doubtful, begun.term, begun.starts), (42, 0, 4, 5));
        assert_eq!(begun.view, next);
        assert_eq!(begun.voters, BTreeMap::from([(VoterId(3), voter(3))]));
        Remains::forget(&mount, 9).expect("it is written");
        let nothing = read(&mount).expect("it is there");
        assert_eq!((nothing.last, nothing.voters.len(), nothing.starts), (0, 0, 9));
        assert!(!nothing.view.is_formed());
    }
    /// Goal: whoever only looks changes nothing, whatever is wrong with the file. Method: a file as
    /// a killed process leaves it, damaged in many places, cut short, empty, and none.
    #[tokio::test]
    async fn to_look_changes_nothing() {
        let left = left_behind(&Cluster::formed(3, &constants(3, 2)).view);
        let good = left.bytes(RAFT_FILE).expect("it is there");
        let mut all = vec![good.clone(), good[..good.len() / 2].to_vec(), Vec::new()];
        all.extend((0..good.len()).step_by(good.len() / 40).map(|place| {
            let mut bytes = good.clone();
            bytes[place] ^= 0x55;
            bytes
        }));
        let mut refused = 0;
        for bytes in all {
            let disk = SimDisk::new(left.mount().mark());
            let mount = disk.mount();
            let file = mount.open(RAFT_FILE).expect("a disk");
            file.set_len(bytes.len() as u64).expect("a disk");
            file.write(0, &bytes).expect("a disk");
            refused += usize::from(Remains::read(&mount, worker()).is_err());
            assert!(disk.bytes(RAFT_FILE) == Some(bytes), "it was changed");
        }
        assert!(refused >= 2, "what is cut short is not damaged?");
        let none = SimDisk::new(left.mount().mark());
        assert_eq!(read(&none.mount()), None);
        assert_eq!(none.bytes(RAFT_FILE), None, "a file was made");
    }
}
