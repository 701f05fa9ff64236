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

/// What all runs came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) text: String,
    pub(crate) failures: Vec<String>,
}

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
    if values.is_empty() {
        return format!("  {name:26} no figure\n");
    }
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values[(values.len() - 1) * share / 100];
    format!("  {name:26} min {:8.2}  median {:8.2}  max {:8.2}\n", at(0), at(50), at(100))
}

/// One run: its story, or why there is none.
fn story(seed: u64) -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--example", "three_nodes", "--"])
        .args(["--seed", &seed.to_string()])
        .output()
        .expect("cargo runs");
    let story = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(story);
    }
    Err(format!("{}\n{story}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

fn half(name: &str, first_seed: u64, report: &mut Report) {
    let mut stories = Vec::new();
    for seed in first_seed..first_seed + RUNS {
        match story(seed) {
            Ok(story) => stories.push(story),
            // The other runs go on: how many of them pass is what the report is for.
            Err(why) => report.failures.push(format!("{name}, seed {seed}: {why}")),
        }
    }
    let passed = stories.len();
    writeln!(report.text, "{name}: {passed} of {RUNS} runs passed").expect("a string takes it");
    for (what, before, after) in FIGURES {
        let values: Vec<f64> =
            stories.iter().filter_map(|story| figure(story, before, after)).collect();
        if values.len() < passed {
            let found = values.len();
            report.failures.push(format!("{name}: {found} of {passed} stories tell {what}"));
        }
        report.text.push_str(&row(what, values));
    }
}

/// Runs both halves.
pub(crate) fn run() -> Report {
    let text = format!("seeds: 1..{} of the kill's moment and the bytes\n", 2 * RUNS + 1);
    let mut report = Report { text, failures: Vec::new() };
    half("alone", 1, &mut report);
    let busy = Busy::start();
    half("beside two busy loops on two cores", RUNS + 1, &mut report);
    drop(busy);
    let Report { mut text, failures } = report;
    writeln!(text, "failures: {}", failures.len()).expect("a string takes it");
    for failure in &failures {
        writeln!(text, "\n{failure}").expect("a string takes it");
    }
    Report { text, failures }
}
