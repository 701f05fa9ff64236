//! What is wrong with the settings is told with its place, its key, its value and what was
//! expected, before anything is touched.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

use crate::{evertree, is_refused, text};

/// Settings that a node would start with but for what a row changes.
const GOOD: &str = "name = \"n1\"\ndata = \"data\"\ninsecure = true\nlisten = \"127.0.0.1:0\"\n";

/// What is added to the good ones, and what must be said.
#[derive(Default)]
struct Row {
    /// Lines of the file, from its fifth on.
    file: &'static str,
    variable: Option<(&'static str, &'static [u8])>,
    flags: &'static [&'static str],
    says: &'static [&'static str],
}

fn file(file: &'static str, says: &'static [&'static str]) -> Row {
    Row { file, says, ..Row::default() }
}

fn variable(name: &'static str, value: &'static [u8], says: &'static [&'static str]) -> Row {
    Row { variable: Some((name, value)), says, ..Row::default() }
}

fn flags(flags: &'static [&'static str], says: &'static [&'static str]) -> Row {
    Row { flags, says, ..Row::default() }
}

fn of_the_file() -> Vec<Row> {
    vec![
        file("exepct = 3", &["n1.toml:5", "\"exepct\"", "did you mean expect?"]),
        file("start-within = \"5s\"", &["n1.toml:5", "did you mean start_within?"]),
        file("Zone = \"a\"", &["n1.toml:5", "\"Zone\"", "did you mean zone?"]),
        file("\n[node]\nname = \"n2\"", &["n1.toml:6", "no key \"node\"", "there are name, "]),
        file(
            "shards = \"64\"",
            &["n1.toml:5", "shards = \"64\"", "whole number", "without quotes"],
        ),
        file("weight = 0", &["n1.toml:5", "weight = \"0\"", "a whole number from 1 to 256"]),
        file("weight = -1", &["n1.toml:5", "weight = \"-1\"", "a whole number from 1 to 256"]),
        file("weight = 1.5", &["n1.toml:5", "weight = \"1.5\"", "a whole number"]),
        file("weight = 99999999999999999999", &["n1.toml:5", "a whole number"]),
        file("zone = 7", &["n1.toml:5", "zone = \"7\"", "expected nothing, or 1 to 63 printable"]),
        file("zone = \"a\\nb\"", &["n1.toml:5", r#"zone = "a\nb""#]),
        file("\njoin = [\"a:1\", 2]", &["n1.toml:6", "join = ", "host:port of each"]),
        file("join = []", &["n1.toml:5", "join = \"[]\"", "host:port of each"]),
        file("ca = true", &["n1.toml:5", "ca = \"true\"", "a path"]),
        file("expect = ", &["n1.toml:5", "no TOML"]),
        file("name = \"n2\"", &["n1.toml:5", "no TOML", "duplicate key"]),
        file("shards = 1000", &["n1.toml:5", "shards = \"1000\"", "a power of two"]),
        file("\nexpect = 3", &["n1.toml:6", "expect = \"3\" does not fit join", "default"]),
        file(
            "expect = 2\njoin = [\"a:1\"]\nbootstrap = true",
            &["n1.toml:7", "bootstrap = \"true\" does not fit expect = \"2\"", "n1.toml:5"],
        ),
    ]
}

fn of_variables() -> Vec<Row> {
    vec![
        variable("EVERTREE_LISEN", b"", &["EVERTREE_LISEN", "did you mean EVERTREE_LISTEN?"]),
        variable("EVERTREE_XYZZY", b"", &["EVERTREE_XYZZY", "there are EVERTREE_NAME, "]),
        variable(
            "EVERTREE_SHARDS",
            b"many",
            &["variable EVERTREE_SHARDS", "shards = \"many\"", "a whole number from 1 to 8192"],
        ),
        variable("EVERTREE_DATA", b"", &["EVERTREE_DATA", "data = \"\"", "a path"]),
        variable("EVERTREE_ZONE", b"\xff", &["EVERTREE_ZONE", "in UTF-8"]),
        variable("EVERTREE_PROFILE", b"fast", &["profile = \"fast\"", "one of dev, lan, wan"]),
        variable("RUST_LOG", b"a=b=c", &["variable RUST_LOG", "log = \"a=b=c\"", "a filter"]),
    ]
}

fn of_flags() -> Vec<Row> {
    vec![
        flags(&["--name=No Name"], &["flag --name", "name = \"No Name\"", "[a-z0-9][a-z0-9.-]"]),
        flags(&["--cluster", "a/b"], &["flag --cluster", "cluster = \"a/b\"", "1 to 63 of a-z"]),
        flags(&["--listen=localhost:1"], &["listen = \"localhost:1\"", "a numeric address"]),
        flags(&["--listen=0.0.0.0:7001"], &["advertise is not set", "nobody can reach"]),
        flags(
            &["--listen=0.0.0.0:7001", "--advertise=n1:7001"],
            &["flag --listen", "listen = \"0.0.0.0:7001\"", "insecure = \"true\"", "loopback"],
        ),
        flags(&["--advertise=n1"], &["flag --advertise", "advertise = \"n1\"", "host:port"]),
        flags(&["--join=a:1,,b:2"], &["flag --join", "join = \"a:1,,b:2\"", "host:port of each"]),
        flags(&["--expect=0"], &["expect = \"0\"", "a whole number from 1 to 64"]),
        flags(&["--bootstrap=maybe"], &["bootstrap = \"maybe\"", "true or false"]),
        flags(
            &["--replace-voters-after=30"],
            &["replace_voters_after = \"30\"", "500ms, 30s, 2m or 1h"],
        ),
        flags(&["--insecure=yes"], &["insecure = \"yes\"", "true or false"]),
        flags(&["--insecure=false"], &["ca is not set", "cert is not set", "key is not set"]),
        flags(&["--key=n1.key"], &["insecure = \"true\" does not fit key = \"n1.key\""]),
        flags(&["--durability=tape"], &["durability = \"tape\"", "one of disk, memory"]),
        flags(&["--start-within=5"], &["start_within = \"5\"", "500ms, 30s, 2m or 1h"]),
        flags(&["--config=other.toml"], &["other.toml: cannot read it"]),
        flags(&["--config=."], &[".: cannot read it"]),
        flags(&["--lisen=127.0.0.1:1"], &["'--lisen'", "'--listen'"]),
        flags(&["--zone=a", "--zone=b"], &["--zone", "multiple times"]),
    ]
}

#[test]
fn what_is_wrong_is_told_with_its_place_its_value_and_what_was_expected() {
    let place = tempfile::tempdir().expect("a folder");
    for row in of_the_file().into_iter().chain(of_variables()).chain(of_flags()) {
        fs::write(place.path().join("n1.toml"), format!("{GOOD}{}\n", row.file)).expect("written");
        let mut command = evertree(place.path());
        command.arg("node");
        if !row.flags.iter().any(|flag| flag.starts_with("--config")) {
            command.arg("--config=n1.toml");
        }
        if let Some((name, value)) = row.variable {
            command.env(name, OsString::from_vec(value.to_vec()));
        }
        let output = command.args(row.flags).output().expect("it runs");
        let what =
            format!("{:?} {:?} {:?}", row.file, row.variable.map(|(name, _)| name), row.flags);
        is_refused(&output, 2, &what, row.says);
        assert!(output.stdout.is_empty(), "{what}: it printed something");
        assert!(!place.path().join("data").exists(), "{what}: it has made its data directory");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_even_where_a_higher_layer_replaces_it() {
    let place = tempfile::tempdir().expect("a folder");
    let bad = "shards = 0\nlisten = \"here\"\n";
    fs::write(place.path().join("n1.toml"), bad).expect("written");
    let mut command = evertree(place.path());
    command.env("EVERTREE_WEIGHT", "heavy").env("EVERTREE_COLOUR", "red");
    command.args(["node", "--config=n1.toml", "--shards=64", "--profile=fast"]);
    let output = command.output().expect("it runs");
    let said = ["n1.toml:1", "n1.toml:2", "EVERTREE_WEIGHT", "EVERTREE_COLOUR", "--profile"];
    is_refused(&output, 2, "five faults", &said);
    let lines = text(&output.stderr);
    assert_eq!(lines.lines().count(), said.len(), "one line each:\n{lines}");
    assert!(lines.lines().all(|line| line.starts_with("evertree: ")), "{lines}");
}

#[test]
fn a_value_of_a_megabyte_is_not_repeated_whole() {
    let place = tempfile::tempdir().expect("a folder");
    let long = format!("zone = \"{}\"\n", "x".repeat(1_000_000));
    fs::write(place.path().join("n1.toml"), long).expect("written");
    let output = evertree(place.path()).args(["node", "--config=n1.toml"]).output().expect("runs");
    is_refused(&output, 2, "a long value", &["n1.toml:1", "zone", "xxx\".."]);
    assert!(output.stderr.len() < 1_000, "{} bytes", output.stderr.len());
    let longer = "#".repeat(2_000_000);
    fs::write(place.path().join("n1.toml"), longer).expect("written");
    let output = evertree(place.path()).args(["node", "--config=n1.toml"]).output().expect("runs");
    is_refused(&output, 2, "a long file", &["n1.toml", "2000000 bytes"]);
}
