//! Nodes with directories or settings that are not right, beside a cluster that runs.
//!
//! Goal: each is refused, in words that say what to do, or does no harm; nobody of the cluster is
//! accused of anything meanwhile. Method: the command itself, real directories.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::nodes::{Group, NAMES, Sight, loopback};
use crate::{Process, until};

/// At an address that nobody else has.
const ELSEWHERE: [(&str, &str); 2] = [("listen", "127.0.0.1:0"), ("advertise", "")];

/// Fails with all of `words` in what it says.
fn is_refused(group: &Group, name: &str, changed: &[(&str, &str)], words: &[&str]) {
    let changed = [changed, &[("start-within", "20s")]].concat();
    let output = group.command(name, &changed).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{changed:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{changed:?} does not say {word:?}:\n{said}");
    }
    assert!(!said.contains("panicked"), "{changed:?}: {said}");
}

/// A copy of all files in a directory; sockets are none.
fn copy(from: &str, to: &str) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("it has one").is_file() {
            fs::copy(entry.path(), Path::new(to).join(entry.file_name())).expect("a copy");
        }
    }
}

/// Since `mark` nobody was found gone but those of `gone`, and all have the boots `before`.
fn nobody_was_disturbed(group: &Group, mark: usize, gone: &[&str]) {
    for said in group.since(mark) {
        let is_gone = matches!(said.sight, Sight::Unreachable | Sight::Evicted);
        assert!(!is_gone || gone.contains(&said.node.as_str()), "{said}");
    }
}

#[test]
fn directories_of_others_are_refused_and_disturb_nobody() {
    let mut group = Group::form("dev", loopback());
    let boots = NAMES.map(|name| group.boot(name));
    let mark = group.mark();

    let copied = group.path("copied");
    copy(&group.path("n1"), &copied);
    let with_copy = [&ELSEWHERE[..], &[("data", &copied)]].concat();
    is_refused(&group, "n1", &with_copy, &["n1 cannot start", "is a copy", "its own directory"]);
    let theirs = [&ELSEWHERE[..], &[("data", &copied)]].concat();
    is_refused(&group, "n2", &theirs, &["n2 cannot start", "belongs to node n1"]);

    // A second cluster, formed by a node alone under a name that the first one has.
    let alone = group.path("alone");
    let apart = [&ELSEWHERE[..], &[("data", &alone), ("join", ""), ("expect", "")]].concat();
    let mut command = group.command("n3", &apart);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    let mut second = Process(child);
    let mut said = String::new();
    let output = second.0.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut said).expect("text");
    assert!(said.contains("n3 is a member"), "{said}");
    kill_process(Pid::from_child(&second.0), Signal::TERM).expect("it runs");
    assert!(second.0.wait().expect("it ends").success(), "it stops in order");
    nobody_was_disturbed(&group, mark, &[]);
    assert_eq!(NAMES.map(|name| group.boot(name)), boots);

    group.signal("n3", Signal::KILL);
    group.ended("n3");
    let words = ["n3 cannot start", "belongs to cluster", "choose another directory"];
    is_refused(&group, "n3", &[("data", &alone)], &words);
    let copied = group.path("copied-3");
    copy(&group.path("n3"), &copied);
    is_refused(&group, "n3", &[("data", &copied)], &["is a copy", "its own directory"]);
    let words = ["n3 cannot start", "profile is lan", "is dev", "start this node with theirs"];
    is_refused(&group, "n3", &[("profile", "lan")], &words);
    let fresh = group.path("fresh");
    let second = [("data", &*fresh), ("expect", ""), ("bootstrap", "true")];
    is_refused(&group, "n3", &second, &["of cluster", "already", "without `bootstrap`"]);
    let again = [("expect", ""), ("bootstrap", "true")];
    is_refused(&group, "n3", &again, &["of cluster", "already", "without `bootstrap`"]);

    // What only a formation asks for does no harm to a node that has its cluster.
    group.start_with("n3", &[("expect", "5"), ("shards", "16")]);
    group.until("all see each other", |book| {
        book.is_well(&NAMES) && book.boot("n3").is_some_and(|boot| boot > boots[2])
    });
    nobody_was_disturbed(&group, mark, &["n3"]);
}

#[test]
fn nodes_that_expect_different_numbers_form_no_cluster_until_they_agree() {
    let mut group = Group::new("dev", loopback());
    for name in ["n1", "n2"] {
        group.start(name);
    }
    // Of those that do not agree the one that came later is refused.
    for name in ["n1", "n2"] {
        let socket = group.path(&format!("{name}/evertree.sock"));
        until("it looks for the others", || Path::new(&socket).exists());
    }
    is_refused(&group, "n3", &[("expect", "2")], &["`expect` must be the same everywhere"]);
    group.start("n3");
    group.until("all see each other", |book| book.is_well(&NAMES));
}
