//! What happens to actors, supervisors and nodes, as events.
