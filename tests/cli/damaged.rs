//! A voter whose directory is damaged, lacks a file, or is older than it was: real nodes, real
//! files.
//!
//! Goal: it is refused with one sentence that says what is wrong, what is still true and what to
//! do; the others go on; and the way out works. Method: one cluster; the third node is off, its
//! files are spoilt in one way after the other and put back as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::{NAMES, Process, done, done_json, flags_of_three, is_refused, run, text, until, words};

const RAFT: &str = "raft.redb";
/// What a node keeps in its directory.
const FILES: [&str; 3] = ["data.redb", "node.redb", RAFT];
/// The id of a cluster, in hex digits.
const OTHER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// What is said of a voter's log, whatever is wrong with it.
const LOG_LOST: [&str; 5] = [
    "evertree: n3 cannot start: ",
    "what this voter has agreed to is lost",
    "nothing was changed, and the other nodes go on as long as a majority of the voters runs",
    "start n3 with an empty data directory",
    "then it joins anew",
];

pub(super) type Files = BTreeMap<&'static str, Vec<u8>>;

pub(super) fn read(folder: &Path) -> Files {
    FILES.map(|file| (file, fs::read(folder.join(file)).expect("it is there"))).into()
}

/// Overwrites the files in their places, as `rsync --inplace` does: nothing of the file system
/// tells them from those before.
pub(super) fn put_back(folder: &Path, files: &Files) {
    for (file, bytes) in files {
        fs::write(folder.join(file), bytes).expect("it is written");
    }
}

fn spoil(path: &Path, spoil: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("it is there");
    spoil(&mut bytes);
    fs::write(path, bytes).expect("it is written");
}

/// Every page but the first: which of them are free is not known.
fn flip(bytes: &mut [u8]) {
    for byte in bytes[4_096..].iter_mut().step_by(64) {
        *byte ^= 0x55;
    }
}

/// Shards that each node owns, as n1 has it.
fn owners(folder: &Path) -> BTreeMap<String, u64> {
    let report = done_json(folder, &["shards", "--json", "--data=n1"]);
    let rows = report["nodes"].as_array().expect("a list").iter();
    rows.map(|row| (row["node"].to_string(), row["owns"].as_u64().expect("a number"))).collect()
}

/// Waits until n3 is no member any more, and the others own everything.
fn until_others_serve(folder: &Path) {
    until("the others own everything", || {
        let owners = owners(folder);
        !owners.contains_key("\"n3\"") && owners.values().sum::<u64>() == 64
    });
}

fn kill(node: &mut Process) {
    node.signal(Signal::KILL);
    node.ended();
}

/// What it says is one sentence, however it was spoilt.
fn is_refused_in_one_line(folder: &Path, flags: &[String], what: &str, says: &[&str]) {
    let output = run(folder, &words(&["node", "--log=error"], flags));
    is_refused(&output, 1, what, says);
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{what}: one line:\n{said}");
}

/// What is wrong with a voter's log is so afterwards, too: the node finds it at its next start.
fn recovery_changes_nothing(folder: &Path, flags: &[String], what: &str) {
    let log = || fs::read(folder.join("n3").join(RAFT)).ok();
    let before = log();
    let recover = ["recover", "--new-quorum", "--lost=n1,n2"];
    for more in [&[][..], &["--yes"]] {
        let output = run(folder, &words(&[&recover, more].concat(), flags));
        is_refused(&output, 1, &format!("{what}: {recover:?} {more:?}"), &[RAFT]);
        assert!(log() == before, "{what}: {recover:?} {more:?} changed it");
    }
    if before.is_none() {
        let follow = words(&["recover", "--yes", "--follow", OTHER], flags);
        is_refused(&run(folder, &follow), 1, &format!("{what}: {follow:?}"), &[RAFT]);
        assert!(log().is_none(), "{what}: {follow:?} made it");
    }
}

fn spoilt_files_are_refused(folder: &Path, flags: &[String], good: &Files) {
    let path = folder.join("n3").join(RAFT);
    let length = good[RAFT].len();
    let refused = |what: &str, says: &[&str]| {
        recovery_changes_nothing(folder, flags, what);
        is_refused_in_one_line(folder, flags, what, &[says, &LOG_LOST].concat());
        put_back(&folder.join("n3"), good);
    };
    spoil(&path, |bytes| flip(bytes));
    refused("flipped", &["raft.redb is damaged ("]);
    // The last pages may be free: whoever lacks only these lacks nothing.
    for (what, kept) in [("half", length / 2), ("a quarter", length / 4), ("a page", 4_096)] {
        spoil(&path, |bytes| bytes.truncate(kept));
        refused(what, &["raft.redb is damaged ("]);
    }
    spoil(&path, Vec::clear);
    refused("empty", &["raft.redb is damaged (it is empty)"]);
    fs::remove_file(&path).expect("it is there");
    refused("missing", &["raft.redb is missing from the data directory of n3"]);
    for file in ["data.redb", "node.redb"] {
        spoil(&folder.join("n3").join(file), |bytes| bytes.truncate(good[file].len() / 2));
        let says = [&*format!("n3 cannot start: {file} is corrupt"), "join with an empty one"];
        is_refused_in_one_line(folder, flags, file, &says);
        put_back(&folder.join("n3"), good);
    }
}

/// One file is from an earlier start, the others are not: it would vote again, or lack writes that
/// it has acknowledged since.
fn one_older_file_is_refused(folder: &Path, flags: &[String], (old, good): (&Files, &Files)) {
    let older = "is older than the rest of the data directory";
    let raft = [&*format!("n3 cannot start: raft.redb {older}"), "put back the one that"];
    let data = [
        &*format!("n3 cannot start: data.redb {older}"),
        "writes that were acknowledged since may be missing from it",
        "nothing was changed",
        "put back the one that was there when n3 ran last",
        "start n3 with an empty data directory: then it joins anew",
    ];
    let raft = [&raft, &LOG_LOST[1..]].concat();
    for (file, says) in [(RAFT, &raft[..]), ("data.redb", &data[..])] {
        for time in 1..=2 {
            put_back(&folder.join("n3"), &Files::from([(file, old[file].clone())]));
            is_refused_in_one_line(folder, flags, &format!("old {file}, {time}"), says);
        }
        // That file alone: what was tried with the other one has changed nothing of the rest.
        put_back(&folder.join("n3"), &Files::from([(file, good[file].clone())]));
    }
}

/// It has forgotten what it voted since, and would vote again.
fn older_files_are_refused(folder: &Path, flags: &[String], old: &Files) {
    let says = ["n3 looks like a copy or an old backup", "may have forgotten", "joins anew"];
    put_back(&folder.join("n3"), old);
    // Whoever starts it again and again makes its boots pass those that the cluster knows.
    for time in 1..=4 {
        is_refused_in_one_line(folder, flags, &format!("an old backup, {time}"), &says);
    }
    fs::create_dir(folder.join("copy")).expect("a folder");
    for file in FILES {
        fs::copy(folder.join("n3").join(file), folder.join("copy").join(file)).expect("a copy");
    }
    fs::write(folder.join("copy/lock"), "").expect("it is written");
    let elsewhere: Vec<String> =
        flags.iter().map(|flag| flag.replace("--data=n3", "--data=copy")).collect();
    let says = ["is a copy of that of n3", "its own directory", "joins anew"];
    is_refused_in_one_line(folder, &elsewhere, "a copy", &says);
}

fn joins_anew(folder: &Path, flags: &[String]) -> Process {
    fs::rename(folder.join("n3"), folder.join("aside")).expect("it is there");
    let mut node = Process::start(folder, "n3-anew", &words(&[], flags));
    node.member();
    until("n3 votes and owns shards again", || {
        let report = done_json(folder, &["voters", "--json", "--data=n1"]);
        let rows = report["voters"].as_array().expect("a list").iter();
        let names: Vec<&Value> = rows.map(|row| &row["node"]).collect();
        names == NAMES && owners(folder).get("\"n3\"").is_some_and(|owns| *owns > 0)
    });
    node
}

#[test]
fn a_voter_with_a_spoilt_or_an_older_directory_is_refused_and_joins_anew() {
    let place = tempfile::tempdir().expect("a folder");
    let (folder, mut all) = (place.path(), flags_of_three());
    for flags in &mut all {
        flags.push("--replace-voters-after=1s".into());
    }
    let flags = &all[2];
    let mut nodes = [0, 1, 2].map(|at| Process::start(folder, NAMES[at], &words(&[], &all[at])));
    for node in &mut nodes {
        node.member();
    }
    kill(&mut nodes[2]);
    let old = read(&folder.join("n3"));
    until_others_serve(folder);
    let mut second = Process::start(folder, "n3-second", &words(&[], flags));
    second.member();
    kill(&mut second);
    until_others_serve(folder);
    let good = read(&folder.join("n3"));

    spoilt_files_are_refused(folder, flags, &good);
    one_older_file_is_refused(folder, flags, (&old, &good));
    let mut third = Process::start(folder, "n3-third", &words(&[], flags));
    third.member();
    kill(&mut third);
    until_others_serve(folder);
    let good = read(&folder.join("n3"));

    older_files_are_refused(folder, flags, &old);
    // Part of it is newer: its own log knows of the life that the rest of it has forgotten.
    put_back(&folder.join("n3"), &Files::from([(RAFT, good[RAFT].clone())]));
    let says = ["n3 looks like a copy or an old backup"];
    is_refused_in_one_line(folder, flags, "old but for its log", &says);

    // The others have gone on: what they are asked is agreed.
    done(folder, &["set", "--lease=2500ms", "--yes", "--data=n1"]);
    let _anew = joins_anew(folder, flags);
    for node in &mut nodes[..2] {
        node.signal(Signal::TERM);
        assert_eq!(node.ended().code(), Some(0), "{}", node.err());
    }
}
