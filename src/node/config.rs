//! What a node is told before it starts.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::HealthConfig;
use crate::base::NodeId;
use crate::placement::Profile;
use crate::storage::Durability;

/// How links are secured.
#[derive(Clone)]
pub enum Security {
    /// Mutual TLS 1.3.
    Tls {
        /// PEM of the authorities that may sign peers.
        authorities: Vec<u8>,
        /// PEM of this node's certificate, with exactly one URI SAN
        /// `spiffe://<cluster>/node/<name>`.
        certificate: Vec<u8>,
        /// PEM of its key.
        key: Vec<u8>,
    },
    /// Plain TCP for tests and development. Refuses to listen on anything but loopback.
    Insecure,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls { .. } => "Tls",
            Self::Insecure => "Insecure",
        })
    }
}

/// Configuration of a node. Start from [`NodeConfig::new`], or [`NodeConfig::insecure`].
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Unique in the cluster.
    pub name: NodeId,
    /// The cluster's name in certificates.
    pub cluster: String,
    /// Where it listens; port 0 picks one.
    pub listen: SocketAddr,
    /// Where others reach it, `host:port`; the address it listens on if absent.
    pub advertise: Option<String>,
    /// Where the first nodes listen, `host:port` each: the same list for all. Its own address may
    /// stand in it.
    pub seeds: Vec<String>,
    /// How many empty nodes form the cluster together; 1 forms one alone, without asking anybody.
    /// It also sets how many stores hold a shard and how many of them a write must reach at least:
    /// 1/1 for one node, 2/2 for two, 3/2 from three on.
    pub expect: usize,
    /// Its data directory, made if absent.
    pub data: PathBuf,
    /// Timing.
    pub profile: Profile,
    /// How links are secured.
    pub security: Security,
    /// Number of shards, a power of two from 1 to 32,768; set at formation.
    pub shards: u16,
    /// Failure zone; empty for none.
    pub zone: String,
    /// Units of 128 virtual nodes.
    pub weight: u16,
    /// Whether records survive the process.
    pub durability: Durability,
    /// Whether commands on this machine may ask the node over the socket `evertree.sock` in its
    /// data directory, which is for this user alone.
    pub admin: bool,
    /// The probes of its health that come built in.
    pub health: HealthConfig,
}

/// Two settings do not fit each other, or one is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config: {first} = {value} does not fit {second}: {why}")]
pub struct ConfigError {
    /// The setting that must change.
    pub first: &'static str,
    /// Its value.
    pub value: String,
    /// What it does not fit.
    pub second: &'static str,
    /// The rule, and what to do.
    pub why: &'static str,
}

impl NodeConfig {
    /// As [`NodeConfig::new`], and its links are plain TCP, on loopback only: anyone on this
    /// machine may claim to be anyone. For tests and development.
    #[must_use]
    pub fn insecure(name: NodeId) -> Self {
        Self::new(name, Security::Insecure)
    }

    /// A node of its own on a free loopback port, profile `dev`, data in `target/<name>`.
    #[must_use]
    pub fn new(name: NodeId, security: Security) -> Self {
        Self {
            data: PathBuf::from("target").join(name.as_str()),
            name,
            cluster: "evertree".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            seeds: Vec::new(),
            expect: 1,
            profile: Profile::dev(),
            security,
            shards: 4096,
            zone: String::new(),
            weight: 1,
            durability: Durability::Disk,
            admin: true,
            health: HealthConfig::default(),
        }
    }

    /// Checks every rule between the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names both settings.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error =
            |first, value: String, second, why| Err(ConfigError { first, value, second, why });
        if !self.shards.is_power_of_two() || self.shards > 1 << 15 {
            let why = "must be a power of two from 1 to 32768";
            return error("shards", self.shards.to_string(), "its range", why);
        }
        if self.expect > 1 && self.seeds.len() < self.expect {
            let why = "to form a cluster, all first nodes must stand in `seeds`";
            return error("expect", self.expect.to_string(), "seeds", why);
        }
        if self.weight == 0 {
            return error("weight", "0".into(), "its range", "must be at least 1");
        }
        if matches!(self.security, Security::Insecure) && !self.listen.ip().is_loopback() {
            let why = "plain TCP listens on loopback only: give certificates";
            return error("listen", self.listen.to_string(), "security", why);
        }
        self.health.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        NodeConfig::insecure("n1".parse().expect("a name"))
    }

    #[test]
    fn each_broken_rule_names_both_settings() {
        assert_eq!(config().validate(), Ok(()));
        let listen = SocketAddr::from(([0, 0, 0, 0], 7000));
        let faults = [
            (NodeConfig { shards: 1000, ..config() }, ("shards", "its range")),
            (NodeConfig { expect: 3, ..config() }, ("expect", "seeds")),
            (NodeConfig { weight: 0, ..config() }, ("weight", "its range")),
            (NodeConfig { listen, ..config() }, ("listen", "security")),
        ];
        for (config, (first, second)) in faults {
            let error = config.validate().expect_err(first);
            assert_eq!((error.first, error.second), (first, second), "{error}");
        }
    }
}
