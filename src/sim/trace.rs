//! What a run did, as one number per step, so that two runs can be compared.

/// A running hash: equal up to a step if everything noted up to there was equal. Nothing that is
/// the process's own, as an address or a task's id, may be noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    now: u64,
    steps: Vec<u64>,
}

impl Default for Trace {
    fn default() -> Self {
        // FNV-1a, offset basis.
        Self { now: 0xcbf2_9ce4_8422_2325, steps: Vec::new() }
    }
}

impl Trace {
    /// Takes in one number.
    pub fn note(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.now = (self.now ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Ends a step.
    pub(super) fn end_step(&mut self) {
        self.steps.push(self.now);
    }

    /// The hash of all that was noted.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.now
    }

    /// The first step in which this run and `other` differ.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<usize> {
        let differ = self.steps.iter().zip(&other.steps).position(|(a, b)| a != b);
        let shorter = self.steps.len().min(other.steps.len());
        differ.or_else(|| (self.steps.len() != other.steps.len()).then_some(shorter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_differ_from_the_step_on_in_which_something_else_happened() {
        let [mut one, mut other] = [Trace::default(), Trace::default()];
        for step in 0..5 {
            one.note(step);
            other.note(if step == 3 { 0 } else { step });
            one.end_step();
            other.end_step();
        }
        assert_eq!(one.first_difference(&other), Some(3));
        assert_eq!(one.first_difference(&one.clone()), None);
    }
}
