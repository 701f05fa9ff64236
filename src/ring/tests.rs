mod golden;
mod look_up;
mod ranges;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn id(name: &str) -> NodeId {
    name.parse().expect("a node name")
}

fn node(name: &str) -> (NodeId, u16, String) {
    (id(name), 1, String::new())
}

fn ring(names: &[&str]) -> Ring {
    Ring::build(names.iter().map(|name| node(name))).expect("distinct names")
}

/// A ring whose tokens lie where the test wants them.
fn ring_at(tokens: &[(&str, &[u64])]) -> Ring {
    let mut ring = Ring::default();
    add_at(&mut ring, tokens);
    ring
}

fn add_at(ring: &mut Ring, tokens: &[(&str, &[u64])]) {
    let points = |name: &NodeId, _| {
        let own = tokens.iter().find(|(other, _)| *other == name.as_str());
        own.expect("one of them").1.iter().copied()
    };
    ring.add_at(tokens.iter().map(|(name, _)| node(name)), points).expect("distinct names");
}

fn key(index: u32) -> u64 {
    point(&[index.to_string().as_bytes()])
}
