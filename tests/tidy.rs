//! The house rules that no lint knows: layers, sizes, purity, rules for simulated code, and that
//! the documentation names what exists.

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/seams.rs"]
mod seams;
#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use source::{
    code, has_word, is_of, is_test_file, module_of, parsed, product, read, report, root, sources,
    test_modules, without_tests,
};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;
/// `#[expect]` and `#[allow]` attributes outside tests; this number may only fall.
const EXPECTS_MAX: usize = 6;
/// Crates of the local half, itself included.
const LOCAL_CRATES_MAX: usize = 70;
/// Modules that know no clock, no task, no socket.
const PURE: [&str; 5] = ["restart", "retry", "ring", "detector", "placement"];
/// Machines inside modules that act, which keep the same rule; so does what lies in their folders.
const MACHINES: [&str; 9] = [
    "src/membership/machine",
    "src/membership/packet",
    "src/membership/record",
    "src/membership/timing",
    "src/membership/watchers",
    "src/node/health/verdict",
    "src/replica/frame",
    "src/replica/primary",
    "src/supervisor/checkpoint/generations",
];
/// What machines have against the rule, by file. An entry that is not needed any more is a fault.
const MACHINES_MAY: [(&str, &str); 4] = [
    // A generator whose seed is an argument.
    ("src/membership/machine.rs", "use rand::SeedableRng"),
    ("src/membership/machine.rs", "use rand::rngs::SmallRng;"),
    // A log line decides nothing.
    ("src/membership/machine/swim.rs", "tracing::debug!("),
    ("src/replica/primary/copy.rs", "tracing::debug!("),
];
/// Words for work left undone, in halves, so that this file does not contain them.
const UNDONE: [[&str; 2]; 5] =
    [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["to", "do!"], ["un", "implemented!"]];

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
        for (at, line) in code(&name, &text) {
            for used in line.split("crate::").skip(1) {
                let module = used.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                let theirs = module.and_then(|module| place.get(module));
                if used.starts_with('*') || theirs.is_some_and(|theirs| theirs > own) {
                    faults.push(format!("{name}:{at}: {line}"));
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

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.weigh(&item.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for (name, text) in sources(&["src", "tests", "examples"]) {
        let mut functions = Functions { file: &name, faults: Vec::new() };
        functions.visit_file(&parsed(&name, &text));
        faults.append(&mut functions.faults);
    }
    report("functions that are too long", &faults);
}

/// Lines of code, imports by their full paths, of product files for which `wanted` holds, that
/// have one of the words.
fn lines_with(words: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, text) in product() {
        if !wanted(&name) {
            continue;
        }
        for (at, line) in code(&name, &text) {
            if words.iter().any(|word| has_word(&line, word)) {
                faults.push(format!("{name}:{at}: {line}"));
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
        "std::collections::hash_map",
        "HashMap",
        "HashSet",
        "DashMap",
        "f32",
        "std::net",
        "std::fs",
        "std::thread",
        "rand::",
        "async fn",
        ".await",
        "tracing",
    ];
    let files = product();
    for module in PURE {
        let exists = files.iter().any(|(name, _)| module_of(name) == module);
        assert!(exists, "there is no module {module}");
    }
    for machine in MACHINES {
        let exists = files.iter().any(|(name, _)| is_of(name, machine));
        assert!(exists, "there is no {machine}.rs");
    }
    let pure = |name: &str| {
        PURE.contains(&module_of(name)) || MACHINES.iter().any(|machine| is_of(name, machine))
    };
    let mut faults = lines_with(&forbidden, pure);
    let excuses = |line: &str, (file, what): (&str, &str)| {
        line.strip_prefix(file).is_some_and(|rest| rest.starts_with(':') && rest.contains(what))
    };
    for excuse in MACHINES_MAY {
        let needed = faults.iter().any(|line| excuses(line, excuse));
        assert!(needed, "{excuse:?} is not needed any more");
    }
    faults.retain(|line| !MACHINES_MAY.iter().any(|excuse| excuses(line, *excuse)));
    report("impure", &faults);
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
    let words = UNDONE.map(|halves| halves.concat());
    let mut faults = Vec::new();
    // Comments count: it is there that such words are written.
    for (name, text) in sources(&["src", "examples", "tests"]) {
        for (line, at) in text.lines().zip(1..) {
            if words.iter().any(|word| line.contains(word.as_str())) {
                faults.push(format!("{name}:{at}: {}", line.trim()));
            }
        }
    }
    report("left undone", &faults);
}

/// Adds the line of every `allow(..)` and `expect(..)` that stands in an attribute of any kind:
/// inner ones, those of a `cfg_attr`, and those in the body of a macro too.
fn exceptions(stream: TokenStream, inside: bool, found: &mut Vec<usize>) {
    let mut before = [String::new(), String::new()];
    for token in stream {
        let text = match token {
            TokenTree::Group(group) => {
                let is_marked = before[1] == "#" || before == ["#", "!"];
                let opens = is_marked && group.delimiter() == Delimiter::Bracket;
                if inside && ["allow", "expect"].contains(&before[1].as_str()) {
                    found.push(group.span_open().start().line);
                }
                exceptions(group.stream(), inside || opens, found);
                String::new()
            }
            word => word.to_string(),
        };
        before.rotate_left(1);
        before[1] = text;
    }
}

fn exceptions_of(name: &str, text: &str) -> Vec<usize> {
    let stream = text.parse::<TokenStream>().unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut found = Vec::new();
    exceptions(stream, false, &mut found);
    found
}

#[test]
fn exceptions_from_the_lints_only_become_fewer() {
    let sample = "#![allow(a)]\n#![cfg_attr(test, deny(b), expect(c))]\n#[allow(d)]\nfn f() {\n\
                  x.expect(\"#[allow(e)]\");\nm!(#[expect(f)] g);\n}\n";
    assert_eq!(exceptions_of("a sample", sample), [1, 2, 3, 6]);
    let mut found = Vec::new();
    for (name, text) in product() {
        found.extend(exceptions_of(&name, &text).iter().map(|line| format!("{name}:{line}")));
    }
    assert!(
        found.len() <= EXPECTS_MAX,
        "{} exceptions, at most {EXPECTS_MAX}:\n  {}",
        found.len(),
        found.join("\n  ")
    );
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
