//! Defaults, file, variables, flags: each layer over the ones below, for every setting.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{evertree, text};

/// One setting: as the file writes it and what that is, and the same for the variable and the flag.
struct Row {
    key: &'static str,
    file: (&'static str, Value),
    variable: (&'static str, Value),
    flag: (&'static str, Value),
}

fn row(
    key: &'static str,
    file: (&'static str, Value),
    variable: (&'static str, Value),
    flag: (&'static str, Value),
) -> Row {
    Row { key, file, variable, flag }
}

/// `folder` is where the file lies; paths in it are from there.
fn rows(folder: &Path) -> Vec<Row> {
    let word = |word: &'static str| (word, json!(word));
    let quoted = |quoted: &'static str| (quoted, json!(quoted.trim_matches('"')));
    let below = |quoted: &'static str| {
        (quoted, json!(folder.join(quoted.trim_matches('"')).to_string_lossy()))
    };
    let number = |text: &'static str| (text, json!(text.parse::<u64>().expect("a number")));
    vec![
        row("name", quoted("\"f1\""), word("v1"), word("g1")),
        row("cluster", quoted("\"file\""), word("variable"), word("flag")),
        row("listen", quoted("\"127.0.0.1:1\""), word("127.0.0.1:2"), word("[::1]:3")),
        row("advertise", quoted("\"f:1\""), word("v:2"), word("g.example:3")),
        row(
            "join",
            ("[\"f:1\", \"f:2\"]", json!(["f:1", "f:2"])),
            ("v:1,v:2", json!(["v:1", "v:2"])),
            ("g:1, [::1]:2", json!(["g:1", "[::1]:2"])),
        ),
        row("join_file", below("\"seeds\""), word("v.seeds"), word("g.seeds")),
        row("expect", number("2"), number("3"), number("1")),
        row("bootstrap", ("true", json!(true)), ("false", json!(false)), ("true", json!(true))),
        row("data", below("\"f/data\""), word("v/data"), word("/g/data")),
        row("profile", quoted("\"lan\""), word("wan"), word("dev")),
        row("zone", quoted("\"east 1\""), word("west"), ("", json!(""))),
        row("weight", number("2"), number("256"), number("1")),
        row("shards", ("0x40", json!(64)), number("128"), number("4096")),
        row("durability", quoted("\"memory\""), word("disk"), word("memory")),
        row("insecure", ("true", json!(true)), ("false", json!(false)), ("true", json!(true))),
        row("ca", below("\"../ca.pem\""), word("v.pem"), word("g.pem")),
        row("cert", below("\"f.pem\""), word("v.pem"), word("g.pem")),
        row("key", quoted("\"/f.key\""), word("v.key"), word("g.key")),
        row("start_within", ("\"120s\"", json!("2m")), word("500ms"), ("60m", json!("1h"))),
        row("replace_voters_after", quoted("\"5s\""), word("500ms"), ("120s", json!("2m"))),
        row("log", quoted("\"debug\""), word("evertree=trace"), word("off")),
    ]
}

/// What is shown, whether or not a node would start with it.
fn shown(folder: &Path, variables: &[(OsString, OsString)], flags: &[String]) -> Value {
    let mut command = evertree(folder);
    command.args(["config", "show", "--json"]).args(flags);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().expect("it runs");
    let said = text(&output.stdout);
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}:\n{said}\n{}", text(&output.stderr)))
}

fn of<'a>(shown: &'a Value, key: &str) -> &'a Value {
    let settings = shown["settings"].as_array().expect("a list");
    settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn each_layer_is_over_the_ones_below_for_every_setting() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("etc");
    fs::create_dir(&folder).expect("a folder");
    let (rows, file) = (rows(&folder), folder.join("n1.toml"));
    let lines = rows.iter().map(|row| format!("{} = {}\n", row.key, row.file.0));
    fs::write(&file, lines.collect::<String>()).expect("it is written");

    let defaults = shown(place.path(), &[], &[]);
    let all = defaults["settings"].as_array().expect("a list");
    let keys: Vec<&Value> = all.iter().map(|setting| &setting["key"]).collect();
    assert_eq!(keys, rows.iter().map(|row| row.key).collect::<Vec<_>>(), "rows are missing");

    for present in 0..8 {
        let [has_file, has_variables, has_flags] = [1, 2, 4].map(|bit| present & bit != 0);
        let (mut variables, mut flags) = (Vec::new(), Vec::new());
        if has_file {
            flags.push(format!("--config={}", file.display()));
        }
        for row in &rows {
            if has_variables {
                let name = format!("EVERTREE_{}", row.key.to_uppercase());
                variables.push((name.into(), row.variable.0.into()));
            }
            if has_flags {
                flags.push(format!("--{}={}", row.key.replace('_', "-"), row.flag.0));
            }
        }
        let shown = shown(place.path(), &variables, &flags);
        for (row, line) in rows.iter().zip(1..) {
            let (key, variable) = (row.key, format!("EVERTREE_{}", row.key.to_uppercase()));
            let flag = format!("--{}", key.replace('_', "-"));
            let default = of(&defaults, key);
            let (value, source) = if has_flags {
                (&row.flag.1, json!({ "layer": "flag", "name": flag }))
            } else if has_variables {
                (&row.variable.1, json!({ "layer": "variable", "name": variable }))
            } else if has_file {
                (&row.file.1, json!({ "layer": "file", "path": file, "line": line }))
            } else {
                (&default["value"], json!({ "layer": "default" }))
            };
            let found = of(&shown, key);
            let told = (has_file, has_variables, has_flags);
            assert_eq!(&found["value"], value, "{key} of file, variables, flags: {told:?}");
            assert_eq!(found["source"], source, "{key} of file, variables, flags: {told:?}");
            assert_eq!((&found["variable"], &found["flag"]), (&json!(variable), &json!(flag)));
        }
    }
}

#[test]
fn the_file_is_named_by_a_flag_before_a_variable_and_the_log_by_its_own_before_rusts() {
    let place = tempfile::tempdir().expect("a folder");
    for name in ["one", "two"] {
        let text = format!("# {name}\n\nname = \"{name}\"\n");
        fs::write(place.path().join(name), text).expect("it is written");
    }
    let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
    let by_variable = [variable("EVERTREE_CONFIG", "one")];
    let shown_one = shown(place.path(), &by_variable, &[]);
    assert_eq!(shown_one["file"], "one");
    let source = json!({ "layer": "file", "path": "one", "line": 3 });
    assert_eq!(of(&shown_one, "name")["source"], source);
    let shown_two = shown(place.path(), &by_variable, &["--config=two".to_owned()]);
    assert_eq!(of(&shown_two, "name")["value"], "two");

    let rust = variable("RUST_LOG", "debug");
    let log = of(&shown(place.path(), std::slice::from_ref(&rust), &[]), "log").clone();
    assert_eq!(log["source"], json!({ "layer": "variable", "name": "RUST_LOG" }));
    assert_eq!(log["value"], "debug");
    let both = [rust, variable("EVERTREE_LOG", "off")];
    let log = of(&shown(place.path(), &both, &[]), "log").clone();
    assert_eq!(log["source"], json!({ "layer": "variable", "name": "EVERTREE_LOG" }));
    assert_eq!(log["value"], "off");
}

#[test]
fn people_are_shown_the_same_and_told_whether_a_node_would_start_with_it() {
    let place = tempfile::tempdir().expect("a folder");
    fs::write(place.path().join("n1.toml"), "name = \"n1\"\ndata = \"n1\"\n").expect("written");
    let mut command = evertree(place.path());
    command.env("EVERTREE_INSECURE", "true").env("EVERTREE_CONFIG", "n1.toml");
    let output = command.args(["config", "show", "--zone", "east"]).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split("  ").collect()).collect();
    let line = |key: &str| {
        let line = lines.iter().find(|line| line[0].trim() == key).expect(key);
        line.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(lines[0], ["file: n1.toml (variable EVERTREE_CONFIG)"]);
    assert_eq!(line("name"), ["name", "n1", "n1.toml:1"]);
    assert_eq!(line("insecure"), ["insecure", "true", "variable EVERTREE_INSECURE"]);
    assert_eq!(line("zone"), ["zone", "east", "flag --zone"]);
    assert_eq!(line("shards"), ["shards", "4096", "default"]);
    assert_eq!(line("join"), ["join", "(not set)", "default"]);

    let output = evertree(place.path()).args(["config", "show"]).output().expect("it runs");
    crate::is_refused(&output, 2, "nothing is set", &["does not start", "name is not set"]);
    assert!(text(&output.stdout).contains("shards"), "all is shown nevertheless");
}
