//! What the nodes of a group say of each other, in the order in which it was heard.

use std::collections::BTreeMap;
use std::fmt;

use evertree::base::Instant;

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
    /// Whole logs, for people.
    pub(crate) lines: Vec<String>,
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

    pub(crate) fn log(&mut self, at: Instant, by: &'static str, line: &str) {
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
    assert_eq!(parsed("INFO evertree::membership: nothing"), None);
}
