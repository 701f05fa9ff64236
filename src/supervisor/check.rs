//! What makes a spec invalid, named by path and field.

use super::api::RequestError;
use super::options::ChildOptions;
use super::tree::StartError;
use crate::event::Path;
use crate::restart::{AutoShutdown, Backoff, Rule, RuleError};

/// Longest name of a child, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// What is wrong with a spec.
#[derive(Debug)]
pub(super) struct Flaw {
    path: Path,
    field: &'static str,
    why: String,
}

impl Flaw {
    pub(super) fn new(path: &Path, field: &'static str, why: impl Into<String>) -> Self {
        Self { path: path.clone(), field, why: why.into() }
    }
}

impl From<Flaw> for StartError {
    fn from(Flaw { path, field, why }: Flaw) -> Self {
        Self::Invalid { path, field, why }
    }
}

impl From<Flaw> for RequestError {
    fn from(Flaw { path, field, why }: Flaw) -> Self {
        Self::Invalid { path, field, why }
    }
}

/// What the machine needs to know of a child for which `options` were said.
pub(super) fn rule_of(
    options: &ChildOptions,
    path: &Path,
    auto_shutdown: AutoShutdown,
) -> Result<Rule, Flaw> {
    if let Some((field, why)) = options.objection() {
        return Err(Flaw::new(path, field, why));
    }
    if let Some(recovery) = &options.recovery {
        recovery.validate().map_err(|error| Flaw::new(path, error.field(), error.to_string()))?;
    }
    let backoff = options.backoff.as_ref().map(|delay| Backoff::new(*delay.start(), *delay.end()));
    let rule = Rule {
        significant: options.significant,
        backoff,
        budget: options.budget,
        abandon_stuck: options.abandon_stuck,
        ..Rule::new(options.restart, options.shutdown)
    };
    let field = |error: &RuleError| match error {
        RuleError::SignificantNever | RuleError::SignificantPermanent => "significant",
        RuleError::Backoff(_) => "backoff",
        RuleError::Budget(_) => "budget",
    };
    rule.validate(auto_shutdown)
        .map_err(|error| Flaw::new(path, field(&error), error.to_string()))?;
    Ok(rule)
}

/// Where a spec stands.
pub(super) struct Place<'a>(Option<&'a Path>);

impl<'a> Place<'a> {
    pub(super) fn root() -> Self {
        Self(None)
    }

    pub(super) fn below(supervisor: &'a Path) -> Self {
        Self(Some(supervisor))
    }

    /// The path of `name` here.
    pub(super) fn of(&self, name: &str) -> Result<Path, Flaw> {
        let path = self.0.map_or_else(|| Path::root(name), |above| above.join(name));
        let why = if name.is_empty() {
            "it must not be empty".to_owned()
        } else if name.len() > NAME_BYTES_MAX {
            format!("it must have at most {NAME_BYTES_MAX} bytes")
        } else if name.contains('/') || name.contains(char::is_control) {
            "it must not contain `/` or control characters".to_owned()
        } else {
            return Ok(path);
        };
        Err(Flaw::new(&path, "name", why))
    }
}
