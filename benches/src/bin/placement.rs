//! What it takes to say which node an entity belongs to: by the table of shards, by SHA-1 and the
//! ring.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin placement [rounds]
//! ```
//! Each figure is the median of the rounds, which run in turn, in nanoseconds of processor time per
//! look-up: once with look-ups that do not need each other, as a processor overlaps them, and once
//! where each waits for the one before, which is what a single caller sees. Targets are held against
//! the latter. The first row is what the loop itself takes, and is in all others.

use std::hint::black_box;
use std::sync::Arc;

use evertree::base::{Epoch, NodeId, ShardId};
use evertree::placement::{Owner, Shard, View};
use evertree::ring::{Ring, point, shard_of, shard_point};
use evertree_benches::figures::Stopwatch;

const ROUNDS: usize = 21;
/// Look-ups of one round.
const LOOK_UPS: usize = 1 << 18;
/// Entities that are looked up in turn, so many that no branch can be learnt by heart.
const ENTITIES: usize = 1 << 14;
const SHARDS: u16 = 4096;
const KIND: &str = "cart";
const NODES: [usize; 4] = [3, 10, 100, 1000];

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(ROUNDS);
    println!("{rounds} rounds of {LOOK_UPS} look-ups in turn\n");
    println!("| ns each | overlapping | one by one | lowest to highest | target |");
    println!("|---|---|---|---|---|");
    look_ups(rounds);
}

/// One row: what is looked up of entity number `index`, as some number.
struct Row<'a> {
    name: String,
    /// One by one, in nanoseconds.
    target: Option<f64>,
    look_up: Box<dyn Fn(usize) -> f64 + 'a>,
    in_turn: Box<dyn Fn(usize) -> f64 + 'a>,
    figures: [Vec<f64>; 2],
}

impl<'a> Row<'a> {
    fn new(name: &str, target: Option<f64>, look_up: impl Fn(usize) -> usize + Copy + 'a) -> Self {
        Self {
            name: name.to_owned(),
            target,
            look_up: Box::new(move |offset| overlapping(offset, look_up)),
            in_turn: Box::new(move |offset| one_by_one(offset, look_up)),
            figures: [Vec::new(), Vec::new()],
        }
    }

    fn line(&mut self) -> String {
        for figures in &mut self.figures {
            figures.sort_unstable_by(f64::total_cmp);
        }
        let [overlapping, in_turn] = &self.figures;
        let median = |figures: &[f64]| figures[figures.len() / 2];
        let target = match self.target {
            None => String::new(),
            Some(target) if median(in_turn) < target => format!("{target}: met"),
            Some(target) => format!("{target}: **missed**"),
        };
        let (lowest, highest) = (in_turn[0], in_turn[in_turn.len() - 1]);
        format!(
            "| {} | {:.1} | {:.1} | {lowest:.1} to {highest:.1} | {target} |",
            self.name,
            median(overlapping),
            median(in_turn)
        )
    }
}

/// Nanoseconds of processor time: other programs on the machine hardly change it.
fn each(watch: Stopwatch) -> f64 {
    watch.took().cpu.as_secs_f64() * 1e9 / LOOK_UPS as f64
}

/// Look-ups that do not need each other.
fn overlapping(offset: usize, look_up: impl Fn(usize) -> usize) -> f64 {
    let watch = Stopwatch::start();
    for index in offset..offset + LOOK_UPS {
        black_box(look_up(index % ENTITIES));
    }
    each(watch)
}

/// Look-ups that each begin when the one before has its answer.
fn one_by_one(offset: usize, look_up: impl Fn(usize) -> usize) -> f64 {
    let none = black_box(0);
    let watch = Stopwatch::start();
    let mut before = 0;
    for index in offset..offset + LOOK_UPS {
        // Nothing is added, which neither compiler nor processor know before they have the answer.
        before = look_up((index + (before & none)) % ENTITIES);
    }
    black_box(before);
    each(watch)
}

fn look_ups(rounds: usize) {
    let ids: Vec<String> = (0..ENTITIES).map(|index| format!("customer-{index:07}")).collect();
    let place = |id: &str| point(&[KIND.as_bytes(), &[0], id.as_bytes()]);
    let points: Vec<u64> = ids.iter().map(|id| place(id)).collect();
    let shards: Vec<ShardId> = ids.iter().map(|id| shard_of(KIND, id.as_bytes(), SHARDS)).collect();
    let rings = NODES.map(ring);
    let view = view(&rings[2]);
    let owner = |shard: ShardId| {
        let owner = view.shard(shard).and_then(|shard| shard.owner.as_ref());
        owner.map_or(0, |owner| owner.node.as_str().len())
    };
    let shard = |index: usize| shard_of(KIND, ids[index].as_bytes(), SHARDS);
    let small = |point: u64| usize::try_from(point >> 1).unwrap_or(0);
    let mut rows = vec![
        Row::new("the loop: a shard's number is read", None, |index| usize::from(shards[index].0)),
        Row::new("table of 4096 shards, shard known", Some(5.), |index| owner(shards[index])),
        Row::new("SHA-1 of kind and id", None, |index| small(place(&ids[index]))),
        Row::new("SHA-1 and table", None, |index| owner(shard(index))),
    ];
    for (ring, nodes) in rings.iter().zip(NODES) {
        let owner = |point: u64| ring.owner(point).map_or(0, |node| node.as_str().len());
        let (points, ids, place) = (&points, &ids, &place);
        let name = format!("ring, {nodes} nodes");
        rows.push(Row::new(&name, None, move |index| owner(points[index])));
        let (name, target) =
            (format!("SHA-1 and ring, {nodes} nodes"), (nodes == 100).then_some(120.));
        rows.push(Row::new(&name, target, move |index| owner(place(&ids[index]))));
    }
    for round in 0..rounds {
        for row in &mut rows {
            row.figures[0].push((row.look_up)(round));
            row.figures[1].push((row.in_turn)(round));
        }
    }
    for row in &mut rows {
        println!("{}", row.line());
    }
}

fn ring(nodes: usize) -> Ring {
    let names = (0..nodes).map(|index| format!("node-{index}").parse().expect("a name"));
    let members = names.map(|name: NodeId| (name, 1, String::new()));
    Ring::build(members).expect("distinct names")
}

/// A view in which each shard is owned by the first of its ring.
fn view(ring: &Ring) -> View {
    let shard = |number| Shard {
        epoch: Epoch::NONE,
        owner: ring
            .owner(shard_point(ShardId(number)))
            .map(|node| Owner { node: node.clone(), boot: evertree::base::Boot(1) }),
        in_sync: Vec::new(),
        in_sync_generation: 0,
        has_records: false,
        lost: false,
        moving: None,
    };
    View { shards: (0..SHARDS).map(shard).map(Arc::new).collect(), ..View::default() }
}
