//! The handshakes under way: bounded, and fair to addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Where a guest comes from: an IPv4 address, or the upper half of an IPv6 one, which is what one
/// host or network is given.
type Origin = u128;

/// The handshakes under way. Who comes into a full room ends the oldest of those that come from
/// where most come from: whoever means it is through in a few milliseconds, whoever says nothing
/// keeps nobody out, and a flood from few addresses ends its own.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Guests>);

#[derive(Debug, Default)]
struct Guests {
    last: u64,
    waiting: BTreeMap<u64, (Origin, CancellationToken)>,
    /// By number, so that the first is the oldest.
    from: BTreeMap<Origin, BTreeSet<u64>>,
}

impl Guests {
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (origin, token) = self.waiting.remove(&number)?;
        if let Some(all) = self.from.get_mut(&origin) {
            all.remove(&number);
            if all.is_empty() {
                self.from.remove(&origin);
            }
        }
        Some(token)
    }

    /// The oldest of where most come from. Of two such places, the one whose oldest is older.
    fn next_to_go(&self) -> Option<u64> {
        let places = self.from.values().filter_map(|all| Some((all.len(), *all.first()?)));
        places.max_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1))).map(|one| one.1)
    }
}

impl Crowd {
    /// One more from `ip`; its number, and what is cancelled when it must go.
    pub(super) fn enter(&self, ip: IpAddr, guests_max: usize) -> (u64, CancellationToken) {
        let mut guests = self.0.lock();
        while guests.waiting.len() >= guests_max.max(1) {
            let Some(token) = guests.next_to_go().and_then(|number| guests.remove(number)) else {
                break;
            };
            token.cancel();
        }
        guests.last += 1;
        let (number, token, origin) = (guests.last, CancellationToken::new(), origin(ip));
        guests.waiting.insert(number, (origin, token.clone()));
        guests.from.entry(origin).or_default().insert(number);
        (number, token)
    }

    pub(super) fn leave(&self, number: u64) {
        self.0.lock().remove(number);
    }
}

fn origin(ip: IpAddr) -> Origin {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() & (u128::MAX << 64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn who_comes_into_a_full_room_ends_the_oldest() {
        let (crowd, here) = (Crowd::default(), ip("10.0.0.1"));
        let (first, second) = (crowd.enter(here, 2), crowd.enter(here, 2));
        assert!(!first.1.is_cancelled());
        let third = crowd.enter(here, 2);
        assert!(first.1.is_cancelled() && !second.1.is_cancelled());
        crowd.leave(second.0);
        crowd.leave(first.0);
        let _fourth = crowd.enter(here, 2);
        assert!(!third.1.is_cancelled(), "there was room");
    }

    #[test]
    fn a_flood_from_one_address_ends_its_own() {
        let crowd = Crowd::default();
        let other = crowd.enter(ip("10.0.0.1"), 8);
        for _ in 0..1_000 {
            crowd.enter(ip("10.0.0.2"), 8);
        }
        let net = ["2001:db8::1", "2001:db8::2"].map(|text| crowd.enter(ip(text), 8));
        for host in 0..1_000_u128 {
            let one = ip("2001:db9::").to_canonical();
            let IpAddr::V6(one) = one else { panic!("IPv6") };
            crowd.enter(IpAddr::V6((one.to_bits() | host).into()), 8);
        }
        assert!(!other.1.is_cancelled() && !net[0].1.is_cancelled() && !net[1].1.is_cancelled());
        assert_eq!(crowd.0.lock().waiting.len(), 8);
        // From everywhere at once: the oldest go.
        for host in 0..100 {
            crowd.enter(IpAddr::from([10, 1, 0, host]), 8);
        }
        assert!(other.1.is_cancelled() && net[0].1.is_cancelled());
        let guests = crowd.0.lock();
        assert_eq!((guests.waiting.len(), guests.from.len()), (8, 8));
    }
}
