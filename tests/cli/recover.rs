//! Voters lost for good: a new quorum from one survivor, and another one follows it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::damaged::{put_back, read};
use crate::{
    NAMES, Process, done, done_json, evertree, flags_of_three, is_refused, run, until, words,
};

fn start(folder: &Path, life: &str, flags: &[String]) -> Process {
    Process::start(folder, life, &words(&[], flags))
}

fn kill(node: &mut Process) {
    node.signal(Signal::KILL);
    node.ended();
}

/// How many shards `node` owns, by `n3`, and whether all under an epoch of quorum generation
/// `generation`.
fn owned_by(folder: &Path, node: &str, generation: char) -> (usize, bool) {
    let flags = ["shards", "--json", "--data=n3", "--state=owned", "--node"];
    let report = done_json(folder, &[&flags[..], &[node]].concat());
    let rows: Vec<&Value> = report["listed"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|row| row["owner"] == node)
        .collect();
    // 48 bits are 12 digits: what stands before them is the generation.
    let is_new = |row: &&Value| {
        let epoch = row["epoch"].as_str().expect("hex digits");
        epoch.len() == 13 && epoch.starts_with(generation)
    };
    (rows.len(), rows.iter().all(is_new))
}

/// Begins a new quorum on two survivors at the same time, which nobody can notice: two clusters.
/// Returns what n3 has printed.
fn two_begin_at_once(folder: &Path, recover: &[&str], flags: &[String]) -> Value {
    let other = words(&["recover", "--new-quorum", "--lost=n1,n3", "--yes", "--json"], flags);
    let mut command = evertree(folder);
    let other = command.args(other).stdout(Stdio::piped()).spawn().expect("it runs");
    let begun = done_json(folder, &[recover, &["--json"]].concat());
    let output = other.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", output.status);
    let second: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(second["is_begun"], true, "{second}");
    assert_ne!(second["cluster"], begun["cluster"], "one cluster of two quorums");
    begun
}

/// Refused in these words, with log and records of the node as they were.
fn refused_as_it_was(folder: &Path, (command, flags): (&[&str], &[String]), says: &[&str]) {
    let data = flags.iter().find_map(|flag| flag.strip_prefix("--data=")).expect("it is told");
    let held = || {
        let mut files = read(&folder.join(data));
        // What the node knows of itself is opened to be read, and closed.
        files.remove("node.redb").map(|_| files)
    };
    let before = held();
    let says = [says, &["nothing was changed"]].concat();
    is_refused(&run(folder, &words(command, flags)), 1, &format!("{data} {command:?}"), &says);
    assert!(held() == before, "{data} {command:?} changed something");
}

/// Goal: two of three voters are lost, and the cluster goes on with what is left; whoever does not
/// belong to it stays out. Method: kill all three, take one directory away, begin anew with the
/// third and by mistake with the second too, which may not follow then; as it was before, it does.
/// The lost one turns up. At last all are killed again, and the second begins the next quorum.
#[test]
fn a_survivor_begins_a_new_quorum_and_another_follows_it() {
    let place = tempfile::tempdir().expect("a folder");
    let (folder, flags) = (place.path(), flags_of_three());
    let mut nodes = [0, 1, 2].map(|at| start(folder, NAMES[at], &flags[at]));
    for node in &mut nodes {
        node.member();
    }
    let recover = words(&["recover", "--new-quorum", "--lost=n1,n2", "--yes"], &flags[2]);
    let refused = |arguments: &[&str], code, words: &[&str]| {
        is_refused(&run(folder, arguments), code, &format!("{arguments:?}"), words);
    };
    refused(&recover, 1, &["data directory n3", "in use by another process"]);
    let [one, two, three] = &mut nodes;
    kill(three);
    kill(one);
    refused(&recover, 1, &["n2 answers at 127.0.0.1:", "while any member runs"]);
    kill(two);
    for lost in [&[][..], &["--lost=n1"], &["--lost=n1,n2,n3"], &["--lost=n1,n9"]] {
        let unnamed = [&["recover", "--new-quorum", "--yes"], lost].concat();
        refused(&words(&unnamed, &flags[2]), 1, &["must be named", "no other: n1,n2"]);
    }
    fs::rename(folder.join("n1"), folder.join("lost")).expect("it was there");
    let asks = words(&["recover", "--new-quorum", "--lost=n1,n2"], &flags[2]);
    refused(&asks, 2, &["nothing was changed", "--yes is not set"]);
    let second = read(&folder.join("n2"));
    let begun = two_begin_at_once(folder, &recover, &flags[1]);
    assert_eq!((&begun["is_begun"], &begun["generation"]), (&true.into(), &1.into()), "{begun}");
    assert_eq!(begun["voters_lost"], serde_json::json!(["n1", "n2"]), "{begun}");
    assert!(folder.join("n3/raft.redb.before-recovery").exists());
    refused(&recover, 1, &["n3 is the only voter of its cluster: start it"]);
    let cluster = begun["cluster"].as_str().expect("hex digits");
    let follow = ["recover", "--follow", cluster, "--yes"];
    refused_as_it_was(folder, (&follow, &flags[2]), &["n3 is of cluster", "start it"]);

    let mut three = start(folder, "n3-anew", &flags[2]);
    let said = three.member();
    assert!(said.contains(cluster), "{said}");
    let (owns, is_new) = owned_by(folder, "n3", '1');
    assert!(owns > 0 && is_new, "{owns} shards");
    let report = done_json(folder, &["voters", "--json", "--data=n3"]);
    assert_eq!((&report["quorum"], &report["leader"]), (&1.into(), &"n3".into()), "{report}");
    // Whoever does not follow stays out: its directory is of another cluster, here of a third.
    refused(&words(&["node"], &flags[1]), 1, &["n2 cannot start", "belongs to cluster"]);
    let says = ["was not begun from cluster", "start it with an empty one"];
    refused_as_it_was(folder, (&follow, &flags[1]), &says);
    put_back(&folder.join("n2"), &second);
    let said = done(folder, &words(&follow, &flags[1]));
    assert_eq!(said, format!("n2 follows cluster {cluster} from its next start\n"));
    let mut two = start(folder, "n2-anew", &flags[1]);
    two.member();
    until("n2 serves again, under new epochs", || {
        let (owns, is_new) = owned_by(folder, "n2", '1');
        owns > 0 && is_new
    });
    let events = done(folder, &["events", "--data=n3"]);
    assert!(events.contains("n2"), "{events}");
    // The lost voter turns up: it is refused, and with an empty directory it joins.
    fs::rename(folder.join("lost"), folder.join("n1")).expect("it is there");
    refused(&words(&["node"], &flags[0]), 1, &["n1 cannot start", "belongs to cluster", cluster]);
    let late = words(&["recover", "--new-quorum", "--lost=n2,n3", "--yes"], &flags[0]);
    refused(&late, 1, &["answers at 127.0.0.1:", "while any member runs"]);
    fs::rename(folder.join("n1"), folder.join("lost")).expect("it is there");
    let mut one = start(folder, "n1-anew", &flags[0]);
    let said = one.member();
    assert!(said.contains(cluster), "{said}");
    the_next_disaster(folder, &flags, [one, two, three]);
}

/// All nodes of the new quorum are killed once they vote: the one that followed begins the next
/// quorum, and the one that began the first follows.
fn the_next_disaster(folder: &Path, flags: &[Vec<String>; 3], mut nodes: [Process; 3]) {
    until("all three vote", || {
        let report = done_json(folder, &["voters", "--json", "--data=n2"]);
        report["voters"].as_array().is_some_and(|voters| voters.len() == 3) && report["quorum"] == 2
    });
    for node in &mut nodes {
        kill(node);
    }
    let recover = ["recover", "--new-quorum", "--lost=n1,n3", "--yes", "--json"];
    let begun = done_json(folder, &words(&recover, &flags[1]));
    assert_eq!((&begun["is_begun"], &begun["generation"]), (&true.into(), &2.into()), "{begun}");
    let cluster = begun["cluster"].as_str().expect("hex digits");
    let follow = ["recover", "--follow", cluster, "--yes"];
    done(folder, &words(&follow, &flags[2]));
    refused_as_it_was(folder, (&follow, &flags[2]), &["n3 is of cluster", "start it"]);
    // What was lost in the first disaster is of the cluster before it.
    fs::rename(folder.join("n1"), folder.join("aside")).expect("it is there");
    fs::rename(folder.join("lost"), folder.join("n1")).expect("it is there");
    refused_as_it_was(
        folder,
        (&follow, &flags[0]),
        &["was not begun from", "follow that one first"],
    );
    let mut nodes = [1, 2].map(|at| start(folder, &format!("{}-third", NAMES[at]), &flags[at]));
    for node in &mut nodes {
        let said = node.member();
        assert!(said.contains(cluster), "{said}");
    }
    until("n3 serves again, under new epochs", || {
        let (owns, is_new) = owned_by(folder, "n3", '2');
        owns > 0 && is_new
    });
}

#[test]
fn what_makes_no_sense_is_told() {
    let place = tempfile::tempdir().expect("a folder");
    let flags = ["--insecure", "--name=n1", "--data=n1", "--listen=127.0.0.1:0"];
    let table: [(&[&str], i32, &[&str]); 6] = [
        (&[], 2, &["--new-quorum", "--follow"]),
        (&["--new-quorum", "--follow", "00"], 2, &["--follow", "64 hex digits"]),
        (&["--follow", "xyz"], 2, &["xyz", "64 hex digits"]),
        (&["--new-quorum", "--lost=N1"], 2, &["--lost", "N1", "[a-z0-9]"]),
        (&["--new-quorum", "--shards=5"], 2, &["shards = \"5\"", "a power of two"]),
        (&["--new-quorum", "--yes"], 1, &["n1 is of no cluster"]),
    ];
    for (more, code, says) in table {
        let arguments = [&["recover"], more, &flags[..]].concat();
        is_refused(&run(place.path(), &arguments), code, &format!("{more:?}"), says);
    }
    let mut node = Process::start(place.path(), "alone", &flags);
    node.member();
    node.signal(Signal::TERM);
    node.ended();
    let arguments = [&["recover", "--new-quorum", "--yes"], &flags[..]].concat();
    is_refused(&run(place.path(), &arguments), 1, "alone", &["n1 is the only voter", "start it"]);
}
