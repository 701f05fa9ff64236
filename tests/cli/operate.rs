//! What an operator asks of a cluster of three real nodes, and tells it. One cluster for all of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::{NAMES, Process, done, done_json, evertree, is_refused, run, text, three, until};

/// What the command prints as JSON when `n1` is asked.
fn ask(folder: &Path, arguments: &[&str]) -> Value {
    done_json(folder, &[arguments, &["--json", "--data=n1"]].concat())
}

fn rows<'a>(report: &'a Value, what: &str) -> &'a Vec<Value> {
    report[what].as_array().unwrap_or_else(|| panic!("no {what} in {report}"))
}

/// Fails with `code`, saying all of the words.
fn refused(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    is_refused(&run(folder, arguments), code, &format!("{arguments:?}"), words);
}

#[test]
fn an_operator_looks_at_a_cluster_and_changes_it() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let running = three(folder);
    who_votes(folder);
    what_is_where(folder);
    what_makes_no_sense(folder);
    tables_are_those_of_the_page(folder);
    let follower = Follower::start(folder);
    constants_are_set(folder);
    a_node_is_drained_and_is_not(folder);
    a_voter_without_a_spare_stays(folder);
    let running = nodes_join_and_leave(folder, running);
    what_happened(folder, follower, running);
}

/// `evertree events --follow --json`, which writes to a file.
struct Follower {
    child: Child,
    said: PathBuf,
}

impl Follower {
    fn start(folder: &Path) -> Self {
        let said = folder.join("events.jsonl");
        let to = fs::File::create(&said).expect("a file to say it in");
        let mut command = evertree(folder);
        let arguments = ["events", "--follow", "--last=0", "--json", "--data=n2"];
        let child = command.args(arguments).stdout(to).stderr(Stdio::piped()).spawn();
        Self { child: child.expect("it runs"), said }
    }

    fn events(&self) -> Vec<Value> {
        let said = fs::read_to_string(&self.said).expect("it is there");
        // The last line may be half written.
        let lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).expect("JSON on each line")).collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn constants_are_set(folder: &Path) {
    let shown = run(folder, &["set", "--write-min=1", "--data=n1"]);
    is_refused(&shown, 2, "nobody can be asked", &["nothing was changed", "--yes is not set"]);
    let said = text(&shown.stdout);
    assert!(
        said.contains("  write-min  2 -> 1\n") && said.contains("lost with one store"),
        "{said}"
    );
    let agreed = ask(folder, &["set", "--write-min=1", "--lease=3s", "--yes"]);
    assert_eq!((&agreed["is_agreed"], &agreed["after"]["write_min"]), (&true.into(), &1.into()));
    assert_eq!(agreed["before"]["profile"]["lease"]["secs"], 2, "{agreed}");
    assert_eq!(ask(folder, &["shards"])["write_min"], 1);
    until("the lease has settled", || {
        let events = done(folder, &["events", "--data=n1"]);
        events.contains("nobody counts another lease than 3s")
    });
    let back = done(folder, &["set", "--write-min=2", "--lease=2s", "-y", "--data=n3"]);
    assert!(
        back.contains("  lease      3s -> 2s\n") && back.ends_with("It is agreed.\n"),
        "{back}"
    );
}

fn a_node_is_drained_and_is_not(folder: &Path) {
    let drained = ask(folder, &["drain", "n3", "--wait=60s"]);
    assert_eq!((&drained["status"], &drained["owns"]), (&"Leaving".into(), &0.into()), "{drained}");
    assert_eq!((&drained["needed"], &drained["votes"]), (&0.into(), &true.into()), "{drained}");
    let rows = ask(folder, &["shards"]);
    let owns: Vec<u64> = rows["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["owns"].as_u64())
        .collect();
    assert_eq!((owns.iter().sum::<u64>(), owns[2]), (64, 0), "{rows}");
    // Who would be left could not write.
    refused(
        folder,
        &["drain", "n2", "--data=n1"],
        1,
        &["n2 is needed", "write_min is 2", "lower it"],
    );
    let again = done(folder, &["drain", "n3", "--data=n2"]);
    assert!(again.starts_with("n3, boot 1, is leaving in view "), "{again}");
    let back = done(folder, &["drain", "n3", "--cancel", "--data=n1"]);
    // Up, or joining: it may hold nothing at that moment.
    assert!(!back.contains("is leaving"), "{back}");
    until("n3 has shards again", || {
        let listed = ask(folder, &["shards", "--node=n3", "--state=owned"]);
        rows_owned_by(&listed, "n3") > 0
    });
}

fn rows_owned_by(report: &Value, node: &str) -> usize {
    rows(report, "listed").iter().filter(|row| row["owner"] == node).count()
}

fn a_voter_without_a_spare_stays(folder: &Path) {
    let words = ["n2 votes", "no member that could vote in its place", "add a node first"];
    refused(folder, &["leave", "--data=n2"], 1, &words);
    let report = ask(folder, &["nodes"]);
    assert!(rows(&report, "nodes").iter().all(|row| row["status"] == "Up"), "{report}");
}

/// Starts a node that joins the cluster of `n1`, and waits until it has.
fn joins(folder: &Path, name: &str) -> Process {
    let report = ask(folder, &["nodes"]);
    let address = rows(&report, "nodes")[0]["addr"].as_str().expect("an address").to_owned();
    let (named, data, join) =
        (format!("--name={name}"), format!("--data={name}"), format!("--join={address}"));
    let flags = ["--insecure", "--listen=127.0.0.1:0", &named, &data, &join];
    let mut node = Process::start(folder, name, &flags);
    node.member();
    node
}

fn has_left(folder: &Path, name: &str, node: &mut Process) {
    let data = format!("--data={name}");
    if name == "n5" {
        let said = done_json(folder, &["leave", "--wait=1m", "--json", &data]);
        assert_eq!((&said["node"], &said["has_left"]), (&name.into(), &true.into()), "{said}");
    } else {
        let said = done(folder, &["leave", "--wait=1m", &data]);
        let last = format!("{name}, boot 1, has left: its process ends");
        assert_eq!(said.lines().last(), Some(&*last), "{said}");
    }
    assert_eq!(node.ended().code(), Some(0), "{}", node.err());
    let says = format!("{name} has left the cluster for good");
    assert!(node.err().contains(&says), "{}", node.err());
    let report = ask(folder, &["nodes"]);
    assert!(rows(&report, "nodes").iter().all(|row| row["node"] != name), "{report}");
    let report = ask(folder, &["shards"]);
    assert_eq!(
        (&report["states"]["owned"], &report["states"]["ownerless"]),
        (&64.into(), &0.into())
    );
}

/// Goal: a node goes without a failure. Method: one that does not vote joins and leaves; then a
/// voter leaves, which another has to replace first.
fn nodes_join_and_leave(folder: &Path, running: [Process; 3]) -> [Process; 3] {
    let mut four = joins(folder, "n4");
    let report = ask(folder, &["voters"]);
    assert_eq!(report["clients"], serde_json::json!(["n4"]), "{report}");
    until("n4 has shards", || rows_owned_by(&ask(folder, &["shards", "--node=n4"]), "n4") > 0);
    has_left(folder, "n4", &mut four);
    let mut five = joins(folder, "n5");
    let [one, two, mut three] = running;
    has_left(folder, "n3", &mut three);
    let report = ask(folder, &["voters"]);
    let names: Vec<&Value> = rows(&report, "voters").iter().map(|row| &row["node"]).collect();
    assert_eq!(names, ["n1", "n2", "n5"], "{report}");
    // Two are left: of three voters one.
    refused(folder, &["leave", "--data=n5"], 1, &["n5 votes", "drain n5 --shrink-voters"]);
    let drained = ask(folder, &["drain", "n5", "--shrink-voters", "--wait=60s"]);
    assert_eq!(drained["votes"], false, "{drained}");
    until("one votes, and the log is sent to nobody else", || {
        let report = ask(folder, &["voters"]);
        report["quorum"] == 1 && rows(&report, "voters").len() == 1
    });
    has_left(folder, "n5", &mut five);
    [one, two, five]
}

/// What was followed all the while, what `n1` kept, and the end of it.
fn what_happened(folder: &Path, mut follower: Follower, mut running: [Process; 3]) {
    let kept = done(folder, &["events", "--data=n1"]);
    let facts = [
        "an operator set 3 replicas, 1 for a write, 3s: write-min 2 -> 1, lease 2s -> 3s",
        "n3: it is drained: n3 is leaving",
        " of n3 are to go to n",
        " of n3 go to n",
        "n3: it is drained no longer: n3 is ",
        "n4: it joined: n4 is a member, boot 1",
        "n4: it left: n4, boot 1, is no member any more (it left)",
        "3 voters now",
        "1 voter now",
        "n5: it left: n5, boot 1, is no member any more (it left)",
    ];
    for words in facts {
        assert!(kept.contains(words), "{words} is not in\n{kept}");
    }
    let last: Value = {
        let lines = done(folder, &["events", "--last=1", "--json", "--data=n2"]);
        serde_json::from_str(&lines).expect("one line of JSON")
    };
    until("the follower has it too", || follower.events().last() == Some(&last));
    let events = follower.events();
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["number"].as_u64()).collect();
    assert!(numbers.is_sorted_by(|one, other| *other == one + 1), "{numbers:?}");
    let handed = |event: &&Value| {
        rows(event, "owners").iter().any(|passed| passed["from"] == "n3" && passed["to"] != "n3")
    };
    let handed: Vec<&Value> = events.iter().filter(handed).collect();
    assert!(!handed.is_empty(), "{events:?}");
    for event in handed {
        let epoch = event["epoch"].as_str().expect("hex digits");
        let of_it = rows(event, "shards").iter().filter(|row| row["epoch"] == epoch);
        for row in of_it {
            assert!(
                row["before"]["node"] != row["after"]["node"] || row["before"].is_null(),
                "{row}"
            );
        }
        assert!(event["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{event}");
    }
    let log = running[0].err();
    assert!(log.contains("the view changed") && log.contains("cause=\"it is drained\""), "{log}");
    running[1].signal(Signal::TERM);
    assert_eq!(running[1].ended().code(), Some(0), "{}", running[1].err());
    let mut ended = None;
    until("who follows a node ends with it", || {
        ended = follower.child.try_wait().expect("it has a state");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

fn who_votes(folder: &Path) {
    let mut report = Value::Null;
    until("the leader has heard of all voters", || {
        report = ask(folder, &["voters"]);
        rows(&report, "voters").iter().all(|row| row["behind"] == 0)
    });
    let voters = rows(&report, "voters");
    assert_eq!(voters.len(), 3, "{report}");
    for (name, row) in NAMES.iter().zip(voters) {
        assert_eq!((&row["node"], &row["role"]), (&(*name).into(), &"Voter".into()), "{row}");
        assert_eq!((&row["is_member"], &row["said"]["boot"]), (&true.into(), &1.into()), "{row}");
    }
    assert_eq!(voters.iter().filter(|row| row["leads"] == true).count(), 1, "{report}");
    let margin = [&report["quorum"], &report["may_fail"], &report["may_fail_now"]];
    assert_eq!(margin, [&Value::from(2), &1.into(), &1.into()], "{report}");
    let table = done(folder, &["voters", "--data=n2"]);
    for words in ["3 voters, 2 must agree: 1 may fail\n", "as n2 has it", "voter, leader"] {
        assert!(table.contains(words), "{words} is not in\n{table}");
    }
}

fn what_is_where(folder: &Path) {
    let report = ask(folder, &["shards"]);
    assert_eq!((&report["states"]["owned"], rows(&report, "listed").len()), (&64.into(), 0));
    let owns: u64 = rows(&report, "nodes").iter().filter_map(|row| row["owns"].as_u64()).sum();
    assert_eq!(owns, 64, "{report}");
    let all = ask(folder, &["shards", "--all"]);
    assert_eq!(rows(&all, "listed").len(), 64);
    let place = ask(folder, &["where", "cart/alice"]);
    let shard = place["shard"].as_u64().and_then(|shard| usize::try_from(shard).ok());
    let row = &rows(&all, "listed")[shard.expect("a number")];
    for what in ["shard", "epoch", "owner", "generation"] {
        assert_eq!(row[what], place[what], "{what}: {row} {place}");
    }
    assert_eq!(rows(row, "in_sync").len(), 3, "{row}");
    let owner = row["owner"].as_str().expect("owned");
    let own = ask(folder, &["shards", "--node", owner, "--state", "owned"]);
    assert!(rows(&own, "listed").contains(row), "{own}");
    let text = done(folder, &["where", "cart/alice", "--data=n3"]);
    for words in
        ["as n3 has it", "cart/alice is in shard", "point ", &format!("owner       {owner}")]
    {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let text = done(folder, &["shards", "--data=n3"]);
    assert!(text.contains("64 shards, 3 copies of each, 2 for a write"), "{text}");
}

/// The page for operators shows the columns that there are.
fn tables_are_those_of_the_page(folder: &Path) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let bare = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let heads: Vec<String> = page.lines().map(bare).collect();
    for command in [&["nodes"][..], &["ring"], &["voters"], &["shards", "--all"]] {
        let said = done(folder, &[command, &["--data=n1"]].concat());
        let is_head =
            |line: &&str| line.starts_with("NODE ") || line.trim_start().starts_with("SHARD ");
        for head in said.lines().filter(is_head) {
            assert!(heads.contains(&bare(head)), "{command:?}: the page has no table with {head}");
        }
    }
}

fn what_makes_no_sense(folder: &Path) {
    let table: [(&[&str], i32, &[&str]); 21] = [
        (&["where", "alice"], 2, &["alice", "kind/id"]),
        (&["where"], 2, &["KIND/ID"]),
        (&["shards", "--state=odd"], 2, &["--state", "odd", "owned, ownerless, lost"]),
        (&["shards", "--node=N1"], 2, &["--node", "N1", "[a-z0-9]"]),
        (&["shards", "--node=n9"], 1, &["n9 is no member", "n1, n2, n3"]),
        (&["voters", "--data=n7"], 1, &["there is no directory n7", "--data"]),
        (&["events", "--last=many"], 2, &["--last", "many"]),
        (&["events", "--last=1", "--after=2"], 2, &["--last", "--after", "cannot be used with"]),
        (&["drain"], 2, &["NODE"]),
        (&["drain", "n9"], 1, &["n9 is no member", "n1, n2, n3"]),
        (&["drain", "n1", "--wait=5"], 2, &["--wait", "5", "500ms, 30s, 2m or 1h"]),
        (&["drain", "n1", "--cancel", "--shrink-voters"], 2, &["--cancel", "--shrink-voters"]),
        (&["drain", "n1", "--cancel", "--wait=5s"], 2, &["--cancel", "--wait"]),
        (&["leave", "--wait=0s"], 2, &["--wait", "0s", "a length of time"]),
        (&["set"], 2, &["--replicas", "--write-min", "--lease", "required"]),
        (&["set", "--replicas=300"], 2, &["--replicas", "300", "0..=255"]),
        (&["set", "--replicas=4", "-y"], 1, &["replicas = 4", "expected 1 to 3"]),
        (&["set", "--write-min=4", "-y"], 1, &["write-min = 4", "expected 1 to replicas"]),
        (&["set", "--lease=900ms", "-y"], 1, &["lease = 900ms", "lease and election_max"]),
        (&["set", "--replicas=3", "-y"], 1, &["all of it is so already"]),
        (&["voters"], 2, &["data is not set", "--data", "which running node is asked"]),
    ];
    for (arguments, code, words) in table {
        let named = arguments.iter().any(|one| one.starts_with("--data")) || code == 2;
        let data: &[&str] = if named { &[] } else { &["--data=n1"] };
        refused(folder, &[arguments, data].concat(), code, words);
    }
}
