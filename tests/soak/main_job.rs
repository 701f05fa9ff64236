//! The main job, twenty times: ten alone, ten beside a process that keeps both cores busy.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};

/// Runs of each half.
const RUNS: u64 = 10;
/// What is read off the story's lines, with the text before and after the figure.
const FIGURES: [(&str, &str, &str); 6] = [
    ("stored noise.bin MiB/s", "chunks at ", " MiB/s"),
    ("kill to first answer s", "answers on ", " s after the kill"),
    ("restart to member s", "is a member again ", " s after"),
    ("restart to all copies s", "have 3 copies again ", " s after"),
    ("read back MiB/s", "MiB, at ", " MiB/s: every hash"),
    ("start to serving s", "three nodes serve after ", " s;"),
];

/// Two busy processes, ended when dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start() -> Self {
        let spin = || {
            Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .expect("sh runs")
        };
        Self(vec![spin(), spin()])
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().expect("it runs until it is killed");
            child.wait().expect("it ends");
        }
    }
}

fn figure(story: &str, before: &str, after: &str) -> Option<f64> {
    let line = story.lines().find(|line| line.contains(before) && line.contains(after))?;
    let head = line.split(after).next()?;
    head.rsplit(' ').next()?.parse().ok()
}

fn row(name: &str, mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values[(values.len() - 1) * share / 100];
    format!("  {name:26} min {:8.2}  median {:8.2}  max {:8.2}\n", at(0), at(50), at(100))
}

fn half(name: &str, first_seed: u64, report: &mut String) {
    let mut stories = Vec::new();
    for seed in first_seed..first_seed + RUNS {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--release", "--example", "three_nodes", "--"])
            .args(["--seed", &seed.to_string()])
            .output()
            .expect("cargo runs");
        let story = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{name}, seed {seed}: {story}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        stories.push(story);
    }
    writeln!(report, "{name}: {} of {RUNS} runs passed", stories.len()).expect("a string");
    for (what, before, after) in FIGURES {
        let values: Vec<f64> =
            stories.iter().filter_map(|story| figure(story, before, after)).collect();
        assert_eq!(values.len(), stories.len(), "{what} is missing in a story");
        report.push_str(&row(what, values));
    }
}

/// Runs both halves and returns the report.
pub(crate) fn run() -> String {
    let mut report = format!("seeds: 1..{} of the kill's moment and the bytes\n", 2 * RUNS + 1);
    half("alone", 1, &mut report);
    let busy = Busy::start();
    half("beside two busy loops on two cores", RUNS + 1, &mut report);
    drop(busy);
    report
}
