//! Who decides what the view is, and the leases that bound how long a node may act on it.

mod api;
mod single;

pub use api::{Grant, ProposeError, Proposed, Renew, RenewError, ViewAuthority};
pub use single::SingleNode;
