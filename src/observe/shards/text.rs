//! The report on the shards as people read it.

use std::fmt;

use super::{ShardRow, ShardState, ShardsReport};
use crate::base::NodeId;
use crate::observe::table::{Side, Table};
use crate::observe::words::{number, status};

impl fmt::Display for ShardsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, asked, shards, copies, write_min, .. } = self;
        write!(f, "{version} as {asked} has it: {} shards, ", number(*shards))?;
        writeln!(f, "{copies} copies of each, {write_min} for a write")?;
        let counts = ShardState::ALL.map(|state| format!("{} {state}", number(self.count(state))));
        writeln!(f, "{}\n", counts.join(", "))?;
        let mut table = Table::new([
            ("NODE", Side::Left),
            ("STATUS", Side::Left),
            ("OWNS", Side::Right),
            ("HOLDS", Side::Right),
            ("MOVING AWAY", Side::Right),
            ("MOVING HERE", Side::Right),
            ("UNDER-REPLICATED", Side::Right),
        ]);
        for row in &self.nodes {
            table.row([
                row.node.to_string(),
                status(row.status).into(),
                row.owns.to_string(),
                row.holds.to_string(),
                row.moving_away.to_string(),
                row.moving_here.to_string(),
                row.under_replicated.to_string(),
            ]);
        }
        write!(f, "{table}")?;
        if !self.listed.is_empty() {
            write!(f, "\n{}", table_of(&self.listed))?;
        }
        Ok(())
    }
}

fn table_of(rows: &[ShardRow]) -> Table {
    let mut table = Table::new([
        ("SHARD", Side::Right),
        ("EPOCH", Side::Right),
        ("OWNER", Side::Left),
        ("BOOT", Side::Right),
        ("IN SYNC", Side::Left),
        ("GENERATION", Side::Right),
        ("STATE", Side::Left),
    ]);
    for row in rows {
        let dash = || String::from("-");
        table.row([
            row.shard.0.to_string(),
            row.epoch.0.to_string(),
            row.owner.as_ref().map_or_else(dash, NodeId::to_string),
            row.boot.map_or_else(dash, |boot| boot.0.to_string()),
            holders(row),
            row.generation.to_string(),
            states(row),
        ]);
    }
    table
}

/// Who holds it; in brackets who does and is away.
fn holders(row: &ShardRow) -> String {
    let here = row.in_sync.iter().map(NodeId::to_string);
    let away = row.away.iter().map(|node| format!("({node})"));
    let all: Vec<String> = here.chain(away).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// What is to be said of it besides that it is owned.
fn states(row: &ShardRow) -> String {
    let said = row.states.iter().filter(|state| **state != ShardState::Owned);
    let words: Vec<String> = said
        .map(|state| match (&row.moving_to, state) {
            (Some(to), ShardState::Moving) => format!("moving to {to}"),
            _ => state.to_string(),
        })
        .collect();
    if words.is_empty() { "-".into() } else { words.join(", ") }
}
