//! See the design: layer `wire`.
