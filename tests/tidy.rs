//! The house rules that no lint knows: layers, sizes, purity, rules for simulated code, and that
//! the documentation names what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;
/// `#[expect]` attributes outside tests; this number may only fall.
const EXPECTS_MAX: usize = 7;
/// Crates of the local half, itself included.
const LOCAL_CRATES_MAX: usize = 70;
/// Modules that know no clock, no task, no socket.
const PURE: [&str; 5] = ["restart", "retry", "ring", "detector", "placement"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below the given folders, as (path from the root, text), sorted.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root");
                found.push((name.to_string_lossy().into_owned(), read(&path)));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no source below {folders:?}");
    found
}

/// The text before the unit tests of a file. Tests in files of their own do not end it.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// Paths of the modules that are compiled for tests only, without `.rs`.
fn test_modules(all: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in all {
        let stem = name.trim_end_matches(".rs");
        let folder = stem.strip_suffix("/lib").unwrap_or(stem);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            if pair[0].starts_with("#[cfg(test)]") || pair[0].starts_with("#[cfg(all(test,") {
                let module = pair[1].rsplit_once("mod ").and_then(|(_, m)| m.strip_suffix(';'));
                found.extend(module.map(|module| format!("{folder}/{module}")));
            }
        }
    }
    found
}

fn is_test_file(name: &str, test_modules: &[String]) -> bool {
    let below = |module: &String| {
        name.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
    };
    name.starts_with("tests/") || test_modules.iter().any(below)
}

/// Code lines of product source, with comments and strings left in.
fn product() -> Vec<(String, String)> {
    let all = sources(&["src"]);
    let tests = test_modules(&all);
    assert!(tests.len() > 10, "the test modules were not found: {tests:?}");
    all.into_iter()
        .filter(|(name, _)| !is_test_file(name, &tests))
        .map(|(name, text)| (name, without_tests(&text).to_owned()))
        .collect()
}

/// The module of the first level that a file belongs to.
fn module_of(name: &str) -> &str {
    let rest = name.strip_prefix("src/").unwrap_or(name);
    rest.split(['/', '.']).next().unwrap_or(rest)
}

fn report(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

#[test]
fn a_module_imports_only_modules_above_it_in_lib_rs() {
    let lib = read(&root().join("src/lib.rs"));
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
        .map(|rest| rest.trim_end_matches(';'))
        .collect();
    assert!(order.len() > 10, "the layer table was not found: {order:?}");
    let place: BTreeMap<&str, usize> = order.iter().copied().zip(0..).collect();
    let mut faults = Vec::new();
    for (name, text) in product() {
        let Some(own) = place.get(module_of(&name)) else { continue };
        for (at, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let module = used.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                let Some(theirs) = module.and_then(|module| place.get(module)) else { continue };
                if theirs > own && !line.trim_start().starts_with("//") {
                    faults.push(format!("{name}:{}: {}", at + 1, line.trim()));
                }
            }
        }
    }
    report("imports that point up", &faults);
}

#[test]
fn files_and_lines_are_short() {
    let mut faults = Vec::new();
    let all = sources(&["src", "tests", "examples"]);
    let tests = test_modules(&all);
    for (name, text) in all {
        let own = if is_test_file(&name, &tests) { &text } else { without_tests(&text) };
        let lines = own.lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        for (at, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX {
                faults.push(format!("{name}:{}: longer than {LINE_CHARS_MAX}", at + 1));
            }
        }
    }
    report("too long", &faults);
}

struct Functions<'a> {
    file: &'a str,
    faults: Vec<String>,
}

impl Functions<'_> {
    fn weigh(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.brace_token.span;
        let lines = span.close().end().line.saturating_sub(span.open().start().line);
        if lines > FUNCTION_LINES_MAX {
            self.faults.push(format!("{}: {name} has {lines} lines", self.file));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.weigh(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.weigh(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for (name, text) in sources(&["src", "tests", "examples"]) {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut functions = Functions { file: &name, faults: Vec::new() };
        functions.visit_file(&file);
        faults.append(&mut functions.faults);
    }
    report("functions that are too long", &faults);
}

/// Lines of code (no comments) of product files for which `wanted` holds, that contain a word.
fn lines_with(words: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, text) in product() {
        if !wanted(&name) {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if words.iter().any(|word| code.contains(word)) {
                faults.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    faults
}

#[test]
fn pure_modules_know_no_clock_no_task_no_socket_and_no_hash_order() {
    let forbidden = [
        "tokio",
        "std::time::Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "DashMap",
        "f32",
        "std::net",
        "std::fs",
        "std::thread",
        "rand::",
        "async fn",
        "tracing",
    ];
    let pure = |name: &str| PURE.contains(&module_of(name));
    report("impure", &lines_with(&forbidden, pure));
}

#[test]
fn simulated_code_keeps_to_the_seams() {
    let seams = |name: &str| !name.starts_with("src/base") && !name.starts_with("src/sim");
    let forbidden = [
        "tokio::net",
        "tokio::time",
        "std::net::Tcp",
        "thread::spawn",
        "spawn_blocking",
        "Instant::now()",
        "SystemTime::now",
        "futures::select!",
        "rand::rng(",
        "rand::rng;",
        "sync::watch",
        "unbounded_channel",
        "thread::sleep",
        "time::sleep",
    ];
    let allowed = |line: &String| {
        // The runtime of raft delegates to tokio's, and is the seam for openraft.
        line.starts_with("src/authority/raft/runtime.rs")
    };
    let mut faults = lines_with(&forbidden, seams);
    faults.retain(|line| !allowed(line));
    report("outside the seams", &faults);
}

#[test]
fn every_select_is_biased() {
    let mut faults = Vec::new();
    for (name, text) in product() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let opens = line.contains("select! {") && !line.trim_start().starts_with("//");
            if opens && lines.get(at + 1).is_none_or(|next| next.trim() != "biased;") {
                faults.push(format!("{name}:{}", at + 1));
            }
        }
    }
    report("select! without biased;", &faults);
}

#[test]
fn nothing_is_left_undone() {
    let stubs = ["todo!(", "unimplemented!(", "FIXME", "XXX"];
    report("left undone", &lines_with(&stubs, |_| true));
}

#[test]
fn exceptions_from_the_lints_only_become_fewer() {
    let found = lines_with(&["#[expect(", "#![expect(", "#[allow("], |_| true);
    assert!(
        found.len() <= EXPECTS_MAX,
        "{} exceptions, at most {EXPECTS_MAX}:\n  {}",
        found.len(),
        found.join("\n  ")
    );
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

#[test]
fn the_local_half_stays_small() {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--no-default-features", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<&str> = text.lines().filter_map(|line| line.split(" (").next()).collect();
    assert!(crates.len() > 10, "cargo tree said little:\n{text}");
    assert!(crates.len() <= LOCAL_CRATES_MAX, "{} crates:\n{text}", crates.len());
}
