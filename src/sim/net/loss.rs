//! Which segments are lost, and what that costs: loss as TCP shows it to those above.
//!
//! A segment that is lost `k` times in a row arrives `200 ms x (2^k - 1)` later: 0, 200, 600, 1400,
//! 3000 ms. With probability `p^k` it is lost `k` times or more.
//!
//! 200 ms is the least that Linux waits for an acknowledgement before it sends again, and it waits
//! twice as long each time (`TCP_RTO_MIN`; RFC 6298, 5.5). Differs: a real sender learns of a loss
//! that others follow in about one round trip, and sends its first SYN again only after 1 s.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::{Rng as _, SeededRng};
use crate::sim::mix;

/// How long the first retransmission takes to come; each further one takes twice as long.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(200);
/// How many times a segment is sent again. If the last one is lost too, the connection breaks,
/// 102 s after the segment would have arrived.
pub const RETRANSMISSIONS_MAX: u32 = 8;

/// By how much a segment is late that was lost `lost` times.
pub(in crate::sim) fn delay(lost: u32) -> Duration {
    FIRST_RETRANSMISSION * ((1 << lost.min(RETRANSMISSIONS_MAX + 1)) - 1)
}

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// It connected.
    Dialler = 1,
    /// It accepted.
    Listener = 2,
}

/// What came over all links, in a world with loss.
#[derive(Debug, Default)]
struct Tally {
    lost: AtomicU64,
    bytes: AtomicU64,
}

/// The loss on all links of a world.
#[derive(Debug)]
pub(in crate::sim) struct Loss {
    seed: u64,
    permille: u16,
    /// How many connections each end had with each other end: (end, other end, its side).
    connections: Mutex<BTreeMap<(String, String, Side), u64>>,
    tally: Arc<Tally>,
}

impl Loss {
    /// Of 1000 segments, `permille` are lost, and as many of those that are sent again.
    pub(in crate::sim) fn new(seed: u64, permille: u16) -> Self {
        Self { seed, permille, connections: Mutex::default(), tally: Arc::default() }
    }

    pub(super) fn permille(&self) -> u16 {
        self.permille
    }

    /// How many segments were lost so far, each as many times as it was.
    pub(in crate::sim) fn lost(&self) -> u64 {
        self.tally.lost.load(Ordering::Relaxed)
    }

    /// How many bytes came, if anything may be lost; without loss nobody counts them.
    pub(in crate::sim) fn bytes(&self) -> u64 {
        self.tally.bytes.load(Ordering::Relaxed)
    }

    /// What is lost on the way to `me`, which is one `side` of its next connection with `peer`:
    /// fixed by the world's seed, the two names, and how many connections they had before.
    pub(super) fn connection(&self, me: &str, peer: &str, side: Side) -> Retransmissions {
        let number = {
            let mut connections = self.connections.lock();
            let number = connections.entry((me.to_owned(), peer.to_owned(), side)).or_default();
            *number += 1;
            *number
        };
        let mut parts = vec![self.seed, side as u64, number];
        for name in [me, peer] {
            parts.push(name.len() as u64);
            parts.extend(name.bytes().map(u64::from));
        }
        let (rng, permille) = (SeededRng::new(mix(&parts)), self.permille);
        Retransmissions { rng, permille, tally: self.tally.clone() }
    }
}

/// How many times each segment of one direction of a connection is lost.
pub(super) struct Retransmissions {
    rng: SeededRng,
    permille: u16,
    tally: Arc<Tally>,
}

impl fmt::Debug for Retransmissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retransmissions({} permille)", self.permille)
    }
}

impl Retransmissions {
    /// How many times the next segment is lost. More than [`RETRANSMISSIONS_MAX`]: it never
    /// arrives.
    pub(super) fn draw(&mut self) -> u32 {
        let is_lost = || self.rng.next_u64() % 1000 < u64::from(self.permille);
        let mut lost = 0;
        while lost <= RETRANSMISSIONS_MAX && is_lost() {
            lost += 1;
        }
        self.tally.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }

    /// Takes note of a segment's bytes.
    pub(super) fn came(&self, bytes: usize) {
        self.tally.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(loss: &Loss, me: &str, peer: &str) -> Vec<u32> {
        let mut connection = loss.connection(me, peer, Side::Dialler);
        (0..200).map(|_| connection.draw()).collect()
    }

    #[test]
    fn delays_double_as_the_timeouts_of_tcp_do() {
        let millis: Vec<_> = (0..=9).map(|lost| delay(lost).as_millis()).collect();
        let expected = [0, 200, 600, 1400, 3000, 6200, 12_600, 25_400, 51_000, 102_200];
        assert_eq!(millis, expected);
    }

    /// Of n segments, n p^k (1 - p) are lost k times; four standard deviations off are too many.
    #[test]
    fn a_segment_is_lost_k_times_or_more_with_probability_p_to_the_k() {
        let (n, permille) = (100_000, 300);
        let loss = Loss::new(7, permille);
        let mut connection = loss.connection("n1", "n2", Side::Dialler);
        let mut times = [0; 10];
        for _ in 0..n {
            times[connection.draw() as usize] += 1;
        }
        let p = f64::from(permille) / 1000.0;
        for (lost, found) in (0..).zip(times).take(7) {
            let share = p.powi(lost) * (1.0 - p);
            let expected = f64::from(n) * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            let off = (f64::from(found) - expected).abs();
            assert!(off < 4.0 * deviation, "{lost} times: {found}, not {expected} in {times:?}");
        }
        let all: i32 = (0..).zip(times).map(|(lost, found)| lost * found).sum();
        assert_eq!(loss.lost(), u64::from(all.unsigned_abs()), "what is lost is counted");
    }

    #[test]
    fn what_is_always_lost_is_given_up() {
        let mut connection = Loss::new(7, 1000).connection("n1", "n2", Side::Listener);
        assert_eq!(connection.draw(), RETRANSMISSIONS_MAX + 1);
        let mut connection = Loss::new(7, 0).connection("n1", "n2", Side::Listener);
        assert_eq!(connection.draw(), 0);
    }

    #[test]
    fn every_connection_has_losses_of_its_own_that_others_do_not_change() {
        let alone = Loss::new(7, 300);
        let [first, second] = [(); 2].map(|()| draws(&alone, "n1", "n2"));
        assert_ne!(first, second, "two connections of one pair");
        assert_ne!(first, draws(&alone, "n2", "n1"), "the other way");
        assert_ne!(first, draws(&Loss::new(8, 300), "n1", "n2"), "another seed");
        let beside = Loss::new(7, 300);
        let other = draws(&beside, "n1", "n3");
        assert_ne!(first, other, "another peer");
        assert_eq!([(); 2].map(|()| draws(&beside, "n1", "n2")), [first, second]);
    }
}
