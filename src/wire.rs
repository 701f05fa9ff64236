//! What stands on the wire, byte for byte.

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wants no answer.
    Tell,
    /// Wants one.
    Ask,
    /// The answer.
    Reply,
    /// Was not executed.
    Refusal,
    /// Will have no answer.
    Dropped,
}
