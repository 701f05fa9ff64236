//! Three real processes, one of them killed: the story of `examples/three_nodes`, with the kill at
//! other moments and at other nodes than the example's own.
//!
//! Goal: no acknowledged byte is lost and no process is left behind, whenever and whomever the kill
//! hits. Method: the example is run as the first of a process group; it exits with 0 only if every
//! byte is right, and then nothing of its group may run.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Process, example, running_in, until};

fn survives(seed: u64, arguments: &[&str]) {
    let place = tempfile::tempdir().expect("a folder");
    let dir = place.path().join("cluster");
    let mut story = example("three_nodes");
    story.args(["--mib", "6", "--seed", &seed.to_string(), "--dir"]).arg(&dir);
    let child = story.args(arguments).process_group(0).spawn().expect("it runs");
    let group = Pid::from_child(&child);
    let output = child.wait_with_output().expect("it ends");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.contains("every byte is right"),
        "seed {seed} {arguments:?}: {}\n{out}\n{err}\nrepeat: cargo run --example three_nodes -- \
         --mib 6 --seed {seed} {}",
        output.status,
        arguments.join(" ")
    );
    assert_eq!(running_in(group), Vec::<String>::new());
}

#[test]
fn three_nodes_survive_kills_at_random_moments_and_of_the_leader() {
    // Another moment in every run; a failure prints it.
    let seed = u64::from(std::process::id());
    survives(seed, &[]);
    survives(seed + 1, &["--kill-leader"]);
}

#[test]
fn three_nodes_leave_no_process_behind_however_they_end() {
    let place = tempfile::tempdir().expect("a folder");
    // After so many lines of its output, with this signal to the first process alone.
    let cases = [(0, Signal::INT), (1, Signal::TERM), (2, Signal::KILL), (8, Signal::INT)];
    for (index, (lines, signal)) in cases.into_iter().enumerate() {
        let dir = place.path().join(index.to_string());
        let mut story = example("three_nodes");
        story.args(["--mib", "2", "--dir"]).arg(&dir).process_group(0).stderr(Stdio::null());
        let mut story = Process(story.spawn().expect("it runs"));
        let group = Pid::from_child(&story.0);
        let output = BufReader::new(story.0.stdout.take().expect("a pipe"));
        until("a node has begun", || dir.join("n1.log").exists());
        let heard = output.lines().map_while(Result::ok).take(lines).count();
        assert_eq!(heard, lines, "its output ended");
        kill_process(group, signal).expect("it is not waited for yet");
        assert!(!story.0.wait().expect("it ends").success(), "{lines} lines, {signal:?}");
        until("all its processes are gone", || running_in(group).is_empty());
    }
}

#[test]
fn three_nodes_empty_no_directory_that_they_did_not_make() {
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(place.path().join("precious"), "words").expect("it is written");
    let mut story = example("three_nodes");
    let output = story.arg("--dir").arg(place.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("was not made by this example"), "{said}");
    assert!(place.path().join("precious").exists());
}
