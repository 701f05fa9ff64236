//! Three processes in three network namespaces: see [`super::net`].
//!
//! Goal: as [`super::group`]; and a node that is cut off is found and taken in again, and a cut
//! between two of three makes nobody unreachable, since the third still reaches both. Method: one
//! way between two is cut by a wrong hardware address in the sender's table of neighbours: its
//! packets leave, are told from none that arrive, and nobody takes them; both ways by two such.

use std::time::Duration;

use evertree::base::{BootClock, Clock as _};

use crate::processes::group::Story;
use crate::processes::net::{Net, address, hardware, ip};
use crate::processes::nodes::{Book, NAMES, Sight};

/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:00:ff";
/// How long a cut between two lasts: twice what it takes to find a node that is gone.
const CUT: Duration = Duration::from_secs(6);

/// Sends what `from` has for `to` to `hardware`.
fn way(net: &Net, (from, to): (&str, &str), hardware: &str) {
    let neighbour = ["neighbour", "replace", &address(to), "lladdr", hardware];
    let all = [&["-n", &net.space(from)], &neighbour[..], &["nud", "permanent", "dev", "eth0"]];
    ip(&all.concat()).expect("it is there");
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
        way(net, (sender, receiver), NOBODY);
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
        way(net, (sender, receiver), &hardware(receiver));
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
