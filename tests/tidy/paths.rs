//! Every path that a file writes, by its full name: whatever it is imported as, in macros too.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use crate::source::parsed;

/// A path and the line it begins in.
pub(crate) type Written = (usize, String);

/// What a file imports: the path, and what it is called here. All of a module is called `*`.
#[derive(Default)]
struct Imports(Vec<(Written, String)>);

impl Imports {
    fn flatten(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| {
            let mut path = before.to_vec();
            // `self` in a group is what stands before the group.
            if ident != "self" || path.is_empty() {
                path.push(ident.to_string());
            }
            path
        };
        let line = |ident: &syn::Ident| ident.span().start().line;
        match tree {
            syn::UseTree::Path(path) => self.flatten(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => {
                for one in &group.items {
                    self.flatten(before, one);
                }
            }
            syn::UseTree::Name(name) => {
                let path = with(&name.ident);
                let called = path.last().cloned().unwrap_or_default();
                self.0.push(((line(&name.ident), path.join("::")), called));
            }
            syn::UseTree::Rename(rename) => {
                let path = with(&rename.ident).join("::");
                self.0.push(((line(&rename.ident), path), rename.rename.to_string()));
            }
            syn::UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.0.push(((line, format!("{}::*", before.join("::"))), "*".to_owned()));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.flatten(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        if let Some((_, rename)) = &item.rename {
            let written = (item.ident.span().start().line, item.ident.to_string());
            self.0.push((written, rename.to_string()));
        }
    }
}

/// Adds what the tokens write as `a::b::c`, single names included.
fn walk(stream: TokenStream, found: &mut Vec<Written>) {
    let mut open: Option<Written> = None;
    // How many colons follow the open path.
    let mut colons = 0;
    for token in stream {
        match token {
            TokenTree::Ident(ident) => {
                let (text, line) = (ident.to_string(), ident.span().start().line);
                open = match open.take() {
                    Some((line, path)) if colons == 2 => Some((line, format!("{path}::{text}"))),
                    other => {
                        found.extend(other);
                        Some((line, text))
                    }
                };
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                found.extend(open.take());
                walk(group.stream(), found);
                colons = 0;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                found.extend(open.take());
                colons = 0;
            }
        }
    }
    found.extend(open);
}

/// All paths of a file: as they are written, and as they are called elsewhere if the file imports
/// what they begin with.
pub(crate) fn paths(name: &str, text: &str) -> Vec<Written> {
    let mut imports = Imports::default();
    imports.visit_file(&parsed(name, text));
    let mut full: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ((_, path), called) in &imports.0 {
        full.entry(called).or_default().push(path);
    }
    let stream = text.parse::<TokenStream>().unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut found: Vec<Written> = imports.0.iter().map(|(written, _)| written.clone()).collect();
    walk(stream, &mut found);
    // Two rounds, for what is imported from an import.
    for _ in 0..2 {
        let mut expanded = Vec::new();
        for (line, path) in &found {
            let (first, rest) = path.split_once("::").unwrap_or((path, ""));
            for whole in full.get(first).into_iter().flatten() {
                let more = if rest.is_empty() { "" } else { "::" };
                expanded.push((*line, format!("{whole}{more}{rest}")));
            }
        }
        found.extend(expanded);
        found.sort();
        found.dedup();
    }
    found
}

/// Whether `path` is `what`, or in it, or imports all of a module that has it.
pub(crate) fn is_in(path: &str, what: &str) -> bool {
    let below = |path: &str, what: &str| {
        path.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    below(path, what) || path.strip_suffix("::*").is_some_and(|module| below(what, module))
}

#[test]
fn no_import_macro_or_line_break_hides_a_path() {
    let text = "use std::{net, time::{self as t, Instant as Now}};\nuse tokio as rt;\n\
                use rt::net::*;\nfn f() {\n    m!(rt::time::sleep(\"tokio::fs\"));\n    \
                net::TcpStream::\n        connect(a);\n    \
                let _: Vec<t::SystemTime> = ::socket2::x(); // std::fs\n}\n";
    let paths = paths("a sample", text);
    let at = |what: &str| {
        let lines = paths.iter().filter(|(_, path)| is_in(path, what)).map(|(line, _)| *line);
        lines.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(at("std::time::Instant"), [1]);
    assert_eq!(at("tokio::net::TcpListener"), [3], "{paths:?}");
    assert_eq!(at("tokio::time"), [5]);
    assert_eq!(at("std::net::TcpStream"), [6]);
    assert_eq!(at("std::time::SystemTime"), [8]);
    assert_eq!(at("socket2"), [8]);
    for nowhere in ["tokio::fs", "std::fs", "std::net::UdpSocket", "std::time::Duration"] {
        assert!(at(nowhere).is_empty(), "{nowhere}: {paths:?}");
    }
}
