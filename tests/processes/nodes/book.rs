//! What the nodes of a group say of each other, in the order in which it was heard.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use evertree::base::Instant;

const DAY_SECS: u64 = 86_400;
/// In a log line that tells what changed about a member.
const MEMBER: &str = "evertree::membership::state: member node=";

/// What one node makes of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    Reachable,
    Suspect,
    Unreachable,
    Left,
    Evicted,
    Restarted,
}

/// What one node said of a member.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// When it was heard: a few milliseconds at most after it was said.
    pub(crate) at: Instant,
    pub(crate) by: &'static str,
    pub(crate) node: String,
    pub(crate) boot: u64,
    pub(crate) sight: Sight,
    /// Who doubts the member.
    pub(crate) observers: Vec<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, node, boot, sight, observers, .. } = self;
        write!(f, "{by} says {node} (boot {boot}) is {sight:?}, observers {observers:?}")
    }
}

/// All that was heard.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) said: Vec<Said>,
    /// Whole logs.
    pub(crate) lines: Vec<String>,
    /// The longest time from a line's own time until it was read.
    pub(crate) lag_max: Duration,
    /// By name: how much had been said when its process started.
    lives: BTreeMap<&'static str, usize>,
    /// By name: that its process has closed its log.
    ended: BTreeMap<&'static str, bool>,
}

impl Book {
    pub(crate) fn begins(&mut self, by: &'static str) {
        self.lives.insert(by, self.said.len());
        self.ended.insert(by, false);
    }

    pub(crate) fn ends(&mut self, by: &'static str) {
        self.ended.insert(by, true);
    }

    pub(crate) fn has_ended(&self, by: &str) -> bool {
        self.ended.get(by).copied().unwrap_or(true)
    }

    /// Enters a line of the log of `by`, read `at` a time, which was `unix` by the clock on the
    /// wall.
    pub(crate) fn log(&mut self, (at, unix): (Instant, Duration), by: &'static str, line: &str) {
        if let Some(written) = written(line) {
            let day = Duration::new(unix.as_secs() % DAY_SECS, unix.subsec_nanos());
            // Past midnight it says nothing.
            self.lag_max = self.lag_max.max(day.saturating_sub(written));
        }
        self.lines.push(format!("{by}: {line}"));
        if let Some((node, boot, sight, observers)) = parsed(line) {
            self.said.push(Said { at, by, node, boot, sight, observers });
        }
    }

    /// What the present process of `by` said last of `node`.
    pub(crate) fn sees(&self, by: &str, node: &str) -> Option<&Said> {
        let life = self.said.get(*self.lives.get(by)?..)?;
        life.iter().rev().find(|said| said.by == by && said.node == node)
    }

    /// The boot in which `node` finds itself a member.
    pub(crate) fn boot(&self, node: &str) -> Option<u64> {
        let own = self.sees(node, node)?;
        (own.sight == Sight::Reachable).then_some(own.boot)
    }

    /// Whether each of `names` finds all of them reachable, in the boots in which they are members.
    pub(crate) fn is_well(&self, names: &[&'static str]) -> bool {
        let sees = |by: &str, node: &str| {
            let boot = self.boot(node);
            self.sees(by, node)
                .is_some_and(|said| said.sight == Sight::Reachable && Some(said.boot) == boot)
        };
        names.iter().all(|by| names.iter().all(|node| sees(by, node)))
    }
}

/// The time of day at the start of a line: `2026-11-26T07:32:59.836605Z ..`.
fn written(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once('T')?;
    let (time, _) = rest.split_once("Z ")?;
    let (whole, micros) = time.split_once('.')?;
    let secs =
        whole.split(':').try_fold(0, |secs, part| Some(secs * 60 + part.parse::<u64>().ok()?));
    Some(Duration::from_secs(secs?) + Duration::from_micros(micros.parse().ok()?))
}

type Parsed = (String, u64, Sight, Vec<String>);

/// `.. member node=n2 boot=boot 3 change=Suspect { observers: [NodeId("n1")] }`; `None` for other
/// lines, and for changes that are no sight.
fn parsed(line: &str) -> Option<Parsed> {
    let (_, said) = line.split_once(MEMBER)?;
    let (node, said) = said.split_once(" boot=boot ")?;
    let (boot, change) = said.split_once(" change=")?;
    let word = change.split(' ').next()?;
    let sight = match word {
        "Joined" | "Reachable" => Sight::Reachable,
        "Suspect" => Sight::Suspect,
        "Unreachable" => Sight::Unreachable,
        "Left" => Sight::Left,
        "Evicted" => Sight::Evicted,
        "Restarted" => Sight::Restarted,
        _ => return None,
    };
    let observers = change.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    Some((node.to_owned(), boot.parse().ok()?, sight, observers))
}

#[test]
fn a_line_of_the_log_is_read() {
    let line = "2026-11-26T07:32:59.836605Z  INFO evertree::membership::state: member node=n3 \
                boot=boot 7 change=Suspect { observers: [NodeId(\"n1\"), NodeId(\"n2\")] }";
    let observers = vec!["n1".to_owned(), "n2".to_owned()];
    assert_eq!(parsed(line), Some(("n3".to_owned(), 7, Sight::Suspect, observers)));
    assert_eq!(written(line), Some(Duration::from_micros(27_179_836_605)));
    assert_eq!(parsed("INFO evertree::membership: nothing"), None);
}
