//! See the design: layer `sim`.
