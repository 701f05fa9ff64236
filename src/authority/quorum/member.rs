//! How a node becomes a member, and again after an eviction.

use std::sync::Arc;

use futures::FutureExt as _;

use super::QuorumAuthority;
use crate::authority::StartError;
use crate::authority::office::{Answer, Ask, ClaimError, decode, letter};
use crate::authority::standing::Standing;
use crate::base::{Instant, within};
use crate::placement::{Claim, View};

impl QuorumAuthority {
    /// Presents this node until the view here has its boot, then waits for the first grant.
    pub(super) async fn become_member(&self, deadline: Instant) -> Result<(), StartError> {
        let inner = &*self.0;
        let mut claim = inner.claim.lock().clone();
        let mut turn = 0;
        let mut why = String::from("no voter answered");
        while !inner.views.get().is_life(&claim) {
            let now = inner.seams.clock.now();
            if now >= deadline {
                return Err(StartError::NoCluster(why));
            }
            match self.present(&claim, turn).await {
                Ok(()) => {}
                Err(ClaimError::Refused(refused)) => return Err(StartError::Refused(refused)),
                Err(ClaimError::Over) => {
                    // It joined and was evicted before this node saw either; or another directory
                    // lived under this name meanwhile.
                    let last = inner.views.get().last_life(&claim.node);
                    let last = last.map_or(claim.boot, |(boot, _)| boot);
                    let boot = inner.facts.boot_after(last, &*inner.seams.rng)?;
                    let (node, over) = (&claim.node, claim.boot);
                    tracing::warn!(%node, %over, %boot, "a new boot begins");
                    self.begin_life(boot, claim.store);
                    claim = inner.claim.lock().clone();
                }
                Err(error) => why = error.to_string(),
            }
            turn += 1;
            let is_life = |view: &View| view.is_life(&claim);
            let mut views = inner.views.watched().follow();
            let pause = now + inner.renewals.profile.renew / 2;
            let _ = within(&*inner.seams.clock, pause, views.until(is_life).boxed()).await;
        }
        inner.standing.publish(Arc::new(Standing::Member(claim.boot)));
        inner.renewals.begin(claim.boot);
        inner.renewals.first_grant(claim.boot, deadline).await.map_err(StartError::NoCluster)
    }

    /// Sends the claim to who leads as far as is known, else to the voters in turn.
    async fn present(&self, claim: &Claim, turn: usize) -> Result<(), ClaimError> {
        let inner = &*self.0;
        let leader = inner.core.leader_hint();
        let voters = inner.core.voters().into_values().map(|one| one.node);
        let voters: Vec<_> = voters.filter(|voter| Some(voter) != leader.as_ref()).collect();
        let hint = leader.filter(|_| turn.is_multiple_of(2));
        // Every second turn is the leader's: each other voter comes in so many of the rest.
        let other = (turn / 2).checked_rem(voters.len()).and_then(|at| voters.get(at)).cloned();
        let to = hint.or(other).unwrap_or_else(|| inner.office.me.clone());
        let (now, ask) = (inner.seams.clock.now(), Ask::Claim(claim.clone()));
        let answer = if to == inner.office.me {
            inner.office.answer(now, ask, None).await
        } else {
            // Shorter than D: a voter that is silent must not make a gap of D between two claims.
            let deadline = now + inner.renewals.profile.lease / 2;
            let asked = inner.office.wire.ask(to, letter(ask), deadline).await;
            let body = asked.map_err(|error| ClaimError::NoAnswer(error.to_string()))?;
            decode(&body).ok_or_else(|| ClaimError::NoAnswer("malformed".into()))?
        };
        match answer {
            Answer::Claim(result) => result,
            Answer::Renew(_) => Err(ClaimError::NoAnswer("not what was asked".into())),
        }
    }
}
