//! What is printed to standard output: one text for people, or JSON.

use std::fmt::Display;
use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::Failure;

/// Prints `text` as it is.
///
/// # Errors
/// If it cannot be written; a reader that has enough is none.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(&format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints `value` on lines of its own, for people to read and programs to parse.
///
/// # Errors
/// As [`text`].
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    text(&format!("{value:#}\n"))
}

/// Prints a report, as JSON if `as_json`.
///
/// # Errors
/// As [`text`].
pub(crate) fn report(as_json: bool, report: &(impl Serialize + Display)) -> Result<(), Failure> {
    if !as_json {
        return text(&report.to_string());
    }
    let written = serde_json::to_string_pretty(report);
    let written = written.map_err(|error| Failure::failed(&format!("no JSON: {error}")))?;
    text(&format!("{written}\n"))
}

/// Prints `value` on one line: for a program that reads line by line.
///
/// # Errors
/// As [`text`].
pub(crate) fn json_line(value: &serde_json::Value) -> Result<(), Failure> {
    text(&format!("{value}\n"))
}

/// Asks a person on the terminal whether it is to be done.
///
/// # Errors
/// That nothing was changed: the answer is no, or there is nobody to be asked.
pub(crate) fn confirmed(as_json: bool, question: &str) -> Result<(), Failure> {
    if as_json || !io::stdin().is_terminal() {
        let text = "nothing was changed: --yes is not set, and there is nobody to be asked";
        return Err(Failure::config(text));
    }
    let failed = |error: io::Error| Failure::failed(&format!("nothing was changed: {error}"));
    eprint!("{question} [y/N] ");
    io::stderr().flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was changed")),
    }
}
