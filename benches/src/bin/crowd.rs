//! A crowd of children: memory of an idle one, ordered stop, a crash of all at once.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin crowd [memory|stop|storm] [children]
//! ```
//! All three if nothing is said, with 100,000 children. The allocator counts, which costs a few
//! nanoseconds per allocation, the baseline's as well as ours.

use std::future::Future;
use std::time::Duration;

use evertree_benches::bytes::{Census, Counting, resident};
use evertree_benches::echo::silence_crashes;
use evertree_benches::figures::{Stopwatch, Took};
use evertree_benches::supervised::{self, Storm};
use evertree_benches::{WORKERS, by_hand, on_worker, runtime};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CHILDREN: usize = 100_000;
/// Children of each supervisor of the deeper tree.
const WIDTH: usize = 1_000;
/// A supervised child may have this much more than a bare actor.
const EXTRA_BYTES_MAX: f64 = 512.0;
const STOP_MAX: Duration = Duration::from_secs(2);
const COUNT_MAX: Duration = Duration::from_secs(1);
/// How much of what the children took may be left when all are gone.
const LEFT_PERCENT_MAX: f64 = 10.0;

fn main() {
    silence_crashes();
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_default();
    let n = words.next().and_then(|word| word.parse().ok()).unwrap_or(CHILDREN);
    let runtime = runtime();
    println!("{n} children, {WORKERS} tokio workers");
    let parts: [(&str, Part); 3] = [("memory", memory), ("stop", stop), ("storm", storm)];
    for (name, part) in parts {
        if what.is_empty() || what == name {
            println!("\n{name}");
            part(&runtime, n);
        }
    }
}

type Part = fn(&Runtime, usize);

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// What is allocated once nothing changes any more.
async fn settled() -> Census {
    let mut last = Census::take();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = Census::take();
        if now.live == last.live {
            return now;
        }
        last = now;
    }
}

/// What `start` leaves allocated, until `end` has taken it away again.
async fn weigh<T, E: Future<Output = ()>>(
    start: impl Future<Output = T>,
    end: impl FnOnce(T) -> E,
) -> Census {
    let before = settled().await;
    let held = start.await;
    let weight = settled().await.since(&before);
    end(held).await;
    weight
}

fn memory(runtime: &Runtime, n: usize) {
    // The first crowd warms up: it makes what stays.
    on_worker(runtime, async move {
        drop(supervised::numbered(n / 10).await.stop().await);
    });
    let bare = on_worker(runtime, async move {
        let start = async {
            let mut crowd = by_hand::Crowd::start(n).await;
            crowd.forget();
            crowd
        };
        weigh(start, by_hand::Crowd::end).await
    });
    let numbered = on_worker(runtime, async move {
        weigh(supervised::numbered(n), |tree| async move { drop(tree.stop().await) }).await
    });
    let declared = on_worker(runtime, async move {
        weigh(supervised::crowd(n, None), |tree| async move { drop(tree.stop().await) }).await
    });
    let referred = on_worker(runtime, async move {
        weigh(supervised::referred(n), |(tree, _refs)| async move { drop(tree.stop().await) }).await
    });
    let each = |weight: &Census| weight.live as f64 / n as f64;
    println!("bytes of an idle bare actor: {:.0}", each(&bare));
    blocks(&bare, n);
    let kinds = [("numbered", numbered, true), ("declared", declared, true)];
    // The last is told for comparison: its ref is the user's, and counts what it is sent.
    let kinds = kinds.into_iter().chain([("with a ref", referred, false)]);
    for (name, weight, is_judged) in kinds {
        let (own, extra) = (each(&weight), each(&weight) - each(&bare));
        let met = if is_judged { verdict(extra <= EXTRA_BYTES_MAX) } else { "no target" };
        println!(
            "bytes of an idle supervised child, {name}: {own:.0}, {extra:.0} more than a bare \
             actor (ratio {:.3}), at most {EXTRA_BYTES_MAX}: {met}",
            own / each(&bare),
        );
        blocks(&weight.since(&bare), n);
    }
}

/// Where the bytes are.
fn blocks(weight: &Census, n: usize) {
    for (size, blocks) in weight.each(n) {
        if size > 0 {
            println!("    {blocks:6.2} blocks of {size:4} bytes: {:7.1}", blocks * size as f64);
        } else {
            println!("    in large blocks:              {blocks:7.1}");
        }
    }
}

fn stop(runtime: &Runtime, n: usize) {
    let bare = on_worker(runtime, async move {
        let crowd = by_hand::Crowd::start(n).await;
        settled().await;
        crowd.stop_in_order().await
    });
    println!("bare actors, one by one by hand: {}", said(bare));
    for (name, width) in [("flat", None), ("supervisors of 1000", Some(WIDTH))] {
        let (start, stop) = on_worker(runtime, async move {
            let began = Stopwatch::start();
            let tree = supervised::crowd(n, width).await;
            let start = began.took();
            settled().await;
            let began = Stopwatch::start();
            tree.stop().await;
            (start, began.took())
        });
        let ratio = stop.wall.as_secs_f64() / bare.wall.as_secs_f64();
        let met = verdict(stop.wall <= STOP_MAX);
        println!(
            "declared, {name}: started in {}, stopped in order in {} (ratio {ratio:.2}), at most \
             {STOP_MAX:?}: {met}",
            said(start),
            said(stop),
        );
    }
}

fn storm(runtime: &Runtime, n: usize) {
    let bare = on_worker(runtime, async move {
        let crowd = by_hand::Crowd::start(n).await;
        settled().await;
        crowd.crash_all().await
    });
    println!("bare actors: all crashed and gone in {}", said(bare));
    // The first round makes what stays, as the room that the parent has for children.
    for (round, watched) in [("first", true), ("second", true), ("unwatched", false)] {
        on_worker(runtime, async move {
            let (before, resident_before) = (settled().await.live, resident());
            let mut storm = Storm::gather(n).await;
            let (full, resident_full) = (settled().await.live, resident());
            if watched {
                storm.watch();
            }
            let calm = storm.break_loose().await;
            let (after, resident_after) = (settled().await.live, resident());
            let left = percent(after - before, full - before);
            let resident_left = percent(resident_after - resident_before, resident_full);
            println!("{round}: all crashed in {:.2?}", calm.crashing);
            if watched {
                let met = verdict(calm.once == n && calm.more == 0 && calm.dropped == 0);
                let supervised::Calm { once, more, dropped, .. } = calm;
                println!("  crashes told once {once}, more often {more}, lost {dropped}: {met}");
            }
            let met = verdict(calm.count_answered <= COUNT_MAX && calm.all_counted <= COUNT_MAX);
            println!(
                "  count_children answered {:.2?} after the last crash, and says 0 after {:.2?}, \
                 at most {COUNT_MAX:?}: {met}",
                calm.count_answered, calm.all_counted,
            );
            let met = verdict(left <= LEFT_PERCENT_MAX);
            println!(
                "  bytes allocated: {} before, {} full, {} after; {left:.1} % of it left, at most \
                 {LEFT_PERCENT_MAX} %: {met}",
                mib(before),
                mib(full),
                mib(after),
            );
            println!(
                "  resident: {} before, {} full, {} after ({resident_left:.1} % of full more)",
                mib(resident_before),
                mib(resident_full),
                mib(resident_after),
            );
            storm.tree.stop().await;
        });
    }
}

fn said(Took { wall, cpu }: Took) -> String {
    format!("{wall:.2?} ({cpu:.2?} of the processors)")
}

fn percent(part: i64, whole: i64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

fn mib(bytes: i64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
