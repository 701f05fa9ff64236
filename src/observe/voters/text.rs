//! The report on the voters as people read it.

use std::fmt;
use std::time::Duration;

use super::{VoterRole, VoterRow, VoterSaid, VotersReport};
use crate::base::NodeId;
use crate::observe::table::{Side, Table};
use crate::observe::words::{CLUSTER_DIGITS, counted, listed, millis, or_dash, shown};

impl fmt::Display for VotersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster: String = self.cluster.chars().take(CLUSTER_DIGITS).collect();
        let leader = self.leader.as_ref().map_or("unknown".into(), ToString::to_string);
        let Self { asked, version, term, last_log, committed, .. } = self;
        write!(
            f,
            "cluster {cluster}, {version} as {asked} has it, leader {leader} in term {term}, "
        )?;
        writeln!(f, "last entry {last_log}, agreed up to {committed}")?;
        writeln!(f, "{}\n", self.margin())?;
        let mut table = Table::new([
            ("NODE", Side::Left),
            ("ROLE", Side::Left),
            ("ZONE", Side::Left),
            ("TERM", Side::Right),
            ("LAST ENTRY", Side::Right),
            ("IN ITS VIEW", Side::Right),
            ("BEHIND", Side::Right),
            ("SILENT", Side::Right),
        ]);
        for row in &self.voters {
            let said = |text: &dyn Fn(&VoterSaid) -> u64| {
                row.said.as_ref().map_or("-".into(), |said| text(said).to_string())
            };
            table.row([
                row.node.to_string(),
                role(row),
                or_dash(&row.zone),
                said(&|said| said.term),
                said(&|said| said.last_log),
                said(&|said| said.applied),
                row.behind.map_or("-".into(), |entries| entries.to_string()),
                row.silent_ms.map_or("-".into(), |ms| millis(Duration::from_millis(ms))),
            ]);
        }
        write!(f, "{table}")?;
        if !self.clients.is_empty() {
            let clients: Vec<&str> = self.clients.iter().map(NodeId::as_str).collect();
            writeln!(f, "\n{}: {}", counted(clients.len(), "lease client"), listed(&clients))?;
        }
        for row in &self.voters {
            if let Some(why) = &row.no_answer {
                writeln!(f, "{} gave no answer: {}", row.node, shown(why))?;
            }
        }
        Ok(())
    }
}

impl VotersReport {
    /// How many may fail.
    fn margin(&self) -> String {
        let is_voter = |row: &&VoterRow| row.role != VoterRole::Learner;
        let voters = counted(self.voters.iter().filter(is_voter).count(), "voter");
        let Self { quorum, may_fail, .. } = self;
        let of = if self.is_changing { " of the old set and of the new one" } else { "" };
        let now = match self.may_fail_now {
            _ if self.voters.is_empty() => return "no voter is known".into(),
            None => "; TOO FEW ANSWER: no view can be agreed".into(),
            Some(now) if now == *may_fail => String::new(),
            Some(0) => "; at present none may fail: not all answer".into(),
            Some(now) => format!("; at present {now} more may fail: not all answer"),
        };
        format!("{voters}, {quorum}{of} must agree: {may_fail} may fail{now}")
    }
}

fn role(row: &VoterRow) -> String {
    let role = match row.role {
        VoterRole::Voter => "voter",
        VoterRole::Learner => "learner",
        VoterRole::Coming => "voter to come",
        VoterRole::Going => "voter until replaced",
    };
    let more = [(row.leads, "leader"), (!row.is_member, "no member")];
    let more = more.into_iter().filter_map(|(is_so, word)| is_so.then_some(word));
    std::iter::once(role).chain(more).collect::<Vec<_>>().join(", ")
}
