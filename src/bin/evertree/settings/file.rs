//! The file: TOML, read so that every value knows its line.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::kind::Typed;
use super::{Fault, Source};

/// Longest file, in bytes: what is longer is not one of settings.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One line of the file: its number, the key, the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) value: Typed,
    /// As it is written.
    pub(crate) written: String,
}

/// Reads the file at `path`.
///
/// # Errors
/// [`Fault::File`] names it, with the line where there is one.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, Fault> {
    let fault = |line: Option<usize>, why: String| {
        let source = Source::File { path: path.to_path_buf(), line };
        Fault::File { source, why }
    };
    let unread = |error: std::io::Error| fault(None, format!("cannot read it: {error}"));
    let length = std::fs::metadata(path).map_err(unread)?.len();
    if length > FILE_BYTES_MAX {
        let why = format!("it has {length} bytes, at most {FILE_BYTES_MAX} are expected");
        return Err(fault(None, why));
    }
    let text = std::fs::read_to_string(path).map_err(unread)?;
    entries(&text).map_err(|(line, why)| fault(line, why))
}

/// The settings of a TOML text, in the order of their lines.
fn entries(text: &str) -> Result<Vec<Entry>, (Option<usize>, String)> {
    let line_of = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(span.start));
        (line, format!("this is no TOML: {}", error.message().trim().replace('\n', ", ")))
    })?;
    let entry = |(key, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
        line: line_of(key.span().start),
        key: key.get_ref().to_string(),
        written: match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            _ => text.get(value.span()).unwrap_or_default().to_owned(),
        },
        value: typed(value.get_ref()),
    };
    let mut entries: Vec<Entry> = table.get_ref().iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn typed(value: &DeValue<'_>) -> Typed {
    match value {
        DeValue::String(text) => Typed::Text(text.to_string()),
        DeValue::Integer(number) => whole(number).map_or(Typed::Other, Typed::Number),
        DeValue::Boolean(switch) => Typed::Switch(*switch),
        DeValue::Array(array) => {
            let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            };
            let texts: Option<Vec<String>> = array.iter().map(text).collect();
            texts.map_or(Typed::Other, Typed::List)
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Typed::Other,
    }
}

fn whole(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line_and_what_is_written_there() {
        let text =
            "# a comment\nshards = 0x40\n\njoin = [\n  \"a:1\",\n  \"b:2\",\n]\nzone = \"x\"\n";
        let entries = entries(text).expect("it is TOML");
        let lines: Vec<_> = entries.iter().map(|entry| (entry.line, entry.key.as_str())).collect();
        assert_eq!(lines, [(2, "shards"), (4, "join"), (8, "zone")]);
        assert_eq!(entries[0].value, Typed::Number(64));
        assert_eq!(entries[1].value, Typed::List(vec!["a:1".into(), "b:2".into()]));
        assert_eq!(entries[2].written, "x");
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        for (text, line) in [("a = 1\nb = = 2\n", 2), ("a = 1\na = 2\n", 2), ("x\n", 1)] {
            let (at, why) = entries(text).expect_err(text);
            assert_eq!(at, Some(line), "{text:?}: {why}");
            assert!(!why.contains('\n'), "{why:?}");
        }
    }
}
