//! How a node finds its cluster, and what must agree before it takes part.

use futures::FutureExt as _;

use super::{Formation, QuorumParts};
use crate::authority::formation::{Former, List, NotFormed, Unfit};
use crate::authority::{FormError, RAFT_FILE, RaftCore, StartError};
use crate::base::{ClusterId, Instant, within};
use crate::placement::{Profile, View};

/// Agrees on a list of nodes, unless that was done before, and starts the quorum with it.
pub(super) async fn form(
    parts: &QuorumParts,
    former: &Former,
    core: &RaftCore,
    deadline: Instant,
) -> Result<(), StartError> {
    let list: List =
        match (former.held().filter(|_| parts.facts.cluster().is_some()), &parts.formation) {
            // It was agreed on before, and the process stopped before the view came.
            (Some(list), _) => list,
            (None, Formation::Bootstrap) => former.alone()?,
            (None, Formation::Expect { expect, seeds }) => {
                let agreed = former.agree(*expect, seeds, deadline).await;
                agreed.map_err(|why| match why {
                NotFormed::Exists(cluster) => StartError::Refused(format!(
                    "a cluster exists there already ({cluster}), and this node's directory is not \
                     of it: nodes cannot be added to a cluster yet"
                )),
                NotFormed::Refused(why) => StartError::Refused(why),
                NotFormed::Late(why) => StartError::NoCluster(why),
                NotFormed::Storage(error) => error.into(),
            })?
            }
        };
    for (_, voter) in list.voters() {
        if voter.node != parts.me {
            parts.links.learn(&voter.node, &voter.addr);
        }
    }
    former.formed(list.id())?;
    parts.links.set_cluster(list.id());
    loop {
        let first = list.first(parts.shards, &parts.profile);
        match core.initialize(list.voters(), first, deadline).await {
            Ok(()) => break,
            Err(FormError::NotYet) if parts.seams.clock.now() < deadline => {}
            Err(FormError::NotYet) => {
                return Err(StartError::NoCluster("the first view is not agreed yet".into()));
            }
            Err(error) => return Err(StartError::Refused(error.to_string())),
        }
    }
    let mut views = core.watched().follow();
    let first = views.until(View::is_formed);
    match within(&*parts.seams.clock, deadline, first.boxed()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(_) => Err(StartError::NoCluster("the first view has not come".into())),
    }
}

/// Refuses a directory of another cluster than the seeds': alone it would go on with what it holds.
/// Refuses a second process under a name whose first is alive, before it takes part in anything.
pub(super) async fn same_cluster(
    parts: &QuorumParts,
    former: &Former,
    own: ClusterId,
    deadline: Instant,
) -> Result<(), StartError> {
    let Formation::Expect { seeds, .. } = &parts.formation else { return Ok(()) };
    let times = (parts.profile.ack_timeout(), deadline);
    former.fits(seeds, own, times).await.map_err(|unfit| match unfit {
        Unfit::OtherCluster(seed, cluster) => StartError::Refused(format!(
            "the data directory belongs to cluster {own}, and {seed} among its seeds to cluster \
             {cluster}: choose another directory, or correct the seeds"
        )),
        Unfit::Rival(why) | Unfit::Backup(why) => StartError::Refused(why),
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
    Err(StartError::Refused(format!(
        "{RAFT_FILE} is missing from the data directory of {}: it holds what this voter has agreed \
         to; put it back (a voter that has lost it cannot be replaced yet)",
        parts.me
    )))
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
