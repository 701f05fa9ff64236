//! What a node watches in itself without being asked to.

use std::time::Duration;

use super::{EVERY_MIN, HealthError, ProbeConfig};
use crate::node::ConfigError;

/// The probes that come built in. Each is on unless it is `None`, and then its name is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// `executor`: a task on the runtime that entities run on must be polled within the deadline.
    /// When it is not, all workers of that runtime are blocked.
    ///
    /// Every 500 ms, within 1 s: workers that are blocked for good are found within 2 s, and the
    /// gossip says so. A node whose workers run nothing for two leases (2 s in profile `lan`, 4 s
    /// in `dev`) also renews its lease no more.
    pub executor: Option<ProbeConfig>,
    /// `disk`: what the data directory is asked for must be done within the deadline.
    pub disk: Option<DiskConfig>,
}

/// How the disk is watched.
///
/// As long as the node writes, its own writes and syncs tell: one that is under way for longer than
/// the deadline is a failure, and looking for one costs no access. Only when nothing was synced for
/// `idle` is a small file written and synced, by the thread that writes the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskConfig {
    /// Every 500 ms, within 5 s. A healthy disk syncs in milliseconds, one under heavy load in
    /// a second or two; Linux gives a request up after 30 s (`nvme`, `sd`). What takes 5 s is
    /// neither.
    pub probe: ProbeConfig,
    /// One minute. A disk that nobody writes to harms nobody by hanging, and the next write that
    /// hangs is noticed by itself; that it works is of interest to those who might move shards
    /// here. A write per minute keeps no disk from its sleep that would be allowed one, and wears
    /// none out.
    pub idle: Duration,
}

impl Default for HealthConfig {
    fn default() -> Self {
        let often = Duration::from_millis(500);
        Self {
            executor: Some(ProbeConfig::new(often, Duration::from_secs(1))),
            disk: Some(DiskConfig {
                probe: ProbeConfig::new(often, Duration::from_secs(5)),
                idle: Duration::from_mins(1),
            }),
        }
    }
}

impl HealthConfig {
    /// Checks the settings.
    pub(in crate::node) fn validate(&self) -> Result<(), ConfigError> {
        let disk = self.disk.map(|disk| disk.probe);
        for (name, probe) in [("health.executor", self.executor), ("health.disk", disk)] {
            let Some(probe) = probe else { continue };
            probe.validate().map_err(|error| ConfigError {
                first: name,
                value: error.to_string(),
                second: "its range",
                why: "every >= 10 ms, deadline >= 1 ms, failures and passes >= 1",
            })?;
        }
        Ok(())
    }
}

impl ProbeConfig {
    /// Checks the settings.
    pub(super) fn validate(&self) -> Result<(), HealthError> {
        let Self { every, deadline, failures, passes } = *self;
        let range = |what, value| Err(HealthError::Range { what, value });
        if every < EVERY_MIN {
            return range("every", format!("{every:?}"));
        }
        if deadline < Duration::from_millis(1) {
            return range("deadline", format!("{deadline:?}"));
        }
        if failures == 0 {
            return range("failures", "0".into());
        }
        if passes == 0 {
            return range("passes", "0".into());
        }
        Ok(())
    }
}
