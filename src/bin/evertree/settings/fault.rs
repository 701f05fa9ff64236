//! What is wrong with what was set: where it stands, what it says, and what was expected.

use std::fmt;

use super::{PREFIX, Source};

/// How much alike two names are, of 1, to be thought a slip of the pen. clap takes the same.
const ALIKE_MIN: f64 = 0.7;
/// Of a value that is wrong, so many characters are repeated.
const VALUE_CHARS_MAX: usize = 200;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A value is of the wrong kind.
    Value {
        /// Where it stands.
        source: Source,
        key: &'static str,
        /// As it is written there.
        value: String,
        expected: String,
    },
    /// Two settings do not fit each other.
    Unfit {
        /// What must change.
        first: Box<Named>,
        /// What it does not fit.
        second: Box<Named>,
        why: String,
    },
    /// Nobody knows this key or variable.
    Unknown {
        source: Source,
        /// `key` or `variable`.
        what: &'static str,
        name: String,
        known: Vec<String>,
    },
    /// It must be set, and is not.
    Missing { key: &'static str, why: &'static str },
    /// The file cannot be read, or is no TOML.
    File { source: Source, why: String },
}

/// One setting as it is, to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) key: String,
    /// Empty if there is none to tell.
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// All that is wrong, in the order in which it was found. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { source, key, value, expected } => {
                write!(f, "{source}: {key} = {}: expected {expected}", short(value))
            }
            Self::Unfit { first, second, why } => {
                let Named { key, value, source } = &**first;
                write!(f, "{source}: {key} = {} does not fit ", short(value))?;
                let Named { key, value, source } = &**second;
                if value.is_empty() {
                    write!(f, "{key}: {why}")
                } else {
                    write!(f, "{key} = {} ({source}): {why}", short(value))
                }
            }
            Self::Unknown { source, what, name, known } => {
                write!(f, "{source}: there is no {what} {}", short(name))?;
                match nearest(name, known) {
                    Some(nearest) => write!(f, ": did you mean {nearest}?"),
                    None => write!(f, "; there are {}", known.join(", ")),
                }
            }
            Self::Missing { key, why } => {
                let flag = key.replace('_', "-");
                let variable = key.to_ascii_uppercase();
                write!(
                    f,
                    "{key} is not set: {why} (--{flag}, EVERTREE_{variable}, or {key} = .. in the \
                     file)"
                )
            }
            Self::File { source, why } => write!(f, "{source}: {why}"),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// In quotes, on one line, not longer than a line may be.
fn short(value: &str) -> String {
    let mut chars = value.chars();
    let kept: String = chars.by_ref().take(VALUE_CHARS_MAX).collect();
    let more = if chars.next().is_some() { ".." } else { "" };
    format!("{kept:?}{more}")
}

/// The one most like `name`, if any is much like it. What all variables begin with does not count.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let own = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    let alike = known.iter().map(|other| (strsim::jaro(&own(name), &own(other)), other.as_str()));
    let best = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(alike, _)| *alike > ALIKE_MIN).map(|(_, name)| name)
}
