//! What an operator asks of a cluster of three real nodes, and tells it. One cluster for all of it.

use std::path::Path;

use serde_json::Value;

use crate::{NAMES, done, done_json, is_refused, run, three, until};

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
    drop(running);
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

fn what_makes_no_sense(folder: &Path) {
    let table: [(&[&str], i32, &[&str]); 7] = [
        (&["where", "alice"], 2, &["alice", "kind/id"]),
        (&["where"], 2, &["KIND/ID"]),
        (&["shards", "--state=odd"], 2, &["--state", "odd", "owned, ownerless, lost"]),
        (&["shards", "--node=N1"], 2, &["--node", "N1", "[a-z0-9]"]),
        (&["shards", "--node=n9"], 1, &["n9 is no member", "n1, n2, n3"]),
        (&["voters", "--data=n7"], 1, &["there is no directory n7", "--data"]),
        (&["voters"], 2, &["data is not set", "--data", "which running node is asked"]),
    ];
    for (arguments, code, words) in table {
        let named = arguments.iter().any(|one| one.starts_with("--data")) || code == 2;
        let data: &[&str] = if named { &[] } else { &["--data=n1"] };
        refused(folder, &[arguments, data].concat(), code, words);
    }
}
