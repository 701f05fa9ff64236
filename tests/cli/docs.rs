//! The page for operators and the help name every setting, and nothing else.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{done, evertree, text};

fn settings() -> Vec<Value> {
    let place = tempfile::tempdir().expect("a folder");
    let output = evertree(place.path()).args(["config", "show", "--json"]).output();
    let shown: Value = serde_json::from_slice(&output.expect("it runs").stdout).expect("JSON");
    shown["settings"].as_array().expect("a list").clone()
}

fn of<'a>(setting: &'a Value, what: &str) -> &'a str {
    setting[what].as_str().unwrap_or_default()
}

#[test]
fn the_table_of_the_page_is_that_of_the_command() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let page = fs::read_to_string(path).expect("the page is there");
    let rows = page.lines().skip_while(|line| !line.starts_with("| key | variable |"));
    let found: Vec<&str> = rows.skip(2).take_while(|line| line.starts_with('|')).collect();
    let row = |setting: &Value| {
        let default = match of(setting, "default") {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let [key, variable, flag, help] =
            ["key", "variable", "flag", "help"].map(|what| of(setting, what));
        format!("| `{key}` | `{variable}` | `{flag}` | {default} | {help} |")
    };
    let expected: Vec<String> = settings().iter().map(row).collect();
    assert_eq!(found, expected, "the table must be:\n{}", expected.join("\n"));
}

#[test]
fn the_help_names_every_command_and_every_flag() {
    let place = tempfile::tempdir().expect("a folder");
    let help = done(place.path(), &["--help"]);
    for word in ["node", "certs", "config", "EVERTREE_CONFIG", "config show"] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    let [node, show] = [&["node", "-h"][..], &["config", "show", "-h"][..]]
        .map(|arguments| done(place.path(), arguments));
    for setting in settings() {
        let flag = of(&setting, "flag");
        for help in [&node, &show] {
            let named = |line: &&str| line.trim_start().starts_with(flag);
            let line =
                help.lines().find(named).unwrap_or_else(|| panic!("{flag} is not in\n{help}"));
            assert!(line.contains(of(&setting, "help")), "{line}");
        }
    }
    for command in [&["certs", "init"][..], &["certs", "issue"], &["certs", "renew"]] {
        let help = done(place.path(), &[command, &["--help"]].concat());
        assert!(help.contains("--dir") && help.contains("--json"), "{help}");
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md"));
    let page = page.expect("the page is there");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        assert!(page.contains(&format!("`evertree {command}")), "{command} is not on the page");
        if !["certs", "config"].contains(&command) {
            let help = done(place.path(), &[command, "--help"]);
            assert!(help.contains("--json"), "{help}");
        }
    }
    let nothing = evertree(place.path()).output().expect("it runs");
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("Usage: evertree <COMMAND>"));
}
