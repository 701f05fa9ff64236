//! The source as the rules see it: files, the modules they are, their lines and imports.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files of a kind below the given folders, as (path from the root, text), sorted.
pub(crate) fn files(folders: &[&str], kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == kind) {
                let name = path.strip_prefix(root()).expect("below the root");
                found.push((name.to_string_lossy().into_owned(), read(&path)));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{kind} below {folders:?}");
    found
}

/// All Rust files below the given folders.
pub(crate) fn sources(folders: &[&str]) -> Vec<(String, String)> {
    files(folders, "rs")
}

pub(crate) fn parsed(name: &str, text: &str) -> syn::File {
    syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text before the unit tests of a file. Tests in files of their own do not end it.
pub(crate) fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// Paths of the modules that are compiled for tests only, without `.rs`.
pub(crate) fn test_modules(all: &[(String, String)]) -> Vec<String> {
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

/// Whether a file is the module at `module`, a path without `.rs`, or lies in its folder.
pub(crate) fn is_of(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with(['.', '/']))
}

pub(crate) fn is_test_file(name: &str, test_modules: &[String]) -> bool {
    name.starts_with("tests/") || test_modules.iter().any(|module| is_of(name, module))
}

/// Code lines of product source, with comments and strings left in.
pub(crate) fn product() -> Vec<(String, String)> {
    let all = sources(&["src"]);
    let tests = test_modules(&all);
    assert!(tests.len() > 10, "the test modules were not found: {tests:?}");
    all.into_iter()
        .filter(|(name, _)| !is_test_file(name, &tests))
        .map(|(name, text)| (name, without_tests(&text).to_owned()))
        .collect()
}

/// The module of the first level that a file belongs to.
pub(crate) fn module_of(name: &str) -> &str {
    let rest = name.strip_prefix("src/").unwrap_or(name);
    rest.split(['/', '.']).next().unwrap_or(rest)
}

/// The imports of a file with their lines, each as `use a::b;` by its full path.
#[derive(Default)]
struct Imports(Vec<(usize, String)>);

impl Imports {
    fn flatten(&mut self, before: &str, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                self.flatten(&format!("{before}{}::", path.ident), &path.tree);
            }
            syn::UseTree::Group(group) => {
                for one in &group.items {
                    self.flatten(before, one);
                }
            }
            syn::UseTree::Name(name) => self.add(before, &name.ident),
            // What it is called here hides nothing.
            syn::UseTree::Rename(rename) => self.add(before, &rename.ident),
            syn::UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.0.push((line, format!("use {before}*;")));
            }
        }
    }

    fn add(&mut self, before: &str, ident: &syn::Ident) {
        // `self` in a group is what stands before the group.
        let path = if ident == "self" {
            before.trim_end_matches("::").to_owned()
        } else {
            format!("{before}{ident}")
        };
        self.0.push((ident.span().start().line, format!("use {path};")));
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.flatten("", &item.tree);
    }
}

/// Lines of code with their numbers: without comments, and with every import once more by its full
/// path, so that a group hides nothing.
pub(crate) fn code(name: &str, text: &str) -> BTreeSet<(usize, String)> {
    let mut imports = Imports::default();
    imports.visit_file(&parsed(name, text));
    let without_comment = |line: &str| line.split("//").next().unwrap_or("").trim().to_owned();
    let plain = text.lines().zip(1..).map(|(line, at)| (at, without_comment(line)));
    plain.chain(imports.0).collect()
}

/// Whether a line of code has `word`, or imports all of a module that contains it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let all_of = line.strip_prefix("use ").and_then(|path| path.strip_suffix("::*;"));
    let hides_it = |module: &str| {
        let ends_at = |parent: &str| format!("::{module}").ends_with(&format!("::{parent}"));
        word.starts_with(&format!("{module}::"))
            || word.rsplit_once("::").is_some_and(|(parent, _)| ends_at(parent))
    };
    line.contains(word) || all_of.is_some_and(hides_it)
}

#[test]
fn groups_and_globs_hide_no_import() {
    let text = "use std::{fs::{self, File}, time::{Duration, Instant as Now}};\n\
                fn f() {\n    use tokio::{net, sync::*};\n}\n";
    let code = code("a group", text);
    let has = |word: &str| code.iter().any(|(_, line)| has_word(line, word));
    for word in ["use std::fs;", "std::time::Instant", "tokio::net", "sync::watch"] {
        assert!(has(word), "{word} is not in {code:?}");
    }
    assert!(!has("tokio::time"), "{code:?}");
    assert!(code.contains(&(3, "use tokio::net;".to_owned())), "{code:?}");
}

pub(crate) fn report(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}
