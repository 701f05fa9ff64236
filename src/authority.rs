//! See the design: layer `authority`.
