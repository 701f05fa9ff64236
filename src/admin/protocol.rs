//! What stands on a line. No socket and no clock.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::NodeId;
use crate::observe::{
    DrainReport, EventsAsk, EventsPage, Key, NodesReport, RingAsk, RingReport, SetAsk, SetReport,
    ShardsAsk, ShardsReport, VotersReport, WhereReport,
};
use crate::wire::printable;

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "evertree.sock";
/// The version of the protocol that is spoken here.
pub const PROTOCOL: u32 = 1;
/// Longest request, in bytes, its end of line included.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Longest answer, in bytes, its end of line included.
pub const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// Longest text of an error, in characters: it may quote what was asked.
const MESSAGE_CHARS_MAX: usize = 500;

/// What a node can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ask {
    /// The members, as they say they are and as each of them observes the others.
    Nodes,
    /// Shares of ring and shards.
    Ring(RingAsk),
    /// Who agrees on the views, and how far each is.
    Voters,
    /// Who owns and holds how many shards, and which of them are not as they should be.
    Shards(ShardsAsk),
    /// Where this entity is.
    Where(Key),
    /// What changed in the view, and why. If it says `follow`, answers go on until either side ends
    /// the connection.
    Events(EventsAsk),
    /// Has a member hand over what it has; says how far it is.
    Drain(DrainAsk),
    /// One step towards leaving for good, of the node that is asked. To be repeated until it has
    /// left.
    Leave,
    /// Sets constants, or says what would follow.
    Set(SetAsk),
}

/// Which member is to hand over what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainAsk {
    /// The member.
    pub node: NodeId,
    /// From now on, or (false) no longer; `None`: only how far it is, is asked.
    #[serde(default)]
    pub on: Option<bool>,
    /// If it votes and no member could in its place, the voters become fewer.
    #[serde(default)]
    pub shrink_voters: bool,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// To [`Ask::Nodes`].
    Nodes(NodesReport),
    /// To [`Ask::Ring`].
    Ring(Box<RingReport>),
    /// To [`Ask::Voters`].
    Voters(VotersReport),
    /// To [`Ask::Shards`].
    Shards(ShardsReport),
    /// To [`Ask::Where`].
    Where(Box<WhereReport>),
    /// To [`Ask::Events`].
    Events(EventsPage),
    /// To [`Ask::Drain`].
    Drain(DrainReport),
    /// To [`Ask::Leave`].
    Leave(LeaveAnswer),
    /// To [`Ask::Set`].
    Set(Box<SetReport>),
}

/// How far a node is with leaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveAnswer {
    /// What still keeps it.
    pub drain: DrainReport,
    /// It is no member any more, and its process ends.
    pub has_left: bool,
}

/// What kind of error it is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The line is no request. Nothing was done.
    Malformed,
    /// The request is of a version that is not spoken here. Nothing was done.
    Version,
    /// The request has more than [`REQUEST_BYTES_MAX`] bytes. Nothing was done.
    TooLong,
    /// The request did not come to its end in time. Nothing was done.
    TooSlow,
    /// Too many connections are open. Next: try again.
    Busy,
    /// The node starts, or stops. Next: try again.
    NotRunning,
    /// The request was understood, and cannot be fulfilled.
    Refused,
    /// There is no answer in time. What only asks changes nothing.
    Late,
    /// Something failed that should not. Next: look into the node's log.
    Failed,
    /// One that this program does not know: the node is newer.
    #[serde(other)]
    Unknown,
}

/// An error as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong, and what to do.
    pub message: String,
}

impl Refusal {
    /// Words may quote what was asked: a bounded, printable part of them goes on.
    pub(crate) fn new(code: Code, message: &str) -> Self {
        Self { code, message: printable(message, MESSAGE_CHARS_MAX) }
    }
}

/// A request before what it asks is looked at.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<A> {
    version: u32,
    ask: A,
}

/// An answer: one of the two stands in it.
#[derive(Debug, Serialize, Deserialize)]
struct Response<A> {
    version: u32,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    answer: Option<A>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

/// The line that asks `ask`.
pub(super) fn write_request(ask: &Ask) -> Result<Vec<u8>, serde_json::Error> {
    line(&Request { version: PROTOCOL, ask })
}

/// What `line` asks.
pub(super) fn read_request(line: &[u8]) -> Result<Ask, Refusal> {
    let malformed = |error: &dyn std::fmt::Display| {
        let expected = r#"one line {"version":1,"ask":...} was expected"#;
        Refusal::new(Code::Malformed, &format!("{error}; {expected}"))
    };
    let text = std::str::from_utf8(line).map_err(|error| malformed(&error))?;
    // Serde would take the fields of an array by their places.
    if !text.trim_start().starts_with('{') {
        return Err(malformed(&"it is no JSON object"));
    }
    let request: Request<Value> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if request.version != PROTOCOL {
        let (theirs, own) = (request.version, PROTOCOL);
        let why = format!("version {theirs} of the protocol was asked, and this node speaks {own}");
        return Err(Refusal::new(Code::Version, &why));
    }
    serde_json::from_value(request.ask).map_err(|error| malformed(&error))
}

/// The line that answers; where it would be too long, one that says so.
pub(super) fn write_response(answer: &Result<Answer, Refusal>) -> Vec<u8> {
    let (answer, error) = match answer {
        Ok(answer) => (Some(answer), None),
        Err(why) => (None, Some(why.clone())),
    };
    match line(&Response { version: PROTOCOL, answer, error }) {
        Ok(response) if response.len() <= RESPONSE_BYTES_MAX => response,
        Ok(response) => {
            let bytes = response.len();
            failed(&format!("the answer has {bytes} bytes, at most {RESPONSE_BYTES_MAX} are sent"))
        }
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> Vec<u8> {
    let error = Some(Refusal::new(Code::Failed, why));
    let response: Response<&Answer> = Response { version: PROTOCOL, answer: None, error };
    line(&response).unwrap_or_default()
}

/// What `line` answers, or why it is no answer.
pub(super) fn read_response(line: &[u8]) -> Result<Result<Answer, Refusal>, String> {
    let response: Response<Value> =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match response {
        Response { error: Some(error), .. } => Ok(Err(error)),
        Response { version, .. } if version != PROTOCOL => {
            Err(format!("it speaks version {version} of the protocol, and this program {PROTOCOL}"))
        }
        Response { answer: Some(answer), .. } => {
            serde_json::from_value(answer).map(Ok).map_err(|error| error.to_string())
        }
        Response { answer: None, error: None, .. } => Err("neither answer nor error".into()),
    }
}

fn line(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_and_read_alike() {
        let ask = RingAsk { lose: Some("n1".parse().expect("a name")), ..RingAsk::default() };
        let table = [
            (Ask::Nodes, r#"{"version":1,"ask":"nodes"}"#),
            (
                Ask::Ring(ask),
                r#"{"version":1,"ask":{"ring":{"key":null,"join":null,"lose":"n1"}}}"#,
            ),
            (Ask::Voters, r#"{"version":1,"ask":"voters"}"#),
            (
                Ask::Shards(ShardsAsk { all: true, ..ShardsAsk::default() }),
                r#"{"version":1,"ask":{"shards":{"all":true,"node":null,"state":null}}}"#,
            ),
            (
                Ask::Where("cart/alice".parse().expect("a key")),
                r#"{"version":1,"ask":{"where":"cart/alice"}}"#,
            ),
            (Ask::Leave, r#"{"version":1,"ask":"leave"}"#),
            (
                Ask::Drain(DrainAsk {
                    node: "n1".parse().expect("a name"),
                    on: Some(true),
                    shrink_voters: false,
                }),
                r#"{"version":1,"ask":{"drain":{"node":"n1","on":true,"shrink_voters":false}}}"#,
            ),
            (
                Ask::Events(EventsAsk { follow: true, last: Some(9), after: None }),
                r#"{"version":1,"ask":{"events":{"follow":true,"after":null,"last":9}}}"#,
            ),
            (
                Ask::Set(SetAsk { replicas: Some(2), ..SetAsk::default() }),
                concat!(
                    r#"{"version":1,"ask":{"set":{"replicas":2,"write_min":null,"lease":null,"#,
                    r#""seen":null}}}"#
                ),
            ),
        ];
        for (ask, text) in table {
            let line = write_request(&ask).expect("it is written");
            assert_eq!(String::from_utf8_lossy(&line), format!("{text}\n"));
            assert_eq!(read_request(&line), Ok(ask));
        }
        let short = read_request(br#"{"version":1,"ask":{"ring":{}}}"#);
        assert_eq!(short, Ok(Ask::Ring(RingAsk::default())));
    }

    #[test]
    fn what_is_no_request_is_refused_with_what_was_expected() {
        let deep = format!(r#"{{"version":1,"ask":{}"#, "[".repeat(10_000));
        let table: [(&[u8], Code, &str); 15] = [
            (b"", Code::Malformed, "no JSON object"),
            (b"\xff\xfe", Code::Malformed, "utf-8"),
            (b"{nodes}", Code::Malformed, "expected"),
            (br#"[1,"nodes"]"#, Code::Malformed, "no JSON object"),
            (deep.as_bytes(), Code::Malformed, "recursion"),
            (br#"{"version":1}"#, Code::Malformed, "missing field `ask`"),
            (br#"{"version":1,"ask":"nodes","sudo":1}"#, Code::Malformed, "`sudo`"),
            (br#"{"version":1,"ask":"everything"}"#, Code::Malformed, "`everything`"),
            (br#"{"version":1,"ask":{"ring":{"join":"N4"}}}"#, Code::Malformed, "name[:weight"),
            (br#"{"version":1,"ask":{"where":"alice"}}"#, Code::Malformed, "kind/id"),
            (br#"{"version":1,"ask":{"shards":{"state":"odd"}}}"#, Code::Malformed, "`odd`"),
            (br#"{"version":1,"ask":{"drain":{"on":true}}}"#, Code::Malformed, "`node`"),
            (br#"{"version":1,"ask":{"set":{"replicas":300}}}"#, Code::Malformed, "300"),
            (br#"{"version":1,"ask":{"events":{"until":3}}}"#, Code::Malformed, "`until`"),
            (br#"{"version":2,"ask":{"to":"come"}}"#, Code::Version, "speaks 1"),
        ];
        for (line, code, says) in table {
            let refusal = read_request(line).expect_err(says);
            assert_eq!(refusal.code, code, "{refusal}");
            assert!(refusal.message.contains(says), "{says}: {refusal}");
        }
        let steering = read_request("\u{1b}[2J\u{202e}".as_bytes()).expect_err("no request");
        assert!(!steering.message.contains('\u{1b}'), "{steering}");
        let long = format!(r#"{{"version":1,"ask":"{}"}}"#, "x".repeat(10_000));
        let refusal = read_request(long.as_bytes()).expect_err("no ask");
        assert!(refusal.message.chars().count() <= MESSAGE_CHARS_MAX, "{refusal}");
    }

    #[test]
    fn answers_and_errors_are_read_as_they_were_written() {
        let refusal = Refusal::new(Code::Refused, "n9 is no member");
        let line = write_response(&Err(refusal.clone()));
        let text = r#"{"version":1,"error":{"code":"refused","message":"n9 is no member"}}"#;
        assert_eq!(String::from_utf8_lossy(&line), format!("{text}\n"));
        assert_eq!(read_response(&line), Ok(Err(refusal)));
        let newer = read_response(br#"{"version":9,"error":{"code":"tired","message":"later"}}"#);
        assert_eq!(newer.expect("it is an error").expect_err("it is").code, Code::Unknown);
        for (line, says) in [
            (r#"{"version":9,"answer":1}"#, "version 9"),
            (r#"{"version":1}"#, "neither"),
            (r#"{"version":1,"answer":"nodes"}"#, "newtype variant"),
            ("half", "expected"),
        ] {
            let why = read_response(line.as_bytes()).expect_err(says);
            assert!(why.contains(says), "{why}");
        }
    }
}
