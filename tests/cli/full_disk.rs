//! A node whose disk is full: a real file system without room.
//!
//! Goal: the node says in plain words how it ends, the others own everything, and once there is
//! room again it comes back with what it had. Method: the directory of one of three nodes lies on a
//! small tmpfs that the test fills. Needs root; without it the test says that it was skipped.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::{NAMES, Process, done_json, flags_of_three, run, text, until, words};

/// Room for the file systems' own needs and all that three files of a node grow to.
const SIZE: &str = "size=8m";

/// A small file system. Unmounted with the test.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// # Errors
    /// What this machine refuses, in its words.
    fn new(at: &Path) -> Result<Self, String> {
        fs::create_dir(at).map_err(|error| error.to_string())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "evertree-test"]).arg(at);
        let output = mount.output().map_err(|error| format!("`mount` cannot be run: {error}"))?;
        let said = text(&output.stderr);
        if output.status.success() { Ok(Self(at.to_owned())) } else { Err(said.trim().into()) }
    }

    /// Takes all room that is left, to the last byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.ballast()).expect("it is made");
        for piece in [65_536, 4_096, 1] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).expect("it is there");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that is still ending must not keep it.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

/// Whether the others own every shard, as n1 has it.
fn others_own_all(folder: &Path) -> bool {
    let report = done_json(folder, &["shards", "--json", "--data=n1"]);
    let rows = report["nodes"].as_array().expect("a list").iter();
    let others = rows.filter(|row| row["node"] != "n3");
    others.filter_map(|row| row["owns"].as_u64()).sum::<u64>() == 64
}

/// Has the voters agree on something, again and again, until n3 ends: its log must take it.
fn until_it_ends(folder: &Path, node: &mut Process) {
    let mut lease = 2_000;
    until("n3 ends", || {
        lease = if lease == 2_000 { 2_001 } else { 2_000 };
        // Refused while the one before settles.
        let _ = run(folder, &["set", &format!("--lease={lease}ms"), "--yes", "--data=n1"]);
        node.child.try_wait().expect("it has a state").is_some()
    });
}

#[test]
fn a_node_whose_disk_is_full_says_so_and_comes_back_once_there_is_room() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let small = match Tmpfs::new(&folder.join("n3")) {
        Ok(small) => small,
        Err(why) => {
            eprintln!("SKIPPED, no file system can be mounted here: {why}");
            return;
        }
    };
    let all = flags_of_three();
    let mut nodes = [0, 1, 2].map(|at| Process::start(folder, NAMES[at], &words(&[], &all[at])));
    for node in &mut nodes {
        node.member();
    }
    let stores = |at: usize| {
        let report = done_json(folder, &["nodes", "--json", "--data=n1"]);
        report["nodes"][at]["boot"].clone()
    };
    let boot = stores(2);
    small.fill();
    let [one, two, three] = &mut nodes;
    until_it_ends(folder, three);
    let said = three.err();
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(three.ended().code(), Some(1), "{said}");
    for part in ["evertree: n3 ended by itself: ", "raft.redb", "No space left on device"] {
        assert!(last.contains(part), "it does not say {part:?}:\n{said}");
    }
    until("the others own everything", || others_own_all(folder));
    // Without room it does not start, and says why.
    let output = run(folder, &words(&["node", "--start-within=20s"], &all[2]));
    let refused = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{refused}");
    assert!(refused.contains("No space left on device"), "{refused}");

    small.free();
    let mut again = Process::start(folder, "n3-again", &words(&[], &all[2]));
    again.member();
    until("n3 serves again, in a later boot", || {
        let report = done_json(folder, &["shards", "--json", "--data=n1", "--node=n3"]);
        let listed = report["listed"].as_array().expect("a list");
        let owned = |row: &&Value| row["owner"] == "n3";
        listed.iter().any(|row| owned(&row)) && stores(2).as_u64() > boot.as_u64()
    });
    for node in [one, two, &mut again] {
        node.signal(Signal::TERM);
        assert_eq!(node.ended().code(), Some(0), "{}", node.err());
    }
}
