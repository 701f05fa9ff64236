//! The view as openraft's state machine: in memory, rebuilt from snapshot and log at the start.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StoredMembership};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::file::{Loaded, RaftFile, Write, seal};
use super::types::{Batch, Entry, LogId, Membership, Outcomes, SnapshotMeta, Tc, ViewSnapshot};
use crate::base::{Bug, Publisher, VoterId, is_sound, planted};
use crate::placement::View;
use crate::wire::from_named;

/// Schema of an encoded view.
const VIEW_SCHEMA: u8 = 1;

/// A snapshot as it lies in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredSnapshot {
    pub(super) meta: SnapshotMeta,
    /// An encoded view.
    pub(super) view: Bytes,
}

/// An encoded view: schema byte, then the view with the names of its fields.
pub(super) fn encode(view: &View) -> io::Result<Bytes> {
    let mut out = vec![VIEW_SCHEMA];
    rmp_serde::encode::write_named(&mut out, view).map_err(io::Error::other)?;
    Ok(out.into())
}

pub(super) fn decode(bytes: &[u8]) -> io::Result<View> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    match bytes.split_first() {
        Some((&VIEW_SCHEMA, body)) => {
            from_named(body).map_err(|error| wrong(format!("a view: {error}")))
        }
        Some((schema, _)) => Err(wrong(format!("a view of schema {schema}"))),
        None => Err(wrong("an empty view".into())),
    }
}

/// For the fuzz target `view`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_view(bytes: &[u8]) -> bool {
    let to = |view: &View| encode(view).ok().map(Into::into);
    crate::wire::fuzz::stable(bytes, |bytes| decode(bytes).ok(), to)
}

struct State {
    view: Arc<View>,
    applied: Option<LogId>,
    membership: Membership,
    snapshot: Option<StoredSnapshot>,
}

struct Shared {
    state: Mutex<State>,
    views: Publisher<View>,
    file: RaftFile,
}

/// The state machine. Cheap to clone; clones share the view.
#[derive(Clone)]
pub(super) struct Machine(Arc<Shared>);

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

impl Machine {
    /// The machine as of `snapshot`.
    pub(super) fn new(file: RaftFile, snapshot: Option<StoredSnapshot>) -> io::Result<Self> {
        let view = match &snapshot {
            Some(snapshot) => decode(&snapshot.view)?,
            None => View::default(),
        };
        let meta = snapshot.as_ref().map(|snapshot| snapshot.meta.clone()).unwrap_or_default();
        let views = Publisher::new(View::default());
        let view = Arc::new(view);
        views.publish(view.clone());
        let state =
            State { view, applied: meta.last_log_id, membership: meta.last_membership, snapshot };
        Ok(Self(Arc::new(Shared { state: Mutex::new(state), views, file })))
    }

    /// Where views are published.
    pub(super) fn views(&self) -> &Publisher<View> {
        &self.0.views
    }

    /// The last entry applied.
    pub(super) fn applied(&self) -> Option<LogId> {
        self.0.state.lock().applied
    }

    /// Puts a snapshot on the disk, unless a newer one is there. One that is built and one that is
    /// installed may meet here: the order of their writes is decided under the lock.
    async fn keep(&self, snapshot: StoredSnapshot) -> io::Result<()> {
        let sealed = seal(&snapshot)?;
        let written = {
            let mut state = self.0.state.lock();
            let present = state.snapshot.as_ref().and_then(|present| present.meta.last_log_id);
            if present > snapshot.meta.last_log_id {
                return Ok(());
            }
            state.snapshot = Some(snapshot);
            self.0.file.write_now(Write::Snapshot(sealed))
        };
        written.await
    }

    /// Puts `view` on the disk as the snapshot of everything up to `last`.
    #[cfg(test)]
    pub(super) async fn keep_for_test(&self, last: LogId, view: &View) {
        let meta = SnapshotMeta { last_log_id: Some(last), last_membership: Membership::default() };
        let view = encode(view).expect("a view is encoded");
        self.keep(StoredSnapshot { meta, view }).await.expect("the disk is good");
    }

    fn publish(&self, view: Arc<View>) {
        if is_sound() {
            debug_assert_eq!(view.check(), Ok(()), "an invariant of the view is broken");
        }
        if self.0.views.get().version < view.version {
            self.0.views.publish(view);
        }
    }
}

/// What a voter has, as far as its file says: the view with every entry of the log in it, agreed or
/// not, the last of them, and who votes.
pub(super) fn replay(loaded: &Loaded) -> io::Result<(View, Option<LogId>, Membership)> {
    let snapshot = loaded.snapshot.clone();
    let view = snapshot.as_ref().map_or_else(|| Ok(View::default()), |one| decode(&one.view))?;
    let meta = snapshot.as_ref().map(|one| one.meta.clone()).unwrap_or_default();
    let (applied, membership) = (meta.last_log_id, meta.last_membership);
    let mut state = State { view: Arc::new(view), applied, membership, snapshot };
    let after = applied.map_or(0, |id| id.index + 1);
    for (entry, _) in loaded.entries.range(after..).map(|(_, entry)| entry) {
        state.apply(entry, 0);
    }
    Ok((Arc::unwrap_or_clone(state.view), state.applied, state.membership))
}

impl State {
    /// Applies one entry. `beside` is 0, but for the planted bug that lets something of this node
    /// alone have its part in the view.
    fn apply(&mut self, entry: &Entry, beside: u64) -> Outcomes {
        let id = entry.log_id();
        self.applied = Some(id);
        match &entry.payload {
            EntryPayload::Blank => Outcomes(Vec::new()),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(id), membership.clone());
                let voter = |id| Some((VoterId(id), membership.get_node(&id)?.node.clone()));
                let voters = membership.voter_ids().filter_map(voter).collect();
                Arc::make_mut(&mut self.view).apply_voters(id.index, voters);
                Outcomes(Vec::new())
            }
            EntryPayload::Normal(Batch(proposals)) => {
                let view = Arc::make_mut(&mut self.view);
                let apply = |proposal| view.apply(id.index + beside, proposal);
                let outcomes = proposals.iter().map(apply).collect::<Vec<_>>();
                let ids = proposals.iter().map(|proposal| proposal.id);
                Outcomes(ids.zip(outcomes).collect())
            }
        }
    }
}

impl RaftStateMachine<Tc> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let state = self.0.state.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Tc>, io::Error>> + Unpin + OptionalSend,
    {
        let (mut answers, mut taken) = (Vec::new(), 0);
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let beside = if planted(Bug::PlannerInApply) { taken } else { 0 };
            taken += 1;
            let outcomes = self.0.state.lock().apply(&entry, beside);
            answers.extend(responder.map(|responder| (responder, outcomes)));
        }
        let view = self.0.state.lock().view.clone();
        // Published before anyone is answered: who proposed finds the change in the view.
        self.publish(view);
        for (responder, outcomes) in answers {
            responder.send(outcomes);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.0.state.lock();
        let meta =
            SnapshotMeta { last_log_id: state.applied, last_membership: state.membership.clone() };
        Builder { machine: self.clone(), view: state.view.clone(), meta }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Bytes) -> io::Result<()> {
        let bytes = data.clone();
        let view = self.0.file.run(move || decode(&bytes)).await??;
        view.check().map_err(io::Error::other)?;
        let snapshot = StoredSnapshot { meta: meta.clone(), view: data };
        self.keep(snapshot).await?;
        let view = Arc::new(view);
        {
            let mut state = self.0.state.lock();
            state.view = view.clone();
            state.applied = meta.last_log_id;
            state.membership = meta.last_membership.clone();
        }
        self.publish(view);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<ViewSnapshot>, io::Error> {
        let snapshot = self.0.state.lock().snapshot.clone();
        Ok(snapshot.map(|StoredSnapshot { meta, view }| Snapshot { meta, snapshot: view }))
    }
}

/// Makes a snapshot of the view as it was when this was made.
#[derive(Debug)]
pub(super) struct Builder {
    machine: Machine,
    view: Arc<View>,
    meta: SnapshotMeta,
}

impl RaftSnapshotBuilder<Tc> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<ViewSnapshot, io::Error> {
        let (view, meta) = (self.view.clone(), self.meta.clone());
        let file = &self.machine.0.file;
        let view = file.run(move || encode(&view)).await??;
        self.machine.keep(StoredSnapshot { meta: meta.clone(), view: view.clone() }).await?;
        Ok(Snapshot { meta, snapshot: view })
    }
}
