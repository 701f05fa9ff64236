//! The flags, made from the table of settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{ALL, CONFIG_VARIABLE, Kind, Setting};

/// What was set by flags, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// The file to read.
    pub(crate) config: Option<PathBuf>,
    /// By the keys of the settings.
    pub(crate) written: BTreeMap<&'static str, String>,
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("TOML file with settings [variable: {CONFIG_VARIABLE}]"));
        command.arg(config).args(ALL.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one::<PathBuf>("config").cloned();
        for setting in ALL {
            let Some(written) = matches.get_many::<String>(setting.key) else { continue };
            let written: Vec<&str> = written.map(String::as_str).collect();
            self.written.insert(setting.key, written.join(","));
        }
        Ok(())
    }
}

/// Texts all of them: what may be written there is judged as in the other layers.
fn arg(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.key)
        .long(setting.flag())
        .value_name(value_name(setting.kind))
        .allow_hyphen_values(true)
        .help(help(setting));
    match setting.kind {
        Kind::HostPorts => arg.action(ArgAction::Append),
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Name
        | Kind::Cluster
        | Kind::Zone
        | Kind::Address
        | Kind::HostPort
        | Kind::Path
        | Kind::Number { .. }
        | Kind::OneOf(_)
        | Kind::Span
        | Kind::Filter => arg,
    }
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Name | Kind::Cluster => "NAME",
        Kind::Zone => "ZONE",
        Kind::Address => "IP:PORT",
        Kind::HostPort => "HOST:PORT",
        Kind::HostPorts => "HOST:PORT,..",
        Kind::Path => "PATH",
        Kind::Number { .. } => "NUMBER",
        Kind::OneOf(_) => "WORD",
        Kind::Switch => "true|false",
        Kind::Span => "TIME",
        Kind::Filter => "FILTER",
    }
}

fn help(setting: &Setting) -> StyledStr {
    let words = match setting.kind {
        Kind::OneOf(words) => format!(" [one of: {}]", words.join(", ")),
        _ => String::new(),
    };
    let default = setting.default.filter(|default| !default.is_empty());
    let default = default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    format!("{}{words}{default}", setting.help).into()
}
