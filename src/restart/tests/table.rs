//! The whole table, kept as text: `table.txt` says what follows from what. `EVERTREE_BLESS=1`
//! writes it anew; the difference is to be read.

use std::fmt::Write as _;

use super::*;

const KEPT: &str = include_str!("table.txt");
const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

fn shown(done: &[Output]) -> String {
    let words: Vec<String> = done.iter().map(|output| format!("{output:?}")).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

/// What follows when child 1 of 0, 1, 2 ends, until all is quiet.
fn ends(text: &mut String) {
    use ExitReason::{GaveUp, Hung, Killed, Normal, Shutdown};
    for strategy in STRATEGIES {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            let _ = writeln!(text, "\n{strategy:?}, {restart:?}: child 1 ends, all obey");
            for reason in [Normal, Shutdown, Killed, crash(), no_start(), Hung, GaveUp] {
                let children = [Restart::Permanent, restart, Restart::Permanent];
                let mut bench = Bench::up(config(strategy, 9, &children));
                let done = shown(&bench.settle(Input::Exited(1, reason.clone())));
                let _ = writeln!(text, "  {:<18} {done}", reason.to_string());
            }
        }
    }
}

/// A way to bring a child into a status: its name, the child, what happened.
type Way = (&'static str, usize, Vec<Input>);

/// Into each status there is, for one of the children 0, 1, 2 or one that is added. A tick comes
/// when the machine wants it.
fn states(restart: Restart) -> Vec<Way> {
    use Input::{Add, Begin, Declined, Delete, Exited, Fell, Hung, Started, Terminate, Tick};
    let up = vec![Begin, Started(0), Started(1), Started(2)];
    let then = |inputs: &[Input]| [up.as_slice(), inputs].concat();
    let stopped = |child| Exited(child, ExitReason::Shutdown);
    let again = [Exited(1, crash()), stopped(2), stopped(0), Started(0)];
    let asked = Input::Restart(1);
    vec![
        ("not begun", 1, vec![]),
        ("due, declared", 1, vec![Begin]),
        ("starting, declared", 1, vec![Begin, Started(0)]),
        ("killed, declared", 1, vec![Begin, Started(0), Hung(1)]),
        ("resting, declined", 1, vec![Begin, Started(0), Declined(1), Started(2)]),
        ("up", 1, up.clone()),
        ("starting again", 1, then(&again)),
        ("backing off", 1, then(&again)),
        ("stopping, to rest", 1, then(&[Terminate(1)])),
        ("stopping, to return with its group", 1, then(&[Terminate(1), Exited(0, crash())])),
        ("killed, to rest", 1, then(&[Terminate(1), Tick])),
        ("killed, hung", 1, then(&[Hung(1)])),
        ("killed, fallen", 1, then(&[Fell(1)])),
        ("resting", 1, then(&[Terminate(1), stopped(1)])),
        ("starting, asked for", 1, then(&[Terminate(1), stopped(1), asked.clone()])),
        ("starting, added", 3, then(&[Add(rule(restart))])),
        ("added while a group stops", 3, then(&[Exited(0, crash()), Add(rule(restart))])),
        ("before its group stops it", 1, then(&[Exited(0, crash())])),
        ("while its group stops it", 1, then(&[Exited(0, crash()), stopped(2)])),
        ("killed with its group", 1, then(&[Exited(0, crash()), stopped(2), Tick])),
        ("deleted", 1, then(&[Terminate(1), stopped(1), Delete(1)])),
        ("stuck", 1, then(&[Hung(1), Tick])),
        ("before the end stops it", 1, then(&[Input::Shutdown])),
        ("while the end stops it", 1, then(&[Input::Shutdown, stopped(2)])),
        ("starting at the end", 1, then(&[Terminate(1), stopped(1), asked, Input::Shutdown])),
        ("resting at the end", 1, then(&[Input::Shutdown, stopped(2), stopped(1)])),
        ("ended", 1, then(&[Input::Shutdown, stopped(2), stopped(1), stopped(0)])),
    ]
}

fn inputs(child: usize) -> Vec<Input> {
    vec![
        Input::Begin,
        Input::Add(rule(Restart::Permanent)),
        Input::Terminate(child),
        Input::Restart(child),
        Input::Delete(child),
        Input::Started(child),
        Input::Declined(child),
        Input::Exited(child, ExitReason::Normal),
        Input::Exited(child, crash()),
        Input::Fell(child),
        Input::Hung(child),
        Input::Shutdown,
        Input::Tick,
    ]
}

fn name(input: &Input) -> String {
    match input {
        Input::Exited(child, reason) => format!("Exited({child}, {reason})"),
        Input::Add(_) => "Add".to_owned(),
        Input::Tick => "Tick in time".to_owned(),
        Input::Begin
        | Input::Terminate(_)
        | Input::Restart(_)
        | Input::Delete(_)
        | Input::Started(_)
        | Input::Declined(_)
        | Input::Fell(_)
        | Input::Hung(_)
        | Input::Shutdown => format!("{input:?}"),
    }
}

fn word(status: Option<Status>) -> String {
    status.map_or("not listed".to_owned(), |status| match status {
        Status::Due => "Due".into(),
        Status::BackingOff(_) => "BackingOff".into(),
        Status::Starting => "Starting".into(),
        Status::Up => "Up".into(),
        Status::Stopping(_) => "Stopping".into(),
        Status::Killed { asked, .. } => format!("Killed {{ asked: {asked} }}"),
        Status::Stuck => "Stuck".into(),
        Status::Resting => "Resting".into(),
    })
}

/// What one input does to a child, whatever its status, and which do nothing.
fn steps(text: &mut String) {
    for strategy in STRATEGIES {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            for (state, child, way) in states(restart) {
                if strategy == Strategy::OneForOne && state.contains("group") {
                    continue;
                }
                let mut config = config(strategy, 9, &[Restart::Permanent; 3]);
                config.children[1].restart = restart;
                if state == "backing off" {
                    config.children[1].backoff = Some(Backoff::new(SECOND, SECOND));
                }
                let mut bench = Bench::new(config);
                for input in way {
                    in_time(&mut bench, input);
                }
                let _ = write!(text, "\n{strategy:?}, {restart:?}, {state}: child {child} is ");
                state_lines(text, &bench, child);
            }
        }
    }
}

fn in_time(bench: &mut Bench, input: Input) -> Vec<Output> {
    if input == Input::Tick {
        bench.now = bench.machine.next_deadline().unwrap_or(bench.now);
    }
    bench.step(input)
}

fn state_lines(text: &mut String, start: &Bench, child: usize) {
    let from = word(start.machine.status(child));
    let _ = writeln!(text, "{from}");
    let mut idle = Vec::new();
    for input in inputs(child) {
        let mut bench = Bench { machine: start.machine.clone(), now: start.now };
        let named = name(&input);
        let done = in_time(&mut bench, input);
        let to = word(bench.machine.status(child));
        if done.is_empty() && to == from {
            idle.push(named);
            continue;
        }
        let becomes = if to == from { String::new() } else { format!(" => {to}") };
        let _ = writeln!(text, "  {named:<24} {}{becomes}", shown(&done));
    }
    let _ = writeln!(text, "  nothing: {}", idle.join(", "));
}

#[test]
fn the_whole_table_is_as_it_was_kept() {
    let mut text = String::from("What follows from what. Written by `tests/table.rs`.\n");
    ends(&mut text);
    steps(&mut text);
    if std::env::var_os("EVERTREE_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/restart/tests/table.txt");
        std::fs::write(path, &text).expect("the table can be written");
        return;
    }
    for (line, (is, was)) in (1..).zip(text.lines().zip(KEPT.lines())) {
        assert_eq!(is, was, "table.txt:{line}; EVERTREE_BLESS=1 writes it anew");
    }
    assert_eq!(text.len(), KEPT.len(), "EVERTREE_BLESS=1 writes it anew");
}
