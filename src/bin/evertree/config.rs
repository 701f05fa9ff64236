//! `evertree config show`: every setting, its value, and where it comes from.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::settings::{ALL, Chosen, Flags, Layers, Setting, Source, Told};
use crate::{Failure, print};

/// `evertree config ..`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints every setting, its value, and where it comes from
    ///
    /// Takes all flags of `evertree node`, and ends with status 2 if a node would not start with
    /// these settings. Nothing is hidden: secrets are in files, and only their paths are settings.
    Show(ShowArgs),
}

/// Flags of `evertree config show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(command: &ConfigCommand) -> Result<ExitCode, Failure> {
    let ConfigCommand::Show(args) = command;
    let layers = Layers::read(&args.flags);
    let shown: Vec<(&Setting, Chosen)> =
        ALL.iter().map(|setting| (setting, layers.of_setting(setting))).collect();
    if args.json {
        let file = layers.file.as_ref().map(|(path, _)| path.display().to_string());
        let settings: Vec<Value> =
            shown.iter().map(|(setting, chosen)| as_json(setting, chosen)).collect();
        print::json(&json!({ "file": file, "settings": settings }))?;
    } else {
        print::text(&as_text(&layers, &shown))?;
    }
    match Told::of(&layers) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(faults) => {
            Err(Failure::config(&format!("a node does not start with these settings:\n{faults}")))
        }
    }
}

fn as_json(setting: &Setting, chosen: &Chosen) -> Value {
    let source = match &chosen.source {
        Source::Default => json!({ "layer": "default" }),
        Source::File { path, line } => {
            json!({ "layer": "file", "path": path.display().to_string(), "line": line })
        }
        Source::Variable(name) => json!({ "layer": "variable", "name": name }),
        Source::Flag(name) => json!({ "layer": "flag", "name": format!("--{name}") }),
    };
    json!({
        "key": setting.key,
        "value": chosen.value.as_ref().map(crate::settings::Value::json),
        "source": source,
        "variable": setting.variable(),
        "flag": format!("--{}", setting.flag()),
        "default": setting.default,
        "expected": setting.kind.expected(),
        "help": setting.help,
    })
}

fn as_text(layers: &Layers, shown: &[(&Setting, Chosen)]) -> String {
    let written = |chosen: &Chosen| match &chosen.value {
        None => "(not set)".to_owned(),
        Some(value) if value.written().is_empty() => "\"\"".to_owned(),
        Some(value) => value.written(),
    };
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let key_width = widest(&mut shown.iter().map(|(setting, _)| setting.key.len()));
    let value_width = widest(&mut shown.iter().map(|(_, chosen)| written(chosen).chars().count()));
    let mut text = match &layers.file {
        Some((path, source)) => format!("file: {} ({source})\n", path.display()),
        None => "file: none\n".to_owned(),
    };
    for (setting, chosen) in shown {
        let (key, value, source) = (setting.key, written(chosen), &chosen.source);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key:key_width$}  {value:value_width$}  {source}");
    }
    text
}
