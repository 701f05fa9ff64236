//! Whole authorities over links in memory, under virtual time.

mod clusters;
mod faults;
mod joining;
mod world;
