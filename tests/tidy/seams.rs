//! Clock, sockets, chance, threads: nobody but the seams touches them.

use crate::paths::{is_in, paths};
use crate::source::{is_of, module_of, parsed, product, report, sources};

/// What has a seam in `base`, with what else would block a thread or draw an order.
const BEHIND_SEAMS: [&str; 37] = [
    // Time.
    "tokio::time",
    "tokio_util::time",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "std::thread::sleep",
    "std::thread::sleep_ms",
    "std::thread::sleep_until",
    "std::thread::park_timeout",
    "rustix::time",
    "ractor::time",
    "ractor::call_t",
    "ractor::concurrency::sleep",
    "ractor::concurrency::timeout",
    "ractor::concurrency::interval",
    "openraft::impls::TokioRuntime",
    // Sockets, and look-ups that block.
    "tokio::net",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::os::unix::net",
    "socket2",
    "rustix::net",
    "turmoil",
    // Chance, and orders that are drawn.
    "rand::rng",
    "rand::random",
    "rand::make_rng",
    "futures::select",
    "tokio::sync::watch",
    // Threads, and what waits on one.
    "std::thread::spawn",
    "std::thread::Builder",
    "std::thread::scope",
    "std::sync::Condvar",
    "parking_lot::Condvar",
    // No bound.
    "tokio::sync::mpsc::unbounded_channel",
    "std::sync::mpsc::channel",
];
/// The same, called on something.
const METHODS: [&str; 9] = [
    "spawn_blocking",
    "block_in_place",
    "recv_timeout",
    "wait_timeout",
    "to_socket_addrs",
    "send_after",
    "send_interval",
    "exit_after",
    "kill_after",
];
/// What a module, by its path without `.rs`, has against it. An entry that is not needed any more
/// is a fault.
const MAY: [(&str, &str); 4] = [
    // The world's time and its network are turmoil's.
    ("src/sim", "tokio::time"),
    ("src/sim", "turmoil"),
    // What openraft runs on; it has no seam for its timers, and no lease rests on them.
    ("src/authority/raft/runtime", "openraft::impls::TokioRuntime"),
    // For tasks outside of a node's seed; a simulation that had one would not be repeatable.
    ("src/authority/raft/runtime", "rand::make_rng"),
];

/// The lines of a file that have what is behind a seam: (line, what, as it is written).
fn beyond(name: &str, text: &str) -> Vec<(usize, &'static str, String)> {
    let mut found = Vec::new();
    for (line, path) in paths(name, text) {
        let last = path.rsplit("::").next().unwrap_or(&path);
        let what = BEHIND_SEAMS.iter().find(|what| is_in(&path, what));
        let what = what.or_else(|| METHODS.iter().find(|method| **method == last));
        found.extend(what.map(|what| (line, *what, path.clone())));
    }
    found
}

#[test]
fn no_module_but_base_touches_what_has_a_seam() {
    let (mut faults, mut needed) = (Vec::new(), [false; MAY.len()]);
    for (name, text) in product().iter().filter(|(name, _)| module_of(name) != "base") {
        for (line, what, path) in beyond(name, text) {
            let excuse = MAY.iter().position(|(of, may)| is_of(name, of) && *may == what);
            match excuse {
                Some(excuse) => needed[excuse] = true,
                None => faults.push(format!("{name}:{line}: {path}")),
            }
        }
    }
    report("past the seams", &faults);
    for (excuse, needed) in MAY.iter().zip(needed) {
        assert!(needed, "{excuse:?} is not needed any more");
    }
}

#[test]
fn base_itself_is_caught_where_it_touches_the_world() {
    let touched: Vec<_> = product()
        .iter()
        .filter(|(name, _)| module_of(name) == "base")
        .flat_map(|(name, text)| beyond(name, text))
        .map(|(_, what, _)| what)
        .collect();
    // The rule sees what is there, so that it would see it elsewhere.
    for what in ["tokio::time", "tokio::net", "socket2", "rustix::time", "std::thread::Builder"] {
        assert!(touched.contains(&what), "{what} is not in base: {touched:?}");
    }
}

/// Whether an import is handed on to other modules.
fn is_public(item: &syn::ItemUse) -> bool {
    !matches!(item.vis, syn::Visibility::Inherited)
}

#[test]
fn base_hands_on_nothing_that_is_not_its_own() {
    let mut faults = Vec::new();
    for (name, text) in product().iter().filter(|(name, _)| module_of(name) == "base") {
        for item in parsed(name, text).items {
            let syn::Item::Use(item) = item else { continue };
            let syn::UseTree::Path(path) = &item.tree else { continue };
            if is_public(&item)
                && ["tokio", "std", "socket2", "rustix"].iter().any(|of| path.ident == of)
            {
                faults.push(format!("{name}:{}", path.ident.span().start().line));
            }
        }
    }
    report("handed on", &faults);
}

/// The rules for product code end where the tests of a file begin.
#[test]
fn nothing_stands_below_the_tests_of_a_file() {
    let mut faults = Vec::new();
    for (name, text) in sources(&["src"]) {
        let items = parsed(&name, &text).items;
        let is_tests = |item: &syn::Item| match item {
            syn::Item::Mod(module) => module.ident == "tests" && module.content.is_some(),
            _ => false,
        };
        let at = items.iter().position(is_tests);
        if at.is_some_and(|at| at + 1 < items.len()) {
            faults.push(name);
        }
    }
    report("code below the tests", &faults);
}
