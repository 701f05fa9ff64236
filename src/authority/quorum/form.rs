//! How a node finds its cluster, and what must agree before it takes part.

use std::collections::BTreeMap;

use futures::FutureExt as _;

use super::{Formation, QuorumParts, claim_of};
use crate::authority::formation::{Former, Found, List, NotFormed, Settings, Unfit};
use crate::authority::{FormError, OpenError, RAFT_FILE, RaftCore, StartError, Voter};
use crate::base::{Boot, ClusterId, Instant, VoterId, within};
use crate::placement::{Profile, View};
use crate::storage::StoreError;
use crate::transport::Life;

/// Finds the node's cluster, or forms one with others, and waits for the first view. A node whose
/// directory is empty and whose name the cluster knows begins a boot that the cluster has not seen.
pub(super) async fn find(
    parts: &mut QuorumParts,
    former: &Former,
    core: &RaftCore,
    deadline: Instant,
) -> Result<(), StartError> {
    if let Some(cluster) = parts.facts.cluster() {
        // It was agreed on before, and the process stopped before the view came; or this node has
        // no part in raft, and others have the view.
        let list = former.held().filter(|list| list.id() == cluster);
        return match list {
            Some(list) => form(parts, former, core, (list, deadline)).await,
            None => first_view(parts, former, core, (cluster, deadline)).await,
        };
    }
    let found = match &parts.formation {
        Formation::Alone => Found::List(former.alone()?),
        Formation::Bootstrap { seeds } => {
            if let Some((seed, cluster)) = former.cluster_at(seeds).await {
                return Err(StartError::Refused(format!(
                    "{seed} among the seeds is of cluster {cluster} already: start this node \
                     without `bootstrap`, and it joins that one"
                )));
            }
            Found::List(former.alone()?)
        }
        Formation::Expect { expect, seeds } => {
            let agreed = former.agree(*expect, seeds, deadline).await;
            agreed.map_err(|why| match why {
                NotFormed::Refused(why) => StartError::Refused(why),
                NotFormed::Late(why) => StartError::NoCluster(why),
                NotFormed::Storage(error) => error.into(),
            })?
        }
    };
    match found {
        Found::List(list) => form(parts, former, core, (list, deadline)).await,
        Found::Cluster(cluster, voters) => {
            join(parts, former, core, (cluster, voters, deadline)).await
        }
    }
}

/// Starts the quorum with the nodes of a list, if this one votes; the others are told the view. So
/// is one that voted before, and was replaced while it was off.
async fn form(
    parts: &QuorumParts,
    former: &Former,
    core: &RaftCore,
    (list, deadline): (List, Instant),
) -> Result<(), StartError> {
    let voters = list.voters();
    begin_with(parts, core, voters.clone());
    former.formed(list.id())?;
    parts.links.set_cluster(list.id());
    if !voters.contains_key(&parts.facts.voter()) {
        return first_view(parts, former, core, (list.id(), deadline)).await;
    }
    let initialised = async {
        loop {
            let first = list.first(parts.shards, &parts.profile);
            match core.initialize(voters.clone(), first, deadline).await {
                Ok(()) => return Ok(()),
                Err(FormError::NotYet) if parts.seams.clock.now() < deadline => {}
                Err(FormError::NotYet) => {
                    return Err(StartError::NoCluster("the first view is not agreed yet".into()));
                }
                Err(error) => return Err(StartError::Refused(error.to_string())),
            }
        }
    };
    tokio::select! {
        biased;
        done = initialised.boxed() => done,
        told = first_view(parts, former, core, (list.id(), deadline)).boxed() => told,
    }
}

/// Takes part in a cluster that exists, with an empty directory. That it is of the cluster goes to
/// the directory once it is a member: refused before, it is as empty as it was.
async fn join(
    parts: &mut QuorumParts,
    former: &Former,
    core: &RaftCore,
    (cluster, voters, deadline): (ClusterId, BTreeMap<VoterId, Voter>, Instant),
) -> Result<(), StartError> {
    parts.links.set_cluster(cluster);
    begin_with(parts, core, voters);
    first_view(parts, former, core, (cluster, deadline)).await?;
    let seen = core.known().last_life(&parts.me).map_or(Boot(0), |(boot, _)| boot);
    if parts.boot <= seen {
        // Boots only grow, and those before were of a directory that is lost.
        parts.boot = parts.facts.boot_above(seen, &*parts.seams.rng)?;
        let life = Life { boot: parts.boot, token: parts.facts.token(parts.boot) };
        parts.links.set_life(life);
        former.present_as(claim_of(parts));
    }
    Ok(())
}

/// Tells links and raft who votes to begin with.
pub(super) fn begin_with(parts: &QuorumParts, core: &RaftCore, voters: BTreeMap<VoterId, Voter>) {
    for voter in voters.values().filter(|voter| voter.node != parts.me) {
        parts.links.learn(&voter.node, &voter.addr);
    }
    core.begin_with(voters);
}

/// Waits until there is a view here, applied or told. Meanwhile the seeds are asked who votes, now
/// and then: it may be others than this node has heard of.
async fn first_view(
    parts: &QuorumParts,
    former: &Former,
    core: &RaftCore,
    (cluster, deadline): (ClusterId, Instant),
) -> Result<(), StartError> {
    let clock = &*parts.seams.clock;
    let (mut applied, mut told) = (core.watched().follow(), core.told().follow());
    while clock.now() < deadline {
        let first = async {
            tokio::select! {
                biased;
                view = applied.until(View::is_formed) => view,
                view = told.until(View::is_formed) => view,
            }
        };
        let pause = deadline.min(clock.now() + parts.profile.lease);
        if let Ok(Some(view)) = within(clock, pause, first.boxed()).await {
            if view.cluster == cluster {
                return Ok(());
            }
            same_quorum(parts, core)?;
            let other = view.cluster;
            return Err(StartError::Refused(format!(
                "a voter of cluster {cluster} told a view of cluster {other}: correct the seeds"
            )));
        }
        if let Formation::Expect { seeds, .. } = &parts.formation {
            let voters = former.voters_of(seeds, cluster).await;
            if !voters.is_empty() {
                begin_with(parts, core, voters);
            }
        }
    }
    Err(StartError::NoCluster("the first view has not come".into()))
}

/// What this node is told to form a cluster with. Where there is one already, how many nodes formed
/// it does not matter any more.
pub(super) fn settings(parts: &QuorumParts) -> Settings {
    let forming = parts.facts.cluster().is_none();
    let expect = match &parts.formation {
        Formation::Expect { expect, .. } if forming => *expect,
        Formation::Expect { .. } | Formation::Alone | Formation::Bootstrap { .. } => 0,
    };
    let profile = parts.profile.clone();
    Settings { expect, shards: parts.shards, profile, lease_set: false }
}

/// Refuses a directory of another cluster than the seeds': alone it would go on with what it holds.
/// Refuses a second process under a name whose first is alive, before it takes part in anything.
/// Returns who votes, as far as the seeds know.
pub(super) async fn same_cluster(
    parts: &QuorumParts,
    former: &Former,
    own: ClusterId,
    deadline: Instant,
) -> Result<BTreeMap<VoterId, Voter>, StartError> {
    let seeds = match &parts.formation {
        Formation::Alone => return Ok(BTreeMap::new()),
        Formation::Bootstrap { .. } => {
            return Err(StartError::Refused(format!(
                "the data directory of {} is of cluster {own} already: start it without \
                 `bootstrap`, or choose an empty directory for a new cluster",
                parts.me
            )));
        }
        Formation::Expect { seeds, .. } => seeds,
    };
    let times = (parts.profile.ack_timeout(), deadline);
    former.fits(seeds, own, times).await.map_err(|unfit| match unfit {
        Unfit::OtherCluster(seed, cluster) => StartError::Refused(format!(
            "the data directory belongs to cluster {own}, and {seed} among its seeds to cluster \
             {cluster}: choose another directory, or correct the seeds"
        )),
        Unfit::Rival(why) | Unfit::Backup(why) | Unfit::Settings(why) => StartError::Refused(why),
        Unfit::Late(why) => StartError::NoCluster(why),
    })
}

/// Refuses to vote where what was voted is forgotten: an entry that this node has confirmed would
/// count without it, and it could vote twice in one term.
pub(super) fn same_votes(parts: &QuorumParts) -> Result<(), StartError> {
    let exists = parts.disk.exists(RAFT_FILE).map_err(|error| error.to_string());
    if parts.facts.cluster().is_none() || exists.map_err(StartError::Storage)? {
        return Ok(());
    }
    let (me, way_out) = (&parts.me, way_out(parts));
    Err(StartError::Refused(format!(
        "{RAFT_FILE} is missing from the data directory of {me}: {way_out}"
    )))
}

/// Refuses a directory whose raft log knows a later life of this node than the rest of it does:
/// part of it was put back from an older one.
pub(super) fn same_life(
    parts: &QuorumParts,
    former: &Former,
    core: &RaftCore,
) -> Result<(), StartError> {
    if parts.facts.cluster().is_none() {
        return Ok(());
    }
    let last = core.known().last_life(&parts.me);
    last.and_then(|life| former.lacks(life)).map_or(Ok(()), |why| Err(StartError::Refused(why)))
}

/// Refuses a log of another cluster than the directory is of: with it, what was given up could be
/// gone on with under the new cluster's name.
pub(super) fn same_quorum(parts: &QuorumParts, core: &RaftCore) -> Result<(), StartError> {
    let (found, me) = (core.view().cluster, &parts.me);
    match parts.facts.cluster() {
        Some(own) if core.view().is_formed() && found != own => Err(StartError::Refused(format!(
            "the data directory of {me} is of cluster {own}, and its {RAFT_FILE} of cluster \
             {found}: a new quorum was begun here and not to its end; begin it again"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// What it means that a voter's log is gone, what is still true, and what to do.
fn way_out(parts: &QuorumParts) -> String {
    let me = &parts.me;
    let gone = "what this voter has agreed to is lost, so that it must not vote on; nothing was \
                changed";
    match &parts.formation {
        Formation::Alone => format!(
            "{gone}, and no other node is named that {me} could join: put the file back as it was \
             when {me} ran last"
        ),
        Formation::Bootstrap { .. } | Formation::Expect { .. } => format!(
            "{gone}, and the other nodes go on as long as a majority of the voters runs; move the \
             data directory away and start {me} with an empty data directory: then it joins anew, \
             and copies are made for it"
        ),
    }
}

/// Refuses other timing than the cluster's. Where an operator has changed D (`evertree set
/// --lease`), the view's counts, whatever the node was started with.
pub(super) fn same_profile(mine: &Profile, view: &View) -> Result<(), StartError> {
    let Some(constants) = &view.constants else { return Ok(()) };
    let lease = if constants.lease_set { constants.profile.lease } else { mine.lease };
    if constants.profile == (Profile { lease, ..mine.clone() }) {
        return Ok(());
    }
    let (mine, theirs) = (format!("{mine:?}"), format!("{:?}", constants.profile));
    Err(StartError::Profile { mine, theirs })
}

/// Why raft did not start, and what to do.
pub(super) fn not_opened(parts: &QuorumParts, error: &OpenError) -> StartError {
    let damaged = |why: &str| format!("{RAFT_FILE} is damaged ({why}): {}", way_out(parts));
    StartError::Storage(match error {
        OpenError::Store(StoreError::CorruptFile { why, .. }) | OpenError::Damaged(why) => {
            damaged(why)
        }
        OpenError::Older(older) => format!(
            "{older}; put back the one that was there when {} ran last, or do without: {}",
            parts.me,
            way_out(parts)
        ),
        OpenError::Store(_) | OpenError::Timing(_) | OpenError::Thread(_) | OpenError::Raft(_) => {
            error.to_string()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::formation::tests::trio;

    fn ms(millis: u64) -> std::time::Duration {
        std::time::Duration::from_millis(millis)
    }

    #[test]
    fn an_operators_lease_is_taken_from_the_view_and_nothing_else_is() {
        let mut view = View::default();
        assert!(same_profile(&Profile::dev(), &view).is_ok(), "nothing is agreed yet");
        view.apply(1, &trio().first(16, &Profile::dev()));
        assert!(same_profile(&Profile::dev(), &view).is_ok());
        assert!(same_profile(&Profile::lan(), &view).is_err());
        let started_with = |millis| Profile { lease: ms(millis), ..Profile::dev() };
        assert!(same_profile(&started_with(3_000), &view).is_err(), "nobody set it");
        let constants = view.constants.as_mut().expect("it is formed");
        (constants.profile.lease, constants.lease_set) = (ms(3_000), true);
        for millis in [2_000, 3_000, 9_000] {
            assert!(same_profile(&started_with(millis), &view).is_ok());
        }
        let other = Profile { guard: ms(1), ..Profile::dev() };
        assert!(same_profile(&other, &view).is_err());
    }
}
