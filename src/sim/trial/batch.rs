//! What a batch of runs must have come to, so that it shows something.

use super::Figures;

/// The sizes of clusters come round after so many seeds.
const ROUND: usize = 8;

/// What a batch of runs came to together. One run may lack what all of them must not.
#[derive(Debug, Default)]
pub struct Batch {
    runs: usize,
    gone: u64,
    moved: usize,
    voters_replaced: u64,
    client_ticks: u64,
    drains: u64,
    leases: u64,
}

impl Batch {
    /// Takes in one run.
    pub fn add(&mut self, figures: &Figures) {
        self.runs += 1;
        self.gone += figures.gone;
        self.moved += figures.moved;
        self.voters_replaced += figures.changes.voters_replaced;
        self.client_ticks += figures.client_ticks;
        self.drains += figures.changes.drains;
        self.leases += figures.changes.leases;
    }

    /// Refuses a batch that never came to what it is there to show. One of fewer than eight seeds
    /// is too small to be judged.
    ///
    /// # Errors
    /// What it lacks.
    pub fn judge(&self) -> Result<(), String> {
        let Self { runs, gone, moved, voters_replaced, client_ticks, drains, leases } = *self;
        if runs < ROUND {
            return Ok(());
        }
        let all = [
            (gone, "nodes gone"),
            (moved as u64, "moved shards"),
            (voters_replaced, "voters replaced"),
            (client_ticks, "ticks at lease clients"),
            (drains, "drains by an operator"),
            (leases, "changes of D"),
        ];
        let lacks: Vec<_> =
            all.iter().filter(|(count, _)| *count == 0).map(|(_, what)| *what).collect();
        if lacks.is_empty() {
            return Ok(());
        }
        let lacks = lacks.join(", no ");
        Err(format!("no {lacks} over all {runs} seeds: they show nothing, more are needed"))
    }
}
