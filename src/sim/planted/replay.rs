//! One recorded seed for each bug.
