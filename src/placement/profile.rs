//! The timing of a cluster, set at formation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Timing of leases, raft and gossip. A node whose local profile differs from the view's refuses to
/// start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name: `lan`, `dev`, `wan` or the user's own.
    pub name: String,
    /// Lease D.
    pub lease: Duration,
    /// How often a node renews.
    pub renew: Duration,
    /// A node stops this long before its lease ends.
    pub guard: Duration,
    /// Greatest error r of a node's clock rate, in thousandths.
    pub drift_permille: u32,
    /// Raft's heartbeat.
    pub raft_heartbeat: Duration,
    /// Least raft election timeout.
    pub election_min: Duration,
    /// Greatest raft election timeout.
    pub election_max: Duration,
    /// Gossip's probe period.
    pub gossip_period: Duration,
    /// Gossip's assumed round trip.
    pub gossip_rtt: Duration,
    /// Multiplier of gossip's suspicion time.
    pub suspicion: u8,
    /// A replica silent for this long is offered again only after this much contact.
    pub offer_after: Duration,
}

/// Two fields of a profile do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("profile {profile}: {first} and {second} do not fit: {why}")]
pub struct ProfileError {
    /// The profile's name.
    pub profile: String,
    /// One field.
    pub first: &'static str,
    /// The other.
    pub second: &'static str,
    /// The rule that is broken.
    pub why: String,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Profile {
    /// Machines in one rack or data centre: failover in about 1.5 s.
    #[must_use]
    pub fn lan() -> Self {
        Self {
            name: "lan".into(),
            lease: ms(1_000),
            renew: ms(200),
            guard: ms(50),
            drift_permille: 20,
            raft_heartbeat: ms(50),
            election_min: ms(150),
            election_max: ms(250),
            gossip_period: ms(300),
            gossip_rtt: ms(100),
            suspicion: 3,
            offer_after: ms(5_000),
        }
    }

    /// Laptops and CI: two cores for a whole cluster. Raft's pulse is slower than D asks for, as
    /// most of what a node at rest costs goes by it (`docs/decisions/0020`).
    #[must_use]
    pub fn dev() -> Self {
        Self {
            name: "dev".into(),
            lease: ms(2_000),
            renew: ms(400),
            guard: ms(100),
            raft_heartbeat: ms(150),
            election_min: ms(400),
            election_max: ms(550),
            gossip_period: ms(500),
            gossip_rtt: ms(150),
            ..Self::lan()
        }
    }

    /// Data centres far apart.
    #[must_use]
    pub fn wan() -> Self {
        Self {
            name: "wan".into(),
            lease: ms(7_000),
            renew: ms(1_500),
            guard: ms(300),
            raft_heartbeat: ms(250),
            election_min: ms(800),
            election_max: ms(1_400),
            gossip_period: ms(1_000),
            gossip_rtt: ms(500),
            suspicion: 4,
            ..Self::lan()
        }
    }

    /// How long a backup may be silent before the owner removes it: D/4.
    #[must_use]
    pub fn ack_timeout(&self) -> Duration {
        self.lease / 4
    }

    /// D' = D (1 + r) / (1 - r): how long the leader waits for what a node counts as D, whatever
    /// both clocks' rates within r.
    #[must_use]
    pub fn lease_at_leader(lease: Duration, drift_permille: u32) -> Duration {
        crate::detector::lease_at_leader(lease, drift_permille)
    }

    /// Checks that a leader's crash does not suspend healthy nodes:
    /// `2 x election_max + 13/64 x heartbeat + 1.25 x renew + guard + 6 RTT + 3 fsync < D`,
    /// `renew/4 > 3 RTT` and `RTT < heartbeat/2`, for the network's `rtt` and the disk's `fsync`.
    ///
    /// # Errors
    /// [`ProfileError`] names both fields.
    pub fn validate(&self, rtt: Duration, fsync: Duration) -> Result<(), ProfileError> {
        let error = |first, second, why: &str| ProfileError {
            profile: self.name.clone(),
            first,
            second,
            why: why.into(),
        };
        let needed = self.election_max * 2
            + self.raft_heartbeat * 13 / 64
            + self.renew * 5 / 4
            + self.guard
            + rtt * 6
            + fsync * 3;
        if needed >= self.lease {
            return Err(error("lease", "election_max", "an election takes longer than a lease"));
        }
        if self.renew / 4 <= rtt * 3 {
            return Err(error("renew", "rtt", "renew/4 must be more than three round trips"));
        }
        if rtt >= self.raft_heartbeat / 2 {
            return Err(error("raft_heartbeat", "rtt", "a heartbeat must outlast two round trips"));
        }
        if self.election_min >= self.election_max || self.election_min <= self.raft_heartbeat {
            return Err(error("election_min", "election_max", "heartbeat < min < max must hold"));
        }
        if self.drift_permille >= 500 {
            return Err(error("drift_permille", "lease", "a clock cannot be half as fast"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_valid_and_have_the_leases_of_the_design() {
        let presets = [(Profile::lan(), 1), (Profile::dev(), 2), (Profile::wan(), 20)];
        for (profile, rtt) in presets {
            profile.validate(ms(rtt), ms(2)).expect("a preset is valid");
        }
        for (lease, at_leader) in [(1_000, 1_040), (2_000, 2_081), (7_000, 7_285)] {
            let got = Profile::lease_at_leader(ms(lease), 20).as_millis();
            assert_eq!(got, at_leader, "D = {lease} ms");
        }
    }

    #[test]
    fn a_lease_shorter_than_an_election_is_refused_naming_both_fields() {
        let error = Profile { lease: ms(600), ..Profile::lan() }
            .validate(ms(1), ms(2))
            .expect_err("too short");
        assert!(error.to_string().contains("lease and election_max"), "{error}");
    }
}
