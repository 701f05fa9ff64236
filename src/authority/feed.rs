//! Views for nodes that do not vote. A node asks one of the voters for what is newer than the view
//! it has; the voter answers as soon as it has that, with what changed, or with the whole view
//! where it does not keep the asker's any more.
//!
//! Any node answers from the newest view it knows, so that a voter which has just been replaced
//! does no harm; it says whether it is told by raft, and an asker goes on to the next one if not.

mod delta;
mod follow;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::delta::Delta;
pub(super) use self::follow::Follower;
use super::RaftCore;
use super::office::{decode, encode};
#[cfg(feature = "sim")]
use crate::base::Fill;
use crate::base::{NodeId, Seams, Version, Watched, within};
use crate::placement::View;
use crate::transport::{Head, Inbound, Peer, ReplyTo};

/// Askers that wait at one time; further ones are refused.
const POLLS_MAX: usize = 1_024;
/// Of one node: it may ask again before it is known here that it waits for no answer.
const POLLS_OF_ONE_MAX: usize = 4;
/// Views of the past that an asker may have, and get what changed since.
const KEPT_VIEWS: usize = 32;
/// Answers kept encoded: many nodes have the same view and ask for the same news.
const KEPT_ANSWERS: usize = 8;
/// Longest that an asker waits here for news.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// A node asks for views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Poll {
    /// What it has; 0: nothing.
    have: Version,
    /// How long to wait for something newer.
    patience_ms: u64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// Who leads, as far as the answering node has heard.
    leader: Option<NodeId>,
    /// Whether it gets views from raft, and not as the asker does.
    first_hand: bool,
    /// Encoded [`News`]; empty: nothing newer is known.
    news: Bytes,
}

/// What is newer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum News {
    /// All of a view but what it remembers of repeats.
    Whole(Box<View>),
    /// What changed.
    Delta(Box<Delta>),
}

impl News {
    /// The view that an asker with `old` has then; `None` if this is no news for it.
    fn apply(self, old: &View) -> Option<View> {
        let view = match self {
            Self::Whole(view) => Some(*view),
            Self::Delta(delta) => delta.apply(old).ok(),
        };
        let view = view.filter(|view| view.check().is_ok());
        // Whoever tells it: a view is of the one cluster, and never goes back.
        let follows = |view: &View| {
            view.version > old.version
                && view.quorum_generation >= old.quorum_generation
                && (!old.is_formed() || view.cluster == old.cluster)
        };
        view.filter(follows)
    }
}

/// For the fuzz target `feed`.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz_feed(bytes: &[u8]) -> bool {
    use super::office::fuzz;
    fuzz::<Poll>(bytes) | fuzz::<Told>(bytes) | fuzz::<News>(bytes)
}

/// The view without what it remembers of repeats: by far the most that there is to copy.
fn bare(view: &View) -> View {
    View {
        version: view.version,
        quorum_generation: view.quorum_generation,
        cluster: view.cluster,
        constants: view.constants.clone(),
        members: view.members.clone(),
        shards: view.shards.clone(),
        stores: view.stores.clone(),
        recent: VecDeque::new(),
        departed: view.departed.clone(),
        voters: view.voters.clone(),
        history: view.history.clone(),
    }
}

/// The last views, without what they remember of repeats.
#[derive(Debug, Default)]
struct Kept {
    views: VecDeque<Arc<View>>,
    answers: VecDeque<((Version, Version), Bytes)>,
}

impl Kept {
    /// Keeps a view, if it is newer than the newest.
    fn push(&mut self, view: &View) {
        if self.views.back().is_some_and(|newest| newest.version >= view.version) {
            return;
        }
        if self.views.len() == KEPT_VIEWS {
            self.views.pop_front();
        }
        self.views.push_back(Arc::new(bare(view)));
    }

    /// Encoded [`News`] for an asker that has `have`; empty if nothing newer is kept.
    fn since(&mut self, have: Version) -> Bytes {
        let Some(newest) = self.views.back().filter(|view| view.version > have).cloned() else {
            return Bytes::new();
        };
        let way = (have, newest.version);
        if let Some((_, bytes)) = self.answers.iter().find(|(known, _)| *known == way) {
            return bytes.clone();
        }
        let old = self.views.iter().find(|view| view.version == have);
        let news = match old {
            Some(old) => News::Delta(Box::new(Delta::between(old, &newest))),
            None => News::Whole(Box::new((*newest).clone())),
        };
        let bytes = encode(&news);
        if self.answers.len() == KEPT_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((way, bytes.clone()));
        bytes
    }
}

/// How many askers wait.
#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_node: BTreeMap<NodeId, usize>,
}

impl Waiting {
    /// Whether one more ask of `from` may wait; counted if so.
    fn admit(&mut self, from: &NodeId) -> bool {
        let own = self.by_node.get(from).copied().unwrap_or_default();
        if self.all >= POLLS_MAX || own >= POLLS_OF_ONE_MAX {
            return false;
        }
        self.all += 1;
        self.by_node.insert(from.clone(), own + 1);
        true
    }

    /// One that was admitted waits no more.
    fn done(&mut self, from: &NodeId) {
        self.all -= 1;
        match self.by_node.get_mut(from) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => _ = self.by_node.remove(from),
        }
    }
}

/// Tells other nodes what this one knows.
pub(super) struct Feed {
    seams: Seams,
    core: RaftCore,
    views: Watched<View>,
    kept: Mutex<Kept>,
    waiting: Mutex<Waiting>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed({} wait)", self.waiting.lock().all)
    }
}

impl Feed {
    /// Tells `views`, each of which was kept before ([`Feed::keep`]).
    pub(super) fn new(seams: Seams, core: RaftCore, views: Watched<View>) -> Arc<Self> {
        let (kept, waiting) = (Mutex::default(), Mutex::default());
        Arc::new(Self { seams, core, views, kept, waiting })
    }

    /// Keeps a view, to tell what changed since.
    pub(super) fn keep(&self, view: &View) {
        self.kept.lock().push(view);
    }

    /// How many askers wait, and what is kept for them.
    #[cfg(feature = "sim")]
    pub(super) fn fills(&self) -> [Fill; 4] {
        let (waiting, kept) = (self.waiting.lock(), self.kept.lock());
        let of_one = waiting.by_node.values().copied().max().unwrap_or(0);
        [
            Fill::of("askers for views", waiting.all, POLLS_MAX),
            Fill::of("askers for views of one node", of_one, POLLS_OF_ONE_MAX),
            Fill::of("views kept for askers", kept.views.len(), KEPT_VIEWS),
            Fill::of("answers kept for askers", kept.answers.len(), KEPT_ANSWERS),
        ]
    }

    /// Waits for news, and tells them.
    async fn tell(&self, poll: Poll) -> Told {
        let clock = &*self.seams.clock;
        let patience = Duration::from_millis(poll.patience_ms).min(PATIENCE_MAX);
        let mut views = self.views.follow();
        let newer = views.until(|view| view.version > poll.have);
        // In vain, too, it is told that nothing is newer: the asker knows that this node lives.
        let _ = within(clock, clock.now() + patience, newer.boxed()).await;
        let news = self.kept.lock().since(poll.have);
        let first_hand = self.core.hears_leader().await;
        Told { leader: self.core.leader_hint(), first_hand, news }
    }
}

/// One asker while it waits, also when its task panics.
struct Waits {
    feed: Arc<Feed>,
    from: NodeId,
}

impl Waits {
    /// `None` if there are too many.
    fn of(feed: &Arc<Feed>, from: &NodeId) -> Option<Self> {
        let admitted = feed.waiting.lock().admit(from);
        admitted.then(|| Self { feed: feed.clone(), from: from.clone() })
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.feed.waiting.lock().done(&self.from);
    }
}

/// The feed's door to the links.
pub(super) struct FeedDoor(pub(super) Arc<Feed>);

impl Inbound for FeedDoor {
    fn tell(&self, from: &Peer, _: Head, _: Bytes) {
        tracing::debug!(node = %from.node, "a tell to the feed of views was dropped");
    }

    fn ask(&self, from: &Peer, _: Head, body: Bytes, reply: ReplyTo) {
        let Some(poll) = decode::<Poll>(&body) else {
            return reply.refuse(Bytes::from_static(b"malformed"));
        };
        let Some(waits) = Waits::of(&self.0, &from.node) else {
            return reply.refuse(Bytes::from_static(b"overloaded"));
        };
        self.0.seams.control.spawn(async move {
            let told = waits.feed.tell(poll).await;
            drop(waits);
            reply.send(encode(&told));
        });
    }
}
