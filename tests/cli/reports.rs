//! `evertree nodes` and `evertree ring`: three real nodes, asked over their sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::{NAMES, done, done_json, is_refused, run, three, until};

fn nodes(folder: &Path, data: &str) -> Vec<Value> {
    let report = done_json(folder, &["nodes", "--json", "--data", data]);
    report["nodes"].as_array().expect("a list").clone()
}

fn row<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter().find(|row| row["node"] == name).expect("it is a member")
}

fn seen_by(row: &Value, what: &str) -> u64 {
    row[what].as_u64().expect("a number")
}

/// Goal: an operator sees who is there and who is not. Method: ask each of three nodes, then stop
/// one where it stands (SIGSTOP), and ask another.
#[test]
fn nodes_says_who_is_there_and_who_does_not_answer() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let nodes_running = three(folder);
    for name in NAMES {
        let mode = fs::metadata(folder.join(name).join("evertree.sock")).expect("its socket");
        assert_eq!(mode.permissions().mode() & 0o7777, 0o600);
        until("all see each other", || {
            nodes(folder, name).iter().all(|row| seen_by(row, "reachable_by") == 2)
        });
    }
    let rows = nodes(folder, "n2");
    assert_eq!(rows.len(), 3);
    for (name, row) in NAMES.iter().zip(&rows) {
        let zone = format!("zone-{name}");
        assert_eq!((&row["node"], &row["zone"]), (&(*name).into(), &zone.into()), "{row}");
        assert_eq!((&row["status"], &row["boot"]), (&"Up".into(), &1.into()), "{row}");
        let said = &row["said"];
        assert_eq!(said["software"], env!("CARGO_PKG_VERSION"), "{row}");
        assert_eq!(said["is_serving"], true, "{row}");
    }
    let table = done(folder, &["nodes", "--data", "n2"]);
    for word in ["NODE", "REACHABLE", "by 2 of 2", "zone-n3", "as n2 has it", "ok"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    nodes_running[2].signal(Signal::STOP);
    until("the others doubt the one that stands still", || {
        let rows = nodes(folder, "n1");
        rows.iter().all(|row| row["node"] != "n3") || {
            let stopped = row(&rows, "n3");
            stopped["said"].is_null() && seen_by(stopped, "reachable_by") == 0
        }
    });
    nodes_running[2].signal(Signal::CONT);
    until("it is back", || {
        let rows = nodes(folder, "n1");
        rows.len() == 3 && rows.iter().all(|row| seen_by(row, "reachable_by") == 2)
    });
}

#[test]
fn ring_says_where_a_key_is_and_what_would_move() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let mut running = three(folder);
    let ask = |more: &[&str]| done_json(folder, &[&["ring", "--json", "--data=n1"], more].concat());
    let report = ask(&["--key=cart/alice", "--join=n4:2", "--lose=n2"]);
    let rows = report["nodes"].as_array().expect("a list");
    let owns: u64 = rows.iter().map(|row| seen_by(row, "owns")).sum();
    assert_eq!((rows.len(), owns), (3, 64), "{report}");
    let key = &report["key"];
    assert_eq!(key["in_sync"].as_array().map(Vec::len), Some(3), "{key}");
    assert!(NAMES.iter().any(|name| key["owner"] == *name), "{key}");
    // Two of five units of weight, rounded down; and whatever n2 owns.
    assert_eq!(report["join"]["shards"], 25, "{report}");
    assert_eq!(report["lose"]["shards"], row(rows, "n2")["owns"], "{report}");
    let table = done(folder, &["ring", "--data=n1", "--key=cart/alice", "--lose=n2"]);
    for word in ["CAP", "cart/alice is in shard", "If n2 (weight 1, zone zone-n2) were lost"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    // Every node says the same of the same view.
    let both = || {
        ["--data=n1", "--data=n2"]
            .map(|data| done_json(folder, &["ring", "--json", "--key=cart/bob", data]))
    };
    let mut reports = both();
    until("both have applied the same view", || {
        reports = both();
        reports[0]["version"] == reports[1]["version"]
    });
    assert_eq!(reports[0], reports[1]);
    let refused = |more: &[&str], code, words: &[&str]| {
        let arguments = [&["ring", "--data=n1"], more].concat();
        is_refused(&run(folder, &arguments), code, &format!("{more:?}"), words);
    };
    refused(&["--lose=n9"], 1, &["n9 is no member", "n1, n2, n3"]);
    refused(&["--join=n2"], 1, &["n2 is a member already"]);
    refused(&["--join=n4:0"], 2, &["n4:0", "name[:weight[:zone]]"]);
    refused(&["--key=alice"], 2, &["alice", "kind/id"]);
    running[0].signal(Signal::KILL);
    running[0].ended();
    let stale = folder.join("n1/evertree.sock");
    assert!(stale.exists(), "a killed process leaves it behind");
    refused(&[], 1, &["no node runs on n1", "nobody listens", "--data"]);
    is_refused(&run(folder, &["nodes", "--data=n7"]), 1, "n7", &["there is no directory n7"]);
}
