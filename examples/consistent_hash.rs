//! Three nodes on a ring of SHA-1 tokens: who owns `key1`, and who moves when that node goes.
//!
//! `cargo run --example consistent_hash` prints:
//! ```text
//! 3 nodes, 128 virtual nodes each
//!   n1 owns 32.4 % of the circle
//!   n2 owns 33.5 % of the circle
//!   n3 owns 34.0 % of the circle
//! key1 lies at 1073ab6cda4b991c: n2 owns it, its preference list is n2, n1, n3
//! n2 is gone: the list is n1, n3
//! of 10000 keys
//!   n1 had 3289
//!   n2 had 3341
//!     1861 moved to n1
//!     1480 moved to n3
//!   n3 had 3370
//! 88 ranges change hands, 88 of them n2's
//! ```
use evertree::base::NodeId;
use evertree::ring::{Ring, TOKENS_PER_WEIGHT, point};

const KEYS: u32 = 10_000;

/// Where a key lies on the circle.
fn place(key: &str) -> u64 {
    point(&[key.as_bytes()])
}

fn names(nodes: &[&NodeId]) -> String {
    nodes.iter().map(|node| node.as_str()).collect::<Vec<_>>().join(", ")
}

/// How much of the circle a node owns, in tenths of a percent.
fn share(ring: &Ring, node: &NodeId) -> u128 {
    let points: u128 = ring.ranges_of(node).iter().map(|range| range.points()).sum();
    (points * 1_000) >> u64::BITS
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes: [NodeId; 3] = ["n1".parse()?, "n2".parse()?, "n3".parse()?];
    // One unit of weight each, no zones. The order does not matter.
    let before = Ring::build(nodes.clone().map(|node| (node, 1, String::new())))?;
    println!("{} nodes, {TOKENS_PER_WEIGHT} virtual nodes each", nodes.len());
    for node in &nodes {
        let share = share(&before, node);
        println!("  {node} owns {}.{} % of the circle", share / 10, share % 10);
    }

    let key = place("key1");
    let list = before.preference_list(key, 3);
    let owner = list[0].clone();
    println!("key1 lies at {key:016x}: {owner} owns it, its preference list is {}", names(&list));

    let mut after = before.clone();
    after.remove(&owner);
    println!("{owner} is gone: the list is {}", names(&after.preference_list(key, 3)));

    println!("of {KEYS} keys");
    for node in &nodes {
        let own: Vec<u64> = (0..KEYS)
            .map(|index| place(&format!("key{index}")))
            .filter(|key| before.owner(*key) == Some(node))
            .collect();
        println!("  {node} had {}", own.len());
        for heir in &nodes {
            let moved = own.iter().filter(|key| after.owner(**key) == Some(heir)).count();
            if moved > 0 && heir != node {
                println!("    {moved} moved to {heir}");
            }
        }
    }
    let changes = before.difference(&after);
    let given = changes.iter().filter(|change| change.from.as_ref() == Some(&owner)).count();
    println!("{} ranges change hands, {given} of them {owner}'s", changes.len());
    Ok(())
}
