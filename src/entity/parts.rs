//! What the hosting of entities is made of.

use std::sync::Arc;

use super::Kinds;
use super::records::Records;
use crate::authority::{Lease, ViewAuthority};
use crate::base::{NodeId, Seams};
use crate::membership::Hints;
use crate::transport::Links;

/// What [`Hosts::start`] needs.
#[derive(Debug)]
pub struct HostParts {
    /// The world.
    pub seams: Seams,
    /// The way to other nodes.
    pub links: Links,
    /// Whose views say who owns what.
    pub authority: Arc<dyn ViewAuthority>,
    /// The gate; it must know a view before the authority publishes it.
    pub lease: Lease,
    /// Where durable kinds keep their state; a node without one hosts only volatile kinds.
    pub records: Option<Arc<dyn Records>>,
    /// This node.
    pub me: NodeId,
    /// What it hosts.
    pub kinds: Kinds,
    /// Whom to route around.
    pub hints: Hints,
}
