//! See the design: layer `transport`.
