//! Asking the others, and answering them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::super::office::{decode, encode};
use super::super::seeds::Seeds;
use super::rival::{self, Rival, Signs};
use super::{ANSWER_WITHIN, Former, ROUND, State, newest_voters};
use crate::authority::Voter;
use crate::base::{Boot, ClusterId, Instant, NodeId, VoterId};
use crate::placement::DiskMark;
use crate::transport::{Head, Inbound, Life, Peer, ReplyTo, Service};

/// What came of asking one address.
type Asked = Result<(Peer, ClusterId, State), String>;

/// Why a directory of a cluster does not start.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::authority) enum Unfit {
    /// A seed is of another cluster.
    OtherCluster(NodeId, ClusterId),
    /// Another process runs under this name.
    Rival(String),
    /// Its directory knows nothing of its node's last life.
    Backup(String),
    /// One may still run: it has links, and has said nothing for a while.
    Late(String),
    /// The cluster has other settings.
    Settings(String),
}

impl Former {
    async fn ask(&self, addr: &str, body: Bytes, deadline: Instant) -> Asked {
        let asked = self.links.ask_addr(addr, Service::Formation, body, deadline).await;
        let (peer, cluster, body) = asked.map_err(|error| error.to_string())?;
        let state = decode::<State>(&body).filter(|state| state.me.claim.node == peer.node);
        match state {
            Some(state) => Ok((peer, cluster, state)),
            None => Err(format!("{addr}: {} answers what nobody asked", peer.node)),
        }
    }

    /// One round: the seeds, and everyone in `known`, all at once. Returns the answers, and why
    /// there is none from the others. An address that leads to this node itself is known by the
    /// answer, not by its text: it may be behind a name.
    async fn round(&self, seeds: &Seeds, known: Vec<String>, within: Duration) -> Round {
        let (body, mine) = (encode(&self.state()), self.addr());
        let deadline = self.seams.clock.now() + within;
        let (found, mut silent) = seeds.look_up(&self.seams, &mine, deadline).await;
        let own = self.links.local_addr();
        let seeds = found.into_iter().filter(|addr| *addr != own).map(|addr| addr.to_string());
        let addrs: BTreeSet<String> =
            seeds.chain(known.into_iter().filter(|a| *a != mine)).collect();
        let asked = addrs.len() + silent.len();
        // Names may have taken all of the time.
        let deadline = deadline.max(self.seams.clock.now() + within / 2);
        let asks = addrs.iter().map(|addr| self.ask(addr, body.clone(), deadline));
        let mut answers = Vec::new();
        for asked in futures::future::join_all(asks).await {
            match asked {
                Ok(answer) => answers.push(answer),
                Err(why) => silent.push(why),
            }
        }
        Round { answers, asked, silent }
    }

    /// One round of forming a cluster: the answers, why there is none of others, and how many were
    /// asked. Seeds that cannot be found now count as asked.
    pub(super) async fn ask_all(&self, seeds: &Seeds) -> (Vec<State>, Vec<String>, usize) {
        let known = self.inner.lock().state.known.clone();
        let Round { answers, silent, asked } = self.round(seeds, known, ANSWER_WITHIN).await;
        let states: Vec<State> = answers.into_iter().map(|(_, _, state)| state).collect();
        for state in &states {
            self.learn(state.known.iter().cloned().chain([state.me.claim.addr.clone()]));
        }
        (states, silent, asked)
    }

    /// Whether a node whose directory is of cluster `own` may go on: no seed is of another one, and
    /// no other process runs under its name. One that may still run is waited for until `deadline`,
    /// unless it ran on this very directory: then its lock, which this process holds, is the proof
    /// that it is gone. Asked while the links are of no cluster yet; each round takes at most
    /// `patience`.
    pub(in crate::authority) async fn fits(
        &self,
        seeds: &Seeds,
        own: ClusterId,
        (patience, deadline): (Duration, Instant),
    ) -> Result<BTreeMap<VoterId, Voter>, Unfit> {
        let clock = &*self.seams.clock;
        let mut signs = Signs::default();
        loop {
            let asked_ms = self.waited_ms();
            let Round { answers, .. } = self.round(seeds, Vec::new(), patience).await;
            let round = self.since(asked_ms);
            let mut waits = None;
            let states = answers.iter().map(|(_, _, state)| state);
            let voters = newest_voters(states, own);
            for (peer, cluster, state) in answers {
                if ![own, ClusterId::UNFORMED].contains(&cluster) {
                    return Err(Unfit::OtherCluster(peer.node, cluster));
                }
                // The other process of this name may stand in the seeds itself.
                let (life, mine) = (&state.me.claim, self.life());
                if life.node == self.name() && (life.boot, life.token) != mine {
                    let rival = Rival { boot: life.boot, silent_ms: 0 };
                    return Err(Unfit::Rival(rival.words(&self.name(), &peer.node)));
                }
                if let Some(why) = state.member.and_then(|member| self.lacks(member)) {
                    return Err(Unfit::Backup(why));
                }
                if let Some(why) = self.differs(&state).filter(|_| state.formed.is_some()) {
                    return Err(Unfit::Settings(why));
                }
                if cluster == own && life.node != self.name() {
                    // It answered there: it may have moved since the view was agreed on.
                    self.links.recall(&life.node, &life.addr);
                }
                let Some(rival) = self.rival_in(&state) else { continue };
                let words = rival.words(&self.name(), &peer.node);
                if signs.lives(&peer.node, rival, round) {
                    return Err(Unfit::Rival(words));
                }
                waits = Some(words);
            }
            let Some(words) = waits else { return Ok(voters) };
            if clock.now() >= deadline {
                return Err(Unfit::Late(words));
            }
            clock.sleep(ROUND).await;
        }
    }

    /// What differs between the settings of this node and those of another, in words.
    fn differs(&self, other: &State) -> Option<String> {
        let (own, claim) = (self.inner.lock().state.settings.clone()?, &other.me.claim);
        own.differ(other.settings.as_ref()?, (&claim.node, &claim.addr))
    }

    /// Whether one of the seeds is of a cluster: which, and of which one.
    pub(in crate::authority) async fn cluster_at(
        &self,
        seeds: &Seeds,
    ) -> Option<(NodeId, ClusterId)> {
        let Round { answers, .. } = self.round(seeds, Vec::new(), ANSWER_WITHIN).await;
        answers.into_iter().find_map(|(peer, _, state)| Some((peer.node, state.formed?)))
    }

    /// Who votes in `cluster`, as far as its nodes among the seeds know.
    pub(in crate::authority) async fn voters_of(
        &self,
        seeds: &Seeds,
        cluster: ClusterId,
    ) -> BTreeMap<VoterId, Voter> {
        let Round { answers, .. } = self.round(seeds, Vec::new(), ANSWER_WITHIN).await;
        newest_voters(answers.iter().map(|(_, _, state)| state), cluster)
    }

    /// Why the directory is not that of this node's last life that is known, if it is not. A voter
    /// that has forgotten what it agreed to must not even be asked.
    pub(in crate::authority) fn lacks(&self, (boot, token): (Boot, u64)) -> Option<String> {
        let inner = self.inner.lock();
        let claim = &inner.state.me.claim;
        let is_it = (claim.boot, claim.token) == (boot, token) || token == 0;
        // The claim has the newest tokens only.
        let had_it = || self.facts.has_boot(boot) && self.facts.token(boot) == token;
        // An empty directory begins above the lives of the one before it. Who tells of one of those
        // has not heard of it yet.
        let elsewhere = || self.facts.is_from_elsewhere(boot);
        (!is_it && !claim.has_seen(boot, token) && !had_it() && !elsewhere()).then(|| {
            format!(
                "the data directory of {node} looks like a copy or an old backup: the cluster \
                 knows {boot} of {node}, and the directory does not, so it may have forgotten what \
                 {node} agreed to and stored; start {node} from its own directory, or with an \
                 empty one: then it joins anew",
                node = claim.node
            )
        })
    }

    /// Another process of this name that `state` tells of, if it may run at all.
    fn rival_in<'a>(&self, state: &'a State) -> Option<&'a Rival> {
        let rival = state.rival.as_ref()?;
        let claim = self.inner.lock().state.me.claim.clone();
        (!rival.is_replaced_by(&claim, state)).then_some(rival)
    }

    /// A round that was asked then, and is done now.
    pub(super) fn since(&self, asked_ms: u64) -> rival::Round {
        let again = u64::try_from(self.links.contested().as_millis()).unwrap_or(u64::MAX);
        rival::Round { asked: asked_ms, done: self.waited_ms(), again }
    }

    /// On which directory the life of `node` runs that is a member, if it is `boot`.
    fn disk_of(&self, node: &NodeId, boot: Option<Boot>) -> Option<DiskMark> {
        let inner = self.inner.lock();
        let member = inner.view.as_ref()?.members.get(node)?;
        (Some(member.boot) == boot).then(|| member.disk.clone())
    }

    /// Whoever else runs under the name of `peer`, which draws `token` for its life.
    fn rival_of(&self, peer: &Peer, token: u64) -> Option<Rival> {
        let life = Life { boot: peer.boot, token };
        let (other, silence) = self.links.rival(&peer.node, life)?;
        let silent_ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        Some(Rival { boot: other.boot, silent_ms })
    }
}

/// What came of one round.
struct Round {
    answers: Vec<(Peer, ClusterId, State)>,
    /// How many addresses were asked.
    asked: usize,
    silent: Vec<String>,
}

impl Inbound for Former {
    fn tell(&self, from: &Peer, _: Head, _: Bytes) {
        tracing::debug!(node = %from.node, "a tell about formation was dropped");
    }

    fn ask(&self, from: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        match decode::<State>(&body).filter(|state| state.me.claim.node == from.node) {
            Some(asker) => {
                let rival = self.rival_of(from, asker.me.claim.token);
                self.learn([asker.me.claim.addr]);
                let member = self.links.member(&from.node).map(|life| (life.boot, life.token));
                let view = self.inner.lock().view.clone();
                let member = member.or_else(|| view?.last_life(&from.node));
                let disk = self.disk_of(&from.node, member.map(|(boot, _)| boot));
                reply.send(encode(&State { rival, member, disk, ..self.state() }));
            }
            None => reply.refuse(Bytes::from_static(b"malformed")),
        }
    }
}
