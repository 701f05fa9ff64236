//! `evertree node` alone: it starts, says so, stops, and says why it cannot.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::{Process, free_port, is_refused, run, until};

const ALONE: [&str; 7] = ["--name", "n1", "--insecure", "--listen", "127.0.0.1:0", "--data", "n1"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ALONE.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn a_node_says_that_it_is_a_member_and_stops_when_asked_to() {
    let place = tempfile::tempdir().expect("a folder");
    for (life, signal) in [(1, Signal::TERM), (2, Signal::INT)] {
        let mut node = Process::start(place.path(), &format!("life-{life}"), &ALONE);
        let said = node.member();
        let begins = "n1 is a member of evertree (cluster id ";
        let ends = format!("data in n1, process {}\n", node.child.id());
        assert!(said.starts_with(begins) && said.ends_with(&ends), "{said}");
        assert!(said.contains(&format!(", boot {life}, at 127.0.0.1:")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        node.signal(signal);
        assert_eq!(node.ended().code(), Some(0), "{}", node.err());
        assert_eq!(node.out(), said, "it printed more");
    }
}

#[test]
fn programs_are_told_the_same_as_json_on_one_line() {
    let place = tempfile::tempdir().expect("a folder");
    let mut node = Process::start(place.path(), "json", &with(&["--json", "--cluster=shop"]));
    let said = node.member();
    assert_eq!(said.lines().count(), 1, "{said}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["node"], &said["cluster"]), (&"n1".into(), &"shop".into()), "{said}");
    assert_eq!(said["cluster_id"].as_str().map(str::len), Some(64), "{said}");
    assert_eq!((&said["boot"], &said["data"]), (&1.into(), &"n1".into()), "{said}");
    assert_eq!(said["pid"], node.child.id(), "{said}");
    let address = said["address"].as_str().expect("an address");
    std::net::TcpStream::connect(address).expect("it listens there");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let place = tempfile::tempdir().expect("a folder");
    let mut node = Process::start(place.path(), "twice", &ALONE);
    node.member();
    // Both wait for it when it goes on: it begins to stop for one and sees the other.
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        node.signal(signal);
    }
    assert_eq!(node.ended().code(), Some(128 + 15), "{}", node.err());
    assert!(node.err().contains("n1 was ended by a second signal while it stopped"));
}

#[test]
fn a_signal_before_it_is_a_member_ends_it_at_once() {
    let place = tempfile::tempdir().expect("a folder");
    let join = format!("--join=127.0.0.1:{}", free_port());
    let other = format!("--join=127.0.0.1:{}", free_port());
    for (label, signal, code) in [("term", Signal::TERM, 143), ("int", Signal::INT, 130)] {
        let arguments = with(&[&join, &other, "--expect=2"]);
        let mut node = Process::start(place.path(), label, &arguments);
        until("it has begun", || place.path().join("n1/lock").exists());
        node.signal(signal);
        assert_eq!(node.ended().code(), Some(code), "{}", node.err());
        assert!(node.err().contains("n1 was ended by a signal before"), "{}", node.err());
        assert_eq!(node.out(), "");
        fs::remove_file(place.path().join("n1/lock")).expect("it was there");
    }
}

#[test]
fn a_node_that_cannot_start_says_why_and_what_to_do() {
    let place = tempfile::tempdir().expect("a folder");
    let mut node = Process::start(place.path(), "first", &with(&["--json"]));
    let said: Value = serde_json::from_str(&node.member()).expect("JSON");
    let address = said["address"].as_str().expect("an address");
    let refused = |arguments: &[&str], words: &[&str]| {
        let arguments: Vec<&str> =
            ["node", "--insecure"].into_iter().chain(arguments.iter().copied()).collect();
        is_refused(&run(place.path(), &arguments), 1, &format!("{arguments:?}"), words);
    };
    let listen = format!("--listen={address}");
    refused(
        &["--name=n2", &listen, "--data=n2"],
        &["n2 cannot start", address, "in use", "another address"],
    );
    refused(
        &["--name=n1", "--listen=127.0.0.1:0", "--data=n1"],
        &["n1 cannot start", "data directory n1", "in use by another process"],
    );
    fs::write(place.path().join("file"), "").expect("it is written");
    refused(&["--name=n2", "--listen=127.0.0.1:0", "--data=file"], &["file is not a directory"]);
    node.signal(Signal::TERM);
    node.ended();
    refused(
        &["--name=n2", "--listen=127.0.0.1:0", "--data=n1"],
        &["n2 cannot start", "belongs to node n1"],
    );
    let join = format!("--join=127.0.0.1:{0},127.0.0.1:{0}", free_port());
    let late = ["--name=n3", "--listen=127.0.0.1:0", "--data=n3", "--expect=2", &join];
    let late: Vec<&str> = late.into_iter().chain(["--start-within=300ms"]).collect();
    refused(&late, &["n3 cannot start"]);
}

#[test]
fn it_logs_to_standard_error_what_the_filter_lets_through() {
    let place = tempfile::tempdir().expect("a folder");
    for (filter, says) in [("evertree=trace", true), ("off", false)] {
        let mut node = Process::start(place.path(), filter, &with(&["--log", filter]));
        node.member();
        node.signal(Signal::HUP);
        node.says("evertree: n1: SIGHUP: its links are plain TCP, there are no certificates");
        node.signal(Signal::TERM);
        assert_eq!(node.ended().code(), Some(0));
        let logs = node.err().lines().any(|line| line.contains(" evertree::"));
        assert_eq!(logs, says, "{filter}:\n{}", node.err());
    }
}
