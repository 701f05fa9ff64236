//! The documentation names what exists, and is finished.

use std::collections::BTreeSet;
use std::fs;

use crate::source::{files, read, report, root};

/// What readers of this project are told.
fn documentation() -> Vec<(String, String)> {
    let mut found = files(&["docs"], "md");
    found.push(("README.md".to_owned(), read(&root().join("README.md"))));
    found
}

#[test]
fn all_evidence_that_is_named_exists() {
    let (mut named, mut faults) = (0, Vec::new());
    for (name, text) in documentation() {
        for rest in text.split("evidence/").skip(1) {
            let ends = |c: char| !c.is_alphanumeric() && !"_-.".contains(c);
            let file = rest.split(ends).next().unwrap_or("").trim_end_matches('.');
            let Some(stem) = file.strip_suffix(".txt") else { continue };
            named += 1;
            let path = format!("docs/evidence/{stem}.txt");
            if !root().join(&path).exists() {
                faults.push(format!("{name}: {path}"));
            }
        }
    }
    assert!(named > 0, "the documentation names no evidence");
    report("evidence that does not exist", &faults);
}

#[test]
fn no_placeholder_is_left_in_the_documentation() {
    let is_placeholder = |word: &str| {
        let head = word.strip_suffix("_TABLE").or_else(|| word.strip_suffix("_LINE"));
        head.is_some_and(|head| head.ends_with(|c: char| c.is_ascii_uppercase()))
    };
    let mut faults = Vec::new();
    for (name, text) in documentation() {
        for (line, at) in text.lines().zip(1..) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(is_placeholder) {
                faults.push(format!("{name}:{at}: {line}"));
            }
        }
    }
    report("placeholders", &faults);
}

#[test]
fn every_example_is_named_in_the_readme_and_every_named_one_exists() {
    let readme = read(&root().join("README.md"));
    let named: BTreeSet<&str> = readme
        .split("--example ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .collect();
    let mut existing = BTreeSet::new();
    for entry in fs::read_dir(root().join("examples")).expect("examples/") {
        let path = entry.expect("an entry").path();
        let is_example = path.join("main.rs").exists()
            || path.extension().is_some_and(|extension| extension == "rs");
        if is_example {
            existing.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
        }
    }
    let existing: BTreeSet<&str> = existing.iter().map(String::as_str).collect();
    assert_eq!(named, existing, "README.md against examples/");
}
