//! What a node is told before it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::HealthConfig;
use crate::authority::{ADDRESSES_MAX, SeedsFileError, read_seeds};
use crate::base::{ADDRESS_FORM, NodeId, ip_of, is_host_port, is_nowhere};
use crate::placement::{Profile, SHARDS_FORMED_MAX, WEIGHT_MAX};
use crate::storage::Durability;

/// A restart after a fault takes less; a machine that is replaced takes more.
const REPLACE_VOTERS_AFTER: Duration = Duration::from_secs(30);

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
    /// Where others reach it, `host:port`; the address it listens on if absent. Needed where that
    /// is not one address, as `0.0.0.0`, or not the one that others see.
    pub advertise: Option<String>,
    /// Where other nodes may be found, `host:port` each. A name may stand for many nodes: each
    /// address that it resolves to is asked, and it is resolved anew in every round. Nodes that
    /// are found name those that they have found, so a few are enough. This node's own address may
    /// be among them.
    pub seeds: Vec<String>,
    /// A file with more of them, one in a line; empty lines, and what follows a `#`, are passed
    /// over. Read anew in every round. It may be missing at the start, and come later; what is no
    /// address in it is an error at the start, and later told in the log until it is mended.
    pub seeds_file: Option<PathBuf>,
    /// It forms a cluster of one, for others to join: refused if its directory is of a cluster
    /// already, or if one of its seeds is.
    pub bootstrap: bool,
    /// How many empty nodes form the cluster together. With 1 a node that names others in `seeds`
    /// forms none, and waits until it can join theirs; one that names nobody forms one alone.
    /// It also sets how many stores hold a shard and how many of them a write must reach at least:
    /// 1/1 for one node, 2/2 for two, 3/2 from three on.
    pub expect: usize,
    /// Its data directory, made if absent.
    pub data: PathBuf,
    /// Timing.
    pub profile: Profile,
    /// How links are secured.
    pub security: Security,
    /// Number of shards, a power of two from 1 to 8,192; set at formation.
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
    /// How long a voter whose node was evicted is waited for before another node votes in its
    /// place; 30 s if nothing is said. Whoever leads goes by its own.
    pub replace_voters_after: Duration,
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
            seeds_file: None,
            bootstrap: false,
            expect: 1,
            profile: Profile::dev(),
            security,
            shards: 4096,
            zone: String::new(),
            weight: 1,
            durability: Durability::Disk,
            admin: true,
            health: HealthConfig::default(),
            replace_voters_after: REPLACE_VOTERS_AFTER,
        }
    }

    /// Checks every rule between the settings.
    ///
    /// # Errors
    /// [`ConfigError`] names both settings.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let error =
            |first, value: String, second, why| Err(ConfigError { first, value, second, why });
        if !self.shards.is_power_of_two() || self.shards > SHARDS_FORMED_MAX {
            let why = "must be a power of two from 1 to 8192";
            return error("shards", self.shards.to_string(), "its range", why);
        }
        if self.expect > ADDRESSES_MAX {
            let why = "at most 64 nodes form a cluster";
            return error("expect", self.expect.to_string(), "its range", why);
        }
        if self.expect > 1 && self.seeds.is_empty() && self.seeds_file.is_none() {
            let why = "to find the others, name the address of at least one in `seeds`, or a \
                       `seeds_file`";
            return error("expect", self.expect.to_string(), "seeds", why);
        }
        if self.bootstrap && self.expect > 1 {
            let why = "one node alone forms a cluster so: leave one of the two out";
            return error("bootstrap", "true".into(), "expect", why);
        }
        if self.seeds.len() > ADDRESSES_MAX {
            let why = "at most 64: give one name that stands for many nodes";
            return error("seeds", self.seeds.len().to_string(), "its range", why);
        }
        if let Some(bad) = self.seeds.iter().find(|seed| !is_host_port(seed)) {
            return error("seeds", format!("{bad:?}"), "its form", ADDRESS_FORM);
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return error("weight", self.weight.to_string(), "its range", "must be 1 to 256");
        }
        if matches!(self.security, Security::Insecure) && !self.listen.ip().is_loopback() {
            let why = "plain TCP listens on loopback only: give certificates";
            return error("listen", self.listen.to_string(), "security", why);
        }
        self.validate_advertise()?;
        self.validate_seeds_file()?;
        self.health.validate()
    }

    fn validate_advertise(&self) -> Result<(), ConfigError> {
        let error = |first, value, second, why| Err(ConfigError { first, value, second, why });
        match &self.advertise {
            None if is_nowhere(self.listen.ip()) => {
                let why = "nobody can dial that: set `advertise` to the host:port by which the \
                           other nodes reach this one, or listen on that address";
                error("listen", self.listen.to_string(), "advertise", why)
            }
            Some(addr) if !is_host_port(addr) => {
                error("advertise", format!("{addr:?}"), "its form", ADDRESS_FORM)
            }
            Some(addr) if ip_of(addr).is_some_and(is_nowhere) => {
                let why = "nobody can dial that: name the host:port by which the other nodes \
                           reach this one";
                error("advertise", format!("{addr:?}"), "its form", why)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A file that is not there, or cannot be read now, is waited for; one that is wrong is not.
    fn validate_seeds_file(&self) -> Result<(), ConfigError> {
        let Some(path) = &self.seeds_file else { return Ok(()) };
        match read_seeds(path) {
            Ok(_) | Err(SeedsFileError::Unreadable { .. }) => Ok(()),
            Err(error @ SeedsFileError::Malformed { .. }) => {
                let (first, value) = ("seeds_file", error.to_string());
                Err(ConfigError { first, value, second: "its form", why: ADDRESS_FORM })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        NodeConfig::insecure("n1".parse().expect("a name"))
    }

    fn secure() -> NodeConfig {
        let security = Security::Tls { authorities: vec![], certificate: vec![], key: vec![] };
        NodeConfig { security, ..config() }
    }

    fn advertising(addr: &str) -> NodeConfig {
        NodeConfig { advertise: Some(addr.into()), ..secure() }
    }

    fn seeded(expect: usize, seeds: &[&str]) -> NodeConfig {
        let seeds = seeds.iter().map(|&seed| seed.into()).collect();
        NodeConfig { seeds, expect, ..config() }
    }

    #[test]
    fn each_broken_rule_names_both_settings() {
        let listen = SocketAddr::from(([0, 0, 0, 0], 7000));
        let anywhere = "[::]:7000".parse().expect("an address");
        let faults = [
            (NodeConfig { shards: 1000, ..config() }, ("shards", "its range")),
            (NodeConfig { expect: 3, ..config() }, ("expect", "seeds")),
            (seeded(65, &["n1:1"]), ("expect", "its range")),
            (NodeConfig { bootstrap: true, ..seeded(3, &["n1:1"]) }, ("bootstrap", "expect")),
            (seeded(3, &["n1:1"; 65]), ("seeds", "its range")),
            (seeded(3, &["n1:1", "n2"]), ("seeds", "its form")),
            (NodeConfig { weight: 0, ..config() }, ("weight", "its range")),
            (NodeConfig { weight: WEIGHT_MAX + 1, ..config() }, ("weight", "its range")),
            (NodeConfig { listen, ..config() }, ("listen", "security")),
            (NodeConfig { listen, ..secure() }, ("listen", "advertise")),
            (NodeConfig { listen: anywhere, ..secure() }, ("listen", "advertise")),
            (advertising("n1"), ("advertise", "its form")),
            (advertising("n1:0"), ("advertise", "its form")),
            (advertising("::1:7000"), ("advertise", "its form")),
            (advertising("0.0.0.0:7000"), ("advertise", "its form")),
            (advertising("[::]:7000"), ("advertise", "its form")),
        ];
        for (config, (first, second)) in faults {
            let error = config.validate().expect_err(first);
            assert_eq!((error.first, error.second), (first, second), "{error}");
        }
    }

    #[test]
    fn what_fits_is_taken() {
        let listen = SocketAddr::from(([0, 0, 0, 0], 7000));
        let file = Some(PathBuf::from("/nowhere/seeds"));
        let good = [
            config(),
            seeded(3, &["nodes.example:7000"]),
            NodeConfig { expect: 3, seeds_file: file, ..config() },
            NodeConfig { listen, ..advertising("n1.example:7000") },
            advertising("[2001:db8::1]:7000"),
        ];
        for config in good {
            assert_eq!(config.validate(), Ok(()), "{config:?}");
        }
    }

    #[test]
    fn a_wrong_seeds_file_is_an_error_of_file_and_line() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("seeds");
        let text = "# the first nodes\nn1.example:7000\n\nn2.example # without its port\n";
        std::fs::write(&path, text).expect("it is written");
        let config = NodeConfig { seeds_file: Some(path.clone()), expect: 3, ..config() };
        let error = config.validate().expect_err("line 4");
        let said = format!("{}, line 4: \"n2.example\"", path.display());
        assert_eq!((error.first, &error.value), ("seeds_file", &said));
    }
}
