//! See the design: layer `supervisor`.
