//! The account of messages balances, whatever races: sent = handled + given back + dead letters.

use super::*;
use crate::supervisor::RefError;

const SENDERS: usize = 4;
const EACH: u64 = 5_000;

/// What all incarnations have handled.
#[derive(Default)]
struct Book {
    handled: AtomicU64,
    /// The last message of each sender.
    last: Mutex<[u64; SENDERS]>,
}

/// Fails at each message whose number is a multiple of `fatal`.
struct Clerk {
    book: Arc<Book>,
    fatal: u64,
}

#[ractor::actor(message = (usize, u64))]
impl Clerk {
    async fn handle(
        &self,
        _myself: ActorRef<(usize, u64)>,
        (sender, number): (usize, u64),
        _state: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.book.handled.fetch_add(1, Ordering::SeqCst);
        let last = std::mem::replace(&mut self.book.last.lock()[sender], number);
        assert!(last < number, "sender {sender}: {number} after {last}");
        if number.is_multiple_of(self.fatal) { Err("a bad number".into()) } else { Ok(()) }
    }
}

/// Sends all its numbers once, and says how many were taken and how many came back.
async fn sender(child: ChildRef<(usize, u64)>, sender: usize) -> (u64, u64) {
    let (mut taken, mut back) = (0, 0);
    for number in 1..=EACH {
        match child.cast((sender, number)) {
            Ok(()) => taken += 1,
            Err(undelivered) => {
                assert_eq!(undelivered.message, (sender, number));
                assert!(undelivered.why.not_executed());
                assert_ne!(undelivered.why, RefError::Unbound);
                back += 1;
            }
        }
        if back % 2 == 1 || number.is_multiple_of(16) {
            tokio::task::yield_now().await;
        }
    }
    (taken, back)
}

/// Stops the tree while messages wait, or when it has settled them all.
async fn balance(fatal: u64, (hold, mailbox): (usize, usize), settled: bool) {
    let (book, child) = (Arc::<Book>::default(), ChildRef::unbound());
    let books = book.clone();
    let make = move || (Clerk { book: books.clone(), fatal }, ());
    let clerk = worker("clerk", make).bind(&child).hold(hold).mailbox(mailbox);
    let spec = SupervisorSpec::one_for_one("top").intensity(1_000_000, HOUR).child(clerk);
    let tree = spec.start().await.expect("it starts");
    let senders: Vec<_> =
        (0..SENDERS).map(|number| tokio::spawn(sender(child.clone(), number))).collect();
    let (mut taken, mut back) = (0, 0);
    for sender in senders {
        let (more_taken, more_back) = sender.await.expect("it does not panic");
        taken += more_taken;
        back += more_back;
    }
    assert_eq!(taken + back, SENDERS as u64 * EACH);
    let account = || book.handled.load(Ordering::SeqCst) + child.dead_letters();
    if settled {
        let clock = TokioClock::new();
        let wait = async {
            while account() != taken {
                tokio::task::yield_now().await;
            }
        };
        let waited = within(&clock, clock.now() + secs(60), wait).await;
        waited.unwrap_or_else(|_| panic!("{} of {taken}, {child:?}", account()));
        assert!(book.handled.load(Ordering::SeqCst) > 0);
    }
    tree.stop().await;
    assert_eq!(account(), taken, "{child:?}: {back} came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_message_is_handled_or_given_back_or_counted() {
    for fatal in [7, 100, 1_000, u64::MAX] {
        for (hold, mailbox) in [(0, 65_536), (0, 8), (4, 8), (64, 1_000), (10_000, 65_536)] {
            balance(fatal, (hold, mailbox), true).await;
            balance(fatal, (hold, mailbox), false).await;
        }
    }
}
