//! Bad input to the file store, as a user meets it: real processes, real files.
//!
//! Goal: a clear error that says what to do, no partial file, no process left behind. Method: the
//! examples are run as processes, one case after the other against one running node.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Process, example, until};

fn file_store(arguments: &[&str]) -> Output {
    example("file_store").args(arguments).output().expect("it runs")
}

/// Fails with all of the words in what it says.
fn is_refused(arguments: &[&str], words: &[&str]) {
    let output = file_store(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word:?}:\n{said}");
    }
    assert!(!said.contains("panicked"), "{arguments:?} panicked:\n{said}");
}

/// A port that is free for sure.
const ANY_PORT: (&str, &str) = ("listen", "127.0.0.1:0");

/// A folder with certificates, and how nodes in it are started.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let place = Self { folder, port: held.local_addr().expect("an address").port() };
        for certs in ["certs", "foreign"] {
            assert!(
                file_store(&["certs", "--dir", &place.path(certs), "n1", "n2"]).status.success()
            );
        }
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    /// The arguments of `serve`, any of them replaced.
    fn serve(&self, changed: &[(&str, &str)]) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned()];
        let (listen, data, certs) =
            (format!("127.0.0.1:{}", self.port), self.path("n1"), self.path("certs"));
        let usual = [("name", "n1"), ("listen", &listen), ("data", &data), ("certs", &certs)];
        let replaces = |name: &str| changed.iter().any(|(other, _)| *other == name);
        let kept = usual.iter().filter(|(name, _)| !replaces(name));
        for (name, value) in kept.chain(changed) {
            arguments.extend([format!("--{name}"), (*value).to_owned()]);
        }
        arguments
    }

    fn node(&self) -> Process {
        let mut child = example("file_store").args(self.serve(&[])).spawn().expect("it runs");
        let socket = self.folder.path().join("n1/file_store.sock");
        until("the node serves", || {
            assert!(child.try_wait().expect("it has a state").is_none(), "the node ended");
            socket.exists()
        });
        Process(child)
    }

    fn node_is_refused(&self, changed: &[(&str, &str)], words: &[&str]) {
        let arguments = self.serve(changed);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        is_refused(&arguments, words);
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join(folder)).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

#[test]
fn a_node_that_cannot_start_says_what_to_do() {
    let place = Place::new();
    let _node = place.node();
    let other = place.path("other");
    place.node_is_refused(&[("data", &other)], &["127.0.0.1:", "in use", "another address"]);
    place.node_is_refused(&[ANY_PORT], &["n1", "in use by another process"]);
    place.node_is_refused(&[ANY_PORT, ("data", &other), ("name", "no name")], &["no name"]);
    let long = place.path(&"x".repeat(120));
    place.node_is_refused(&[ANY_PORT, ("data", &long)], &["choose a shorter data directory"]);
}

#[test]
fn a_node_with_wrong_certificates_says_what_to_do() {
    let place = Place::new();
    let (data, certs) = (place.path("n1"), place.path("wrong"));
    let is_refused = |words: &[&str]| {
        place.node_is_refused(&[ANY_PORT, ("data", &data), ("certs", &certs)], words);
    };
    is_refused(&["ca.pem", "make certificates with `file_store certs`"]);
    fs::create_dir(&certs).expect("a folder");
    for (from, to) in [("ca.pem", "ca.pem"), ("n2.pem", "n1.pem"), ("n2.key", "n1.key")] {
        let from = Path::new(&place.path("certs")).join(from);
        fs::copy(from, Path::new(&certs).join(to)).expect("a copy");
    }
    // n2's certificate under the name n1, and then one that is none.
    is_refused(&["n1", "n2"]);
    fs::write(Path::new(&certs).join("n1.pem"), "no certificate").expect("it is written");
    is_refused(&["certificates of n1"]);

    // Good ones, of an authority that the running node does not trust.
    let _node = place.node();
    let (foreign, late) = (place.path("foreign"), place.path("late"));
    let running = format!("127.0.0.1:{}", place.port);
    let seeds = format!("{running},127.0.0.1:1");
    let stranger = [ANY_PORT, ("name", "n2"), ("data", &late), ("certs", &foreign)];
    let stranger = [&stranger[..], &[("seeds", &seeds), ("start-within", "1")]].concat();
    place.node_is_refused(&stranger, &[&running, "certificate"]);
}

#[test]
fn a_directory_of_another_node_or_cluster_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    let _node = place.node();
    let alone = place.path("alone");
    let own = [ANY_PORT, ("name", "n2"), ("data", &alone)];
    let start = || Process(example("file_store").args(place.serve(&own)).spawn().expect("it runs"));
    let stop_again = |mut node: Process| {
        let socket = Path::new(&alone).join("file_store.sock");
        until("n2 serves", || socket.exists());
        fs::remove_file(socket).expect("it is there");
        kill_process(Pid::from_child(&node.0), Signal::TERM).expect("it runs");
        assert!(node.0.wait().expect("it ends").success(), "SIGTERM stops a node in order");
    };
    stop_again(start());

    place.node_is_refused(&[ANY_PORT, ("data", &alone)], &["belongs to node n2", "not to n1"]);
    let seeds = format!("127.0.0.1:{},127.0.0.1:1", place.port);
    let joining = [&own[..], &[("seeds", &seeds)]].concat();
    place.node_is_refused(&joining, &["belongs to cluster", "choose another directory"]);
    let copied = place.path("copied");
    fs::create_dir(&copied).expect("a folder");
    for from in place.files("alone") {
        let to = Path::new(&copied).join(from.file_name().expect("a name"));
        fs::copy(from, to).expect("a copy");
    }
    let copy = [ANY_PORT, ("name", "n2"), ("data", &copied)];
    place.node_is_refused(&copy, &["is a copy", "its own directory"]);
    stop_again(start());
    fs::remove_file(Path::new(&alone).join("raft.redb")).expect("it is there");
    place.node_is_refused(&own, &["raft.redb is missing", "put the file back"]);
}

#[test]
fn a_command_that_cannot_do_its_work_says_why_and_leaves_no_partial_file() {
    let place = Place::new();
    let node = place.node();
    let (data, to) = (place.path("n1"), place.path("to"));
    fs::create_dir(&to).expect("a folder");
    let target = Path::new(&to).join("copy").to_string_lossy().into_owned();
    is_refused(&["put", &place.path("nothing"), "--data", &data], &["reading", "No such file"]);
    is_refused(&["put", "/dev/null", "--data", &data], &["neither a file nor a directory"]);
    is_refused(&["get", "nothing", &target, "--data", &data], &["no file is stored", "`ls`"]);
    is_refused(&["ls", "--data", &place.path("nowhere")], &["no node listens at", "nowhere"]);

    let source = place.path("source");
    fs::write(&source, vec![7; 8 << 20]).expect("it is written");
    assert!(file_store(&["put", &source, "--data", &data]).status.success());
    let nowhere = place.path("nowhere/copy");
    is_refused(&["get", &source, &nowhere, "--data", &data], &["creating", "nowhere"]);
    assert_eq!(place.files("to"), Vec::<PathBuf>::new());

    // Ctrl-C in the middle: the node is stopped, so the file cannot become complete. A `get` that
    // was through before is tried again.
    let get = ["get", &source, &target, "--data", &data];
    let node_pid = Pid::from_child(&node.0);
    let is_interrupted = || {
        let mut get = Process(example("file_store").args(get).spawn().expect("it runs"));
        until("it has begun", || !place.files("to").is_empty());
        kill_process(node_pid, Signal::STOP).expect("it runs");
        kill_process(Pid::from_child(&get.0), Signal::INT).expect("it is not waited for yet");
        let complete = get.0.wait().expect("it ends").success();
        kill_process(node_pid, Signal::CONT).expect("it runs");
        if complete {
            fs::remove_file(&target).expect("it is there");
        } else {
            let mut said = String::new();
            get.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("it is text");
            assert!(said.contains("interrupted"), "{said}");
        }
        assert_eq!(place.files("to"), Vec::<PathBuf>::new());
        !complete
    };
    assert!((0..100).any(|_| is_interrupted()), "it is never in the middle");

    // What can be read after all that is right.
    assert!(file_store(&get).status.success());
    assert_eq!(fs::read(&target).expect("it is there"), vec![7; 8 << 20]);
}
