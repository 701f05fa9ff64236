//! The report on the members as people read it.

use std::fmt;
use std::time::Duration;

use super::{NodeRow, NodesReport, Said};
use crate::membership::Reachability;
use crate::observe::table::{Side, Table};
use crate::observe::words::{CLUSTER_DIGITS, millis, or_dash, shown, span, status};

impl fmt::Display for NodesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster: String = self.cluster.chars().take(CLUSTER_DIGITS).collect();
        let leader = self.leader.as_ref().map_or("unknown".into(), ToString::to_string);
        let (asked, version) = (&self.asked, self.version);
        writeln!(f, "cluster {cluster}, {version} as {asked} has it, leader {leader}\n")?;
        let mut table = Table::new([
            ("NODE", Side::Left),
            ("STATUS", Side::Left),
            ("BOOT", Side::Right),
            ("ZONE", Side::Left),
            ("REACHABLE", Side::Left),
            ("HEALTH", Side::Left),
            ("LOAD/S", Side::Right),
            ("OWNS", Side::Right),
            ("VERSION", Side::Left),
            ("VIEW", Side::Right),
            ("ROUND TRIP", Side::Right),
            ("UP", Side::Left),
        ]);
        for row in &self.nodes {
            let said = |text: &dyn Fn(&Said) -> String| row.said.as_ref().map_or("-".into(), text);
            table.row([
                row.node.to_string(),
                standing(row),
                row.boot.0.to_string(),
                or_dash(&row.zone),
                reachable(row),
                health(row),
                said(&|said| said.load.to_string()),
                row.owns.to_string(),
                said(&|said| shown(&said.software)),
                said(&|said| said.view.0.to_string()),
                row.round_trip_us.map_or("-".into(), |us| millis(Duration::from_micros(us))),
                said(&|said| span(Duration::from_secs(said.uptime_s))),
            ]);
        }
        write!(f, "{table}")?;
        for row in &self.nodes {
            if let Some(why) = &row.no_answer {
                writeln!(f, "{} gave no answer: {}", row.node, shown(why))?;
            }
        }
        Ok(())
    }
}

/// What is agreed of it, what it is about to do, and whether it serves.
fn standing(row: &NodeRow) -> String {
    let is_suspended = row.said.as_ref().is_some_and(|said| !said.is_serving);
    let more = [(row.draining, "draining"), (row.leaving, "leaves"), (is_suspended, "no lease")];
    let more = more.into_iter().filter_map(|(is_so, word)| is_so.then_some(word));
    std::iter::once(status(row.status)).chain(more).collect::<Vec<_>>().join(", ")
}

/// Which of its probes fail.
fn health(row: &NodeRow) -> String {
    if row.failing.is_empty() { "ok".into() } else { shown(&row.failing.join(", ")) }
}

/// By how many it is found reachable, and who doubts it.
fn reachable(row: &NodeRow) -> String {
    let all = row.reachable_by + row.suspect_by + row.unreachable_by + row.unknown_to;
    if all == 0 {
        return "-".into();
    }
    let mut text = format!("by {} of {all}", row.reachable_by);
    let doubt = [
        (Some(Reachability::Unreachable), "unreachable"),
        (Some(Reachability::Suspect), "suspect"),
        (None, "unknown"),
    ];
    for (reachability, what) in doubt {
        let by = row.seen.iter().filter(|sight| sight.reachability == reachability);
        let by: Vec<&str> = by.map(|sight| sight.by.as_str()).collect();
        if !by.is_empty() {
            text = format!("{text}; {what} to {}", by.join(", "));
        }
    }
    text
}
