//! What may be written for a setting, and what it then is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use evertree::base::NodeId;
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// Longest name of a cluster or zone, in bytes.
const WORD_BYTES_MAX: usize = 63;
/// Units of a span, longest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What may stand for a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a node.
    Name,
    /// Of a cluster, as it stands in certificates.
    Cluster,
    /// A word, or nothing.
    Zone,
    /// A numeric address with a port, to listen on.
    Address,
    /// A name or address with a port, to be reached at.
    HostPort,
    /// Several of those.
    HostPorts,
    /// Of a file or directory.
    Path,
    /// A whole number, bounds included.
    Number { least: u64, most: u64 },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Yes or no.
    Switch,
    /// A length of time.
    Span,
    /// Of the log.
    Filter,
}

/// What is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
    Path(PathBuf),
    Number(u64),
    Switch(bool),
    Span(Duration),
}

/// A value in the file, which has a type there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Typed {
    Text(String),
    Number(i64),
    Switch(bool),
    List(Vec<String>),
    /// Of a type that no setting has.
    Other,
}

impl Kind {
    /// What is expected, to be said when something else is found.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Name => "a node name: [a-z0-9][a-z0-9.-]{0,62}".into(),
            Self::Cluster => {
                format!("a cluster name: 1 to {WORD_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-`")
            }
            Self::Zone => format!("nothing, or 1 to {WORD_BYTES_MAX} printable bytes"),
            Self::Address => "a numeric address and port, such as 127.0.0.1:7001".into(),
            Self::HostPort => "host:port, such as n1.example:7001".into(),
            Self::HostPorts => {
                "host:port of each, such as n1.example:7001,n2.example:7001 (in the file, an \
                 array of strings)"
                    .into()
            }
            Self::Path => "a path".into(),
            Self::Number { least, most } => format!("a whole number from {least} to {most}"),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::Switch => "true or false".into(),
            Self::Span => "a length of time, such as 500ms, 30s, 2m or 1h".into(),
            Self::Filter => "a filter of the log, such as info or warn,evertree=debug".into(),
        }
    }

    /// Reads what a variable or a flag says.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn of_text(self, text: &str) -> Result<Value, String> {
        let is_word = |bytes: usize| (1..=WORD_BYTES_MAX).contains(&bytes);
        let read = match self {
            Self::Name => text.parse().ok().map(|name: NodeId| Value::Text(name.to_string())),
            Self::Cluster => {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                let plain = |c: char| plain(c) || "._-".contains(c);
                (is_word(text.len()) && text.chars().all(plain)).then(|| Value::Text(text.into()))
            }
            Self::Zone => {
                let fits = text.len() <= WORD_BYTES_MAX && text.chars().all(|c| !c.is_control());
                fits.then(|| Value::Text(text.into()))
            }
            Self::Address => {
                text.parse::<SocketAddr>().ok().map(|addr| Value::Text(addr.to_string()))
            }
            Self::HostPort => is_host_port(text).then(|| Value::Text(text.into())),
            Self::HostPorts => return self.of_list(text.split(',').map(str::trim)),
            Self::Path => (!text.is_empty()).then(|| Value::Path(text.into())),
            Self::Number { least, most } => {
                let number = text.parse::<u64>().ok();
                number.filter(|number| (least..=most).contains(number)).map(Value::Number)
            }
            Self::OneOf(words) => words.contains(&text).then(|| Value::Text(text.into())),
            Self::Switch => text.parse::<bool>().ok().map(Value::Switch),
            Self::Span => span(text).map(Value::Span),
            Self::Filter => {
                let is_filter = !text.is_empty() && EnvFilter::try_new(text).is_ok();
                is_filter.then(|| Value::Text(text.into()))
            }
        };
        read.ok_or_else(|| self.expected())
    }

    /// Reads what the file says.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn of_typed(self, typed: &Typed) -> Result<Value, String> {
        match (self, typed) {
            (Self::Number { .. }, Typed::Number(number)) => self.of_text(&number.to_string()),
            (Self::Switch, Typed::Switch(switch)) => Ok(Value::Switch(*switch)),
            (Self::HostPorts, Typed::List(list)) => self.of_list(list.iter().map(String::as_str)),
            (Self::Number { .. } | Self::Switch, Typed::Text(_)) => {
                Err(format!("{}, without quotes", self.expected()))
            }
            (_, Typed::Text(text)) => self.of_text(text),
            (_, Typed::Number(_) | Typed::Switch(_) | Typed::List(_) | Typed::Other) => {
                Err(self.expected())
            }
        }
    }

    fn of_list<'a>(self, parts: impl Iterator<Item = &'a str>) -> Result<Value, String> {
        let list: Vec<String> = parts.map(str::to_owned).collect();
        let good = !list.is_empty() && list.iter().all(|part| is_host_port(part));
        if good { Ok(Value::List(list)) } else { Err(self.expected()) }
    }
}

/// `host:port`, with a host that is a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host_port(text: &str) -> bool {
    if text.parse::<SocketAddr>().is_ok_and(|addr| addr.port() > 0) {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let is_host = (1..=253).contains(&host.len()) && host.chars().all(plain);
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// `500ms`, `30s`, `2m`, `1h`; more than nothing.
fn span(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(millis)?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// A length of time as a flag of a command has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        span(text).map(Self).ok_or_else(|| format!("expected {}", Kind::Span.expected()))
    }
}

impl Value {
    /// As it would be written in a flag.
    pub(crate) fn written(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(list) => list.join(","),
            Self::Path(path) => path.display().to_string(),
            Self::Number(number) => number.to_string(),
            Self::Switch(switch) => switch.to_string(),
            Self::Span(span) => written_span(*span),
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => json!(text),
            Self::List(list) => json!(list),
            Self::Number(number) => json!(number),
            Self::Switch(switch) => json!(switch),
            Self::Path(_) | Self::Span(_) => json!(self.written()),
        }
    }
}

/// In the longest unit that it is a whole number of.
fn written_span(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let whole = UNITS.iter().find(|(_, unit)| millis.is_multiple_of(*unit));
    whole.map_or_else(String::new, |(name, unit)| format!("{}{name}", millis / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_from_what_is_neither() {
        for good in ["n1:7001", "n1.example:1", "10.0.0.1:65535", "[::1]:7001", "n_1:70"] {
            assert!(is_host_port(good), "{good}");
        }
        for bad in ["", "n1", ":7001", "n1:", "n1:0", "n1:70000", "::1:7001", "a b:1", "n1:1,n2:1"]
        {
            assert!(!is_host_port(bad), "{bad}");
        }
    }

    #[test]
    fn spans_are_read_and_written_in_their_longest_unit() {
        let table = [("500ms", 500, "500ms"), ("60s", 60_000, "1m"), ("90s", 90_000, "90s")];
        for (text, millis, written) in table {
            let read = span(text).expect(text);
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(written_span(read), written);
        }
        for bad in ["", "5", "s", "0s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999h"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
