//! Three processes in three network namespaces, each with an address of its own; between them a
//! bridge in a fourth one, whose links are cut.
//!
//! Goal: as [`super::group`]; and a node that is cut off is found and taken in again, and a cut
//! between two of three makes nobody unreachable, since the third still reaches both. Method: the
//! command `ip` of iproute2, as root. A node is cut off by taking its port of the bridge down. One
//! way between two is cut by a wrong hardware address in the sender's table of neighbours: its
//! packets leave, are told from none that arrive, and nobody takes them; both ways by two such.
//! This takes nothing but `ip`: netem, flower and the actions of tc are not in every kernel.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use evertree::base::{BootClock, Clock as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::processes::group::Story;
use crate::processes::nodes::{Book, NAMES, Seat, Sight};

/// Before the id of the test's process, in the name of every namespace.
const PREFIX: &str = "evertree-";
const PORT: u16 = 7001;
/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:ff";
/// How long a cut between two lasts: twice what it takes to find a node that is gone.
const CUT: Duration = Duration::from_secs(6);

fn ip(words: &[&str]) -> Result<String, String> {
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
struct Net {
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

fn address(name: &str) -> String {
    format!("10.77.0.{}", index(name) + 1)
}

fn hardware(name: &str) -> String {
    format!("02:00:00:00:00:0{}", index(name) + 1)
}

impl Net {
    /// # Errors
    /// What this machine refuses, in the words of `ip`.
    fn new() -> Result<Self, String> {
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

    fn space(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn seats(&self) -> [Seat; 3] {
        NAMES.map(|name| Seat {
            addr: SocketAddr::new(address(name).parse::<IpAddr>().expect("an address"), PORT),
            before: ["ip", "netns", "exec", &self.space(name)].map(str::to_owned).to_vec(),
        })
    }

    /// Its port of the bridge: nothing comes from `name` or reaches it while it is down.
    fn port(&self, name: &str, state: &str) {
        ip(&["-n", &self.space("bridge"), "link", "set", name, state]).expect("it is there");
    }

    /// Sends what `from` has for `to` to `hardware`.
    fn way(&self, from: &str, to: &str, hardware: &str) {
        let neighbour = ["neighbour", "replace", &address(to), "lladdr", hardware];
        let all =
            [&["-n", &self.space(from)], &neighbour[..], &["nud", "permanent", "dev", "eth0"]];
        ip(&all.concat()).expect("it is there");
    }
}

/// `name` is cut off from both others, which find it gone, and take it in again afterwards.
fn cut_off(story: &mut Story, net: &Net, name: &'static str) {
    let (what, before) = (("cut off", name), story.group.boot(name));
    let is_gone = |sight| matches!(sight, Sight::Unreachable | Sight::Evicted);
    let cut = |_: &_| {
        let at = BootClock.now();
        net.port(name, "down");
        at
    };
    let from = story.found(what, cut, is_gone);
    net.port(name, "up");
    story.healed(what, from, before - 1, true);
}

/// Whether `by` has said since line `from` that its link to `to` broke.
fn broke(book: &Book, from: usize, (by, to): (&str, &str)) -> bool {
    let (begins, words) = (format!("{by}: "), format!("broken node={to} class=control"));
    book.lines[from..].iter().any(|line| line.starts_with(&begins) && line.contains(&words))
}

/// Each of `ways` is cut for a while: nobody becomes unreachable, and all is well afterwards.
fn cut_between(story: &mut Story, net: &Net, ways: &[(&'static str, &'static str)]) {
    let from = story.group.mark();
    let mut lines = 0;
    story.group.until("the logs", |book| {
        lines = book.lines.len();
        true
    });
    let at = BootClock.now();
    for (sender, receiver) in ways {
        net.way(sender, receiver, NOBODY);
    }
    for (sender, receiver) in ways {
        let what = format!("cut {ways:?}: the link of {sender} breaks");
        story.group.until(&what, |book| broke(book, lines, (sender, receiver)));
    }
    println!("cut {ways:?}: links broke after {:?}", BootClock.now().since(at));
    let is_found = story
        .group
        .within(CUT, |book| book.said[from..].iter().any(|said| said.sight == Sight::Unreachable));
    for said in story.group.since(from) {
        println!("cut {ways:?}: {said}");
    }
    assert!(!is_found, "the third reaches both");
    for (sender, receiver) in ways {
        net.way(sender, receiver, &hardware(receiver));
    }
    story.healed(("cut between", ways[0].0), from, 0, false);
}

#[test]
fn three_processes_with_addresses_of_their_own_survive_cuts_too() {
    let net = match Net::new() {
        Ok(net) => net,
        Err(why) => {
            eprintln!("SKIPPED, no network namespaces can be made here: {why}");
            return;
        }
    };
    let mut story = Story::begin("dev", net.seats());
    for name in NAMES {
        story.kill(name);
        story.pause(name);
        cut_off(&mut story, &net, name);
    }
    cut_between(&mut story, &net, &[("n1", "n2"), ("n2", "n1")]);
    cut_between(&mut story, &net, &[("n2", "n3")]);
    cut_between(&mut story, &net, &[("n1", "n3")]);
    story.judge();
}
