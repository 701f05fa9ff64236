//! The examples with a fixed output as a user runs them: each prints exactly what its header says.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longest run of an example.
const PATIENCE: Duration = Duration::from_mins(1);

const LINES_MAX: usize = 150;

/// An example's executable; `cargo test` builds it beside this test.
fn example(name: &str) -> Command {
    let own = std::env::current_exe().expect("a path");
    let target = own.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is missing: run the whole of `cargo test`", path.display());
    Command::new(path)
}

/// What the example printed; it must end with success, in time.
fn run(name: &str) -> String {
    let mut command = example(name);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it can be run");
    let mut stdout = child.stdout.take().expect("it is piped");
    let (tell, told) = mpsc::channel();
    let text = thread::scope(|scope| {
        scope.spawn(move || {
            let mut text = String::new();
            let read = stdout.read_to_string(&mut text);
            // Whoever asked may have lost patience.
            let _ = tell.send(read.map(|_| text));
        });
        let text = told.recv_timeout(PATIENCE);
        if text.is_err() {
            // It may have ended just now.
            let _ = child.kill();
        }
        text
    });
    let status = child.wait().expect("it is ours");
    let Ok(text) = text else { panic!("{name} did not end within {PATIENCE:?}") };
    assert!(status.success(), "{name}: {status}");
    text.expect("it prints text")
}

fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let path = path.with_extension("rs");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The block of text in the header.
fn promised(source: &str) -> String {
    let mut lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.by_ref().find(|line| *line == " ```text").expect("a block of text in the header");
    let block = lines.take_while(|line| *line != " ```");
    block.fold(String::new(), |text, line| text + line.strip_prefix(' ').unwrap_or(line) + "\n")
}

fn prints_what_its_header_says(name: &str) {
    let source = source(name);
    assert!(source.lines().count() < LINES_MAX, "{name} has {LINES_MAX} lines or more");
    let (printed, promised) = (run(name), promised(&source));
    assert!(printed == promised, "{name} printed\n{printed}\nand promised\n{promised}");
}

#[test]
fn supervise_prints_what_its_header_says() {
    prints_what_its_header_says("supervise");
}

#[test]
fn rollback_prints_what_its_header_says() {
    prints_what_its_header_says("rollback");
}

#[test]
fn worker_pool_prints_what_its_header_says() {
    prints_what_its_header_says("worker_pool");
}

#[test]
fn hung_actor_prints_what_its_header_says() {
    prints_what_its_header_says("hung_actor");
}

#[test]
fn consistent_hash_prints_what_its_header_says() {
    prints_what_its_header_says("consistent_hash");
}

#[test]
fn gossip_prints_what_its_header_says() {
    prints_what_its_header_says("gossip");
}
