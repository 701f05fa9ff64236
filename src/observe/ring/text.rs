//! The report on the ring as people read it.

use std::fmt;

use super::{Forecast, KeyReport, RingReport};
use crate::base::NodeId;
use crate::observe::table::{Side, Table, percent, ppm};
use crate::observe::words::{or_dash, shown, status};

/// Rows of one list; the rest is counted.
const ROWS_MAX: usize = 30;

impl fmt::Display for RingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, shards, copies, write_min, ownerless, lost, .. } = self;
        write!(f, "{version}: {shards} shards, {copies} copies of each, ")?;
        writeln!(f, "{write_min} for a write; {ownerless} without an owner, {lost} lost\n")?;
        let mut table = Table::new([
            ("NODE", Side::Left),
            ("STATUS", Side::Left),
            ("ZONE", Side::Left),
            ("WEIGHT", Side::Right),
            ("RING", Side::Right),
            ("OWNS", Side::Right),
            ("OF ALL", Side::Right),
            ("HOLDS", Side::Right),
            ("SHARE", Side::Right),
            ("CAP", Side::Right),
        ]);
        for row in &self.nodes {
            table.row([
                row.node.to_string(),
                status(row.status).into(),
                or_dash(&row.zone),
                row.weight.to_string(),
                percent(row.ring_ppm.into()),
                row.owns.to_string(),
                part(row.owns, *shards),
                row.holds.to_string(),
                row.share.to_string(),
                row.cap.to_string(),
            ]);
        }
        write!(f, "{table}")?;
        if let Some(key) = &self.key {
            write!(f, "\n{key}")?;
        }
        for (what, forecast) in [("joined", &self.join), ("were lost", &self.lose)] {
            if let Some(forecast) = forecast {
                writeln!(f)?;
                forecast.write(f, what, *shards)?;
            }
        }
        Ok(())
    }
}

/// Shards of all shards.
fn part(shards: u32, all: u16) -> String {
    percent(ppm(shards.into(), all.into()).into())
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is in {}:", shown(&self.key.to_string()), self.shard)?;
        match (&self.owner, self.owner_boot) {
            (Some(owner), Some(boot)) => writeln!(f, "  owner       {owner}, {boot}")?,
            _ => writeln!(f, "  owner       nobody at present")?,
        }
        writeln!(f, "  epoch       {}", self.epoch.0)?;
        let holders = self.in_sync.iter().map(|holder| match &holder.node {
            Some(node) if holder.is_member => node.to_string(),
            Some(node) => format!("{node} (no member at present)"),
            None => holder.store.to_string(),
        });
        let records = match (self.lost, self.has_records) {
            (true, _) => "lost: every store that held them was destroyed",
            (false, true) => "yes",
            (false, false) => "none yet",
        };
        writeln!(f, "  in sync     {}", holders.collect::<Vec<_>>().join(", "))?;
        writeln!(f, "  records     {records}")?;
        let preference: Vec<&str> = self.preference.iter().map(NodeId::as_str).collect();
        writeln!(f, "  preference  {}", preference.join(", "))
    }
}

impl Forecast {
    /// `what` is what becomes of the node.
    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str, shards: u16) -> fmt::Result {
        let Self { node, weight, zone, .. } = self;
        write!(f, "If {node} (weight {weight}, zone {}) {what}: ", or_dash(zone))?;
        write!(f, "{} shards ({}) and ", self.shards, part(self.shards, shards))?;
        writeln!(f, "{} of the ring would change hands", percent(self.ring_ppm.into()))?;
        let mut table = Table::new([
            ("  FROM", Side::Left),
            ("TO", Side::Left),
            ("SHARDS", Side::Right),
            ("RING", Side::Right),
        ]);
        let name = |node: &Option<NodeId>| node.as_ref().map_or("nobody".into(), NodeId::to_string);
        for pair in self.handovers.iter().take(ROWS_MAX) {
            table.row([
                format!("  {}", name(&pair.from)),
                name(&pair.to),
                pair.shards.to_string(),
                percent(pair.ring_ppm.into()),
            ]);
        }
        if !table.is_empty() {
            write!(f, "{table}")?;
        }
        if let Some(more) = self.handovers.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
            writeln!(f, "  and {more} others, which --json lists")?;
        }
        let all: u32 = self.copies.iter().map(|copying| copying.shards).sum();
        let to = self.copies.iter().take(ROWS_MAX);
        let to = to.map(|copying| format!("{} to {}", copying.shards, copying.to));
        let mut to: Vec<String> = to.collect();
        if let Some(more) = self.copies.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
            to.push(format!("and to {more} others"));
        }
        let to = if to.is_empty() { String::new() } else { format!(" ({})", to.join(", ")) };
        writeln!(f, "  shards with records to copy: {all}{to}")?;
        if self.ownerless > 0 {
            writeln!(f, "  shards that nobody serves then: {}", self.ownerless)?;
        }
        if self.unwritable > 0 {
            writeln!(f, "  shards that take no writes until they are copied: {}", self.unwritable)?;
        }
        if !self.is_complete {
            writeln!(f, "  planning did not come to its end: more may move than is said here")?;
        }
        Ok(())
    }
}
