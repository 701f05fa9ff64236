//! See the design: layer `entity`.
