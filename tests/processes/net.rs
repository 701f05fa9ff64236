//! Network namespaces for three processes, each with an address of its own; between them a bridge
//! in a fourth one, whose links are cut.
//!
//! Method: the command `ip` of iproute2, as root. A node is cut off by taking its port of the
//! bridge down. This takes nothing but `ip`: netem, flower and the actions of tc are not in every
//! kernel.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};

use super::nodes::{NAMES, Seat};

/// Before the id of the test's process, in the name of every namespace.
const PREFIX: &str = "evertree-";
const PORT: u16 = 7001;

pub(crate) fn ip(words: &[&str]) -> Result<String, String> {
    let Output { status, stdout, stderr } = Command::new("ip")
        .args(words)
        .output()
        .map_err(|error| format!("`ip`, of iproute2, cannot be run: {error}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&stderr).trim()))
}

/// Deletes namespaces whose names begin with `prefix`, with all that runs in them.
fn delete(prefix: &str) {
    for line in ip(&["netns", "list"]).unwrap_or_default().lines() {
        let Some(name) = line.split(' ').next().filter(|name| name.starts_with(prefix)) else {
            continue;
        };
        for pid in ip(&["netns", "pids", name]).unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                // It may have ended.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Err(why) = ip(&["netns", "delete", name]) {
            eprintln!("{why}");
        }
    }
}

/// Deletes what test runs left behind that were killed.
fn delete_stale() {
    for line in ip(&["netns", "list"]).unwrap_or_default().lines() {
        let owner = line.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner.filter(|owner| !Path::new("/proc").join(owner).exists()) {
            delete(&format!("{PREFIX}{owner}-"));
        }
    }
}

/// Four namespaces. Deleted with the test.
pub(crate) struct Net {
    prefix: String,
}

impl Drop for Net {
    fn drop(&mut self) {
        delete(&self.prefix);
    }
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|other| *other == name).expect("one of them")
}

pub(crate) fn address(name: &str) -> String {
    format!("10.77.0.{}", index(name) + 1)
}

pub(crate) fn hardware(name: &str) -> String {
    format!("02:00:00:00:00:0{}", index(name) + 1)
}

impl Net {
    /// # Errors
    /// What this machine refuses, in the words of `ip`.
    pub(crate) fn new() -> Result<Self, String> {
        delete_stale();
        let net = Self { prefix: format!("{PREFIX}{}-", std::process::id()) };
        let bridge = net.space("bridge");
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "bridge", "up"])?;
        for name in NAMES {
            let space = net.space(name);
            let hardware = hardware(name);
            ip(&["netns", "add", &space])?;
            let peer = ["peer", "name", "eth0", "address", &hardware, "netns", &space];
            let port = ["-n", &bridge, "link", "add", name, "type", "veth"];
            ip(&[&port[..], &peer[..]].concat())?;
            ip(&["-n", &bridge, "link", "set", name, "master", "bridge", "up"])?;
            let cidr = format!("{}/24", address(name));
            ip(&["-n", &space, "address", "add", &cidr, "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        }
        Ok(net)
    }

    pub(crate) fn space(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn seats(&self) -> [Seat; 3] {
        NAMES.map(|name| Seat {
            addr: SocketAddr::new(address(name).parse::<IpAddr>().expect("an address"), PORT),
            before: ["ip", "netns", "exec", &self.space(name)].map(str::to_owned).to_vec(),
        })
    }

    /// Its port of the bridge: nothing comes from `name` or reaches it while it is down.
    pub(crate) fn port(&self, name: &str, state: &str) {
        ip(&["-n", &self.space("bridge"), "link", "set", name, state]).expect("it is there");
    }
}
