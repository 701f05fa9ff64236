//! A run that fails says its seed, and the command that repeats it.

use std::fmt;

/// To be held while a seed runs: if that panics, it says which seed it is and how to repeat it.
#[derive(Debug)]
#[must_use = "dropped at once, it says nothing"]
pub struct Repeat {
    seed: u64,
    command: String,
}

impl Repeat {
    /// Of `seed`, which `command` runs again.
    pub fn new(seed: u64, command: impl Into<String>) -> Self {
        Self { seed, command: command.into() }
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}; repeat: {}", self.seed, self.command)
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}
