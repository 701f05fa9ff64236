//! Defaults, then the file, then variables, then flags: each layer replaces what the one below says
//! of a setting, lists included, and every value remembers where it came from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file::Entry;
use super::{ALL, CONFIG_VARIABLE, Fault, Flags, LOG, PREFIX, Setting, Value, file};

/// Sets the log too, as with other programs, where `EVERTREE_LOG` does not.
const LOG_VARIABLE: &str = "RUST_LOG";

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    File {
        path: PathBuf,
        /// From 1.
        line: Option<usize>,
    },
    /// By its whole name.
    Variable(String),
    /// Without its dashes.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// What is in force for one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// `None`: not set.
    pub(crate) value: Option<Value>,
    pub(crate) source: Source,
}

/// All settings, from all layers.
#[derive(Debug)]
pub(crate) struct Layers {
    chosen: BTreeMap<&'static str, Chosen>,
    /// The file that was read, and who named it.
    pub(crate) file: Option<(PathBuf, Source)>,
    /// What is wrong in any layer, even where a higher one replaces it.
    pub(crate) faults: Vec<Fault>,
}

impl Layers {
    /// Reads the file, this process's variables, and `flags`.
    pub(crate) fn read(flags: &Flags) -> Self {
        Self::of(flags, std::env::vars_os())
    }

    fn of(flags: &Flags, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let default = |setting: &'static Setting| {
            let value = setting.default.and_then(|text| setting.kind.of_text(text).ok());
            (setting.key, Chosen { value, source: Source::Default })
        };
        let chosen = ALL.iter().map(default).collect();
        let mut layers = Self { chosen, file: None, faults: Vec::new() };
        // By name, so that what is wrong is told in the same order every time.
        let variables: BTreeMap<_, _> = variables
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.starts_with(PREFIX) || name == LOG_VARIABLE)
            .collect();
        let named = variables.get(CONFIG_VARIABLE).filter(|path| !path.is_empty());
        let by_variable =
            |path: &OsString| (PathBuf::from(path), Source::Variable(CONFIG_VARIABLE.to_owned()));
        let by_flag = |path: &PathBuf| (path.clone(), Source::Flag("config".to_owned()));
        layers.file = flags.config.as_ref().map(by_flag).or_else(|| named.map(by_variable));
        layers.add_file();
        layers.add_variables(&variables);
        layers.add_flags(flags);
        layers
    }

    /// What is in force for `setting`.
    pub(crate) fn of_setting(&self, setting: &Setting) -> Chosen {
        let unset = || Chosen { value: None, source: Source::Default };
        self.chosen.get(setting.key).cloned().unwrap_or_else(unset)
    }

    /// The value in force for `setting`.
    pub(crate) fn value(&self, setting: &Setting) -> Option<Value> {
        self.of_setting(setting).value
    }

    /// Of a setting that is one text.
    pub(crate) fn text(&self, setting: &Setting) -> Option<String> {
        match self.value(setting)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Of a setting that is a path.
    pub(crate) fn path(&self, setting: &Setting) -> Option<PathBuf> {
        match self.value(setting)? {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Of a setting that is a list; empty if it is not set.
    pub(crate) fn list(&self, setting: &Setting) -> Vec<String> {
        match self.value(setting) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    /// Of a setting that is a number, whose kind has bounds that fit.
    pub(crate) fn number<N: TryFrom<u64> + Default>(&self, setting: &Setting) -> N {
        match self.value(setting) {
            Some(Value::Number(number)) => N::try_from(number).unwrap_or_default(),
            _ => N::default(),
        }
    }

    fn add_file(&mut self) {
        let Some((path, _)) = self.file.clone() else { return };
        match file::read(&path) {
            Ok(entries) => entries.into_iter().for_each(|entry| self.add_entry(&path, &entry)),
            Err(fault) => self.faults.push(fault),
        }
    }

    fn add_entry(&mut self, path: &Path, entry: &Entry) {
        let source = Source::File { path: path.to_path_buf(), line: Some(entry.line) };
        let Some(setting) = ALL.iter().find(|setting| setting.key == entry.key) else {
            let known = ALL.iter().map(|setting| setting.key.to_owned()).collect();
            let name = entry.key.clone();
            self.faults.push(Fault::Unknown { source, what: "key", name, known });
            return;
        };
        let value = setting.kind.of_typed(&entry.value).map(|value| below(path, value));
        self.add(setting, source, &entry.written, value);
    }

    fn add_variables(&mut self, variables: &BTreeMap<String, OsString>) {
        for (name, value) in variables {
            let mut setting = ALL.iter().find(|setting| setting.variable() == *name);
            if name == CONFIG_VARIABLE {
                continue;
            }
            if name == LOG_VARIABLE && !variables.contains_key(&LOG.variable()) {
                setting = ALL.iter().find(|setting| setting.key == LOG.key);
            } else if name == LOG_VARIABLE {
                continue;
            }
            let source = Source::Variable(name.clone());
            let Some(setting) = setting else {
                let mut known: Vec<_> = ALL.iter().map(Setting::variable).collect();
                known.push(CONFIG_VARIABLE.to_owned());
                let (what, name) = ("variable", name.clone());
                self.faults.push(Fault::Unknown { source, what, name, known });
                continue;
            };
            let text = value.to_string_lossy();
            let read = match value.to_str() {
                Some(text) => setting.kind.of_text(text),
                None => Err(format!("{}, in UTF-8", setting.kind.expected())),
            };
            self.add(setting, source, &text, read);
        }
    }

    fn add_flags(&mut self, flags: &Flags) {
        for setting in ALL {
            if let Some(text) = flags.written.get(setting.key) {
                let source = Source::Flag(setting.flag());
                self.add(setting, source, text, setting.kind.of_text(text));
            }
        }
    }

    fn add(
        &mut self,
        setting: &'static Setting,
        source: Source,
        written: &str,
        read: Result<Value, String>,
    ) {
        match read {
            Ok(value) => {
                self.chosen.insert(setting.key, Chosen { value: Some(value), source });
            }
            Err(expected) => {
                let (key, value) = (setting.key, written.to_owned());
                self.faults.push(Fault::Value { source, key, value, expected });
            }
        }
    }
}

/// A path in the file is one from the file's own folder, wherever the command is run.
fn below(file: &Path, value: Value) -> Value {
    match (value, file.parent()) {
        (Value::Path(path), Some(folder)) => Value::Path(folder.join(path)),
        (value, _) => value,
    }
}
