//! Who is alive, and how long a node may act without asking: arithmetic only. PURE.

mod lease;

pub use lease::{Denied, LeaseTable, NodeLease, Renewal, Span};
