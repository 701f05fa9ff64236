//! Everything that can be set: one table, from which the keys of the file, the variables and the
//! flags all derive, so that they cannot drift apart.
//!
//! Differs from figment, config and confique: none of them says in which line of the file a value
//! stands, and that is what an operator asks first.

mod fault;
mod file;
mod flags;
mod kind;
mod layers;
mod node;

pub(crate) use fault::{Fault, Faults, Named};
pub(crate) use flags::Flags;
pub(crate) use kind::{Kind, Span, Value};
pub(crate) use layers::{Chosen, Layers, Source};
pub(crate) use node::Told;

/// Before the name of every variable.
pub(crate) const PREFIX: &str = "EVERTREE_";
/// Names the file, if no flag does.
pub(crate) const CONFIG_VARIABLE: &str = "EVERTREE_CONFIG";

/// One thing that can be set.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in the file.
    pub(crate) key: &'static str,
    /// What may stand there.
    pub(crate) kind: Kind,
    /// As it would be written; `None`: nothing is set unless somebody does.
    pub(crate) default: Option<&'static str>,
    /// What it means, in one line.
    pub(crate) help: &'static str,
}

impl Setting {
    /// `EVERTREE_START_WITHIN` for `start_within`.
    pub(crate) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_ascii_uppercase())
    }

    /// `start-within` for `start_within`, without the dashes before it.
    pub(crate) fn flag(&self) -> String {
        self.key.replace('_', "-")
    }
}

macro_rules! settings {
    ($($name:ident = $key:literal, $kind:expr, $default:expr, $help:literal;)*) => {
        $(pub(crate) const $name: Setting =
            Setting { key: $key, kind: $kind, default: $default, help: $help };)*
        /// All of them, in the order in which they are shown.
        pub(crate) const ALL: &[Setting] = &[$($name),*];
    };
}

settings! {
    NAME = "name", Kind::Name, None,
        "Name of the node, unique in the cluster; the one in its certificate";
    CLUSTER = "cluster", Kind::Cluster, Some("evertree"),
        "Name of the cluster; the one in its certificates";
    LISTEN = "listen", Kind::Address, Some("127.0.0.1:7001"),
        "Where it listens; port 0 takes a free one";
    ADVERTISE = "advertise", Kind::HostPort, None,
        "Where others reach it, if not where it listens";
    JOIN = "join", Kind::HostPorts, None,
        "Where nodes of the cluster listen; its own address may stand in it";
    JOIN_FILE = "join_file", Kind::Path, None,
        "File with where they listen, one host:port per line; read again while it looks";
    EXPECT = "expect", Kind::Number { least: 1, most: 64 }, Some("1"),
        "How many empty nodes form the cluster together; 1, with `join`: it only joins one";
    BOOTSTRAP = "bootstrap", Kind::Switch, Some("false"),
        "It forms a cluster by itself, for others to join; refused where there is one already";
    DATA = "data", Kind::Path, None,
        "Its data directory, made if absent; no two nodes may share one";
    PROFILE = "profile", Kind::OneOf(&["dev", "lan", "wan"]), Some("dev"),
        "Timing, the same for all: laptops and CI, one data centre, several";
    ZONE = "zone", Kind::Zone, Some(""),
        "Failure zone; copies are spread over zones";
    WEIGHT = "weight", Kind::Number { least: 1, most: 256 }, Some("1"),
        "Its share of the ring, against the others'";
    SHARDS = "shards", Kind::Number { least: 1, most: 8_192 }, Some("4096"),
        "Number of shards, a power of two up to 8,192; counts when the cluster is formed";
    DURABILITY = "durability", Kind::OneOf(&["disk", "memory"]), Some("disk"),
        "Whether records survive the process";
    INSECURE = "insecure", Kind::Switch, Some("false"),
        "Plain TCP, on loopback only, for development: anyone may claim to be anyone";
    CA = "ca", Kind::Path, None,
        "PEM of the authorities to trust";
    CERT = "cert", Kind::Path, None,
        "PEM of its certificate";
    KEY = "key", Kind::Path, None,
        "PEM of its key; nobody else may read the file";
    START_WITHIN = "start_within", Kind::Span, Some("60s"),
        "How long it may take to become a member";
    REPLACE_VOTERS_AFTER = "replace_voters_after", Kind::Span, Some("30s"),
        "How long after its eviction another takes a voter's place, where this node leads";
    LOG = "log", Kind::Filter, Some("warn,openraft=error,evertree=info"),
        "What is logged, as `level` or `target=level`, with commas between";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_distinct_plain_and_none_takes_the_place_of_the_files_variable() {
        let mut keys: Vec<_> = ALL.iter().map(|setting| setting.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), ALL.len());
        for setting in ALL {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(setting.key.chars().all(plain), "{}", setting.key);
            assert_ne!(setting.variable(), CONFIG_VARIABLE);
            assert!(!["config", "json"].contains(&setting.flag().as_str()));
        }
    }

    #[test]
    fn every_default_is_of_its_kind() {
        for setting in ALL {
            let Some(default) = setting.default else { continue };
            let read = setting.kind.of_text(default);
            assert!(read.is_ok(), "{} = {default}: {read:?}", setting.key);
        }
    }
}
