//! From the settings to what a node is told, with the rules that hold between them.

use std::net::SocketAddr;
use std::time::Duration;

use evertree::base::NodeId;
use evertree::node::{ConfigError, NodeConfig, Security};
use evertree::placement::{Profile, ProfileError};
use evertree::storage::Durability;
use evertree::transport::TlsFiles;

use super::{
    ADVERTISE, ALL, BOOTSTRAP, CA, CERT, CLUSTER, DATA, DURABILITY, EXPECT, Fault, Faults,
    INSECURE, JOIN, JOIN_FILE, KEY, LISTEN, Layers, NAME, Named, PROFILE, REPLACE_VOTERS_AFTER,
    SHARDS, START_WITHIN, Setting, Source, Value, WEIGHT, ZONE,
};

/// A round trip and an fsync that a profile must at least allow for, as at the node's own start.
const LEAST: Duration = Duration::from_millis(1);

/// Fields of a node's configuration that are called otherwise here.
const FIELDS: [(&str, Setting); 3] =
    [("seeds", JOIN), ("seeds_file", JOIN_FILE), ("security", INSECURE)];

/// What a node is told.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its certificates are not read yet: with `files`, they are empty here.
    pub(crate) config: NodeConfig,
    /// Where its certificates are; `None` if its links are plain TCP.
    pub(crate) files: Option<TlsFiles>,
    pub(crate) start_within: Duration,
}

impl Told {
    /// Takes it from the settings.
    ///
    /// # Errors
    /// All that is wrong in any layer, and then between the settings.
    pub(crate) fn of(layers: &Layers) -> Result<Self, Faults> {
        if !layers.faults.is_empty() {
            return Err(Faults(layers.faults.clone()));
        }
        let mut faults = Vec::new();
        let files = security(layers, &mut faults);
        unset(layers, &mut faults);
        let name = layers.text(&NAME).and_then(|name| name.parse().ok());
        let (Some(name), true) = (name, faults.is_empty()) else { return Err(Faults(faults)) };
        let config = config(layers, name, files.is_none());
        let wrong = |error: ConfigError| Faults(vec![unfit(layers, &error)]);
        config.validate().map_err(wrong)?;
        let wrong = |error: ProfileError| Faults(vec![unfit_profile(layers, &error)]);
        config.profile.validate(LEAST, LEAST).map_err(wrong)?;
        let start_within = span(layers, &START_WITHIN);
        Ok(Self { config, files, start_within })
    }
}

/// What must be set, some of it because of what else is.
fn unset(layers: &Layers, faults: &mut Vec<Fault>) {
    let mut needs = |setting: &Setting, why| {
        faults.push(Fault::Missing { key: setting.key, why });
    };
    if layers.text(&NAME).is_none() {
        needs(&NAME, "a node needs a name");
    }
    if layers.path(&DATA).is_none() {
        needs(&DATA, "a node needs a data directory");
    }
    let anywhere = listen(layers).is_some_and(|listen| listen.ip().is_unspecified());
    if anywhere && layers.text(&ADVERTISE).is_none() {
        needs(&ADVERTISE, "nobody can reach the address it listens on");
    }
}

fn span(layers: &Layers, setting: &Setting) -> Duration {
    match layers.value(setting) {
        Some(Value::Span(span)) => span,
        _ => Duration::ZERO,
    }
}

fn listen(layers: &Layers) -> Option<SocketAddr> {
    layers.text(&LISTEN)?.parse().ok()
}

fn config(layers: &Layers, name: NodeId, insecure: bool) -> NodeConfig {
    let security = if insecure {
        Security::Insecure
    } else {
        Security::Tls { authorities: Vec::new(), certificate: Vec::new(), key: Vec::new() }
    };
    let config = NodeConfig::new(name, security);
    NodeConfig {
        cluster: layers.text(&CLUSTER).unwrap_or_default(),
        listen: listen(layers).unwrap_or(config.listen),
        advertise: layers.text(&ADVERTISE),
        seeds: layers.list(&JOIN),
        seeds_file: layers.path(&JOIN_FILE),
        expect: layers.number(&EXPECT),
        bootstrap: layers.value(&BOOTSTRAP) == Some(Value::Switch(true)),
        replace_voters_after: span(layers, &REPLACE_VOTERS_AFTER),
        data: layers.path(&DATA).unwrap_or_default(),
        profile: match layers.text(&PROFILE).as_deref() {
            Some("lan") => Profile::lan(),
            Some("wan") => Profile::wan(),
            _ => Profile::dev(),
        },
        shards: layers.number(&SHARDS),
        zone: layers.text(&ZONE).unwrap_or_default(),
        weight: layers.number(&WEIGHT),
        durability: match layers.text(&DURABILITY).as_deref() {
            Some("memory") => Durability::Memory,
            _ => Durability::Disk,
        },
        ..config
    }
}

/// The three files, or none of them and plain TCP.
fn security(layers: &Layers, faults: &mut Vec<Fault>) -> Option<TlsFiles> {
    let insecure = layers.value(&INSECURE) == Some(Value::Switch(true));
    let [ca, cert, key] = [&CA, &CERT, &KEY].map(|setting| layers.path(setting));
    if insecure {
        for setting in [&CA, &CERT, &KEY] {
            if layers.path(setting).is_some() {
                faults.push(Fault::Unfit {
                    first: Box::new(told(layers, &INSECURE)),
                    second: Box::new(told(layers, setting)),
                    why: "plain TCP has no certificates: take one of the two away".into(),
                });
            }
        }
        return None;
    }
    for (setting, path) in [(&CA, &ca), (&CERT, &cert), (&KEY, &key)] {
        if path.is_none() {
            let why = "links need certificates: `evertree certs` makes them, and --insecure does \
                       without, on loopback";
            faults.push(Fault::Missing { key: setting.key, why });
        }
    }
    Some(TlsFiles { ca: ca?, cert: cert?, key: key? })
}

/// A rule of the library that is broken, in the words of the settings.
fn unfit(layers: &Layers, error: &ConfigError) -> Fault {
    let of = |field: &str, value: &str| {
        let named = FIELDS.iter().find(|(name, _)| *name == field);
        let key = named.map_or(field, |(_, setting)| setting.key);
        let setting = ALL.iter().find(|setting| setting.key == key);
        let (key, source) = (key.to_owned(), Source::Default);
        let other = || Named { key, value: String::new(), source };
        let mut named = setting.map_or_else(other, |setting| told(layers, setting));
        // It may say more than the setting, such as a line of the file that is named there.
        if !value.is_empty() {
            value.clone_into(&mut named.value);
        }
        Box::new(named)
    };
    Fault::Unfit {
        first: of(error.first, &error.value),
        second: of(error.second, ""),
        why: FIELDS.iter().fold(error.why.to_owned(), |why, (field, setting)| {
            why.replace(&format!("`{field}`"), setting.key)
        }),
    }
}

/// A rule of the timing that is broken: all of it comes from one setting.
fn unfit_profile(layers: &Layers, error: &ProfileError) -> Fault {
    let key = format!("{} and {}", error.first, error.second);
    let second = Box::new(Named { key, value: String::new(), source: Source::Default });
    Fault::Unfit { first: Box::new(told(layers, &PROFILE)), second, why: error.why.clone() }
}

fn told(layers: &Layers, setting: &Setting) -> Named {
    let chosen = layers.of_setting(setting);
    let value = chosen.value.map_or_else(|| "nothing".to_owned(), |value| value.written());
    Named { key: setting.key.to_owned(), value, source: chosen.source }
}
